"""Who is told how a run goes while it does: W&B or TensorBoard."""
