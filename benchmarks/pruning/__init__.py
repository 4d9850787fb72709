"""DARB against what one would use instead, over all tasks; ``python -m benchmarks.pruning --help``."""
