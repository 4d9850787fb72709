"""How often layers run for one input."""

import torch
from torch import nn

from darb_prune.frontend.example import stages_of
from darb_prune.frontend.positions import positions_of_layers
from darb_prune.modules.layers import layers


def positions(model, example):
    return {layer.name: count for layer, count in positions_of_layers(stages_of(model, example), layers(model)).items()}


def test_convolutions_run_at_every_position_before_pooling():
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, stride=2, groups=2), nn.ReLU(),
        nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(4 * 36, 7),
    )  # fmt: skip
    assert positions(model, torch.zeros(1, 1, 28, 28)) == {"0": 28 * 28, "3": 36, "5": 36, "7": 1}
    assert positions(nn.Conv1d(3, 2, 4), torch.zeros(1, 3, 10)) == {"": 7}


def test_gates_of_a_recurrent_layer_run_once_a_step():
    for kind in (nn.GRU, nn.LSTM):
        model = kind(3, 5, num_layers=2, batch_first=True)
        assert set(positions(model, torch.zeros(1, 6, 3)).values()) == {1}


class Scanned(nn.Module):
    """A GRU that scans the columns of a map, in both directions, among convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)
        self.gru = nn.GRU(2 * 4, 4, batch_first=True, bidirectional=True)

    def forward(self, x):
        columns = self.first(x).relu().permute(0, 3, 1, 2).flatten(2)
        return self.fc(self.gru(columns)[0][:, -1])


def test_a_scan_runs_once_a_column():
    counts = positions(Scanned(), torch.zeros(1, 1, 6, 9))
    assert counts.pop("first") == 4 * 7
    assert counts.pop("fc") == 1
    assert counts
    assert set(counts.values()) == {7}


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.unused = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(3, 4)

    def forward(self, x):
        return self.conv(x)


def test_a_layer_that_does_not_run_counts_once():
    assert positions(Unused(), torch.zeros(1, 2, 5, 5)) == {"conv": 25, "unused": 1}
