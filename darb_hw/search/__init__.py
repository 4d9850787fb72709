"""Pruning and hardware chosen together: which network on which engine meets what is wanted."""
