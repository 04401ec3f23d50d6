"""Whatever turns a prompt into text."""
