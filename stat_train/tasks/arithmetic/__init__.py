"""The embedded task: questions made on the spot from named arithmetic skills."""
