"""Measurements too slow for tests; each is a command: ``python -m benchmarks.NAME --help``."""
