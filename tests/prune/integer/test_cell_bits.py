"""Bits of what cells write: chosen so that rounding changes least."""

import pytest
import torch
from torch import nn

from darb_prune import DarbError, quantize
from darb_prune.integer import cell_bits
from darb_prune.integer.qat import FakeQuantized
from tests.prune.integer.models import error_of


def bits_of(integer) -> set[int]:
    return {integer.tensors[stage.output].bits for stage in integer.stages if hasattr(stage, "kind")}


class One(nn.Module):
    """A layer of cells and what looks at them."""

    def __init__(self, kind: str):
        super().__init__()
        self.cells, self.output = getattr(nn, kind)(6, 24, batch_first=True), nn.Linear(24, 4)

    def forward(self, x):
        return self.output(self.cells(x)[0])


def uneven(kind: str) -> tuple[nn.Module, torch.Tensor]:
    """Inputs much larger than what the cells write, which weighs as much."""
    torch.manual_seed(3)
    net = One(kind)
    for name, parameter in net.cells.named_parameters():
        parameter.data *= 4 if "weight_hh" in name else 1
    return net, 8 * torch.randn(40, 12, 6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_cells_get_fewer_bits_where_weights_have_few(kind, monkeypatch):
    net, x = uneven(kind)
    expected = net(x)
    chosen = quantize(net, x, 4)
    (bits,) = bits_of(chosen)
    assert 4 <= bits < 8
    monkeypatch.setattr(cell_bits, "FEWER", 0)
    fixed = quantize(net, x, 4)
    assert bits_of(fixed) == {8}
    assert error_of(chosen, x, expected) < 0.8 * error_of(fixed, x, expected)


def test_bits_that_are_asked_for():
    net, x = uneven("GRU")
    assert bits_of(quantize(net, x, 4, cell_bits=8)) == {8}
    assert bits_of(quantize(net, x, cell_bits=5)) == {5}
    fake = FakeQuantized(net, x, 4, 8, cell_bits=5)
    assert {fake.ranges[stage.output].bits for stage in fake.stages.stages if hasattr(stage, "kind")} == {5}
    for bits in (1, 9):
        with pytest.raises(DarbError, match=f"cell bits {bits} must be 2 to 8, the bits of activations"):
            quantize(net, x, cell_bits=bits)


def test_training_keeps_the_bits_that_it_began_with():
    net, x = uneven("LSTM")
    fake = FakeQuantized(net, x, 4, 8)
    assert {fake.cell_bits} == bits_of(quantize(net, x, 4))
    before = fake.cell_bits
    for parameter in net.parameters():
        parameter.data /= 100
    fake.update()
    assert fake.cell_bits == before
    assert {fake.ranges[stage.output].bits for stage in fake.stages.stages if hasattr(stage, "kind")} == {before}


def test_few_bits_are_not_made_fewer():
    net, x = uneven("LSTM")
    assert bits_of(quantize(net, x, 4, 3)) == {3}
    assert bits_of(quantize(net, x, 2, 5)) <= {4, 5}
