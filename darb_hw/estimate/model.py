"""What was fitted, as plain data: sums of features, each with an interval and its error on unseen networks."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from darb_hw.config import DEVICES
from darb_prune.encoded import DarbError, write_atomic

__all__ = ["AREAS", "MODEL", "Between", "FittedFigure", "Model", "clock_features", "shipped", "weighted"]

_FORMAT = 1
MODEL = "model.json"
"""Name of the file of a model."""
AREAS = ("luts", "ffs")
"""What is estimated of area; block RAMs and DSP blocks follow from the plan."""


@dataclass(frozen=True)
class Between:
    """A number that is not known exactly: most likely ``value``, nine times out of ten from ``low`` to ``high``."""

    low: float
    value: float
    high: float

    def times(self, factor: float) -> "Between":
        return Between(self.low * factor, self.value * factor, self.high * factor)


@dataclass(frozen=True)
class FittedFigure:
    """How a figure follows from features.

    Parameters
    ----------
    weights : mapping of str to float
        What a feature counts; a feature that is not named counts nothing.
    low, high : float
        The interval, as multiples of the estimate.
    median_error, large_error : float
        Of networks that the fit has not seen: the median and the 90th percentile of |estimated / measured - 1|.
    samples, networks : int
        How many these errors are of.
    """

    weights: Mapping[str, float]
    low: float
    high: float
    median_error: float
    large_error: float
    samples: int
    networks: int

    def between(self, value: float) -> Between:
        return Between(value * self.low, value, value * self.high)

    def weighted(self, features: Mapping[str, float]) -> float:
        """The sum of the features by their weights."""
        return weighted(self.weights, features)


@dataclass(frozen=True)
class Model:
    """A fit.

    Parameters
    ----------
    areas : mapping of str to mapping of str to FittedFigure
        Of each of ``AREAS``, for each family of devices.
    cells : mapping of str to FittedFigure
        LUTs that take a logic cell of their own, as a share of all, for each family: see :meth:`logic_cells`.
    clocks : mapping of str to FittedFigure
        Devices that can be estimated, and those that are like one of them: the natural logarithm of Fmax in MHz, from
        :func:`clock_features` and ``"engine"``, which is 1.
    """

    areas: Mapping[str, Mapping[str, FittedFigure]]
    cells: Mapping[str, FittedFigure]
    clocks: Mapping[str, FittedFigure]

    def area(self, name: str, family: str, features: Mapping[str, float]) -> Between:
        """LUTs or flip-flops of an engine."""
        figure = self.areas[name][family]
        return figure.between(max(figure.weighted(features), 1.0))

    def logic_cells(self, family: str, luts: Between, ffs: Between) -> Between:
        """Logic cells that placement takes. On iCE40 a cell has a LUT and a flip-flop: it takes all flip-flops, and the
        LUTs that feed none."""
        share = self.cells[family].between(self.cells[family].weights["luts"])
        beside = (ffs.low, ffs.value, ffs.high) if family == "ice40" else (0.0, 0.0, 0.0)
        made = (
            cells + part * count
            for cells, part, count in zip(
                beside, (share.low, share.value, share.high), (luts.low, luts.value, luts.high), strict=True
            )
        )
        return Between(*made)

    def clock(self, device: str, features: Mapping[str, float], luts: float) -> Between:
        """Fmax in MHz.

        Raises
        ------
        DarbError
            If nothing is known of the clock of the device.
        """
        self.check(device)
        figure = self.clocks[self._fitted(device)]
        return figure.between(math.exp(min(figure.weighted({"engine": 1.0, **clock_features(features, luts)}), 10.0)))

    def knows(self, device: str) -> bool:
        """Whether there is a clock for a device."""
        return self._fitted(device) in self.clocks

    def _fitted(self, device: str) -> str:
        """The device itself, or the one that it is like."""
        return device if device in self.clocks or device not in DEVICES else DEVICES[device].like

    def errors(self) -> list[dict[str, Any]]:
        """For each figure, and each family or device of it: the fields of :class:`FittedFigure` without the weights."""
        figures = [(name, family, figure) for name, of in self.areas.items() for family, figure in of.items()]
        figures += [("fmax_mhz", device, figure) for device, figure in self.clocks.items()]
        rows = [{"figure": name, "devices": devices} | asdict(figure) for name, devices, figure in figures]
        return [{name: value for name, value in row.items() if name != "weights"} for row in rows]

    def check(self, device: str) -> None:
        """Raise :class:`DarbError` if nothing is known of a device."""
        if not self.knows(device):
            raise DarbError(f"the model has no {device}: give darb refit placed builds for it")

    def as_dict(self) -> dict[str, Any]:
        return {"format": _FORMAT, **asdict(self)}

    def packed(self) -> bytes:
        """The text of ``model.json``."""
        return (json.dumps(self.as_dict(), indent=1) + "\n").encode()

    def save(self, path: Path) -> None:
        write_atomic(path, self.packed())

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Read what :meth:`save` has written.

        Raises
        ------
        DarbError
            If the file is no such model.
        """
        damaged = DarbError(f"{path}: no fitted model, or a damaged one; make it again with darb refit")
        try:
            values = json.loads(path.read_bytes())
            version = values["format"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise damaged from None
        if version != _FORMAT:
            found = f"format {version!r:.20}, this package reads {_FORMAT}"
            raise DarbError(f"{path}: {found}; make it again with darb refit")
        try:
            model = cls(
                {name: {key: _figure(of) for key, of in values["areas"][name].items()} for name in AREAS},
                {key: _figure(of, "luts") for key, of in values["cells"].items()},
                {key: _figure(of) for key, of in values["clocks"].items()},
            )
            families = {DEVICES[device].family for device in model.clocks}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise damaged from None
        if not families or any(not families <= of.keys() for of in (*model.areas.values(), model.cells)):
            raise damaged
        return model


def _figure(values: dict[str, Any], *needed: str) -> FittedFigure:
    """A figure from values that anyone may have written.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        If they are none.
    """
    weights = {str(name): _finite(weight) for name, weight in values["weights"].items()}
    low, high, median, large = (_finite(values[name]) for name in ("low", "high", "median_error", "large_error"))
    if not 0 < low <= 1 <= high or min(median, large) < 0 or not set(needed) <= weights.keys():
        raise ValueError("not an interval around the estimate")
    return FittedFigure(weights, low, high, median, large, int(values["samples"]), int(values["networks"]))


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def weighted(weights: Mapping[str, float], features: Mapping[str, float]) -> float:
    """The sum of features by their weights; those that are not there are 0."""
    return sum(weight * features.get(name, 0.0) for name, weight in weights.items())


def clock_features(features: Mapping[str, float], luts: float) -> dict[str, float]:
    """What the clock depends on: long ways in large engines, wide sums, what stands between registers."""
    requantisers = max(features.get("requantisers", 0.0), 1.0)
    return {
        "log lanes": math.log(max(features.get("lane", 0.0), 1.0)),
        "log LUTs": math.log(max(luts, 1.0)),
        "log address": math.log(features.get("address", 0.0) + 1.0),
        "log requantiser": math.log(features.get("requantiser sums", 0.0) / requantisers + 1.0),
        "LUT multipliers": float(features.get("LUT multipliers", 0.0) > 0),
        "walks": float(features.get("loops that walk", 0.0) > 0),
        "banked": float(features.get("banked lanes", 0.0) > 0),
        "cells": features.get("lstm", 0.0) + features.get("gru", 0.0),
    }


@cache
def shipped() -> Model:
    """The model of this package."""
    return Model.load(Path(__file__).with_name(MODEL))
