"""Pruning a model: in one shot, gradually, or as far as a limit allows."""
