"""Which designs are synthesised: networks, options and devices in turn, the rest drawn from a seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.estimates.networks import NETWORKS, Variant
from darb_hw.config import EngineConfig

__all__ = ["Point", "cost", "points"]

_SEED = 0
_LANES = {"ice40": (1, 2, 3, 4, 6, 8, 12, 16), "ecp5": (1, 2, 4, 8, 12, 16, 24, 32)}
_DEVICES = ("ecp5-25k", "ice40-hx8k", "ecp5-85k", "ice40-up5k")
_PLACED = 3
"""One point of so many is placed and routed too."""


@dataclass(frozen=True)
class Point:
    """A design: its number among all points, its network, its engine, and whether it is placed."""

    number: int
    variant: Variant
    config: EngineConfig
    placed: bool

    @property
    def label(self) -> str:
        return f"{self.number:03}-{self.variant.label}-{self.config.device}-{self.config.lanes}"


def points(count: int) -> list[Point]:
    """The first ``count`` points. More of them begin with the same ones."""
    return [_point(number) for number in range(count)]


def cost(point: Point) -> int:
    """How long synthesis takes, roughly: what to begin with."""
    config = point.config
    on_luts = config.lane_multiplier == "lut" or config.target.dsps == 0
    return config.lanes * (1 + on_luts) // 4


def _point(number: int) -> Point:
    rng = np.random.default_rng([_SEED, number])
    names = list(NETWORKS)
    turn, place = divmod(number, len(names))
    device = _DEVICES[(turn + place) % len(_DEVICES)]

    def choice(*options: Any) -> Any:
        return options[rng.integers(len(options))]

    variant = Variant(
        names[place], choice(1, 4, 8, 8, 13, 25), choice(4, 6, 8, 8, 8), choice(4, 8, 8, 8), choice(None, None, 8)
    )
    memory = choice("auto", "auto", "auto", "shared")
    config = EngineConfig(
        lanes=int(choice(*_LANES[device.split("-")[0]])),
        device=device,
        lane_multiplier=choice("auto", "auto", "auto", "lut"),
        requant_multiplier=choice("auto", "auto", "lut"),
        input_order=choice("logical", "logical", "storage"),
        input="alone" if memory == "shared" else choice("auto", "auto", "alone"),
        memory=memory,
        positions=choice(None, None, 1),
    )
    return Point(number, variant, config, number % _PLACED == turn % _PLACED)
