"""The file that declares an experiment (TOML), checked, and the list of runs it asks for."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.pruning.methods import METHODS, Allocated, Darb, Method, Unpruned, parse
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.toml import field_fault, read_toml

__all__ = ["DENSE", "TUNED", "Experiment", "MethodTable", "PlannedRun", "load", "plan", "subject"]

DENSE, TUNED = "dense", "dense, same fine-tuning"
"""The references that every experiment has, one run a seed: after training, and after the shared fine-tuning too."""
FORMAT = 1
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
Ratios = Annotated[
    tuple[Annotated[float, Field(gt=1, allow_inf_nan=False)], ...],
    Field(min_length=1),
    AfterValidator(_unique),
    AfterValidator(lambda values: tuple(sorted(values))),
]


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
    exclude: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _split(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        rest = dict(table)
        own = {name: rest.pop(name) for name in ("label", "ratios", "exclude") if name in rest}
        own["schedule"] = PruningSchedule.take(rest)
        return own | {"method": parse(rest.pop("method"), rest)}

    def options(self) -> dict[str, Any]:
        """What was given of the method, ready for JSON; :meth:`PlannedRun.pruning` reads it."""
        excluded = {} if self.exclude is None else {"exclude": list(self.exclude)}
        return {"method": self.method.name, **self.method.explicit(), **excluded, **self.schedule.explicit()}


class Experiment(_Table):
    """An experiment: methods x ratios x seeds on one task.

    Parameters
    ----------
    name : str
        Of the folders; the stem of the file unless given.
    task : str
    seeds : tuple of int
        A number ``n`` in the file stands for ``0 .. n - 1``.
    ratios : tuple of float
        Rising, above 1; of every method that has none of its own.
    methods : dict of str to MethodTable
    weight_bits : int
        Bits of a weight, for stored bits.
    subject : str, optional
        The method that is compared with the others: the first one of method ``darb`` unless given.
    training, pruning : Training, PruningSchedule
    distillation : Distillation, or False
        The task's unless given; ``false`` for none.
    """

    name: Annotated[str, Field(pattern=r"^[\w.+-]*\w[\w.+-]*$")]
    task: Literal[tasks.TASKS]  # pyright: ignore[reportInvalidTypeForm]  # a tuple of str, known at run time
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_seeds), Field(min_length=1), AfterValidator(_unique)]
    ratios: Ratios
    methods: Annotated[dict[str, MethodTable], Field(min_length=1)]
    weight_bits: Annotated[int, Field(ge=2, le=8, strict=True)] = 8
    subject: str | None = None
    training: Training = Training()
    pruning: PruningSchedule = PruningSchedule()
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
        labels = [self.label(name) for name in (DENSE, TUNED, *self.methods)]
        if len(set(labels)) < len(labels):
            raise ValueError("methods: two have the same label; change one")
        names = [_words(name) for name in (DENSE, TUNED, *self.methods)]
        if len(set(names)) < len(names):
            raise ValueError("methods: two names differ in punctuation only; change one")
        if max(len(name.encode()) for name in names) > 100:
            raise ValueError("methods: a name is longer than 100 letters; give a short one, and a label")
        return self

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


def _words(name: str) -> str:
    """``name`` as part of a file name."""
    return "_".join("".join(letter if letter.isalnum() else " " for letter in name).split())


@dataclass(frozen=True)
class PlannedRun:
    """One run of an experiment.

    Parameters
    ----------
    method : str
        Name of its table, :data:`DENSE` or :data:`TUNED`.
    ratio : float or None
        Asked for; ``None`` for the references.
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
    def stem(self) -> str:
        """File name without ending: readable, and different for different settings."""
        ratio = [] if self.ratio is None else [f"{self.ratio:g}x"]
        return "-".join([_words(self.method), *ratio, f"seed{self.seed}", self.digest[:12]])

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
        """What the method takes a weight to be worth: its magnitude, unless levels are allocated by another worth."""
        method = self.pruning()["method"]
        return method.saliency if isinstance(method, Allocated) and method.allocation == "budget" else "magnitude"

    @property
    def of_dense(self) -> "PlannedRun":
        """The run that trains the dense model which this one starts from."""
        settings = {key: self.settings[key] for key in ("format", "task", "seed", "weight_bits", "training")}
        return PlannedRun(DENSE, None, self.seed, settings)


def plan(experiment: Experiment, task: tasks.Task) -> list[PlannedRun]:
    """All runs: first the dense models, then seed by seed, so that a part of them is a whole experiment of fewer."""
    schedule = task.pruning.updated(experiment.pruning.explicit())
    # Settings hold what the task has for any method: finished runs are known by them.
    shared = {**schedule.explicit(), **task.method_options}
    distillation = experiment.distillation
    common = {"format": FORMAT, "task": experiment.task, "weight_bits": experiment.weight_bits}
    common["training"] = {**task.training, **experiment.training.explicit()}
    if distillation is None:
        common["distillation"] = dict(task.distillation)
    else:
        common["distillation"] = distillation.explicit() if distillation else {}
    runs, rest = [], []
    for seed in experiment.seeds:
        # The ratio of the reference only sets how many steps the schedule has, the same for any ratio above 1.
        asked = [(TUNED, None, {**shared, "method": Unpruned.name, "ratio": 2.0})]
        asked += [
            (name, ratio, {**shared, **table.options(), "ratio": ratio})
            for name, table in experiment.methods.items()
            for ratio in table.ratios or experiment.ratios
        ]
        planned = [
            PlannedRun(name, ratio, seed, {**common, "seed": seed, "pruning": options})
            for name, ratio, options in asked
        ]
        runs.append(planned[0].of_dense)
        rest += planned
    return runs + rest
