"""Layers in parts that exchange nothing: a block-diagonal matrix of weights or of kernels, stored as its blocks."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from darb_prune.modules.matrix import READS_A_PART

__all__ = ["PartitionedConv2d", "PartitionedLinear"]


class _Partitioned(nn.Module):
    """Modules of each part, and the norms behind them, if there are any."""

    def __init__(self, parts: Iterable[nn.Module], norms: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts, self.norms = nn.ModuleList(parts), nn.ModuleList(norms)

    def _run(self, pieces: Sequence[Tensor], dim: int) -> Tensor:
        """What the parts make of a piece each, side by side in dimension ``dim``."""
        results = [part(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        if self.norms:
            results = [norm(result) for norm, result in zip(self.norms, results, strict=True)]
        return torch.cat(results, dim=dim)


class PartitionedLinear(_Partitioned):
    """Each part reads some elements of the input, and gives some elements of the output; parts stand side by side.

    Parameters
    ----------
    inputs, outputs : sequence of int
        Elements that each part reads, and gives.
    bias : bool
    norm : bool
        Whether each part has a :class:`torch.nn.BatchNorm1d` behind it.
    channels : int
        If above 0, the elements of the input are those of so many channels, one channel after the other as
        ``torch.flatten`` leaves them, and each part reads some channels: those that the buffers ``picks_0``,
        ``picks_1``, ... name (int64). Else parts read elements that are neighbours.

    Attributes
    ----------
    in_features, out_features : int
        Elements of all parts.
    parts : torch.nn.ModuleList of torch.nn.Linear
    norms : torch.nn.ModuleList of torch.nn.BatchNorm1d
        Empty without ``norm``.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: Sequence[int], bias: bool = True, norm: bool = False, channels: int = 0
    ) -> None:
        super().__init__(
            (nn.Linear(*sizes, bias=bias) for sizes in zip(inputs, outputs, strict=True)),
            (nn.BatchNorm1d(size) for size in outputs if norm),
        )
        self.inputs, self.channels = tuple(inputs), channels
        self.in_features, self.out_features = sum(inputs), sum(outputs)
        if channels:
            pixels = sum(inputs) // channels
            own = torch.arange(channels).split([size // pixels for size in inputs])
            for part_number, picks in enumerate(own):
                self.register_buffer(f"picks_{part_number}", picks)

    def picks(self, part_number: int) -> Tensor:
        """Channels that a part reads: int64, shape (channels of the part,)."""
        return self.get_buffer(f"picks_{part_number}")

    def forward(self, x: Tensor) -> Tensor:
        """(..., elements of all inputs) -> (..., elements of all outputs)."""
        if self.channels:
            x = x.unflatten(-1, (self.channels, -1))
            pieces = [x.index_select(-2, self.picks(number)).flatten(-2) for number in range(len(self.parts))]
        else:
            pieces = list(x.split(self.inputs, dim=-1))
        return self._run(pieces, -1)


class PartitionedConv2d(_Partitioned):
    """Each part reads some channels of a map, and gives some channels; parts stand side by side.

    It computes what a :class:`torch.nn.Conv2d` of as many groups does, if all parts are equally large. Each part is a
    layer of its own, so that weights inside of it need no number of their group.

    Parameters
    ----------
    inputs, outputs : sequence of int
        Channels that each part reads, and gives.
    kernel_size, stride, padding, dilation
        As :class:`torch.nn.Conv2d` takes them.
    bias : bool
    norm : bool
        Whether each part has a :class:`torch.nn.BatchNorm2d` behind it.

    Attributes
    ----------
    parts : torch.nn.ModuleList of torch.nn.Conv2d
        Pruned tap by tap: the channels of a part are no neighbours in memory of those of the next pixel.
    norms : torch.nn.ModuleList of torch.nn.BatchNorm2d
        Empty without ``norm``.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...] = (1, 1),
        padding: tuple[int, ...] | str = (0, 0),
        dilation: tuple[int, ...] = (1, 1),
        bias: bool = True,
        norm: bool = False,
    ) -> None:
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "bias": bias}
        super().__init__(
            (nn.Conv2d(*sizes, cast(Any, kernel_size), **options) for sizes in zip(inputs, outputs, strict=True)),
            (nn.BatchNorm2d(size) for size in outputs if norm),
        )
        for part in self.parts:
            setattr(part, READS_A_PART, True)
        self.inputs = tuple(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels of all inputs, height, width) -> (samples, channels of all outputs, height, width)."""
        return self._run(x.split(self.inputs, dim=1), 1)
