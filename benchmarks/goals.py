"""What a measurement has to show: figures beside their limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from darb_prune.studies import markdown

__all__ = ["Goal", "markdown_table", "show"]


@dataclass(frozen=True)
class Goal:
    """A figure and its limit.

    Parameters
    ----------
    name : str
    value : float or None
        ``None`` if it has not been measured.
    limit : float or None
        ``None`` for a figure without a limit.
    least : bool
        The figure has to reach at least the limit; else at most.
    form : str
        How numbers are written.
    """

    name: str
    value: float | None
    limit: float | None = None
    least: bool = True
    form: str = ".3f"

    @property
    def measured(self) -> bool:
        return self.value is not None

    @property
    def ratio(self) -> float | None:
        """Figure over limit."""
        return self.value / self.limit if self.value is not None and self.limit else None

    @property
    def holds(self) -> bool:
        if self.value is None or self.limit is None:
            return self.measured
        return self.value >= self.limit if self.least else self.value <= self.limit

    @property
    def text(self) -> str:
        return f"{self.value:{self.form}}" if self.measured else "-"

    @property
    def bound(self) -> str:
        if self.limit is None:
            return ""
        return f"{'>=' if self.least else '<='} {self.limit:{self.form}}"

    @property
    def ratio_text(self) -> str:
        return "" if self.ratio is None else f"{self.ratio:.3f}"

    @property
    def verdict(self) -> str:
        """Whether it holds, in words; nothing if there is no limit."""
        if not self.limit:
            return ""
        return "ok" if self.holds else "falls short" if self.measured else "not measured"


_COLOURS = {"": "white", "ok": "green", "falls short": "red", "not measured": "yellow"}


def markdown_table(figures: Sequence[Goal]) -> str:
    """The figures beside their limits, for a page."""
    rows = [[goal.name, goal.text, goal.bound, goal.verdict] for goal in figures]
    return markdown.table(["figure", "value", "limit", ""], rows, left=1)


def show(title: str, figures: Sequence[Goal], console: Console) -> bool:
    """Print figures beside their limits; gives whether all that were measured hold."""
    table = Table(title=title, title_justify="left")
    for name in ("figure", "value", "limit", "ratio", ""):
        table.add_column(name, justify="left" if name in ("figure", "") else "right")
    for goal in figures:
        verdict = f"[{_COLOURS[goal.verdict]}]{goal.verdict}[/]"
        table.add_row(goal.name, goal.text, goal.bound, goal.ratio_text, verdict)
    console.print(table)
    return all(goal.holds for goal in figures if goal.measured)
