"""From a training row back to what the student got wrong, and forward again."""
