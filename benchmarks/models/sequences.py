"""Models of sequences."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.models.brought import BroughtModel, Residual, images, sequences, symbols

__all__ = ["SEQUENCES"]


class _Last(nn.Module):
    """A recurrent layer, and a Linear behind its last time step."""

    def __init__(self, layer: nn.Module, outputs: int, classes: int = 6) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(outputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


class _Tagger(nn.Module):
    """Classes of every time step."""

    def __init__(self, directions: int = 1) -> None:
        super().__init__()
        self.layer = nn.GRU(6, 12, batch_first=True, bidirectional=directions > 1)
        self.head = nn.Linear(12 * directions, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0])


class _Characters(nn.Module):
    """The next character of every character."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(27, 8), nn.LSTM(8, 16, 2, batch_first=True)
        self.head = nn.Linear(16, 27)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embedding(x))[0])


class _Loop(nn.Module):
    """A cell that is called for each time step."""

    def __init__(self, cell: type[nn.Module]) -> None:
        super().__init__()
        self.cell, self.head = cell(6, 10), nn.Linear(10, 4)
        self.pair = cell is nn.LSTMCell

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 10)
        state = (h, h) if self.pair else h
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return self.head(state[0] if self.pair else state)


class _Chomp(nn.Module):
    """Padding on both sides, and the end cut off: how many write a causal convolution."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.layer, self.cut = nn.Conv1d(inputs, outputs, 3, padding=2 * dilation, dilation=dilation), 2 * dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x)[:, :, : -self.cut])


class _Causal(nn.Module):
    """The same with padding on the left."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.layer, self.pad = nn.Conv1d(inputs, outputs, 3, dilation=dilation), 2 * dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(F.pad(x, (self.pad, 0))))


def _tcn(layer: type[nn.Module]) -> nn.Module:
    body = layer(4, 8, 1), Residual(layer(8, 8, 2), layer(8, 8, 2)), Residual(layer(8, 8, 4), layer(8, 8, 4))
    return nn.Sequential(*body, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 5))


class _WaveNet(nn.Module):
    """A tanh times a sigmoid; a ReLU in their place if not ``gated``."""

    def __init__(self, gated: bool = True) -> None:
        super().__init__()
        self.first, self.filter = nn.Conv1d(1, 6, 1), _Dilated(6)
        self.gate, self.out = _Dilated(6) if gated else None, nn.Conv1d(6, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.filter(x)
        y = F.relu(y) if self.gate is None else torch.tanh(y) * torch.sigmoid(self.gate(x))
        return self.head(F.relu(x + self.out(y)).mean(2))


class _Dilated(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv1d(channels, channels, 2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(F.pad(x, (2, 0)))


class _KeywordsConvolution(nn.Module):
    """TC-ResNet: frequencies are channels."""

    def __init__(self) -> None:
        super().__init__()
        body = nn.Conv1d(12, 12, 5, padding=2), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 12, 5, padding=2)
        self.first, self.block = nn.Conv1d(10, 12, 3, padding=1), Residual(*body, nn.BatchNorm1d(12))
        self.head = nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.block(F.relu(self.first(x)))).mean(2))


class _TextConvolution(nn.Module):
    """Maxima over time of convolutions of a sentence; ``mended`` as poolings of all its positions."""

    def __init__(self, mended: bool = False) -> None:
        super().__init__()
        self.layers, self.mended = nn.ModuleList(nn.Conv1d(8, 6, kernel) for kernel in (2, 3)), mended
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = [F.relu(layer(x)) for layer in self.layers]
        largest = [F.max_pool1d(y, y.shape[2]).flatten(1) if self.mended else y.amax(2) for y in maps]
        return self.head(torch.cat(largest, 1))


class _ConvolutionsThenLstm(nn.Module):
    """An LSTM over what a convolution makes of several time steps."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.layer = nn.Conv1d(6, 8, 3, padding=1), nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.convolution(x.transpose(1, 2))).transpose(1, 2)
        return self.head(self.layer(x)[0][:, -1])


class _Reader(nn.Module):
    """CRNN: LSTMs of two directions over the columns of an image, classes of every column in front of CTC."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d((2, 1)),
        )  # fmt: skip
        self.layer, self.head = nn.LSTM(16, 8, 2, bidirectional=True), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.body(x).permute(3, 0, 1, 2).flatten(2))[0])


class _Directions(nn.Module):
    """A recurrent layer of two directions, and what ``head`` makes of all its steps (samples, features, steps)."""

    def __init__(self, layer: nn.Module, *head: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Sequential(*head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0].transpose(1, 2))


class _Words(nn.Module):
    """A class of a sentence; of ``cells``, or of a convolution."""

    def __init__(self, cells: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 6)
        self.layer = _two(nn.LSTM) if cells else nn.Conv1d(6, 20, 3, padding=1)
        self.head = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        recurrent = isinstance(self.layer, nn.LSTM)
        x = self.layer(x)[0].transpose(1, 2) if recurrent else self.layer(x.transpose(1, 2)).relu()
        return self.head(x.amax(2))


