"""Layers of a model become block-term layers."""

import copy
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from darb_prune import prune, quantize
from darb_prune.errors import DarbError
from darb_prune.modules.block_term import BlockTermConv2d, BlockTermGRU, BlockTermLinear, BlockTermLSTM, Modes
from darb_prune.modules.masked import load_pruned
from darb_prune.structure.block_term import _by_budget, block_term, term_parameters
from darb_prune.structure.record import rebuild


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 48), nn.ReLU(), nn.Linear(48, 5)
    ).eval()  # fmt: skip


class Spoken(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells, self.out = kind(24, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.cells(x)[0][:, -1])


def test_a_budget_is_kept():
    """By the largest rank with which it is; small layers stay."""
    model, x = net(), torch.randn(2, 1, 8, 8)
    made = block_term(model, 8)
    assert list(made.modes) == ["3"]
    assert isinstance(model[3], BlockTermLinear)
    assert isinstance(model[5], nn.Linear)
    assert made.before == 36 + 144 * 48 + 240
    assert made.after == 36 + 240 + made.modes["3"].parameters == 276 + term_parameters(model) <= made.before / 8
    own = made.modes["3"]
    larger = replace(own, ranks=tuple(rank + 1 for rank in own.ranks))
    assert 276 + larger.parameters > made.before / 8
    assert not model.training
    assert model(x).shape == (2, 5)


def test_a_budget_of_multiplications():
    made = block_term(net(), 1.2, budget="multiplications", exclude=["5"], fit=False)
    (modes,) = made.modes.values()
    larger = replace(modes, ranks=tuple(rank + 1 for rank in modes.ranks))
    assert 1.2 * modes.multiplications <= 144 * 48 < 1.2 * larger.multiplications


def test_ranks_stay_within_what_can_be_fitted():
    model = nn.Sequential(nn.Linear(512, 512))
    shapes = _by_budget({"0": model[0]}, 512 * 512, 2, "parameters", 2, 3, True)
    assert shapes["0"].ranks == (12, 12, 12)
    assert _by_budget({"0": model[0]}, 512 * 512, 2, "parameters", 2, 3, False)["0"].ranks > (12, 12, 12)


def test_fitted_layers_are_near():
    """Of all ranks, as they were."""
    model, x = net(), torch.randn(4, 1, 8, 8)
    wanted = model(x)
    made = block_term(model, named={"5": Modes((6, 8), (5, 1), (30, 8), 1)})
    assert made.errors["5"] < 1e-10
    assert torch.allclose(model(x), wanted, atol=1e-5)


def test_from_scratch_the_seed_decides():
    models = [net() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        assert block_term(model, 8, fit=False, seed=seed).errors == {}
    cores = [model[3].cores for model in models]
    assert torch.equal(cores[0], cores[1])
    assert not torch.equal(cores[0], cores[2])


@pytest.mark.parametrize(("kind", "new"), [(nn.LSTM, BlockTermLSTM), (nn.GRU, BlockTermGRU)])
def test_recurrent_layers(kind, new):
    """Fitted with all ranks they are what they were."""
    torch.manual_seed(0)
    model, x = Spoken(kind).eval(), torch.randn(3, 5, 24)
    wanted = model(x)
    modes = Modes((4, 6), (2 * new.gates, 4), (8 * new.gates, 24), 1)
    made = block_term(model, named={"cells": modes})
    assert isinstance(model.cells, new)
    assert torch.allclose(model(x), wanted, atol=1e-5)
    rebuilt = rebuild(Spoken(kind), [made.record], model.state_dict())
    load_pruned(rebuilt, model.state_dict())
    assert torch.equal(rebuilt.eval()(x), model(x))
    by_budget = Spoken(kind)
    assert "cells" in block_term(by_budget, 2).modes


def test_convolutions_are_replaced_if_they_are_named():
    model, x = net(), torch.randn(2, 1, 8, 8)
    wanted = model(x)
    block_term(model, named={"0": Modes((1, 1), (2, 2), (2, 2, 3, 3), 1, (3, 3))})
    assert isinstance(model[0], BlockTermConv2d)
    assert torch.allclose(model(x), wanted, atol=1e-4)


def test_then_pruned_and_quantised():
    model, x = net(), torch.randn(8, 1, 8, 8)
    block_term(model, 8, example=x)
    pruned = prune(model, 2, example=x)
    assert pruned.weights == 36 + 240
    integer = quantize(model, x)
    real = integer(integer.quantize_input(x)) * integer.tensors[integer.output].scale
    assert (real - model(x)).abs().max() < 0.1 * model(x).abs().max()


def test_a_record_makes_the_model_again():
    model = net()
    made = block_term(model, 8)
    rebuilt = rebuild(net(), [made.record], model.state_dict())
    load_pruned(rebuilt, model.state_dict())
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(rebuilt.eval()(x), model(x))


def damaged(record, **changes):
    record = copy.deepcopy(record)
    record["layers"]["3"].update(changes)
    return record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: {"pass": "block-term"}, "names no layers"),
        (lambda record: {"pass": "block-term", "layers": {"3": 7}}, "the record of its block terms is damaged"),
        (lambda record: damaged(record, more=1), "the record of its block terms is damaged"),
        (lambda record: damaged(record, terms=7), "the saved cores are not those"),
        (lambda record: damaged(record, terms=2**40), "64 is the most"),
        (lambda record: damaged(record, inputs=[2**40, 2, 2]), "reads 144 and gives 48"),
        (lambda record: damaged(record, inputs="ab"), "must be integers from 1 on"),
        (lambda record: damaged(record, ranks=[0, 1, 1]), "must be integers from 1 on"),
        (lambda record: {"pass": "block-term", "layers": {"8": record["layers"]["3"]}}, "is not in the model"),
        (lambda record: {"pass": "block-term", "layers": {"": record["layers"]["3"]}}, "is not in the model"),
    ],
)
def test_records_that_do_not_fit(change, message):
    model = net()
    record = block_term(model, 8).record
    with pytest.raises(DarbError, match=message):
        rebuild(net(), [change(record)], model.state_dict())


