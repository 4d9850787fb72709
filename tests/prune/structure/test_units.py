"""Units: what stands where, and that taking them out is exact, on models of every kind."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from darb_prune.errors import ModelError
from darb_prune.frontend.capture import capture
from darb_prune.modules.layers import layers
from darb_prune.structure.gates import WeightCount, fold
from darb_prune.structure.partition import partition
from darb_prune.structure.record import rebuild
from darb_prune.structure.removal import rehearsed, remove
from darb_prune.structure.units import STAYS, Place, units_of
from tests.draws import SeedDraw
from tests.prune.frontend.capture.nets import lively
from tests.random_models import draw_model


class Residual(nn.Module):
    """A stem, a block with a shortcut as it is, one with a projection, depthwise, concatenation, a head."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(2, 6, 3, padding=1), lively(nn.BatchNorm2d(6))
        self.one, self.one_norm = nn.Conv2d(6, 5, 3, padding=1), lively(nn.BatchNorm2d(5))
        self.two, self.two_norm = nn.Conv2d(5, 6, 3, padding=1, bias=False), lively(nn.BatchNorm2d(6))
        self.wide, self.side = nn.Conv2d(6, 8, 3, 2, 1), nn.Conv2d(6, 8, 1, 2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head, self.last = nn.Linear(14 * 9, 7), nn.Linear(7, 3)
        self.float()

    def forward(self, x):
        x = self.stem_norm(self.stem(x)).relu()
        y = self.two_norm(self.two(self.one_norm(self.one(x)).relu()))
        y += x  # in place
        y = y.relu()
        z = self.depthwise((self.wide(y) + self.side(y)).relu())
        return self.last(self.head(torch.cat([z, F.max_pool2d(y, 2)], 1).flatten(1)).tanh())


class Recurrent(nn.Module):
    """An embedding, two layers of two directions, a loop of a cell, a head."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 5)
        self.lstm = nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(12, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.gru(self.lstm(self.embedding(x))[0])[0][:, -1])


def without(model, units, there, gates=None):
    """Outputs of the model with closed gates, and of the smaller one, in double precision; and that model."""
    x = EXAMPLES[type(model)]()
    model = copy.deepcopy(model).double().eval()
    original = units_of(capture(model, x))
    fold(original, there.double() if gates is None else gates * there)
    x = x.double() if x.is_floating_point() else x
    before = model(x)
    record = remove(model, original, there)
    return before, model(x), model, record


EXAMPLES = {
    Residual: lambda: torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0)),
    Recurrent: lambda: torch.randint(9, (3, 4), generator=torch.Generator().manual_seed(0)),
}


def some(units, seed):
    """Half of the units, at least one of each dimension, as many of the layers of a module; half of the blocks."""
    torch.manual_seed(seed)
    there = torch.rand(units.size) < 0.5
    for sides in units.equal:
        for side in sides:
            there[side] = torch.arange(len(side)) % 3 == 0
    there[: units.count] |= units.best(torch.rand(units.count)) & ~torch.isin(
        torch.arange(units.count), torch.cat([side for sides in units.equal for side in sides] or [torch.tensor([])])
    )
    return there


@pytest.mark.parametrize("kind", [Residual, Recurrent])
@pytest.mark.parametrize("seed", range(4))
def test_a_model_without_units_is_the_gated_one(kind, seed):
    torch.manual_seed(seed)
    model = kind().eval()
    units = units_of(capture(model, EXAMPLES[kind]()))
    there = some(units, seed)
    before, after, smaller, _ = without(model, units, there, torch.rand(units.size).double())
    assert (~there).sum() > 0
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
    count = WeightCount(layers(model), units)
    assert count.total == sum(layer.weights for layer in layers(model))
    assert float(count(there.float())) == sum(layer.weights for layer in layers(smaller))


def test_what_stands_where():
    model = Residual().eval()
    units = units_of(capture(model, EXAMPLES[Residual]()))
    # The two sides of the first addition are one set of channels; those of the second another.
    assert torch.equal(units.places[Place(model.stem, "weight", 0)], units.places[Place(model.two, "weight", 0)])
    assert torch.equal(units.places[Place(model.wide, "weight", 0)], units.places[Place(model.side, "weight", 0)])
    head = units.places[Place(model.head, "weight", 1)].reshape(14, 9)
    assert torch.equal(head[:8, 0], units.places[Place(model.wide, "weight", 0)])
    assert torch.equal(head[8:, 0], units.places[Place(model.stem, "weight", 0)])
    assert bool((head == head[:, :1]).all())
    assert (units.places[Place(model.last, "weight", 0)] == STAYS).all()
    assert (units.places[Place(model.stem, "weight", 1)] == STAYS).all()
    assert [block.name for block in units.blocks] == ["two"]
    assert [writer for writer, mapped in zip(units.writers, units.mapped, strict=True) if not mapped] == ["head"] * 7
    sizes = {writer: units.writers.count(writer) for writer in units.writers}
    assert sizes == {"stem": 6, "one": 5, "wide": 8, "head": 7}


def test_a_block_is_taken_out_of_the_model_and_of_its_stages():
    model = Residual().eval()
    units = rehearsed(model, units_of(capture(model, EXAMPLES[Residual]())), EXAMPLES[Residual]())
    there = torch.arange(units.size) < units.count
    _, _, smaller, record = without(model, units, there)
    assert record["zeros"] == ["two_norm"]
    assert sorted(record["identities"]) == ["one", "one_norm", "two"]
    names = [stage.name for stage in capture(smaller, EXAMPLES[Residual]().double()).stages]
    assert "stem" in names
    assert not {"one", "two"} & set(names)


@pytest.mark.parametrize("kind", [Residual, Recurrent])
def test_a_record_gives_the_smaller_model_again(kind):
    model = kind().eval()
    units = units_of(capture(model, EXAMPLES[kind]()))
    _, after, smaller, record = without(model, units, some(units, 1))
    again = rebuild(kind().double().eval(), [record], smaller.state_dict())
    again.load_state_dict(smaller.state_dict())
    x = EXAMPLES[kind]()
    assert torch.equal(again(x.double() if kind is Residual else x), after)
    assert repr(again) == repr(smaller)


@pytest.mark.parametrize(
    "record",
    [{"pass": "units", "zeros": ["nobody"]}, {"pass": "units", "zeros": 3}, {"pass": "other"}, "units", {}],
)
def test_records_that_do_not_fit_are_refused(record):
    with pytest.raises(ModelError, match=r"structure"):
        rebuild(Residual(), [record], Residual().state_dict())


class OneSize(nn.Module):
    """Nothing but inputs of 7 x 3 fit, which nobody guesses."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6 * 21, 4)

    def forward(self, x):
        return self.head(self.one(x).reshape(len(x), 6 * 21 if self.one.out_channels == 6 else 5 * 21))


def test_a_model_whose_inputs_are_not_known_gets_its_sizes():
    sizes = {"one.weight": [5, 1, 3, 3], "one.bias": [5], "head.weight": [4, 105]}
    state = {name: torch.zeros(shape) for name, shape in sizes.items()}
    again = rebuild(OneSize(), [{"pass": "units", "sizes": sizes}], state)
    assert again(torch.zeros(2, 1, 7, 3)).shape == (2, 4)


def test_sizes_that_do_not_go_together_are_refused():
    state = Residual().state_dict()
    with pytest.raises(ModelError, match=r"the saved sizes do not go together"):
        rebuild(Residual(), [{"pass": "units", "sizes": {"one.weight": [3, 6, 3, 3]}}], state)


@pytest.mark.parametrize(
    "sizes",
    [
        {"one.weight": [6, 6, 3, 3]}, {"one.weight": [0, 6, 3, 3]}, {"one.weight": [5, 6]}, {"one.weight": 5},
        {"one.weight": [5, 6, 3, 3.0]}, {"none.weight": [1]}, {"": [1]}, {"one": [1]}, {"one.stride": [1, 1]}, [3],
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ModelError, match=r"run the command again"):
        rebuild(Residual(), [{"pass": "units", "sizes": sizes}], Residual().state_dict())


def test_passes_follow_each_other():
    def made():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3))

    model, x = made(), torch.randn(4, 8)
    units = units_of(capture(model, x))
    records = [remove(model, units, torch.arange(units.size) % 2 == 0)]
    records.append(partition(model, 2, example=x).record)
    assert units_of(capture(model, x)).count  # those that no part picks
    again = rebuild(made(), records, model.state_dict())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))


def test_code_that_names_sizes_is_refused():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(16, 2)

        def forward(self, x):
            return self.head(self.conv(x).reshape(-1, 16))

    model, x = Named(), torch.randn(2, 1, 4, 4)
    with pytest.raises(ModelError, match=r"Named: does not run with fewer units .*flatten\(1\)"):
        rehearsed(model, units_of(capture(model, x)), x)


def test_excluded_layers_keep_their_units():
    model = Residual()
    units = units_of(capture(model, EXAMPLES[Residual]()), layers(model), ["stem", "head"])
    assert set(units.writers) == {"one", "wide"}
    with pytest.raises(ModelError, match=r"exclude 'tail'"):
        units_of(capture(model, EXAMPLES[Residual]()), layers(model), ["tail"])


@given(st.integers(0, 1 << 20), st.booleans())
def test_random_models_are_exact_without_units_or_refused(seed, mixes):
    model, x = draw_model(SeedDraw(seed), mixes)
    units = units_of(capture(model, x))
    assume(units.count)
    try:
        rehearsed(model, units, x)
    except ModelError as error:
        problem = str(error)
    else:
        problem = ""
    # Code that picks channels by their number does not run; nothing gives something else.
    assert "gives something else" not in problem
