"""MLPerf Tiny's four reference networks on the engine; ``python -m benchmarks.mlperf --help``."""
