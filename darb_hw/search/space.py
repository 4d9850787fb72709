"""What a search chooses from."""

import itertools
import math
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any

from darb_hw.config import EngineConfig
from darb_hw.sweep.points import SweepPoint
from darb_hw.sweep.spec import METHODS, SIZE_MAX
from darb_prune.encoded import DarbError

__all__ = ["LANES", "RATIOS", "SIZES", "WEIGHT_BITS", "Candidate", "Space"]

SIZES = (0.125, 0.25, 0.5, 1.0)
RATIOS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 16.0, 23.0, 32.0)
WEIGHT_BITS = (2, 3, 4, 5, 6, 7, 8)
LANES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_NETWORK = ("size", "method", "ratio", "weight_bits", "activation_bits")


@dataclass(frozen=True, order=True)
class Candidate:
    """A network and an engine for it.

    Parameters
    ----------
    method : str
        Of pruning.
    ratio : float
    weight_bits, activation_bits : int
    device : str
    lanes : int
    size : float
        Of the dense model.
    """

    method: str
    ratio: float
    weight_bits: int
    activation_bits: int
    device: str
    lanes: int
    size: float = 1.0

    @property
    def network(self) -> str:
        """A name for the network: ``darb-8x-w4``, ``dense-w8-a6``, ``size0.5-dense-w8``."""
        size = f"size{self.size:g}-" if self.size != 1 else ""
        pruned = f"{self.method}-{self.ratio:g}x" if self.ratio > 1 else "dense"
        fewer = f"-a{self.activation_bits}" if self.activation_bits != 8 else ""
        return f"{size}{pruned}-w{self.weight_bits}{fewer}"

    def point(self, seeds: tuple[int, ...] = ()) -> SweepPoint:
        """It as a point of a sweep."""
        choice = {name: getattr(self, name) for name in _NETWORK if name != "size" or self.size != 1}
        return SweepPoint(self.network, None, choice, {"device": self.device, "lanes": self.lanes}, seeds)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Space:
    """Values of every axis; numbers rise.

    Parameters
    ----------
    devices : tuple of str
    methods : tuple of str
    ratios : tuple of float
    weight_bits, activation_bits, lanes : tuple of int
    sizes : tuple of float

    Raises
    ------
    DarbError
        If a value is not possible, or an axis has none.
    """

    devices: tuple[str, ...]
    methods: tuple[str, ...] = ("darb",)
    ratios: tuple[float, ...] = RATIOS
    weight_bits: tuple[int, ...] = WEIGHT_BITS
    activation_bits: tuple[int, ...] = (8,)
    lanes: tuple[int, ...] = LANES
    sizes: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for name, values in self.axes().items():
            if not values:
                raise DarbError(f"--{name.replace('_', '-')}: give at least one value")
        for device, lanes in itertools.product(self.devices, self.lanes):
            EngineConfig(device=device, lanes=lanes)
        for method in self.methods:
            if method not in METHODS:
                raise DarbError(f"--method {method}: choose from {', '.join(METHODS)}")
        for ratio in self.ratios:
            if not 1 <= ratio < math.inf:
                raise DarbError(f"--ratio {ratio:g}: give numbers from 1 up")
        for size in self.sizes:
            if not 0 < size <= SIZE_MAX:
                raise DarbError(f"--size {size:g}: give numbers above 0, up to {SIZE_MAX}")
        for name, least, most in (("weight_bits", 2, 8), ("activation_bits", 2, 16)):
            for bits in getattr(self, name):
                if not least <= bits <= most:
                    raise DarbError(f"--{name.replace('_', '-')} {bits}: choose from {least} to {most}")

    def axes(self) -> dict[str, tuple]:
        """Field of a candidate -> its values."""
        return {
            "size": self.sizes, "method": self.methods, "ratio": self.ratios, "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits, "device": self.devices, "lanes": self.lanes,
        }  # fmt: skip

    @property
    def count(self) -> int:
        """Candidates that there are, without the methods of networks that are not pruned."""
        pruned = sum(ratio > 1 for ratio in self.ratios)
        networks = pruned * len(self.methods) + (len(self.ratios) - pruned)
        return networks * math.prod(
            len(values) for name, values in self.axes().items() if name not in ("method", "ratio")
        )

    def candidate(self, steps: Mapping[str, int]) -> Candidate:
        """The candidate with these positions on the axes; one that is not pruned has the first method."""
        values: dict[str, Any] = {name: choices[steps[name]] for name, choices in self.axes().items()}
        if values["ratio"] == 1:
            values["method"] = self.methods[0]
        return Candidate(**values)

    def nearest(self, to: Candidate, known: Set[Candidate]) -> dict[str, Any]:
        """The candidate with the fewest steps on all axes between it and another, of those that are not known.

        Returns
        -------
        dict of str to str or int
            By axis: the word, or the position of a number.
        """
        axes = self.axes()
        place = [choices.index(getattr(to, name)) for name, choices in axes.items()]
        every = sorted(
            itertools.product(*(range(len(choices)) for choices in axes.values())),
            key=lambda steps: sum(abs(one - other) for one, other in zip(steps, place, strict=True)),
        )
        for steps in every:
            named = dict(zip(axes, steps, strict=True))
            if self.candidate(named) not in known:
                words = {name: choices[named[name]] for name, choices in axes.items() if isinstance(choices[0], str)}
                return named | words
        raise ValueError("all candidates are known")
