"""Real networks through the generated Verilog; ``python -m benchmarks.networks --help``."""
