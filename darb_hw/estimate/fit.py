"""Fits a model on samples, and tells its error on networks that it has not seen.

An engine is a sum of parts, and each takes LUTs and flip-flops in proportion to its widths. So both are sums of
features with weights from 0 up. What the weights should be is known roughly from how components are written: a fit
starts from there, and families of devices stay near to each other. Errors count in proportion to what was measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import LeaveOneGroupOut

from darb_hw.config import DEVICES
from darb_hw.estimate.features import PRIOR
from darb_hw.estimate.model import AREAS, FittedFigure, Model, clock_features, weighted
from darb_hw.estimate.sample import Sample
from darb_prune.encoded import DarbError

__all__ = ["COVERED", "Fit", "HeldOut", "fit"]

COVERED = 0.9
"""Share of designs of other networks whose figure is within the interval."""
_PENALTY, _APART_PENALTY, _CLOCK_PENALTY = 30.0, 30.0, 100.0
"""Of weights of area away from what a fit starts from, of families away from each other, of the clock. Chosen by the
error on networks that the fit has not seen."""
_LEAST_SHARE = 1e-3
"""A feature of less than this share of a design is held to its start like one of this share."""
_LEAST_NETWORKS = 2


@dataclass(frozen=True)
class HeldOut:
    """What was measured of a sample, and what a fit without its network estimates."""

    sample: Sample
    measured: float
    estimated: float

    @property
    def ratio(self) -> float:
        """Measured over estimated."""
        return self.measured / self.estimated


@dataclass(frozen=True)
class Fit:
    """A model, the samples it is of, and for each figure what it gives for networks that it has not seen."""

    model: Model
    samples: tuple[Sample, ...]
    held_out: dict[str, list[HeldOut]]


def fit(samples: Sequence[Sample]) -> Fit:
    """Fit a model, for the devices that there are enough samples of. The same samples give the same model.

    Raises
    ------
    DarbError
        If there are too few of a family, or too few placed ones of all devices.
    """
    for family in _families(samples):
        _check_enough(f"{family} designs", [sample for sample in samples if sample.family == family])
    placed = [sample for sample in samples if sample.fmax_mhz]
    speeds = {speed: [one for one in placed if _speed(one.device) == speed] for speed in map(_speed, DEVICES)}
    most = max(speeds.values(), key=_networks)
    _check_enough("placed designs", most)
    placed = [sample for own in speeds.values() if _networks(own) >= _LEAST_NETWORKS for sample in own]
    held_out = {name: _held_out(samples, name) for name in AREAS}
    areas = {}
    for name in AREAS:
        weights = _area_weights(samples, name)
        areas[name] = {
            family: _figure(weights[family], [one for one in held_out[name] if one.sample.family == family])
            for family in weights
        }
    model = Model(areas, _cells(placed), {})
    clocks, held_out["fmax_mhz"] = _clocks(model, placed, held_out["luts"])
    return Fit(Model(areas, model.cells, clocks), tuple(samples), held_out)


def _networks(samples: Sequence[Sample]) -> int:
    return len({sample.network for sample in samples})


def _check_enough(words: str, samples: Sequence[Sample]) -> None:
    if _networks(samples) < _LEAST_NETWORKS:
        found = f"{words} of {_networks(samples)} networks"
        raise DarbError(f"{found}: at least {_LEAST_NETWORKS} are needed to tell an error; give more builds")


def _families(samples: Sequence[Sample]) -> list[str]:
    return sorted({sample.family for sample in samples})


def _area_weights(samples: Sequence[Sample], figure: str) -> dict[str, dict[str, float]]:
    """Weights of features for each family: near to each other, their mean near to what a fit starts from."""
    names, families = sorted({name for sample in samples for name in sample.features}), _families(samples)
    start = np.array([PRIOR.get(name, (0.0, 0.0))[AREAS.index(figure)] for name in names], float)
    measured = np.array([float(getattr(sample, figure)) for sample in samples])
    values = np.array([[sample.features.get(name, 0.0) for name in names] for sample in samples])
    shares = values / measured[:, None]
    # Of a feature that no sample has the weight stays what it was.
    scale = np.diag(np.maximum(shares.mean(axis=0), _LEAST_SHARE))
    own = [shares * np.array([[sample.family == family] for sample in samples]) for family in families]
    count = len(families)
    apart = np.eye(count) - 1 / count
    rows = np.vstack(
        [
            np.hstack(own),
            np.kron(np.full((1, count), 1 / count), _PENALTY**0.5 * scale),
            np.kron(apart, _APART_PENALTY**0.5 * scale),
        ]
    )
    target = np.concatenate([np.ones(len(samples)), _PENALTY**0.5 * scale @ start, np.zeros(count * len(names))])
    weights = LinearRegression(fit_intercept=False, positive=True).fit(rows, target).coef_
    return {
        family: {name: _rounded(weight) for name, weight in zip(names, part, strict=True) if weight > 0}
        for family, part in zip(families, np.split(weights, count), strict=True)
    }


def _rounded(weight: float) -> float:
    """To six digits: what a file needs."""
    return float(f"{weight:.6g}")


def _held_out(samples: Sequence[Sample], figure: str) -> list[HeldOut]:
    made = []
    for others, left in _folds(samples):
        weights = _area_weights(others, figure)
        for sample in left:
            estimated = weighted(weights[sample.family], sample.features)
            made.append(HeldOut(sample, getattr(sample, figure), max(estimated, 1.0)))
    return made


def _folds(samples: Sequence[Sample]) -> list[tuple[list[Sample], list[Sample]]]:
    """For each network: the samples of the others, and its own."""
    groups = [sample.network for sample in samples]
    return [
        ([samples[index] for index in others], [samples[index] for index in left])
        for others, left in LeaveOneGroupOut().split(np.zeros(len(samples)), groups=groups)
    ]


def _figure(weights: dict[str, float], held_out: Sequence[HeldOut]) -> FittedFigure:
    """A figure with the interval and the errors that held-out networks show."""
    ratios = np.sort([one.ratio for one in held_out])
    errors = np.abs(1 / ratios - 1)
    low, high = _interval(ratios)
    large = np.quantile(errors, COVERED, method="higher")  # so that as many errors are no larger
    return FittedFigure(
        weights=weights, low=_rounded(min(low, 1.0)), high=_rounded(max(high, 1.0)),
        median_error=_rounded(float(np.median(errors))), large_error=_rounded(float(large)), samples=len(held_out),
        networks=_networks([one.sample for one in held_out]),
    )  # fmt: skip


def _interval(ratios: np.ndarray) -> tuple[float, float]:
    """Conformal prediction: of sorted ratios those that a further one is between with a chance of ``COVERED``; the
    outermost ones if there are too few (Vovk et al., *Algorithmic Learning in a Random World*, 2005)."""
    beyond = int((1 - COVERED) / 2 * (len(ratios) + 1) + 1e-9)
    low = max(beyond - 1, 0)
    return float(ratios[low]), float(ratios[len(ratios) - 1 - low])


def _cells(placed: Sequence[Sample]) -> dict[str, FittedFigure]:
    """The share of LUTs that take logic cells of their own, for each family."""
    figures = {}
    for family in _families(placed):
        own = [sample for sample in placed if sample.family == family]

        def share(sample: Sample) -> float:
            beside = sample.ffs if sample.family == "ice40" else 0
            return max(sample.logic_cells - beside, 1) / sample.luts

        held_out = []
        for others, left in _folds(own):
            middle = float(np.median([share(sample) for sample in others]))
            held_out += [HeldOut(sample, share(sample), middle) for sample in left]
        figures[family] = _figure({"luts": _rounded(float(np.median([share(sample) for sample in own])))}, held_out)
    return figures


def _clocks(
    model: Model, placed: Sequence[Sample], luts: Sequence[HeldOut]
) -> tuple[dict[str, FittedFigure], list[HeldOut]]:
    """The clock of each device, and what fits without a network give for its designs: a held-out one a seed.

    A fit takes the LUTs that were measured, and an estimate those that were estimated; that of a held-out network too.
    """
    estimated = {one.sample.digest: one.estimated for one in luts}
    held_out = []
    for others, left in _folds(placed):
        weights = _clock_weights(others)
        for sample in left:
            features = {"engine": 1.0, **clock_features(sample.features, estimated[sample.digest])}
            value = math.exp(weighted(weights[sample.device], features))
            held_out += [HeldOut(sample, mhz, value) for mhz in sample.fmax_mhz]
    weights = _clock_weights(placed)
    figures = {
        device: _figure(weights[device], [one for one in held_out if _speed(one.sample.device) == _speed(device)])
        for device in weights
    }
    return figures, held_out


def _speed(device: str) -> tuple[str, float]:
    """Devices of one speed have one level of the clock."""
    return DEVICES[device].family, DEVICES[device].target_mhz


def _clock_weights(placed: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Weights for each device: a level of its speed, which is not penalised, and what all devices share."""
    made = [(sample, clock_features(sample.features, sample.luts)) for sample in placed]
    names = list(made[0][1])
    rows = np.array([list(features.values()) for sample, features in made for _ in sample.fmax_mhz])
    target = np.log([mhz for sample, _ in made for mhz in sample.fmax_mhz])
    speeds = [_speed(sample.device) for sample, _ in made for _ in sample.fmax_mhz]
    levels = {}
    for speed in dict.fromkeys(speeds):
        own = np.array([other == speed for other in speeds])
        levels[speed] = rows[own].mean(axis=0), target[own].mean()
    rows = rows - np.array([levels[speed][0] for speed in speeds])
    target = target - np.array([levels[speed][1] for speed in speeds])
    scale = rows.std(axis=0)
    used = scale > 0
    weights = np.zeros(len(names))
    if used.any():
        ridge = Ridge(_CLOCK_PENALTY, fit_intercept=False).fit(rows[:, used] / scale[used], target)
        weights[used] = ridge.coef_ / scale[used]
    shared = {name: _rounded(weight) for name, weight in zip(names, weights.tolist(), strict=True)}
    return {
        device: {"engine": _rounded(float(levels[_speed(device)][1] - levels[_speed(device)][0] @ weights)), **shared}
        for device, target in DEVICES.items()
        if _speed(device) in levels and not target.like
    }
