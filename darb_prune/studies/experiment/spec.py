"""The file that declares an experiment (TOML), checked, and the list of runs it asks for."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.patterns.choices import Saliency
from darb_prune.pruning.methods import METHODS, Darb, Method, Unpruned, Weighed, parse
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.toml import field_fault, read_toml

__all__ = [
    "DENSE",
    "TUNED",
    "WHOLE_BITS",
    "Experiment",
    "MethodTable",
    "MethodVariant",
    "PlannedRun",
    "load",
    "plan",
    "subject",
]

DENSE, TUNED = "dense", "dense, same fine-tuning"
"""The references that every experiment has, one run a seed: after training, and after the shared fine-tuning too."""
FORMAT = 2
"""Part of every digest: raise it when the same settings would give other results or records."""
SEEDS_MAX = 1000
"""Each seed trains a model for every method and ratio."""
_OWN = ("regrow", "admm")
"""What a method may have otherwise than the schedule."""


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        if value > SEEDS_MAX:
            raise ValueError(f"{value} are too many; at most {SEEDS_MAX} are possible")
        return list(range(value))
    return value


def _unique(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("has a value twice; remove one")
    return values


Epochs = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32, strict=True)]
_Axis = (Field(min_length=1), AfterValidator(_unique), AfterValidator(lambda values: tuple(sorted(values))))
Ratios = Annotated[tuple[Annotated[float, Field(gt=1, allow_inf_nan=False)], ...], *_Axis]
Size = Annotated[float, Field(gt=0, le=tasks.SIZE_MAX)]
Sizes = Annotated[tuple[Size, ...], *_Axis]
Bits = Annotated[int, Field(ge=2, le=8, strict=True)]
BitsAxis = Annotated[tuple[Bits, ...], *_Axis]
WHOLE_BITS = 8
"""Bits of a weight that stored bits are counted with, where weights are not rounded."""


class _Table(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def explicit(self) -> dict[str, Any]:
        """What the file says, ready for JSON."""
        return self.model_dump(mode="json", exclude_none=True)


class Training(_Table):
    """``[training]``: of the dense model; what is absent is the task's."""

    epochs: Epochs | None = None
    rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    clip: Positive | None = None


class Quantization(_Table):
    """``[quantization]``: of the training with rounding; what is absent is the task's."""

    epochs: Epochs | None = None
    rate: Positive | None = None


class Distillation(_Table):
    """``[distillation]``: options of :func:`darb_prune.training.distillation.soften`."""

    share: Share = 0.7
    temperature: Positive = 2.0


