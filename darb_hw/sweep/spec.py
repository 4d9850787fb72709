"""The file that declares a sweep (TOML), checked field by field. Options of the command line become the same object."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from darb_hw.config import DEVICES, LANES_MAX, EngineConfig
from darb_prune.encoded import DarbError
from darb_prune.toml import field_fault, read_toml

__all__ = ["ENGINE_AXES", "METHODS", "NETWORK_AXES", "Axes", "SweepSpec", "load", "sweep_of"]

METHODS = ("darb", "mixed", "bmwm", "bank", "nm", "channels", "neurons")
"""Methods of pruning whose networks the engine runs. ``darb_prune`` has the classes, which need torch."""
NETWORK_AXES = ("size", "method", "levels", "ratio", "seed", "weight_bits", "activation_bits")
"""Axes that make another network, the outermost of the grid first."""
ENGINE_AXES = (
    "device", "lanes", "memory", "positions", "results", "clusters", "unroll", "lane_multiplier", "requant_multiplier",
    "input_order", "input", "roms",
)  # fmt: skip
"""Axes that make another engine of a network: fields of :class:`~darb_hw.config.EngineConfig`."""
SIZE_MAX = 16
"""Of a model: the most that ``darb train`` takes."""
_WITH_SPRAMS = next(device for device in DEVICES.values() if device.sprams)
"""A device that all values of the other axes are known to."""
_WEIGHT_BITS = 8
_RATIO = 13.0
_LARGEST = 1_000_000
"""Points of a grid."""
_OWNED = ("output", "quiet", "data_dir", "task", *NETWORK_AXES)
"""Options of commands that are set elsewhere."""


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _distinct(values: tuple) -> tuple:
    if not values:
        raise ValueError("is empty; give at least one value, or leave the axis out")
    if len(set(values)) < len(values):
        raise ValueError("has a value twice; remove one")
    return values


def _level_text(text: str) -> str:
    if not re.fullmatch(r"\d{1,2},\d{1,4}( +\d{1,2},\d{1,4})*", text):
        raise ValueError(f'{text!r}: write levels as for darb prune --levels, for example "0,0 2,1 4,1"')
    return text


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1000:
        return tuple(range(1, value + 1))
    return value


_Seed = Annotated[int, Field(ge=0, lt=1 << 31, strict=True)]


class _Table(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Several = (BeforeValidator(_listed), AfterValidator(_distinct))
_Words = Annotated[tuple[Annotated[str, Field(strict=True)], ...], *_Several]
_Numbers = Annotated[tuple[Annotated[int, Field(strict=True)], ...], *_Several]


class Axes(_Table):
    """``[axes]``: a value, or a list of values, for each axis; one that is absent has the value it has by default."""

    size: Annotated[tuple[Annotated[float, Field(gt=0, le=SIZE_MAX)], ...], *_Several] = ()
    method: Annotated[tuple[Literal[METHODS], ...], *_Several] = ()  # pyright: ignore[reportInvalidTypeForm]  # a tuple of str
    levels: Annotated[tuple[Annotated[str, AfterValidator(_level_text)], ...], *_Several] = ()
    ratio: Annotated[tuple[Annotated[float, Field(ge=1, allow_inf_nan=False)], ...], *_Several] = ()
    seed: Annotated[tuple[_Seed, ...], *_Several] = ()
    weight_bits: Annotated[tuple[Annotated[int, Field(ge=2, le=8, strict=True)], ...], *_Several] = ()
    activation_bits: Annotated[tuple[Annotated[int, Field(ge=2, le=16, strict=True)], ...], *_Several] = ()
    device: _Words = ()
    lanes: _Numbers = ()
    memory: _Words = ()
    positions: _Numbers = ()
    results: _Numbers = ()
    clusters: _Numbers = ()
    unroll: _Numbers = ()
    lane_multiplier: _Words = ()
    requant_multiplier: _Words = ()
    input_order: _Words = ()
    input: _Words = ()
    roms: _Words = ()

    @field_validator(*ENGINE_AXES)
    @classmethod
    def _check(cls, values: tuple, info: ValidationInfo) -> tuple:
        """Each value by itself; values that do not go together make a point that cannot be built."""
        assert info.field_name is not None
        for value in values:
            lanes = 2 * _WITH_SPRAMS.sprams if value == "spram" else LANES_MAX
            EngineConfig(**{"lanes": lanes, "device": _WITH_SPRAMS.name, info.field_name: value})
        return values

    def declared(self) -> dict[str, tuple]:
        """The axes that were given, in the order of the grid, lanes rising."""
        given = {name: getattr(self, name) for name in (*NETWORK_AXES, *ENGINE_AXES)}
        return {name: tuple(sorted(values)) if name == "lanes" else values for name, values in given.items() if values}


def _option(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z_]{0,40}", name):
        raise ValueError(f"{name!r} is no name of an option; write it with underscores, as in final_rate")
    if name in _OWNED:
        raise ValueError(f"{name} is an axis, or set by the sweep; remove it here")
    return name


_Options = dict[Annotated[str, AfterValidator(_option)], bool | int | float | str]


class SweepSpec(_Table):
    """A sweep: a source of networks, axes, seeds of place and route.

    Parameters
    ----------
    task : str, optional
        A built-in task: its dense model is trained, pruned and compiled.
    run : Path, optional
        A run folder: pruned if there is a ratio, and compiled.
    networks : tuple of Path, optional
        ``.darb`` files.
    seeds : tuple of int
        Of place and route, for every point. A number ``n`` stands for ``1 .. n``.
    prune_dominated : bool
        Whether points that cannot be on a Pareto front are skipped.
    train, prune, compile : dict
        Other options of these commands, by their names with underscores.
    axes : Axes
        A model of another size than 1 is taught by that of size 1.
    """

    task: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,60}$")] | None = None
    run: Path | None = None
    networks: Annotated[tuple[Path, ...], BeforeValidator(_listed)] = ()
    seeds: Annotated[tuple[_Seed, ...], BeforeValidator(_seeds), AfterValidator(_distinct)] = (1, 2, 3)
    prune_dominated: Annotated[bool, Field(strict=True)] = False
    train: _Options = {}
    prune: _Options = {}
    compile: _Options = {}
    axes: Axes = Axes()

    @model_validator(mode="after")
    def _check(self) -> "SweepSpec":
        sources = [name for name in ("task", "run", "networks") if getattr(self, name)]
        if len(sources) != 1:
            what = f"{' and '.join(sources)} exclude each other" if sources else "no networks"
            raise ValueError(f"{what}; give one of task, run and networks")
        axes = self.axes.declared()
        prunes = self.task is not None or "ratio" in axes
        for name in ("method", "levels"):
            if name in axes and not prunes:
                raise ValueError(f"axes.{name}: nothing is pruned; give axes.ratio too")
        if "size" in axes and self.task is None:
            raise ValueError("axes.size: the networks have theirs; give the task instead")
        for name in NETWORK_AXES if self.networks else ():
            if name in axes and name != "weight_bits":
                raise ValueError(f"axes.{name}: .darb files are finished; give the run folder or the task instead")
        for name, used in (("train", self.task), ("prune", prunes), ("compile", not self.networks)):
            if getattr(self, name) and not used:
                raise ValueError(f"{name}: no network of this sweep needs it; remove it")
        points = 1
        for values in axes.values():
            points *= len(values)
        if points > _LARGEST:
            raise ValueError(f"axes: {points:,} points are too many; at most {_LARGEST:,} are possible")
        return self

    def declared(self) -> dict[str, tuple]:
        """All axes of the grid with their values: those that were given, and for networks that are made a ratio and
        weight bits."""
        axes = self.axes.declared()
        if not self.networks:
            axes.setdefault("weight_bits", (_WEIGHT_BITS,))
        if self.task:
            axes.setdefault("ratio", (_RATIO,))
        return {name: axes[name] for name in (*NETWORK_AXES, *ENGINE_AXES) if name in axes}


def load(path: str | Path) -> SweepSpec:
    """Read the file of a sweep. Paths in it are relative to its folder.

    Raises
    ------
    DarbError
        If there is no such file, it is no TOML, or a field is wrong: named by its path, as in ``axes.lanes``.
    """
    path = Path(path)
    data = read_toml(path, "a sweep (examples/sweeps/)")
    sweep = sweep_of(data, str(path))
    near = {"run": sweep.run and path.parent / sweep.run, "networks": tuple(path.parent / p for p in sweep.networks)}
    return sweep.model_copy(update=near)


def sweep_of(values: dict[str, Any], where: str) -> SweepSpec:
    """The same from plain values.

    Parameters
    ----------
    values : dict
    where : str
        What they are from, for the message.
    """
    try:
        return SweepSpec.model_validate(values)
    except pydantic.ValidationError as error:
        raise DarbError(f"{where}: {_line(error)}") from None


def _line(error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    # Positions in a list and keys of a dictionary are in the value that is shown.
    path = [
        part for part in first["loc"] if isinstance(part, str) and part not in ("[key]", "int", "float", "str", "bool")
    ]
    where = ".".join(path)
    return field_fault(first, where, "docs/sweeps.md has all fields and axes")
