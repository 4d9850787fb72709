"""Tables of curves: which values their 256 entries stand for, from calibration data, and what the entries are."""

from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from darb_prune.errors import ModelError
from darb_prune.frontend.execution import Hooks
from darb_prune.frontend.stages import CellStage, Curve, Matrix, Stages
from darb_prune.integer.ranges import Range, factor_range, is_copy, run_batches

__all__ = ["Domain", "curve_tables", "domains", "table_limits"]

LAST = 255
"""Number of the last entry of a table."""
STEPS = 32
"""Ends of a domain that are tried on each side."""
SATURATION = 1 / 64
"""What the ends of a domain may cost at most: a part of the greatest magnitude that the function gives."""
FINEST = 2.0**-10
"""Finest unit of a domain, in units of the output, or in ones where those are larger: a domain may be empty."""
SAMPLES, CALLS, GRID = 1 << 14, 64, 257
"""Values that are kept of each run of a stage, of how many runs, and values from end to end of what was seen."""


@dataclass(frozen=True)
class Domain:
    """What the entries of a table stand for: entry ``index``, from -128 to 127, for ``(index - zero) * unit``."""

    unit: float
    zero: int

    @classmethod
    def over(cls, low: float, high: float, least: float) -> "Domain":
        """Entries from ``low`` (0 or below) to ``high`` (0 or above), one of them 0; ``least`` is the finest unit."""
        unit = max((high - low) / LAST, least)
        return cls(unit, min(max(round(-128 - low / unit), -128), 127))

    @property
    def points(self) -> Tensor:
        """What each entry stands for, float64, shape (256,)."""
        return (torch.arange(-128, 128, dtype=torch.float64) - self.zero) * self.unit

    def entry(self, values: Tensor) -> Tensor:
        """Number of the entry, from 0 on, that each value is looked up in."""
        return ((values / self.unit).round() + self.zero).clamp(-128, 127).long() + 128


def table_limits(stage: Matrix, target: Range) -> tuple[int, int]:
    """Least and greatest entry of tables of ``stage``: what it writes, or any sum could be with an operand."""
    if stage.operand is not None:
        target = Range.full(target.bits, target.scale)
    return max(target.qmin, -32767), target.qmax


def curve_tables(stage: Matrix, curve: Curve, domain: Domain, target: Range) -> tuple[Tensor, Tensor]:
    """The tables that the rows of ``stage`` need.

    Returns
    -------
    tables : int64 tensor of shape (tables, 256)
        Entry ``i`` is the value of the curve at ``(i - 128 - zero) * unit`` in units of the output, rounded.
    function : int64 tensor of shape (rows,)
        The table of each row, the first being 1.

    Raises
    ------
    ModelError
        If the curve is not finite somewhere in its domain.
    """
    entries = _entries(stage, curve, domain, target).expand(-1, stage.rows)
    tables, function = torch.unique(entries, dim=1, return_inverse=True)
    return tables.T.contiguous(), function + 1


def _entries(stage: Matrix, curve: Curve, domain: Domain, target: Range) -> Tensor:
    """Table of each row, or of all: int64, shape (256, rows or 1)."""
    points = domain.points[:, None, None, None].repeat(1, 1 if curve.alike else stage.rows, 1, 1)
    real = curve.call(points).detach()[..., 0, 0] / target.scale
    if not bool(torch.isfinite(real).all()):
        low, high = float(points.min()), float(points.max())
        raise ModelError(f"layer {stage.name!r}: {curve.name} is not finite everywhere in {low:.3g} to {high:.3g}")
    return real.round().clamp(*table_limits(stage, target)).to(torch.int64)


class _Arguments(Hooks):
    """What curves are looked up with: least and greatest value, and samples of shape (samples, rows), or (samples, 1)
    where all rows are alike."""

    def __init__(self) -> None:
        self.ends: dict[str, tuple[float, float]] = {}
        self.samples: dict[str, list[Tensor]] = {}

    def pre_activation(self, stage: Matrix | CellStage, function: str | Curve, values: Tensor) -> Tensor:
        if isinstance(function, Curve):
            low, high = self.ends.get(stage.name, (0.0, 0.0))
            self.ends[stage.name] = min(low, float(values.min())), max(high, float(values.max()))
            flat = values.reshape(-1, 1) if function.alike else values.movedim(1, -1).flatten(0, -2)
            wanted = max(SAMPLES // flat.shape[1], 64)
            samples = self.samples.setdefault(stage.name, [])
            if len(samples) < CALLS:  # an odd stride goes through all columns of a map
                samples.append(flat[:: -(-len(flat) // wanted) | 1].double())
        return values


@torch.no_grad()
def domains(stages: Stages, batches: list[Tensor], ranges: dict[str, Range]) -> dict[str, Domain]:
    """Domain of the table of each stage that has a curve, by name of the stage.

    A smaller range has finer entries, and is saturated at its ends. Of the ranges between 0 and the ends of what
    calibration shows, the one with the least squared error is taken, if saturation costs no more than ``SATURATION``.

    Parameters
    ----------
    stages, batches
        As for :func:`darb_prune.integer.ranges.calibrate`.
    ranges : dict of str to Range
        What that gave.
    """
    if not stages.curves:
        return {}
    arguments = _Arguments()
    run_batches(stages, batches, arguments)
    found = {}
    for stage in stages.stages:
        if isinstance(stage, Matrix) and stage.name in stages.curves:
            exact = _exact(stage, stages, ranges)
            if exact is not None:
                found[stage.name] = exact
                continue
            samples = torch.cat(arguments.samples[stage.name])
            found[stage.name] = _best(stage, stages.curves[stage.name], samples, arguments.ends[stage.name], ranges)
    return found


def _exact(stage: Matrix, stages: Stages, ranges: dict[str, Range]) -> Domain | None:
    """An entry for each value of a grid that ``stage`` only looks up."""
    limits = ranges[stage.inputs[0]].limits
    plain = is_copy(replace(stage, functions=())) and stage.inputs[0] in stages.grids
    if not plain or limits is None or limits[1] - limits[0] > LAST:
        return None
    source = ranges[stage.inputs[0]]
    return Domain(source.scale, min(max(-128 - limits[0] + source.zero, -128), 127))


def _best(stage: Matrix, curve: Curve, samples: Tensor, ends: tuple[float, float], ranges: dict[str, Range]) -> Domain:
    target = factor_range(stage, ranges)
    limits = tuple(limit * target.scale for limit in table_limits(stage, target))
    least = min(target.scale, 1.0) * FINEST

    def exact(values: Tensor) -> Tensor:
        """What the function gives, and the stage can write; as ``values``, shape (values, rows)."""
        return curve.call(values[:, :, None, None])[..., 0, 0].clamp(*limits)

    seen = torch.linspace(*ends, GRID, dtype=torch.float64)[:, None].repeat(1, samples.shape[1])
    wanted, whole = exact(samples), exact(seen)
    bound = float(whole.abs().max()) * SATURATION

    def error(low: float, high: float) -> float:
        """Squared error of all samples; infinite if too much is lost at the ends."""
        if float((exact(seen.clamp(low, high)) - whole).abs().max()) > bound:
            return inf
        domain = Domain.over(low, high, least)
        entries = _entries(stage, curve, domain, target) * target.scale
        return float((entries.gather(0, domain.entry(samples)) - wanted).square().sum())

    low, high = ends
    shares = [step / STEPS for step in range(STEPS, -1, -1)]
    low = min((low * share for share in shares), key=lambda end: error(end, high))
    high = min((high * share for share in shares), key=lambda end: error(low, end))
    return Domain.over(low, high, least)
