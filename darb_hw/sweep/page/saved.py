"""``sweep.json`` read again, checked field by field: what :func:`darb_hw.sweep.table.json_bytes` has written."""

import json
import math
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import ConfigDict, field_validator, model_validator

from darb_hw.sweep.points import STATUSES
from darb_hw.sweep.table import FORMAT
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import DarbError
from darb_prune.files import unreadable

__all__ = ["SavedLayer", "SavedPlan", "SavedPoint", "SavedRegion", "SavedSweep", "load"]

_AGAIN = "run darb sweep again, finished results are in the store"

Value = bool | int | float | str | None
"""Of an axis."""


class _Part(pydantic.BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class SavedLayer(_Part):
    """A row of :func:`darb_hw.plan.metrics.layer_table`."""

    layer: str
    rows: int
    columns: int
    positions: int
    kept: int
    steps: int
    idle: int
    cycles: int
    bound: str
    utilisation: float


class SavedRegion(_Part):
    """A row of :func:`darb_hw.plan.metrics.memory_table`."""

    tensor: str
    start: int
    size: int
    shape: tuple[int, ...]
    first: int
    last: int


class _Memory(_Part):
    depth: int
    copies: int
    map: tuple[SavedRegion, ...]


class _Rom(_Part):
    depth: int
    width: int


class _Cycles(_Part):
    latency: int
    interval: int


class _Metrics(_Part):
    stored_bits: int


class SavedPlan(_Part):
    """What the manifest of a build says of its plan."""

    layers: tuple[SavedLayer, ...]
    memory: _Memory
    roms: dict[str, _Rom]
    cycles: _Cycles
    metrics: _Metrics


class SavedPoint(_Part):
    """A point: its axes and what came of it."""

    network: str
    axes: dict[str, Value]
    accuracy: dict[str, Any]
    status: Literal[STATUSES]  # pyright: ignore[reportInvalidTypeForm]  # a tuple of str
    reason: str
    report: SynthReport | None
    plan: SavedPlan | None

    @field_validator("report")
    @classmethod
    def _check_figures(cls, report: SynthReport | None) -> SynthReport | None:
        """Refuse a report whose figures cannot be computed: no seed, an interval of no cycles."""
        try:
            figures = report.as_dict()["derived"].values() if report else ()
        except (ArithmeticError, ValueError):
            figures = (math.nan,)
        if not all(map(math.isfinite, figures)):
            raise ValueError("its figures have no values")
        return report

    @model_validator(mode="after")
    def _check_status(self) -> "SavedPoint":
        if (self.status == "ok") != (self.report is not None):
            raise ValueError(f"its status is {self.status}, which does not go with its report")
        return self


class SavedSweep(_Part):
    """A whole sweep, or as much of it as was finished."""

    name: str
    axes: dict[str, tuple[Value, ...]]
    points: tuple[SavedPoint, ...]


def load(path: Path) -> SavedSweep:
    """Read ``sweep.json``.

    Parameters
    ----------
    path : Path
        The file, or the folder that ``darb sweep`` has written it into.

    Raises
    ------
    DarbError
        If there is none, it has another format, is damaged, or has no points yet.
    """
    path = path / "sweep.json" if path.is_dir() else path
    if reason := unreadable(path):
        raise DarbError(f"{path}: {reason}; give the folder of a sweep that darb sweep has written")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise DarbError(f"{path}: damaged, no JSON; {_AGAIN}") from None
    version = content.get("format") if isinstance(content, dict) else None
    if version is None:
        raise DarbError(f"{path}: damaged, its format is missing; {_AGAIN}")
    if version != FORMAT:
        raise DarbError(f"{path}: format {version}, this package reads {FORMAT}; {_AGAIN}")
    try:
        sweep = SavedSweep.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DarbError(f"{path}: damaged, {where}: {first['msg'].removeprefix('Value error, ')}; {_AGAIN}") from None
    if not sweep.points:
        raise DarbError(f"{path}: no point is finished yet; {_AGAIN}")
    return sweep
