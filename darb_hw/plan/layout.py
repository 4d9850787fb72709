"""How a feature map is laid out in the activation memory: pixel by pixel, channels innermost, zeros around it."""

from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np

from darb_hw.plan.columns import NO_COLUMNS, Columns
from darb_prune.encoded import EncodedNetwork, Layer, Segment, Tensor

__all__ = ["Layout", "layouts"]


@dataclass(frozen=True)
class Layout:
    """Addresses of a tensor, relative to its first one.

    A line ends with its zeros to the right. They are also the zeros to the left of the next line, so that a line
    takes ``width + padding[1]`` pixels.

    Parameters
    ----------
    shape : (int, int, int)
        Height, width, channels.
    padding : (int, int)
        Lines of zeros above and below, pixels of zeros to the left and right.
    """

    shape: tuple[int, int, int]
    padding: tuple[int, int] = (0, 0)

    @property
    def channels(self) -> int:
        return self.shape[2]

    @property
    def line(self) -> int:
        """Distance from a pixel to the one below it."""
        return (self.shape[1] + self.padding[1]) * self.channels

    @property
    def size(self) -> int:
        """Number of addresses, zeros included."""
        return (self.shape[0] + 2 * self.padding[0]) * self.line + self.padding[1] * self.channels

    @property
    def has_zeros(self) -> bool:
        """Whether zeros are stored beside the elements."""
        return self.padding != (0, 0)

    @overload
    def pixel(self, y: int, x: int) -> int: ...

    @overload
    def pixel(self, y: np.ndarray, x: np.ndarray | int) -> np.ndarray: ...

    def pixel(self, y: np.ndarray | int, x: np.ndarray | int) -> np.ndarray | int:
        """First address of pixel ``(y, x)``, which may lie in the padding."""
        return (y + self.padding[0]) * self.line + (x + self.padding[1]) * self.channels

    def elements(self, tensor: Tensor) -> np.ndarray:
        """Address of each element of ``tensor`` in logical order, int64, shape (size,)."""
        height, width, _ = self.shape
        pixel = self.pixel(np.arange(height)[:, None], np.arange(width)[None]).reshape(-1)
        return (tensor.channel_position[:, None] + pixel).reshape(-1)

    def base(self, layer: Layer, segment: Segment, column: int = 0) -> int:
        """Address of the first element of a segment at output position (0, 0), or in ``column``."""
        return self.pixel(segment.line - layer.padding[0], column - layer.padding[1]) + segment.start

    @cached_property
    def border(self) -> np.ndarray:
        """Which addresses hold the zeros around the map: bool, shape (size,)."""
        height, width, channels = self.shape
        border = np.ones(self.size, bool)
        lines = self.pixel(np.arange(height), 0)
        border[(lines[:, None] + np.arange(width * channels)).reshape(-1)] = False
        return border


def layouts(network: EncodedNetwork, columns: Columns = NO_COLUMNS) -> dict[str, Layout]:
    """The layout of every tensor, with the widest padding on either side that any of its readers asks for."""
    padding = {tensor.name: (0, columns.sides(tensor.name)) for tensor in network.tensors}
    for layer in network.layers:
        for segment in layer.segments:
            lines, pixels = padding[segment.tensor]
            top, left, bottom, right = layer.padding
            padding[segment.tensor] = max(lines, top, bottom), max(pixels, left, right)
    return {tensor.name: Layout(tensor.shape, padding[tensor.name]) for tensor in network.tensors}
