"""What synthesis would give, before it runs: a model fitted on designs that were synthesised."""
