"""What is found out by many runs: analysis of a model, several seeds, experiments."""
