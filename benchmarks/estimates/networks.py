"""The networks that are synthesised: small ones of every kind, of random weights, pruned without training.

What an engine takes follows from shapes, levels and widths, hardly from the values of weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from darb_prune import encode, prune, quantize
from darb_prune.tasks.lenet import lenet5, lenet_300_100
from darb_prune.tasks.mlperf_networks import Autoencoder, DsCnn, ResNet8
from darb_prune.training.loop import seeded

__all__ = ["NETWORKS", "Variant"]


def _mlp(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def _convolutions(channels: int, size: int, classes: int) -> nn.Sequential:
    """Two convolutions of 3x3, each with a pooling behind it, and a Linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * channels * (size // 4) ** 2, classes),
    )  # fmt: skip


class _Gated(nn.Module):
    """A convolution whose channels are scaled by what is computed from their means (squeeze and excitation)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 12, 3, 2, 1), nn.Conv2d(12, 12, 3, padding=1)
        self.scale, self.head = nn.Linear(12, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        values = nn.functional.silu(self.first(x))
        scale = torch.sigmoid(self.scale(values.mean((2, 3))))
        values = self.second(values).relu() * scale[:, :, None, None]
        return self.head(values.mean((2, 3)))


class _Sequences(nn.Module):
    """A recurrent layer, perhaps behind an embedding, and a Linear layer over its last step."""

    def __init__(self, cells: nn.LSTM | nn.GRU | nn.RNN, classes: int, symbols: int = 0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, cells.input_size) if symbols else None
        self.cells, self.head = cells, nn.Linear(cells.hidden_size, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(self.embedding(x) if self.embedding else x)[0][:, -1])


@dataclass(frozen=True)
class _Subject:
    """A network: what makes the module, and inputs to calibrate it with."""

    model: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]


def _real(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(16, *shape)


NETWORKS = {
    "digits": _Subject(lambda: _mlp(64, 128, 64, 10), _real(64)),
    "lenet-300-100": _Subject(lenet_300_100, _real(784)),
    "autoencoder": _Subject(Autoencoder, _real(640)),
    "narrow": _Subject(lambda: _mlp(16, 24, 24, 24, 24, 4), _real(16)),
    "one-layer": _Subject(lambda: _mlp(256, 256), _real(256)),
    "tanh": _Subject(lambda: _mlp(100, 60, 40, 8, activation=nn.Tanh), _real(100)),
    "lenet-5": _Subject(lenet5, _real(1, 28, 28)),
    "convolutions": _Subject(lambda: _convolutions(8, 16, 10), _real(1, 16, 16)),
    "convolutions-small": _Subject(lambda: _convolutions(4, 8, 4), _real(1, 8, 8)),
    "resnet-8": _Subject(ResNet8, _real(3, 32, 32)),
    "ds-cnn": _Subject(lambda: DsCnn(width=16, pairs=2), _real(1, 49, 10)),
    "gated": _Subject(_Gated, _real(3, 12, 12)),
    "lstm": _Subject(lambda: _Sequences(nn.LSTM(12, 32, batch_first=True), 6), _real(9, 12)),
    "lstm-large": _Subject(lambda: _Sequences(nn.LSTM(10, 96, 2, batch_first=True), 12), _real(9, 10)),
    "gru": _Subject(lambda: _Sequences(nn.GRU(13, 48, batch_first=True), 10), _real(9, 13)),
    "rnn": _Subject(lambda: _Sequences(nn.RNN(8, 40, batch_first=True), 4), _real(9, 8)),
    "characters": _Subject(
        lambda: _Sequences(nn.LSTM(8, 24, batch_first=True), 30, 30), lambda: torch.randint(30, (16, 9))
    ),
}
"""By name; the held-out error of estimates is that of networks whose name the fit has not seen."""


@dataclass(frozen=True)
class Variant:
    """A network, pruned and quantised.

    Parameters
    ----------
    network : str
        A key of ``NETWORKS``.
    ratio : float
        1 for a dense one.
    weight_bits, activation_bits : int
    mult_bits : int or None
        See :func:`darb_prune.quantize`.
    """

    network: str
    ratio: float
    weight_bits: int
    activation_bits: int
    mult_bits: int | None

    @property
    def label(self) -> str:
        narrow = f"-m{self.mult_bits}" if self.mult_bits else ""
        return f"{self.network}-{self.ratio:g}x-w{self.weight_bits}-a{self.activation_bits}{narrow}"

    def file(self, folder: Path) -> Path:
        """The ``.darb`` file in ``folder``, made unless it is there."""
        path = folder / f"{self.label}.darb"
        if path.is_file():
            return path
        subject = NETWORKS[self.network]
        with seeded(0):
            model, inputs = subject.model().eval(), subject.inputs()
        if self.ratio > 1:
            prune(model, self.ratio, example=inputs[:1])
        integer = quantize(
            model, inputs, self.weight_bits, self.activation_bits, name=self.network, mult_bits=self.mult_bits
        )
        encode(integer).save(path)
        return path
