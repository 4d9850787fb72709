"""Measurements of two networks."""

from benchmarks.peers.results import PeerResults


def small_results() -> PeerResults:
    """Two networks: the larger one too large for alkaid."""
    results = PeerResults()
    common = {"minutes": 10.0, "tools": {"yosys": "0.7"}, "ffs": 90, "dsps": 1, "block_rams": 0}
    identity = {"identity": {"generator": "alkaid 9"}}
    darb = common | {"identity": {}, "tool": "darb", "luts": 500, "latency": 90, "interval": 50}
    alkaid = common | identity | {"tool": "alkaid", "luts": 2_000, "latency": 7, "interval": 1}
    results.networks = {
        "linear-16": {
            "shape": [16, 16], "weights": 256, "kept": 32,
            "rows": {
                "darb, 4 lanes": darb | {"fmax_mhz": {"1": 100.0, "2": 120.0, "3": 110.0}},
                "alkaid": alkaid | {"fmax_mhz": {"1": 80.0}, "samples": 100, "elements": 1_600},
            },
        },
        "linear-99": {
            "shape": [99, 99], "weights": 9_801, "kept": 1_225,
            "rows": {
                "darb, 4 lanes": darb | {"fmax_mhz": {"1": 101.0}, "interval": 400},
                "alkaid": alkaid | {
                    "fmax_mhz": {}, "luts": 99_999, "reason": "does not fit: too many luts", "too_large": True,
                    "unchecked": "the simulation did not finish",
                },
            },
        },
    }  # fmt: skip
    return results
