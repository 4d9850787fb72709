"""A parameter seen as a matrix: one row an output, columns in the order in which hardware reads them.

A Linear or recurrent weight is a matrix as it is. A convolution reads feature maps in HWC order, so its weight
``(cout, cin, kh, kw)`` becomes ``(cout, kh * kw * cin)``; each kernel row is a segment of ``kw * cin`` columns
that are contiguous in memory. Blocks never cross a segment.
"""

from torch import Tensor

__all__ = ["as_matrix", "as_parameter", "segments"]


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


def segments(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Widths of the segments of a row of a parameter of ``shape``."""
    if len(shape) == 4:
        _, channels, height, width = shape
        return (width * channels,) * height
    columns = 1
    for size in shape[1:]:
        columns *= size
    return (columns,)
