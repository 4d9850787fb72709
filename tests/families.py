"""Networks of one architecture: with other weights, pruned more or less."""

from collections.abc import Callable

import torch
from torch import nn

from darb_prune import encode, partition, prune, quantize
from darb_prune.encoded import EncodedNetwork, TestVectors

__all__ = ["FAMILIES", "member"]


class _Padded(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, channels, 3, padding=1)
        self.second, self.third = nn.Conv2d(channels, 3, 3, padding=1), nn.Linear(48, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.first(x)))).flatten(1))


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(54, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(x + self.second(x))
        return self.third(nn.functional.max_pool2d(x, 2).flatten(1))


class _TwoDirections(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = nn.LSTM(6, 8, batch_first=True, bidirectional=True), nn.Linear(5 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.cells(x)[0].flatten(1))


class _Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], symbols: int = 0) -> None:
        super().__init__()
        self.symbols = nn.Embedding(symbols, 6) if symbols else nn.Identity()
        self.cells, self.last = kind(6, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.cells(self.symbols(x))[0])


def _chain() -> nn.Module:
    return nn.Sequential(nn.Linear(40, 36), nn.ReLU(), nn.Linear(36, 24), nn.Sigmoid(), nn.Linear(24, 6))


def _parts() -> nn.Module:
    model = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    partition(model, 2, exclude=["4"], example=torch.zeros(1, 24))
    return model


FAMILIES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (_chain, (40,)),
    "residual": (_Residual, (2, 8, 8)),
    "lstm": (lambda: _Recurrent(nn.LSTM), (4, 6)),
    "symbols": (lambda: _Recurrent(nn.GRU, 20), (4,)),
    "parts": (_parts, (24,)),
    "two directions": (_TwoDirections, (5, 6)),
}
"""By name: what makes a module, and the shape of an input."""
_PADDED = {f"{channels} channels": (lambda channels=channels: _Padded(channels), (2, 4, 4)) for channels in (5, 6)}
"""Nearly a family: the maps inside have another number of channels."""


def member(
    family: str, seed: int, ratio: float = 4.0, inputs: TestVectors | None = None, cell_bits: int = 7
) -> tuple[EncodedNetwork, TestVectors]:
    """A network of a family, or with zeros around maps of 5 or 6 channels, and vectors for it: of the inputs of other
    vectors, if there are any."""
    make, shape = (FAMILIES | _PADDED)[family]
    torch.manual_seed(seed)
    model = make()
    x = torch.randint(0, 20, (12, *shape)) if family == "symbols" else torch.randn(12, *shape)
    prune(model, ratio=ratio, example=x)
    integer = quantize(model, x, cell_bits=cell_bits)
    network = encode(integer)
    if inputs is not None:
        source = network.tensor(network.input)
        integers = torch.from_numpy(inputs.tensors[network.input].astype("int64")).reshape(x.shape)
        x = integers if network.embedding else (integers - source.zero) * source.scale
    return network, integer.vectors(network, x)
