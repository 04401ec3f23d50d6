"""What a run will ask of paid models, and what that will cost, before it does."""
