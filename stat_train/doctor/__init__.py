"""Whether what a run needs works: found out in a minute, before hours are spent."""
