"""The engine against its limits; ``python -m benchmarks.engine --help``."""
