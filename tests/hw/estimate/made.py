"""Samples for tests of estimates: engines of a made-up tool whose LUTs, flip-flops and clock follow a known law."""

import numpy as np

from darb_hw.estimate.sample import Sample

DEVICES = ("ice40-up5k", "ice40-hx8k", "ecp5-25k", "ecp5-85k")


def law(features: dict[str, float], family: str) -> tuple[float, float]:
    """LUTs and flip-flops of an engine."""
    luts = 60 + features["lane sums"] * (1.2 if family == "ice40" else 0.9) + 3 * features["address"]
    return luts, 200 + 1.8 * features["lane sums"] + features["memory outputs"] * (1.1 if family == "ice40" else 0.9)


def made_samples(networks: int = 6, noise: float = 0.0, seed: int = 0) -> list[Sample]:
    """Eight samples a network, two a device; half of them placed."""
    rng, samples = np.random.default_rng(seed), []
    for number in range(networks):
        for turn in range(8):
            device, lanes = DEVICES[turn % 4], int(rng.integers(1, 17))
            features = {
                "engine": 1.0, "lane": float(lanes), "lane sums": lanes * float(rng.integers(16, 24)),
                "address": float(rng.integers(5, 14)), "memory outputs": float(rng.integers(30, 300)),
                "requantiser sums": float(rng.integers(20, 30)), "requantisers": 1.0,
            }  # fmt: skip
            luts, ffs = (
                round(value * float(np.exp(noise * rng.standard_normal())))
                for value in law(features, device.split("-")[0])
            )
            mhz = {"ice40-up5k": 60.0, "ice40-hx8k": 150.0}.get(device, 240.0) * lanes**-0.05
            placed = turn < 4
            cells = ffs + luts // 2 if device.startswith("ice40") else luts
            samples.append(
                Sample(
                    f"{number}-{turn}", f"network {number}", device, lanes, 3, 1, luts, ffs, 3, 1, cells * placed,
                    (round(mhz, 3),) * placed, features,
                )
            )  # fmt: skip
    return samples
