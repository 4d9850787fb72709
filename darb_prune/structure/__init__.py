"""Passes that change what a model is made of: they leave another ordinary module, pruned and compiled as any."""