class _States(nn.Module):
    """The states behind the last steps of both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)[1][0]
        return self.head(torch.cat([h[-2], h[-1]], 1))


class _Attention(nn.Module):
    """An encoder of a transformer; ``mended`` it is a GRU."""

    def __init__(self, mended: bool = False) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.layer = nn.GRU(8, 8, batch_first=True) if mended else None
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.encoder(x) if self.layer is None else self.layer(x)[0])[:, -1])


class _Mixer(nn.Module):
    """MLP-Mixer: patches of an image, then an MLP over their positions and one over their channels."""

    def __init__(self) -> None:
        super().__init__()
        channels, positions = 8, 16
        self.patches = nn.Conv2d(3, channels, 2, 2)
        self.norm, self.again = nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)
        self.positions = nn.Sequential(nn.Linear(positions, 24), nn.GELU(), nn.Linear(24, positions))
        self.channels = nn.Sequential(nn.Linear(channels, 24), nn.GELU(), nn.Linear(24, channels))
        self.head = nn.Linear(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2)
        x = x + self.positions(self.norm(x))
        x = x.transpose(1, 2) + self.channels(self.again(x).transpose(1, 2))
        return self.head(x.mean(1))


class _EveryPosition(nn.Module):
    """A Linear at every position, and one over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.head = nn.Linear(5, 8), nn.Linear(80, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.linear(x)).flatten(1))


def _recurrent(layer: type[nn.Module], outputs: int = 10, **options: object) -> nn.Module:
    return _Last(layer(6, 10, batch_first=True, **options), outputs)


def _two(layer: type[nn.Module], **options: object) -> nn.Module:
    return layer(6, 10, batch_first=True, bidirectional=True, **options)


_STEPS = sequences(8, 6)

SEQUENCES = {
    "lstm": BroughtModel("LSTM, last time step", lambda: _recurrent(nn.LSTM), _STEPS),
    "gru two layers": BroughtModel("GRU of two layers", lambda: _recurrent(nn.GRU, num_layers=2), _STEPS),
    "tagger": BroughtModel("GRU, every time step", _Tagger, _STEPS),
    "characters": BroughtModel("character model, embedding", _Characters, symbols(12, 27)),
    "bidirectional": BroughtModel(
        "LSTM of two directions, last time step", lambda: _recurrent(nn.LSTM, 20, bidirectional=True), _STEPS
    ),
    "bidirectional tagger": BroughtModel("GRU of two directions, every time step", lambda: _Tagger(2), _STEPS),
    "bidirectional states": BroughtModel("two layers of two directions, last states", _States, _STEPS),
    "bidirectional projection": BroughtModel(
        "projections of two directions, maximum over time",
        lambda: _Directions(_two(nn.LSTM, proj_size=3), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(6, 4)),
        _STEPS,
    ),
    "bidirectional convolution": BroughtModel(
        "RNN of two directions, a convolution behind it",
        lambda: _Directions(_two(nn.RNN), nn.Conv1d(20, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)),
        _STEPS,
    ),
    "maximum of states": BroughtModel(
        "LSTM, maximum over time",
        lambda: _Directions(
            nn.LSTM(6, 10, batch_first=True), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(10, 4)
        ),
        _STEPS,
    ),
    "words": BroughtModel("embedding, LSTM of two directions, maximum over time", _Words, symbols(10, 30)),
    "text embedding": BroughtModel(
        "embedding, convolutions, maximum over time", lambda: _Words(False), symbols(10, 30)
    ),
    "projection": BroughtModel("LSTM with a projection", lambda: _recurrent(nn.LSTM, 4, proj_size=4), _STEPS),
    "plain rnn": BroughtModel("nn.RNN", lambda: _recurrent(nn.RNN), _STEPS),
    "lstm cells": BroughtModel("LSTMCell in a loop", lambda: _Loop(nn.LSTMCell), _STEPS, lambda: _recurrent(nn.LSTM)),
    "gru cells": BroughtModel("GRUCell in a loop", lambda: _Loop(nn.GRUCell), _STEPS, lambda: _recurrent(nn.GRU)),
    "tcn chomp": BroughtModel("TCN, ends cut off", lambda: _tcn(_Chomp), sequences(4, 24), lambda: _tcn(_Causal)),
    "tcn causal": BroughtModel("TCN, padded on the left", lambda: _tcn(_Causal), sequences(4, 24)),
    "wavenet": BroughtModel("gated convolutions", _WaveNet, sequences(1, 24), lambda: _WaveNet(False)),
    "tc-resnet": BroughtModel("keywords, Conv1d", _KeywordsConvolution, sequences(10, 20)),
    "text convolutions": BroughtModel(
        "maximum over time", _TextConvolution, sequences(8, 12), lambda: _TextConvolution(True)
    ),
    "convolution lstm": BroughtModel("a convolution over time, then an LSTM", _ConvolutionsThenLstm, _STEPS),
    "crnn": BroughtModel("CRNN, every column of an image", _Reader, images(1, 8, 12)),
    "transformer": BroughtModel("attention", _Attention, sequences(6, 8), lambda: _Attention(True)),
    "mixer": BroughtModel("MLP-Mixer", _Mixer, images(3, 8, 8)),
    "every position": BroughtModel(
        "Linear at every position", _EveryPosition, sequences(10, 5)
    ),
}  # fmt: skip