class MethodTable(_Table):
    """``[methods.NAME]``: a method of pruning with its options; ``method`` is NAME unless given.

    The table is flat: the options of the method, and those of the schedule that it may set, stand beside these.
    """

    method: Method
    schedule: PruningSchedule = PruningSchedule()
    label: str | None = None
    ratios: Ratios | None = None
    sizes: Sizes | None = None
    weight_bits: BitsAxis | None = None
    teacher: Size | None = None
    frontier: str | None = None
    exclude: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _split(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        rest = dict(table)
        own = {name: rest.pop(name) for name in cls.model_fields if name not in ("method", "schedule") and name in rest}
        own["schedule"] = PruningSchedule.take(rest)
        return own | {"method": parse(rest.pop("method"), rest)}

    @model_validator(mode="after")
    def _check_dense(self) -> "MethodTable":
        if isinstance(self.method, Unpruned) and self.ratios is not None:
            raise ValueError("ratios: method dense keeps all weights; give sizes, or weight_bits")
        return self

    def options(self) -> dict[str, Any]:
        """What was given of the method, ready for JSON; :meth:`PlannedRun.pruning` reads it."""
        excluded = {} if self.exclude is None else {"exclude": list(self.exclude)}
        return {"method": self.method.name, **self.method.explicit(), **excluded, **self.schedule.explicit()}


class Experiment(_Table):
    """An experiment: methods x sizes x ratios x weight bits x seeds on one task.

    Parameters
    ----------
    name : str
        Of the folders; the stem of the file unless given.
    task : str
    seeds : tuple of int
        A number ``n`` in the file stands for ``0 .. n - 1``.
    ratios : tuple of float
        Rising, above 1; of every method that has none of its own.
    sizes : tuple of float
        Of the dense model: shares of the units that the task has.
    weight_bits : tuple of int, or None
        Behind pruning each model is trained with weights rounded to so many bits, and measured as integers. If absent
        nothing is rounded, and stored bits are counted with weights of 8 bits.
    saliency : str
        What a weight is worth to every method; the task's unless given.
    teacher : float, optional
        Size of the dense model that teaches those of other sizes in all their training, dense ones too.
    methods : dict of str to MethodTable
    subject : str, optional
        The method that is compared with the others: the first one of method ``darb`` unless given.
    training, pruning, quantization : Training, PruningSchedule, Quantization
    distillation : Distillation, or False
        The task's unless given; ``false`` for none.
    """

    name: Annotated[str, Field(pattern=r"^[\w.+-]*\w[\w.+-]*$")]
    task: Literal[tasks.TASKS]  # pyright: ignore[reportInvalidTypeForm]  # a tuple of str, known at run time
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_seeds), Field(min_length=1), AfterValidator(_unique)]
    ratios: Ratios
    methods: Annotated[dict[str, MethodTable], Field(min_length=1)]
    sizes: Sizes = (1.0,)
    weight_bits: BitsAxis | None = None
    saliency: Saliency | None = None
    teacher: Size | None = None
    subject: str | None = None
    training: Training = Training()
    pruning: PruningSchedule = PruningSchedule()
    quantization: Quantization = Quantization()
    distillation: Distillation | Literal[False] | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_methods(cls, data: Any) -> Any:
        """A method is what its table is called, unless it says otherwise; the schedule is no part of it."""
        methods = data.get("methods")
        if not isinstance(methods, dict):
            return data
        for name, table in methods.items():
            if name in (DENSE, TUNED):
                raise ValueError(f"methods.{name}: every experiment has this reference; choose another name")
            if not isinstance(table, dict):
                continue
            for field in PruningSchedule.model_fields:
                if field in table and field not in _OWN:
                    raise ValueError(f"methods.{name}.{field}: the schedule is the same for all; set it in [pruning]")
            if "method" not in table and name not in METHODS:
                raise ValueError(f"methods.{name}.method: missing; choose one of {', '.join(METHODS)}")
        named = {
            name: {"method": name, **table} if isinstance(table, dict) else table for name, table in methods.items()
        }
        return {**data, "methods": named}

    @model_validator(mode="after")
    def _check_subject(self) -> "Experiment":
        if self.subject is not None and self.subject not in self.methods:
            raise ValueError(f"subject: no method is called {self.subject!r}; choose one of {', '.join(self.methods)}")
        for name, table in self.methods.items():
            if table.weight_bits is not None and self.weight_bits is None:
                raise ValueError(f"methods.{name}.weight_bits: nothing is rounded; give weight_bits at the top, as [8]")
            first = table.frontier
            if first is not None and (first not in self.methods or self.methods[first].frontier is not None):
                raise ValueError(f"methods.{name}.frontier: {first!r} is no table with a frontier of its own; name one")
        labels = [self.label(name) for name in (DENSE, TUNED, *self.methods)]
        if len(set(labels)) < len(labels):
            raise ValueError("methods: two have the same label; change one")
        return self

    @property
    def frontiers(self) -> dict[str, list[str]]:
        """Tables whose points make one frontier, by the name of the first."""
        found: dict[str, list[str]] = {}
        for name, table in self.methods.items():
            found.setdefault(table.frontier or name, []).append(name)
        return found

    @property
    def size(self) -> float:
        """Of the dense model that losses are over: the task's own, if it is among the sizes."""
        return 1.0 if 1.0 in self.sizes else self.sizes[0]

    @property
    def bits(self) -> int:
        """The most bits that weights are rounded to; 0 if they are not."""
        return max(self.weight_bits or (0,))

    def label(self, name: str) -> str:
        """What the report calls a method."""
        return (self.methods[name].label if name in self.methods else None) or name


