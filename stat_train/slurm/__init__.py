"""Jobs on a Slurm cluster: which a run or a sweep needs, what each asks for, and what it does there."""
