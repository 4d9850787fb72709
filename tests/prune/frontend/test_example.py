"""Models for which nobody gives an example."""

import pytest
import torch
from torch import nn

from darb_prune.errors import ModelError
from darb_prune.frontend.example import stages_of
from darb_prune.frontend.stages import Matrix


class Symbols(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.fc = nn.Embedding(7, 4), nn.Linear(12, 3)

    def forward(self, x):
        return self.fc(self.embedding(x).flatten(1))


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.line = nn.Linear(5, 3), nn.Conv1d(3, 2, 3)

    def forward(self, x):
        return self.line(self.fc(x).transpose(1, 2))


MODELS = {
    "linear": (nn.Linear(5, 3), (5, 1, 1)),
    "convolution": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1)), (3, 32, 32)),
    "flattened": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 3)), (1, 28, 28)),
    "unusual": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 11 * 11, 3)), (1, 13, 13)),
    "line": (nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 40, 2)), (2, 1, 42)),
    "reshaped": (nn.Sequential(nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3)), None),
    "symbols": (Symbols(), (3, 1, 1)),
    "double": (nn.Linear(5, 3).double(), (5, 1, 1)),
    "positions": (Positions(), (5, 1, 8)),
    "recurrent": (nn.GRU(5, 3, batch_first=True), (5, 1, 1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_inputs_follow_from_the_layers(name):
    model, shape = MODELS[name]
    if shape is None:
        with pytest.raises(ModelError, match="Sequential: no input that it takes was found; give an example"):
            stages_of(model)
        shape, stages = (36, 1, 1), stages_of(model, torch.zeros(1, 36))
    else:
        stages = stages_of(model)
    assert stages.values[stages.input].shape == shape or name == "reshaped"
    assert any(isinstance(stage, Matrix) for stage in stages.stages)
    assert model.training


def test_a_reshape_that_makes_samples_of_a_large_image_is_no_fit():
    class Viewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 2, 1), nn.Linear(2 * 8 * 8, 3)

        def forward(self, x):
            return self.fc(self.conv(x).view(-1, 2 * 8 * 8))

    stages = stages_of(Viewed())
    assert stages.values[stages.input].shape == (1, 8, 8)


def test_a_size_that_cannot_be_captured_is_no_obstacle():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d(7))
    stages = stages_of(model)
    assert stages.values[stages.input].shape == (1, 28, 28)


def test_a_refusal_says_what_was_tried():
    model = nn.Sequential(nn.Linear(5, 3), nn.RReLU())
    with pytest.raises(ModelError, match=r"1: operator rrelu is not supported; .* input of shape \(1, 5\); if yours"):
        stages_of(model)


def test_the_random_numbers_of_the_caller_stay():
    model = nn.Linear(5, 3)
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    stages_of(model)
    assert torch.rand(1) == wanted
