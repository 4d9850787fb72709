"""(Encoded network, configuration) -> plan: everything derived, before any hardware exists."""
