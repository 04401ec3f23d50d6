"""From a profile to a training set."""
