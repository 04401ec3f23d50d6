"""How far a run is, read from its files: while it runs, from any host that sees them, without touching anything."""
