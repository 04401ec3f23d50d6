"""From a student's answers to its missing-skill profile."""
