"""What many runs show together: raw results, one file a run, and the tables, figures and verdicts made from them."""
