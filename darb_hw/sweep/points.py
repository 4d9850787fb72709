"""The points of a grid: which network, which engine; and what comes of one."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darb_hw.config import EngineConfig
from darb_hw.sweep.spec import ENGINE_AXES, NETWORK_AXES, SweepSpec
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import DarbError, EncodedNetwork

__all__ = ["STATUSES", "PointResult", "SweepPoint", "accuracy_of", "grid"]

STATUSES = ("ok", "failed", "skipped")
"""What can come of a point: it was measured, it cannot be built, it was not built since it cannot win."""


@dataclass(frozen=True)
class SweepPoint:
    """One engine to build and measure.

    Parameters
    ----------
    network : str
        A name for the network, distinct in a sweep.
    file : Path or None
        A ``.darb`` file, if there is one already.
    choice : mapping of str to value
        Axes that make the network: some of :data:`~darb_hw.sweep.spec.NETWORK_AXES`.
    engine : mapping of str to value
        Arguments of :class:`~darb_hw.config.EngineConfig`.
    seeds : tuple of int
        Of place and route.
    """

    network: str
    file: Path | None
    choice: Mapping[str, Any]
    engine: Mapping[str, Any]
    seeds: tuple[int, ...]

    @property
    def config(self) -> EngineConfig:
        """The configuration of its engine; raises :class:`DarbError` if values do not go together."""
        return EngineConfig(**self.engine)

    @property
    def label(self) -> str:
        return ", ".join([self.network, *(_words(name, value) for name, value in self.engine.items())])

    def axis(self, name: str) -> Any:
        """Value of an axis; None if it has none here."""
        return self.engine.get(name, self.choice.get(name))


@dataclass(frozen=True)
class PointResult:
    """What came of a point.

    Parameters
    ----------
    point : SweepPoint
    weight_bits : int or None
        Of the widest layer; None if there is no network.
    metric : str
        What accuracies are measured in.
    accuracies : mapping
        What the file of the network says of its accuracy: kind -> split -> value.
    report : SynthReport or None
        None if there is no such engine.
    manifest : mapping or None
        That of the build: layers, memory map, ROMs, widths, cycles. None if there is no plan.
    reason : str
        Why there is no engine; empty if there is.
    skipped : bool
        Whether it was not built because it cannot be on a Pareto front.
    """

    point: SweepPoint
    weight_bits: int | None = None
    metric: str = "accuracy"
    accuracies: Mapping[str, Any] = field(default_factory=dict)
    report: SynthReport | None = None
    manifest: Mapping[str, Any] | None = None
    reason: str = ""
    skipped: bool = False

    @property
    def status(self) -> str:
        """One of :data:`STATUSES`."""
        return "ok" if self.report else "skipped" if self.skipped else "failed"

    @property
    def accuracy(self) -> float | None:
        """Test accuracy of the integer network, 0 to 1, if its file says so."""
        return accuracy_of(self.accuracies)


def accuracy_of(accuracies: Mapping[str, Any], split: str = "test") -> float | None:
    """The accuracy of the integer network among those of a file: kind -> split -> value."""
    try:
        return float(accuracies["integer"][split])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def grid(sweep: SweepSpec) -> list[SweepPoint]:
    """All combinations: networks outermost, then devices, then lanes, smaller engines first.

    Raises
    ------
    DarbError
        If a ``.darb`` file cannot be read, has not the weight bits that are asked for, or has the name of another one.
    """
    axes = sweep.declared()
    choices = _combinations({name: axes[name] for name in NETWORK_AXES if name in axes})
    engines = _combinations({name: axes[name] for name in ENGINE_AXES if name in axes})
    if sweep.networks:
        _check_files(sweep.networks, axes.get("weight_bits"))
        networks: list[tuple[str, Path | None, dict]] = [(path.stem, path, {}) for path in sweep.networks]
    else:
        given = sweep.axes.declared()
        networks = [(_network_name(choice, given), None, choice) for choice in choices]
    return [
        SweepPoint(name, path, choice, engine, sweep.seeds) for name, path, choice in networks for engine in engines
    ]


def _combinations(axes: Mapping[str, tuple]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _network_name(choice: Mapping[str, Any], given: Mapping[str, tuple]) -> str:
    """A name from the axes that were given, such as ``darb-8x-w4``."""
    words = {
        "size": lambda value: f"size{value:g}",
        "method": lambda value: value,
        "levels": lambda value: f"l{given['levels'].index(value) + 1}",
        "ratio": lambda value: f"{value:g}x",
        "seed": lambda value: f"s{value}",
        "weight_bits": lambda value: f"w{value}",
        "activation_bits": lambda value: f"a{value}",
    }
    named = [name for name in NETWORK_AXES if name in given or name == "weight_bits"]
    return "-".join(words[name](choice[name]) for name in named)


def _words(name: str, value: Any) -> str:
    if name == "device":
        return str(value)
    return f"{value} lanes" if name == "lanes" else f"{name} {value}"


def _check_files(paths: tuple[Path, ...], weight_bits: tuple[int, ...] | None) -> None:
    stems = [path.stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise DarbError(f"two networks are named {twice}: rename one, rows are known by this name")
    remedy = "give the run folder, so that the weights can be quantised again"
    present = {path: max(layer.weight_bits for layer in EncodedNetwork.load(path).layers) for path in paths}
    for path, bits in present.items():
        if weight_bits is not None and bits not in weight_bits:
            raise DarbError(f"{path}: has {bits}-bit weights, not {' or '.join(map(str, weight_bits))}; {remedy}")
    absent = [bits for bits in weight_bits or () if bits not in present.values()]
    if absent:
        raise DarbError(f"{', '.join(map(str, paths))}: no network with {absent[0]}-bit weights; {remedy}")
