"""Which layers read the same tensor, and that its order can be changed without changing what is computed."""

import pytest
import torch
from torch import nn

from darb_prune.errors import ModelError
from darb_prune.frontend.example import stages_of
from darb_prune.frontend.tensors import stored_tensors
from darb_prune.modules.layers import layers


def stored(model, example=None):
    return stored_tensors(stages_of(model, example), layers(model))


def groups(model, example=None):
    of_model = layers(model)
    return [
        (tensor.channels, tensor.movable, [(of_model[r.layer].name, r.part) for r in tensor.readings])
        for tensor in stored(model, example)
    ]


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 3)
        self.lstm = nn.LSTM(3, 5, num_layers=2, batch_first=True)
        self.fc = nn.Linear(5, 9)

    def forward(self, tokens, state=None):
        out, state = self.lstm(self.embedding(tokens), state)
        return self.fc(out), state


def test_the_hidden_state_is_one_tensor_for_itself_and_what_is_behind_it():
    assert groups(Language()) == [
        (3, True, [("lstm.0", 0)]),
        (5, True, [("lstm.0", 1), ("lstm.1", 0)]),
        (5, True, [("lstm.1", 1), ("fc", 0)]),
    ]


def test_groups_take_any_order():
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Conv2d(6, 8, 3, groups=2), nn.Conv2d(8, 3, 1))
    assert groups(model) == [(2, True, [("0", 0)]), (8, True, [("2", 0)]), (27, False, [("1", 0)])]


def test_channels_of_convolutions_through_pooling_and_flattening():
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.Flatten(), nn.Linear(16 * 64, 7)
    )
    assert groups(model, torch.zeros(1, 1, 28, 28)) == [
        (1, True, [("0", 0)]),
        (6, True, [("3", 0)]),
        (16, True, [("5", 0)]),
    ]
    reading = stored(model, torch.zeros(1, 1, 28, 28))[2].readings[0]
    assert reading.columns.shape == (64, 16)
    assert reading.columns[3, 2] == 2 * 64 + 3  # pixel 3 of channel 2: channels are outermost in torch


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.left, self.right = nn.Linear(6, 8), nn.Linear(3, 4), nn.Linear(5, 4)
        self.all, self.out = nn.Linear(8, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.first(x)
        return self.out(self.left(x[:, :3]) + self.right(x[:, 3:]) + self.all(x))


def test_pixels_that_are_flattened_one_after_the_other():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 3, 1), nn.Linear(12, 2)

        def forward(self, x):
            return self.fc(self.conv(x).permute(0, 2, 3, 1).flatten(1))

    (_, tensor) = stored(Turned(), torch.zeros(1, 1, 2, 2))
    assert tensor.readings[0].columns[3].tolist() == [9, 10, 11]  # pixel 3


def test_a_tensor_of_which_parts_are_read_keeps_its_order():
    assert groups(Halves()) == [
        (6, True, [("first", 0)]),
        (8, False, [("all", 0)]),
        (4, True, [("out", 0)]),
        (3, False, [("left", 0)]),
        (5, False, [("right", 0)]),
    ]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = nn.Linear(4, 4)
        self.three = nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.one(x))
        return self.three(x + self.two(x))


class Padded(nn.Module):
    """Zeros around a map in front of two convolutions, and channels of zeros in front of an addition."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3, 2)
        self.three, self.zero = nn.Conv2d(4, 4, 3, padding=1), nn.ZeroPad2d((1, 0, 1, 0))
        self.short, self.four = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.zero(self.two(nn.functional.pad(self.one(x), (0, 1, 0, 1))))
        return self.four(self.three(x) + nn.functional.pad(self.short(x), (0, 0, 0, 0, 1, 1)))


def test_zeros_around_a_map_leave_its_channels_where_they_are():
    assert groups(Padded()) == [
        (1, True, [("one", 0)]), (6, True, [("two", 0)]), (4, True, [("three", 0), ("short", 0)]),
        (4, False, [("four", 0)]),
    ]  # fmt: skip


def test_an_addition_joins_its_tensors():
    assert groups(Residual()) == [(4, True, [("one", 0)]), (4, True, [("two", 0), ("three", 0)])]


class Concatenation(Residual):
    def __init__(self):
        super().__init__()
        self.three = nn.Linear(8, 2)

    def forward(self, x):
        x = torch.relu(self.one(x))
        return self.three(torch.cat([x, self.two(x)], dim=1))


def test_a_concatenation_and_what_is_copied_into_it_keep_their_order():
    assert groups(Concatenation()) == [(4, True, [("one", 0)]), (4, False, [("two", 0)]), (8, False, [("three", 0)])]


def test_layers_that_are_not_run_are_read_by_nobody():
    model = Residual()
    model.unused = nn.Linear(3, 3)
    assert groups(model)[-1] == (3, False, [("unused", 0)])


def test_models_that_cannot_be_captured():
    class Branch(Residual):
        def forward(self, x):
            return self.one(x) if x.sum() > 0 else self.two(x)

    with pytest.raises(
        ModelError, match=r"model: __bool__ makes what the model does depend .* input of shape \(1, 4\)"
    ):
        groups(Branch())


def test_reordering_channels_everywhere_changes_nothing():
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 5))
    image = torch.rand(2, 1, 8, 8)
    before = model(image)
    found = layers(model)
    tensors = stored(model, image)
    shuffles = {1: torch.randperm(6), 2: torch.randperm(4)}
    with torch.no_grad():
        for number, source in ((1, model[0]), (2, model[2])):
            channels = shuffles[number]
            [reading] = tensors[number].readings
            layer = found[reading.layer]
            order, plain = reading.order(channels), reading.order(torch.arange(len(channels)))
            matrix = layer.matrix()
            moved = torch.empty_like(matrix)
            moved[:, plain] = matrix[:, order]
            layer.parts[0].parameter.copy_(layer.split(moved)[0])
            source.weight.copy_(source.weight[channels])
            source.bias.copy_(source.bias[channels])
    assert torch.allclose(model(image), before, atol=1e-6)


class Twice(Residual):
    def forward(self, x):
        x = self.one(x)
        return self.three(self.two(self.two(x)))


def test_a_layer_called_twice_is_refused():
    with pytest.raises(ModelError, match="two: Linear shares its weight with layer 'two'"):
        groups(Twice())


class Viewed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 9, 2)

    def forward(self, x):
        x = self.conv(x)
        return self.fc(x.view(x.size(0), -1))


def test_channels_of_a_transposed_value_are_positions():
    """They keep their order; those of what a copy reads may be in any."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.across, self.behind = nn.Conv1d(3, 6, 1), nn.Linear(5, 2), nn.Conv1d(6, 2, 1)

        def forward(self, x):
            x = self.front(x)
            return self.across(x).mean(1) + self.behind(x).mean(2)

    assert groups(Mixed(), torch.zeros(1, 3, 5)) == [
        (3, True, [("front", 0)]),
        (6, True, [("behind", 0)]),
        (5, False, [("across", 0)]),
    ]


def test_shapes_move_nothing():
    assert groups(Viewed(), torch.zeros(1, 1, 5, 5)) == [(1, True, [("conv", 0)]), (4, True, [("fc", 0)])]


def test_the_last_state_of_several_layers_is_that_of_the_last():
    class Last(Language):
        def forward(self, tokens):
            _, state = self.lstm(self.embedding(tokens))
            return self.fc(state[0][-1])

    assert groups(Last()) == groups(Language())
