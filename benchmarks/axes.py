"""Axes of pictures."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = ["logarithmic"]


def logarithmic(axes: Axes, text: Callable[[float], str]) -> None:
    """A logarithmic horizontal axis with plain numbers, written by ``text``, and a grid."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=8)
    axes.grid(which="major", alpha=0.3)
