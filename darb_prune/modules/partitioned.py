"""A Linear layer in parts that exchange nothing: a block-diagonal matrix, stored as its blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["PartitionedLinear"]


class PartitionedLinear(nn.Module):
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
        super().__init__()
        self.inputs, self.channels = tuple(inputs), channels
        self.in_features, self.out_features = sum(inputs), sum(outputs)
        self.parts = nn.ModuleList(nn.Linear(*sizes, bias=bias) for sizes in zip(inputs, outputs, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in outputs if norm)
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
        results = [part(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        if self.norms:
            results = [norm(result) for norm, result in zip(self.norms, results, strict=True)]
        return torch.cat(results, dim=-1)
