"""Many runs with one command: which runs a sweep has, starting each of them, and what came of them."""
