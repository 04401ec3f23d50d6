"""From a checkpoint to evidence."""
