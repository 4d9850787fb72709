"""The same pruned, quantised networks through other generators of hardware; ``python -m benchmarks.peers --help``."""