def subject(experiment: Experiment) -> str | None:
    """The method that the report compares with the others."""
    of_darb = (name for name, table in experiment.methods.items() if isinstance(table.method, Darb))
    return experiment.subject or next(of_darb, None)


def load(path: str | Path) -> Experiment:
    """Read the file of an experiment.

    Raises
    ------
    DarbError
        If there is no such file, it is no TOML, or a field is wrong: named by its path, as in ``methods.bank.kept``.
    """
    path = Path(path)
    data = read_toml(path, "an experiment (examples/experiments/)")
    try:
        return Experiment.model_validate({"name": path.stem, **data})
    except pydantic.ValidationError as error:
        raise DarbError(f"{path}: {_line(error)}") from None


def _line(error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    path = first["loc"]
    # A method or schedule has turned its own mistake into a line; here the field has a longer name.
    cause = getattr(first.get("ctx", {}).get("error"), "__cause__", None)
    if isinstance(cause, pydantic.ValidationError):
        first = cause.errors(include_url=False)[0]
        path += first["loc"]
    # Of a choice between several types pydantic adds the type to the path.
    where = ".".join(str(part) for part in path if not str(part).startswith(("literal[", "Distillation")))
    return field_fault(first, where, "docs/experiments.md has all fields")


@dataclass(frozen=True, order=True)
class MethodVariant:
    """What has a line in a report.

    Parameters
    ----------
    method : str
        Name of its table, :data:`DENSE` or :data:`TUNED`.
    size : float
        Of the dense model.
    bits : int
        That weights are rounded to; 0 if they are not.
    """

    method: str
    size: float = 1.0
    bits: int = 0

    def label(self, experiment: Experiment) -> str:
        """What a report calls it."""
        size = "" if self.size == 1 else f", size {self.size:g}"
        return experiment.label(self.method) + size + (f", {self.bits} bits" if self.bits else "")


@dataclass(frozen=True)
class PlannedRun:
    """One run of an experiment.

    Parameters
    ----------
    method : str
        Name of its table, :data:`DENSE` or :data:`TUNED`.
    ratio : float or None
        Asked for; ``None`` where nothing is pruned.
    seed : int
    settings : dict
        Everything that decides the result, ready for JSON, with the task's own settings filled in.
    """

    method: str
    ratio: float | None
    seed: int
    settings: dict

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the settings."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    @property
    def variant(self) -> MethodVariant:
        """The line of a report that it belongs to."""
        bits = self.settings["weight_bits"] if "quantization" in self.settings else 0
        return MethodVariant(self.method, self.settings["size"], bits)

    @property
    def stem(self) -> str:
        """File name without ending: readable, and different for different settings."""
        method = DENSE
        if "pruning" in self.settings:
            method = self.settings["pruning"]["method"].replace(Unpruned.name, "tuned")
        ratio = [] if self.ratio is None else [f"{self.ratio:g}x"]
        size = [] if self.variant.size == 1 else [f"size{self.variant.size:g}"]
        bits = [f"w{self.variant.bits}"] if self.variant.bits else []
        return "-".join([method, *size, *ratio, *bits, f"seed{self.seed}", self.digest[:12]])

    def pruning(self) -> dict[str, Any]:
        """What the settings mean as arguments of :func:`darb_prune.runs.pipeline.prune_model`."""
        options = dict(self.settings["pruning"])
        ratio, exclude = options.pop("ratio"), options.pop("exclude", ())
        schedule, name = PruningSchedule.take(options), options.pop("method")
        return {
            "ratio": ratio, "exclude": exclude, "schedule": schedule, "method": parse(name, defaults=options),
            "weight_bits": self.settings["weight_bits"], "distillation": self.settings["distillation"],
        }  # fmt: skip

    @property
    def saliency(self) -> str:
        """What the method takes a weight to be worth."""
        method = self.pruning()["method"]
        return method.worth if isinstance(method, Weighed) else "magnitude"

    @property
    def of_teacher(self) -> "PlannedRun | None":
        """The run that trains the dense model which teaches another size; ``None`` where a model teaches itself."""
        teacher = self.settings.get("teacher")
        if teacher is None:
            return None
        return self._part(DENSE, None, ("format", "task", "seed", "training"), size=teacher)

    @property
    def of_model(self) -> "PlannedRun | None":
        """The run whose model this one starts from: the dense one, or the one that is rounded."""
        if "quantization" in self.settings:
            return self._part(self.method, self.ratio, set(self.settings) - {"quantization"})
        if "pruning" not in self.settings:
            return None
        taught = ("teacher", "distillation") if "teacher" in self.settings else ()
        return self._part(DENSE, None, ("format", "task", "seed", "size", "training", *taught))

    def _part(self, method: str, ratio: float | None, keys: Iterable[str], **others: Any) -> "PlannedRun":
        """The run with some of the settings, whose weights are not rounded."""
        settings = {key: value for key, value in self.settings.items() if key in keys}
        return PlannedRun(method, ratio, self.seed, settings | {"weight_bits": WHOLE_BITS} | others)

    @property
    def sources(self) -> tuple["PlannedRun", ...]:
        """The runs whose models this one needs."""
        return tuple(run for run in (self.of_teacher, self.of_model) if run is not None)


def plan(experiment: Experiment, task: tasks.Task) -> list[PlannedRun]:
    """All runs, seed by seed, each behind those whose models it needs: a part is a whole experiment of fewer seeds.

    Those of two tables may have the same settings: that is one run under two names.
    """
    common = _common(experiment, task)
    runs: dict[tuple[str, str], PlannedRun] = {}

    def add(run: PlannedRun) -> None:
        if (run.method, run.digest) not in runs:
            for source in run.sources:
                add(source)
            runs[run.method, run.digest] = run

    for seed in experiment.seeds:
        for asked in _asked(experiment, common, seed):
            add(asked)
    return list(runs.values())


def _common(experiment: Experiment, task: tasks.Task) -> dict[str, Any]:
    """The settings that all runs have; of ``pruning`` those that no method has otherwise."""
    schedule = task.pruning.updated(experiment.pruning.explicit())
    # Settings hold what the task has for any method: finished runs are known by them.
    shared = {"saliency": "mean", **task.method_options, **schedule.explicit()}
    shared |= {} if experiment.saliency is None else {"saliency": experiment.saliency}
    distillation = experiment.distillation
    softened: Mapping[str, Any] = task.distillation
    if distillation is not None:
        softened = distillation.explicit() if distillation else {}
    return {
        "format": FORMAT, "task": experiment.task, "weight_bits": WHOLE_BITS, "distillation": {**softened},
        "training": {**task.training, **experiment.training.explicit()}, "pruning": shared,
        "quantization": {**task.quantization, **experiment.quantization.explicit()},
    }  # fmt: skip


def _asked(experiment: Experiment, common: dict[str, Any], seed: int) -> Iterator[PlannedRun]:
    """What an experiment asks for with a seed."""
    for name, size, ratio, bits, table in _points(experiment):
        options = {"method": Unpruned.name} if table is None else table.options()
        # Where nothing is pruned, the ratio only sets how many steps the schedule has: the same for any ratio above 1.
        pruning = common["pruning"] | options | {"ratio": ratio or 2.0}
        settings = common | {"seed": seed, "size": size, "pruning": pruning}
        settings |= {"weight_bits": bits} if bits else {}
        teacher = None if table is None else table.teacher or experiment.teacher
        settings |= {} if teacher in (None, size) else {"teacher": teacher}
        if not bits:
            del settings["quantization"]
        yield PlannedRun(name, ratio, seed, settings)


def _points(experiment: Experiment) -> Iterator[tuple[str, float, float | None, int, MethodTable | None]]:
    """Name, size, ratio, bits and table of every point; without a table that of the reference."""
    tables: dict[str, MethodTable | None] = {TUNED: None, **experiment.methods}
    for name, table in tables.items():
        sizes, bits, ratios = experiment.sizes, experiment.weight_bits or (0,), experiment.ratios
        if table is not None:
            sizes, bits, ratios = table.sizes or sizes, table.weight_bits or bits, table.ratios or ratios
        pruned = table is not None and not isinstance(table.method, Unpruned)
        for size, ratio, each in product(sizes, ratios if pruned else (None,), bits):
            yield name, size, ratio, each, table