def masked(model):
    prune(model, 2, example=torch.randn(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.5}, "ratio 0.5 must be a number from 1 up"),
        ({"ratio": "8"}, "ratio '8' must be a number from 1 up"),
        ({"terms": "2"}, "terms '2' must be 1 to 64"),
        ({"modes": 2.5}, "modes 2.5 must be 2 to 4"),
        ({"ratio": 1000}, "ratio 1000: block terms of rank 1 leave .* ask for .* at most"),
        ({"budget": "cycles"}, "budget 'cycles': choose one of parameters, multiplications"),
        ({"modes": 5}, "modes 5 must be 2 to 4"),
        ({"terms": 100}, "terms 100 must be 1 to 64"),
        ({"terms": 0}, "terms 0 must be 1 to 64"),
        ({"exclude": ["3", "5"]}, "no layer gets smaller with block terms of rank 1; exclude fewer layers"),
        ({"named": {}, "exclude": ["3"]}, "leave out what is excluded"),
        ({"exclude": ["7"]}, "layer '7': no such layer to replace; the model has 0, 3, 5"),
        ({"named": {"3": Modes((12, 12), (6, 7), (2, 2))}}, "layer '3': reads 144 and gives 48"),
        ({"named": {"0": Modes((1, 1), (2, 2), (2, 2))}}, r"layer '0': its kernel is \(3, 3\), not None"),
    ],
)
def test_what_is_refused(options, message):
    model = net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(DarbError, match=message):
        block_term(model, **options)
    assert {name: value.tolist() for name, value in model.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }


@pytest.mark.parametrize("size", [20, 24, 28, 30, 32, 36])
def test_the_ratio_that_is_said_to_work_works(size):
    made = nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU(), nn.Linear(2 * size, 3))
    with pytest.raises(DarbError, match="ask for") as caught:
        block_term(made, 1e6, modes=2)
    block_term(made, float(re.search(r"ask for ([\d.]+)", str(caught.value)).group(1)), modes=2)


def test_weights_that_are_not_finite_are_refused():
    model = net()
    with torch.no_grad():
        model[3].weight[2, 5] = torch.nan
    with pytest.raises(DarbError, match="layer '3', row 2: weight or bias is NaN"):
        block_term(model, 8)


def test_a_pruned_layer_is_refused():
    model = net()
    masked(model)
    with pytest.raises(DarbError, match="layer '3' is pruned; replace layers first"):
        block_term(model, 8)


def test_a_model_that_cannot_be_encoded_is_as_it_was():
    """A Linear at every position of a sequence."""
    model = nn.Sequential(nn.Linear(24, 24), nn.Flatten(1), nn.Linear(72, 3))
    with pytest.raises(DarbError, match="0: BlockTermLinear must read all values"):
        block_term(model, 2, example=torch.randn(1, 3, 24))
    assert isinstance(model[0], nn.Linear)


@pytest.mark.parametrize("kept", [(), ("first",)])
def test_a_layer_that_is_used_under_two_names_is_refused(kept):
    """Not replaced in one place and left in the other."""
    model = nn.Sequential()
    model.first = nn.Linear(64, 64)
    model.between, model.second, model.last = nn.ReLU(), model.first, nn.Linear(64, 64)
    x = torch.randn(1, 64)
    with pytest.raises(DarbError, match="Linear shares its weight with layer 'first'"):
        block_term(model, 1.1, exclude=kept, example=x)
    assert model.first is model.second
    assert isinstance(model.first, nn.Linear)
