"""Tables of curves: their entries word by word, their range, and how far results are from the floats."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from darb_prune.integer.domains import Domain, domains
from darb_prune.integer.encoder import encode
from darb_prune.integer.qat import FakeQuantized
from darb_prune.integer.quantization import quantize
from darb_prune.integer.ranges import calibrate
from tests.prune import integer_reference as reference
from tests.prune.frontend.capture.nets import Net
from tests.prune.integer.models import scale_of

ACTIVATIONS = {
    "leaky_relu": nn.LeakyReLU(0.2), "prelu": nn.PReLU(init=0.25), "elu": nn.ELU(0.7), "selu": nn.SELU(),
    "silu": nn.SiLU(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU("tanh"), "mish": nn.Mish(), "softplus": nn.Softplus(),
    "hardswish": nn.Hardswish(),
}  # fmt: skip


@given(st.floats(-1e6, 0), st.floats(0, 1e6), st.floats(1e-6, 1e-3))
def test_domain(low, high, least):
    domain = Domain.over(low, high, least)
    points = domain.points
    assert -128 <= domain.zero <= 127
    assert 0.0 in points
    assert domain.unit >= least
    assert abs(float(points[0]) - low) <= domain.unit / 2 or domain.unit == least
    assert float(points[-1]) >= high - domain.unit * 0.51
    assert domain.entry(points).tolist() == list(range(256))
    assert domain.entry(torch.tensor([2 * points[0] - 1, 2 * points[-1] + 1])).tolist() == [0, 255]


def trained(activation, spread=1.0, rows=24):
    net = nn.Sequential(nn.Linear(32, rows), activation, nn.Linear(rows, 4))
    nn.init.normal_(net[0].weight, 0, spread / math.sqrt(32))
    return net, torch.randn(2000, 32)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_entries_are_those_of_the_formula(name):
    net, x = trained(ACTIVATIONS[name])
    stages = capture(net, x[:2])
    ranges = calibrate(stages, [x], 8)
    (domain,) = domains(stages, [x], ranges).values()
    integer = quantize(net, x)
    matrix, target = integer.matrices[0], integer.tensors[integer.matrices[0].output]
    assert matrix.function.tolist() == [1] * 24
    real = [reference.CURVES[name]((i - domain.zero) * domain.unit) / target.scale for i in range(-128, 128)]
    wanted = [reference.clamp(round(value), target.qmin, target.qmax) for value in real]
    clear = [abs(value % 1 - 0.5) > 1e-6 for value in real]  # no tie
    found = matrix.tables[0].tolist()
    assert sum(clear) > 250
    assert [a for a, c in zip(found, clear, strict=True) if c] == [a for a, c in zip(wanted, clear, strict=True) if c]
    assert found[domain.zero + 128] == reference.clamp(round(reference.CURVES[name](0) / target.scale), -128, 127)


@pytest.mark.parametrize("spread", [0.02, 1, 4, 30])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_results_are_close_to_the_floats(name, spread):
    """In units of the output; rounding alone gives 0.29."""
    net, x = trained(ACTIVATIONS[name], spread)
    integer = quantize(net[:2], x)
    x = x[:400]
    exact = net[0](integer.quantize_input(x) * integer.tensors["input"].scale)
    weights = integer.matrices[0].weights[0] * (net[0].weight.abs().amax(1, keepdim=True) / 127)
    exact = net[1](exact - (integer.quantize_input(x) * integer.tensors["input"].scale) @ (net[0].weight - weights).T)
    error = integer(integer.quantize_input(x)) - exact.detach() / scale_of(integer)
    assert float(error.square().mean().sqrt()) < 0.42
    assert float(error.abs().max()) < 2.7


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_oracle_computes_the_formula(name):
    net, x = trained(ACTIVATIONS[name])
    integer = quantize(net, x)
    x = integer.quantize_input(x[:5])
    trace = integer.trace(x)
    frames = [reference.run(integer, [sample])[0] for sample in x.tolist()]
    for key, values in trace.items():
        assert values.tolist() == [frame[key] for frame in frames]
    encode(integer)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_training_sees_the_integer_model(name):
    net, x = trained(ACTIVATIONS[name])
    integer, fake = quantize(net, x), FakeQuantized(net, x, 8, 8)
    units, found = fake(x).double() / scale_of(integer), integer(integer.quantize_input(x)).double()
    assert ((units - found).abs() <= 1.01).double().mean() > 0.97
    fake(x).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_a_table_for_each_slope():
    net, x = trained(nn.PReLU(24))
    with torch.no_grad():
        net[1].weight[:] = torch.tensor([0.0, 0.1, 0.2, 0.3] * 6)
    integer = quantize(net, x)
    matrix = integer.matrices[0]
    assert matrix.tables.shape == (4, 256)
    assert matrix.tables[:, 255].tolist() == [matrix.tables[0, 255]] * 4
    lows = matrix.tables[matrix.function - 1, 0]
    assert torch.equal(lows, lows[:4].repeat(6))
    assert (lows[:4].diff() < 0).all()
    network = encode(integer)
    assert len(network.functions) == 4
    assert network.layers[0].row_function.tolist() == matrix.function.tolist()


def test_more_tables_than_rows_can_tell_apart():
    net, x = trained(nn.PReLU(256), rows=256)
    nn.init.uniform_(net[1].weight, 0, 1)
    integer = quantize(net, x, activation_bits=16)
    with pytest.raises(DarbError, match="layer '0': more than 255 tables of functions in the network"):
        encode(integer)


def test_a_function_behind_which_something_is_added_and_clamped():
    """Its negative values count, though the sum has none."""
    net = Net(lambda m, x: (m.b(x) + torch.tanh(m.a(x))).relu(), a=nn.Linear(6, 8), b=nn.Linear(6, 8))
    curved = Net(lambda m, x: (m.b(x) + nn.functional.elu(m.a(x))).relu(), a=net.a, b=net.b)
    x = torch.randn(500, 6)
    for model in (net, curved):
        integer = quantize(model, x)
        error = integer(integer.quantize_input(x)).double() - model(x).detach() / scale_of(integer)
        assert float(error.abs().max()) < 6


def test_functions_that_are_not_finite():
    net = Net(lambda m, x: torch.log(m.a(x).relu()) * 0, a=nn.Linear(6, 8))
    with pytest.raises(DarbError, match="value of the model is NaN or infinite"):
        quantize(net, torch.randn(50, 6))
    with pytest.raises(DarbError, match="layer 'rdiv': rdiv is not finite everywhere in 0 to "):
        quantize(Net(lambda m, x: 1 / (m.a(x).exp() + 1), a=nn.Linear(6, 8)), torch.randn(50, 6))


def test_values_that_are_always_the_same():
    net = nn.Sequential(nn.Linear(4, 3), nn.Softplus(), nn.Linear(3, 2), nn.SiLU())
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    integer = quantize(net, torch.zeros(5, 4))
    hidden = integer.trace(integer.quantize_input(torch.rand(5, 4)))["0.out"]
    assert hidden.unique().tolist() == [127]
    encode(integer)


def test_batches_change_nothing(monkeypatch):
    net, x = trained(nn.GELU())
    whole = quantize(net, x).matrices[0]
    assert torch.equal(quantize(net, [x[:700], x[700:]]).matrices[0].tables, whole.tables)
    monkeypatch.setattr("darb_prune.integer.ranges.CHUNK", 9000)
    assert (quantize(net, x).matrices[0].tables - whole.tables).abs().max() <= 4
