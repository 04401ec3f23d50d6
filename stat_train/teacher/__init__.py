"""What is asked of a teacher, and who answers."""
