"""A parameter seen as a matrix: one row an output, columns in the order in which hardware reads them.

A Linear or recurrent weight is a matrix as it is. A convolution reads feature maps in HWC order, so its weight
``(cout, cin, kh, kw)`` becomes ``(cout, kh * kw * cin)``; each kernel row is a segment of ``kw * cin`` columns
that are contiguous in memory. With a dilation of the kernel's columns, with groups of channels, or where a layer reads
some channels of a map, only those of a tap are: each tap is a segment of ``cin`` columns (those of a group). Blocks
never cross a segment.
"""

from math import prod

from torch import Tensor, nn

__all__ = ["READS_A_PART", "as_matrix", "as_parameter", "segments", "taps_apart"]

READS_A_PART = "reads_a_part"
"""Attribute of a convolution that reads some channels of a map, which are no neighbours of those of the next pixel."""


def as_matrix(parameter: Tensor) -> Tensor:
    """``parameter`` (or its gradient, or mask) of 2, 3 (Conv1d) or 4 (Conv2d) dimensions, shape (rows, columns)."""
    if parameter.dim() == 2:
        return parameter
    return parameter.movedim(1, -1).reshape(len(parameter), -1)


def as_parameter(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The inverse of :func:`as_matrix` for a parameter of ``shape``."""
    if len(shape) == 2:
        return matrix
    rows, channels, *kernel = shape
    return matrix.reshape(rows, *kernel, channels).movedim(-1, 1).contiguous()


def segments(shape: tuple[int, ...], apart: bool = False) -> tuple[int, ...]:
    """Widths of the segments of a row of a parameter of ``shape``.

    Parameters
    ----------
    apart : bool
        Whether each tap of a kernel is a segment of its own.
    """
    columns, *taps = shape[1:]
    if not taps:
        return (columns,)
    *lines, width = taps
    return (width * columns,) * prod(lines) if not apart else (columns,) * prod(taps)


def taps_apart(module: nn.Module) -> bool:
    """Whether the taps of the kernel of ``module`` are not contiguous in memory: if its columns have a distance, it has
    groups, or it reads a part of the channels (:class:`~darb_prune.modules.partitioned.PartitionedConv2d`)."""
    if not isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return False
    return module.dilation[-1] > 1 or module.groups > 1 or getattr(module, READS_A_PART, False)
