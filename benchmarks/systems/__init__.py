"""The systems of docs/systems/ against dense and small networks and DARB; ``python -m benchmarks.systems --help``."""
