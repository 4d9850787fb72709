"""Methods of pruning, a class each, with the options that are valid for it.

This is the only declaration of these options: the command line and experiment files parse into these classes. It
loads neither torch nor SciPy. What a method does with a model: :mod:`darb_prune.pruning.selection`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer, model_validator

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.patterns.choices import Allocation, Budget, Order, Saliency, Scope
from darb_prune.pruning.options import Options
from darb_prune.pruning.schedule import Strength

__all__ = [
    "BMWM",
    "METHODS",
    "NM",
    "Allocated",
    "BankBalanced",
    "Block",
    "Channels",
    "Darb",
    "Irregular",
    "Method",
    "Mixed",
    "Neurons",
    "Selection",
    "Structured",
    "StructuredColumns",
    "StructuredRows",
    "Unlevelled",
    "Unpruned",
    "Weighed",
    "as_method",
    "encodable",
    "methods_with",
    "parse",
]


def _level(text: str, mistake: str) -> Level:
    try:
        bits, kept = (int(part) for part in text.split(","))
    except ValueError:
        raise DarbError(mistake) from None
    return Level(bits, kept)


def _parse_level(value: Any) -> Any:
    """``"2,1"`` -> Level(2, 1)."""
    if not isinstance(value, str):
        return value
    return _level(value, f'level {value!r}: write "b,m", for example "2,1"')


def _parse_levels(value: Any) -> Any:
    """``"0,1 1,1"`` -> levels."""
    if not isinstance(value, str):
        return value
    remedy = 'write pairs "b,m", for example "0,1 1,1 2,1 0,0"'
    if not value.split():
        raise DarbError(f"levels: no level given; {remedy}")
    return tuple(_level(text, f"levels {text!r}: {remedy}") for text in value.split())


def _parse_shape(value: Any) -> Any:
    """``"4x4"`` -> (4, 4)."""
    if not isinstance(value, str):
        return value
    try:
        rows, columns = (int(part) for part in value.split("x"))
    except ValueError:
        rows = columns = 0
    if rows < 1 or columns < 1:
        raise DarbError(f"shape {value!r}: write rows x columns, for example 4x4")
    return rows, columns


LevelOption = Annotated[
    InstanceOf[Level], BeforeValidator(_parse_level), PlainSerializer(lambda level: f"{level.bits},{level.kept}")
]
Whole = Annotated[int, Field(ge=1, strict=True)]

FETCH_CYCLES = 5
"""Cycles in which the engine fetches a word of its program: no row takes fewer."""


class Method(Options):
    """A method of pruning."""

    name: ClassVar[str]
    """What commands, files and results call it."""
    encodable: ClassVar[bool] = False
    """Whether its masks have levels, so that the engine can run them."""

    @model_validator(mode="before")
    @classmethod
    def _check_owner(cls, options: dict[str, Any]) -> dict[str, Any]:
        for option in options:
            if option not in cls.model_fields and (others := methods_with(option)):
                raise DarbError(
                    f"{option}: method {cls.name} has no such option; methods that have it: {', '.join(others)}"
                )
        return options


class Weighed(Method):
    """Keeps what is worth most."""

    saliency: Saliency = Field(
        default="magnitude", description="Worth of a weight; a task may have a default of its own."
    )

    @property
    def worth(self) -> Saliency:
        """What a weight is worth to it."""
        return self.saliency


class _Ordered(Weighed):
    encodable = True
    order: Literal[Order, "keep"] = Field(
        default="spread",
        description="Storage order of the channels of each tensor. keep: the one that the masks of the model have now, "
        "so that larger blocks keep some of what smaller ones kept.",
    )


class Allocated(_Ordered):
    """Each row has a level of its own, allocated over all layers at once."""

    allocation: Allocation = Field(default="budget", description="How rows get their level.")
    budget: Budget = Field(
        default="codes",
        description="What the ratio limits: kept weights, stored bits, or cycles of an engine with --lanes lanes.",
    )
    levels: Annotated[tuple[LevelOption, ...] | None, BeforeValidator(_parse_levels)] = Field(
        default=None, description='Levels "b,m b,m ..." to choose from; "0,0" is the empty level.'
    )
    saliency: Saliency = Field(default="mean", description="Worth of a weight; a task may have a default of its own.")
    lanes: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description="Lanes of the engine: rows of a level come in multiples of it where that costs little, and rows "
        "of convolutions have at least as many codes where these are at most 5 % of all.",
    )
    positions: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description="Positions that the lanes compute at once, 1 if absent. Rows of a level come in multiples "
        "of lanes / positions, and rows of convolutions have at least lanes / results codes where the budget pays.",
    )
    results: int | None = Field(
        default=None, ge=1, strict=True, description="Results that the engine writes at once, 1 if absent."
    )

    @model_validator(mode="after")
    def _check_lanes(self) -> "Allocated":
        if self.budget == "cycles" and self.lanes is None:
            raise DarbError("lanes None: a budget of cycles needs the number of lanes, at least 1")
        for name, most, limit in (
            ("positions", self.lanes, "lanes"),
            ("results", self.positions or 1, "positions"),
        ):
            count = getattr(self, name)
            if count is None:
                continue
            if most is None:
                raise DarbError(f"{name} {count}: give the {limit} of the engine too")
            if count & (count - 1) or most % count:
                raise DarbError(f"{name} {count}: choose a power of two that divides the {limit}, {most}")
        return self

    @property
    def worth(self) -> Saliency:
        """What a weight is worth to it: where levels follow densities, its magnitude."""
        return "magnitude" if self.allocation == "density" else self.saliency

    @property
    def streams(self) -> int | None:
        """Rows that the engine computes at once."""
        return None if self.lanes is None else self.lanes // (self.positions or 1)

    @property
    def floor(self) -> int:
        """Codes that the engine reads for a row while it writes results, where rows have many positions.

        A row with fewer codes takes as many cycles. The results of ``streams`` rows are written in
        ``streams * positions / results`` cycles. Where lanes compute several positions, a row also takes as many
        cycles as it takes to fetch the next word of the program.
        """
        return 0 if self.lanes is None else self.cycles_of(self.lanes)

    @property
    def over_positions(self) -> bool:
        """Whether the lanes compute neighbouring positions, and not rows alone."""
        return (self.positions or 1) > 1

    def cycles_of(self, results: int) -> int:
        """Cycles in which the engine writes so many results of a group of rows."""
        written = -(-results // (self.results or 1))
        return max(written, FETCH_CYCLES) if self.over_positions else written


class Darb(Allocated):
    """DARB: a block size for each row, one weight kept in each block."""

    name = "darb"

    @model_validator(mode="after")
    def _check_levels(self) -> "Darb":
        for level in self.levels or ():
            if level.kept > 1:
                raise DarbError(f"level {level}: method darb keeps one weight a block; use method mixed")
        return self


class Mixed(Allocated):
    """The same with several kept weights a block allowed."""

    name = "mixed"


class _Uniform(_Ordered):
    default_group: ClassVar[int]
    """Columns of a block, unless the ratio asks for larger ones."""
    group: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description="Columns of a block, of a bank, or M of N:M. If it is no power of two, there is no encoding.",
    )


class BMWM(_Uniform):
    """Block-max weight masking: one block size for all rows, one weight kept in each block."""

    name = "bmwm"
    default_group = 2

    @model_validator(mode="after")
    def _check_group(self) -> "BMWM":
        if self.group is not None and self.group & (self.group - 1):
            raise DarbError("method bmwm: blocks are powers of two with one weight each; choose bank or nm for others")
        return self


class _Counted(_Uniform):
    kept: int | None = Field(
        default=None, ge=1, strict=True, description="Weights kept in a bank, N of N:M; the ratio gives the columns."
    )

    @model_validator(mode="after")
    def _check_kept(self) -> "_Counted":
        if self.group is not None and self.kept is not None:
            raise DarbError("group and kept exclude each other; the ratio gives the one from the other")
        return self


class BankBalanced(_Counted):
    """The same number of weights kept in each bank of a row."""

    name = "bank"
    default_group = 64


class NM(_Counted):
    """N of every M columns kept."""

    name = "nm"
    default_group = 16


class Unlevelled(Weighed):
    """Masks without levels, to compare with."""

    scope: Scope = Field(
        default="global", description="Whether the least weights of all layers go, or the same share of each layer."
    )


class Irregular(Unlevelled):
    """The weights that are worth most are kept, wherever they are."""

    name = "irregular"


class Block(Unlevelled):
    """Whole blocks are kept."""

    name = "block"
    shape: Annotated[tuple[Whole, Whole], BeforeValidator(_parse_shape)] = Field(
        default=(4, 4), description="Rows x columns of a block, as 4x4."
    )


class Structured(Unlevelled):
    """Whole rows and columns are kept."""

    name = "structured"
    rows: ClassVar[bool] = True
    columns: ClassVar[bool] = True


class StructuredRows(Structured):
    """Whole rows are kept."""

    name = "rows"
    columns = False


class StructuredColumns(Structured):
    """Whole columns are kept."""

    name = "columns"
    rows = False


class Selection(Method):
    """Whole units are taken out of the model: what is left is a smaller dense one.

    How many each layer loses follows from the data. Units are chosen while the model is trained, for as many epochs as
    the schedule has before its last step; see :func:`darb_prune.select_neurons`.
    """

    encodable = True
    criterion: Literal["gates", "lasso", "slimming", "uniform"] = Field(
        default="gates",
        description="What says which units go: gates that are trained (hard concrete, L0), norms under a group lasso, "
        "scales of batch normalisation under an L1 penalty, or norms as they are, the same share of each layer.",
    )
    strength: Strength = Field(
        default=1.0, description="How hard gates are closed or units are shrunk, beside what suits most models."
    )


class Neurons(Selection):
    """Units of vectors and of recurrent layers."""

    name = "neurons"


class Channels(Selection):
    """These, and channels of maps."""

    name = "channels"


class Unpruned(Method):
    """Takes masks away."""

    name = "dense"
    encodable = True


METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Darb, Mixed, BMWM, BankBalanced, NM, Irregular, Block, Structured, StructuredRows, StructuredColumns, Neurons,
        Channels, Unpruned,
    )
}  # fmt: skip
"""The methods by name."""


def methods_with(option: str) -> list[str]:
    """Names of the methods that have an option."""
    return [name for name, method in METHODS.items() if option in method.model_fields]


def encodable() -> list[str]:
    """Names of the methods that the engine can run; ``bank`` and ``nm`` if the group is a power of two."""
    return [name for name, method in METHODS.items() if method.encodable]


def parse(name: str, options: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None) -> Method:
    """A method from its name and options, as commands and files have them.

    Parameters
    ----------
    name : str
    options : mapping, optional
        Refused if the method does not have them.
    defaults : mapping, optional
        Options of any method: used where this one has them and ``options`` does not.

    Raises
    ------
    DarbError
    """
    if name not in METHODS:
        raise DarbError(f"method {name!r}: choose one of {', '.join(METHODS)}")
    method = METHODS[name]
    known = {option: value for option, value in (defaults or {}).items() if option in method.model_fields}
    return method(**known | dict(options or {}))


def as_method(method: Method | str) -> Method:
    """A name stands for the method with its defaults."""
    return parse(method) if isinstance(method, str) else method
