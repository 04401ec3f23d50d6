"""Where questions come from, how they become prompts, and when two answers are the same."""
