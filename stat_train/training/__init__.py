"""From a training set to a checkpoint."""
