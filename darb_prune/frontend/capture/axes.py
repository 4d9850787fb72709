"""What the dimensions of a tensor in a model are: samples, steps, and the channels, lines and columns of a value.

A dimension is a tuple of axes, outermost first: ``flatten(1)`` of a feature map has the dimensions ``(b,)`` and
``(c, h, w)``. Axes of size 1 are left out. So reshaping and permuting need no stage, as long as every stage finds
the axes that it reads together and in order.

A dimension of channels can be cut, as ``view(n, groups, -1, h, w)`` does: the parts are axes of their own, named
``"c'"``, until they stand side by side again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch

__all__ = ["Axis", "Dims", "Ref", "exchanged", "permuted", "reshaped", "whole"]


@dataclass(frozen=True)
class Axis:
    """``name`` is ``"0"`` or ``"1"`` for the leading dimensions of the input (samples and steps), ``"c"``, ``"h"``,
    ``"w"`` for those of a value, ``"x0"`` ... for dimensions of an input of which nothing is known yet.

    ``"c'"`` is a part of ``total`` channels: the next along it is ``stride`` channels further."""

    name: str
    size: int
    stride: int = 1
    total: int = 0

    @property
    def leading(self) -> bool:
        return self.name in ("0", "1")

    def cut(self, size: int) -> "tuple[Axis, Axis] | None":
        """Two parts of channels, of which the first is of ``size``; none if they cannot be cut so."""
        if self.name not in ("c", "c'") or self.size % size:
            return None
        rest, total = self.size // size, self.total or self.size
        return Axis("c'", size, rest * self.stride, total), Axis("c'", rest, self.stride, total)


Dims = tuple[tuple[Axis, ...], ...]


@dataclass(frozen=True)
class Ref:
    """A tensor of a model: a value, and how it is looked at.

    Parameters
    ----------
    value : str
    dims : tuple of tuples of Axis
    sole : bool
        Whether nothing else looks at the value.
    last : str, optional
        Leading axis of which only the last entry is looked at.
    stride : (int, int)
        Every so many-th line and column.
    before, after : (int, int)
        Lines and columns of zeros around it.
    first : int
        Channels of zeros before its own; as many as ``dims`` say in all.
    channels : (int, int), optional
        Channels of the value that are looked at: the first, and the one behind the last. All of them if absent.
    layers : tuple of str
        Of the states after the last time step of a recurrent module of several layers: one value each, along
        dimension 0.
    """

    value: str
    dims: Dims
    sole: bool = False
    last: str | None = None
    stride: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] = (0, 0)
    first: int | None = None
    channels: tuple[int, int] | None = None
    layers: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Of all dimensions, without the leading ones."""
        return tuple(axis for dim in self.dims for axis in dim if not axis.leading)

    @property
    def lead(self) -> tuple[Axis, ...]:
        return tuple(axis for dim in self.dims for axis in dim if axis.leading)

    @property
    def raw(self) -> bool:
        """Whether it is an input of which it is not known yet what its dimensions are."""
        return any(axis.name.startswith("x") for axis in self.axes)

    @property
    def start(self) -> int:
        """The first channel of the value that is looked at."""
        return self.channels[0] if self.channels else 0

    @property
    def padded(self) -> bool:
        return self.before != (0, 0) or self.after != (0, 0)

    @property
    def plain(self) -> bool:
        """Whether it is the value as it is stored."""
        return self.direct and self.channels is None

    @property
    def direct(self) -> bool:
        """Whether it is the value as it is stored, or some channels of it."""
        return self.stride == (1, 1) and not self.padded and self.first is None and not self.layers


def whole(shape: tuple[int, int, int]) -> tuple[Axis, ...]:
    """Axes of a value of ``shape`` (channels, height, width)."""
    return tuple(Axis(name, size) for name, size in zip("chw", shape, strict=True) if size > 1)


def reshaped(ref: Ref, shape: tuple[int, ...]) -> Ref | None:
    """``ref`` as a tensor of ``shape`` with the same elements in the same order; none if an axis other than channels
    would be cut."""
    left = [axis for dim in ref.dims for axis in dim]
    names = [axis.name for axis in ref.axes]
    free = ref.raw and names == sorted(names)
    if free:  # nothing is known but its leading axes: the rest is cut as it is asked for
        left = [axis for axis in left if axis.leading]
        if [axis for dim in ref.dims for axis in dim][: len(left)] != left:
            return None
    dims = []
    for dim_number, size in enumerate(shape):
        if free and not left:
            dims.append((Axis(f"x{dim_number}", size),) if size > 1 else ())
            continue
        group: list[Axis] = []
        while (count := prod(axis.size for axis in group)) < size and left:
            axis = left.pop(0)
            parts = axis.cut(size // count) if count * axis.size > size else (axis,)
            if parts is None:
                return None
            group.append(parts[0])
            left[:0] = parts[1:]
        if count != size:
            return None
        dims.append(_merged(group))
    return None if left else replace(ref, dims=tuple(dims))


def _merged(axes: list[Axis]) -> tuple[Axis, ...]:
    """``axes``, those that follow each other as they did before they were cut as one."""
    made: list[Axis] = []
    for axis in axes:
        before = made[-1] if made else None
        if before and before.total and axis.total and before.stride == axis.size * axis.stride:
            size = before.size * axis.size
            made[-1] = Axis("c", size) if size == axis.total else Axis("c'", size, axis.stride, axis.total)
        else:
            made.append(axis)
    return tuple(made)


def exchanged(
    dims: Dims, shape: tuple[int, int, int], image: tuple[int, int] | None = None
) -> tuple[Dims, tuple[int, int, int]] | None:
    """Dimensions and shape (channels, height, width) of a value of ``shape``, looked at as ``dims``, whose channels and
    pixels have changed places; none if it has other dimensions, or its channels are cut into other parts than lines and
    columns, or are not as many as pixels of ``image``.

    The pixels are ``image``, or else as the channels are cut; one line if they are not cut.
    """
    channels, height, width = shape
    axes = [axis for dim in dims for axis in dim if not axis.leading]
    if not {axis.name for axis in axes} <= {"c", "c'", "h", "w"}:
        return None
    parts = sorted((axis for axis in axes if axis.total), key=lambda axis: -axis.stride)
    if parts:
        sizes = tuple(axis.size for axis in parts)
        if len(parts) != 2 or prod(sizes) != channels or parts[1].stride != 1 or image not in (None, sizes):
            return None
        image = sizes[0], sizes[1]
    lines, columns = image or (1, channels)
    if lines * columns != channels:
        return None
    count = height * width
    new = {"c": whole((1, lines, columns)), "h": whole((count, 1, 1)), "w": whole((count, 1, 1))}
    if height > 1 and width > 1:
        new |= {"h": (Axis("c'", height, width, count),), "w": (Axis("c'", width, 1, count),)}
    names = dict(zip(parts, "hw", strict=False))

    def changed(axis: Axis) -> tuple[Axis, ...]:
        return (Axis(names[axis], axis.size),) if axis in names else new.get(axis.name, (axis,))

    return tuple(_merged([own for axis in dim for own in changed(axis)]) for dim in dims), (count, lines, columns)


def permuted(ref: Ref, function: Callable, args: tuple, kwargs: dict) -> Ref:
    """``ref`` after a function that only permutes dimensions: it is asked with a tensor of different sizes."""
    asked = torch.empty([2 + dim_number for dim_number in range(len(ref.dims))], device="meta")
    return replace(ref, dims=tuple(ref.dims[size - 2] for size in function(asked, *args, **kwargs).shape))
