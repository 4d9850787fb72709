"""The quantised model against the float model; multipliers and what is refused."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from darb_prune.encoded import Level, Section
from darb_prune.errors import DarbError
from darb_prune.integer.arithmetic import function_table
from darb_prune.integer.encoder import encode
from darb_prune.integer.qat import FakeQuantized
from darb_prune.integer.quantization import multipliers, quantize
from darb_prune.modules.masked import LevelPruning, masked_weight
from darb_prune.pruning.methods import Darb
from darb_prune.pruning.one_shot import prune
from darb_prune.tasks.fsdd import Speech
from darb_prune.tasks.language import LanguageModel
from darb_prune.tasks.lenet import lenet5, lenet_300_100
from darb_prune.tasks.resnet import resnet20
from darb_prune.training.loop import finetune
from tests.prune.integer.models import CASES, Columns, Recurrent, error_of, model, scale_of, trained_norms


@given(st.lists(st.floats(1e-12, 3e4), min_size=1, max_size=20))
def test_multipliers(factors):
    factor = torch.tensor(factors, dtype=torch.float64)
    mult, shifts = multipliers(factor)
    (shift,) = set(shifts.tolist())
    assert 1 <= shift <= 47
    assert int(mult.min()) >= 0
    assert int(mult.max()) < 2**16
    assert torch.all((mult.double() / 2.0**shift - factor).abs() <= 0.5 / 2.0**shift)
    if shift < 47:  # one more and a row would leave 16 bits
        assert float((factor * 2.0 ** (shift + 1)).round().max()) >= 2**16


@given(st.lists(st.floats(1e-12, 7), min_size=1, max_size=20), st.integers(4, 16))
def test_multipliers_of_few_bits(factors, bits):
    factor = torch.tensor([*factors, (2 - 2**-20) / 8], dtype=torch.float64)  # the last one is rounded up to 1/4
    mult, shift = multipliers(factor, bits)
    assert int(shift.min()) >= 1
    assert int(shift.max()) <= 47
    assert int(mult.max()) < 1 << bits
    normal = shift < 47
    assert torch.all(mult[normal] >= 1 << (bits - 1))
    assert torch.all((mult / 2.0**shift / factor - 1).abs()[normal] <= 2.0**-bits)
    assert torch.all((mult / 2.0**shift - factor).abs() <= 0.5 / 2.0**shift)


@pytest.mark.parametrize(("bits", "words"), [(None, "16-bit mult"), (16, "16-bit mult"), (4, "4-bit mult")])
def test_multiplier_too_large(bits, words):
    with pytest.raises(DarbError, match=f"factor 4e.04 is too large for a {words}"):
        multipliers(torch.tensor([1.0, 40000.0], dtype=torch.float64), bits)


@pytest.mark.parametrize("bits", [3, 17, 0])
def test_multipliers_of_other_widths(bits):
    with pytest.raises(DarbError, match=f"mult bits {bits} must be 4 to 16"):
        quantize(model(4, 3), torch.rand(5, 4), mult_bits=bits)


@pytest.mark.parametrize("weight_bits", [4, 8])
@pytest.mark.parametrize("last_relu", [False, True])
def test_quantised_model_computes_what_the_float_model_does(weight_bits, last_relu):
    net, x = model(20, 32, 16, 5, last_relu=last_relu), torch.randn(300, 20)
    prune(net, 3)
    integer = quantize(net, x, weight_bits)
    assert error_of(integer, x, net(x)) < {4: 0.2, 8: 0.02}[weight_bits]
    for matrix in integer.matrices:
        (weight,), (kept,) = matrix.weights, matrix.kept
        top = (1 << (weight_bits - 1)) - 1
        assert -top <= int(weight.min())
        assert int(weight.max()) <= top
        assert torch.all(weight[~kept] == 0)


@pytest.mark.parametrize(("bits", "most"), [(8, 1.13), (10, 0.66), (16, 0.51)])
def test_row_parameters_of_few_bits(bits, most):
    """Off by so many steps of an output of 127 at most: ``2**(7 - bits)`` for the factor, a quarter of that for the
    bias, half a step for the rounding behind them."""
    net, x = model(20, 32, last_relu=True), torch.randn(300, 20)
    prune(net, 2, Darb(levels=[Level(1, 1)]))
    with torch.no_grad():
        net[0].weight_orig[3] *= 1e-2  # such a row has fewer bits of its weights
        net[0].weight_orig[4] /= 10  # and such a one a shift of its own
        net[0].bias[5] = 2.0
    exact, integer = quantize(net, x), quantize(net, x, mult_bits=bits)
    (matrix,), (wide,) = integer.matrices, exact.matrices
    assert 1 << (bits - 1) <= int(matrix.mult.min()) <= int(matrix.mult.max()) < 1 << bits
    same = (matrix.weights[0] == wide.weights[0]).all(dim=1)
    assert same.sum() == 31
    assert not same[3]
    assert matrix.shift[4] > matrix.shift[5]
    acc = integer.quantize_input(x) @ wide.weights[0].T + wide.bias
    real = (acc * (wide.mult / 2.0**wide.shift)).clamp(0, 127)
    found = integer(integer.quantize_input(x))
    assert torch.all((found - real).abs()[:, same] <= most)
    factor = float((matrix.mult / 2.0**matrix.shift).max())
    joined = int(matrix.bias[0])
    for bias in matrix.bias.tolist():
        joined = math.gcd(joined, bias)
    unit = joined & -joined  # the power of two that all biases are multiples of
    error = 2.0 ** (7 - bits) / 4
    assert torch.all((matrix.bias - wide.bias).abs()[same] <= unit / 2)
    assert unit == 1 or error / 4 < unit * factor / 2 <= error
    encode(integer)


@pytest.mark.parametrize("bias", [0.0, 3.0, -1e4, 1e-9])
@pytest.mark.parametrize("weight", [0.0, 1e-30, 1e-6])
def test_rows_of_nothing_but_bias(bias, weight):
    net, x = model(6, 4, 3), torch.rand(50, 6)
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1] = weight, bias
    integer = quantize(net, x, activation_bits=16)
    hidden = integer.matrices[0].output
    step = integer.tensors[hidden].scale
    real = integer.trace(integer.quantize_input(x))[hidden].double() * step
    expected = net[1](net[0](x)).double()
    assert torch.all((real - expected).abs()[:, 1] <= 0.02 * abs(bias) + step)
    encode(integer)  # biases and multipliers within the limits of the format


def test_model_of_zeros():
    net = model(4, 3, 2)
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    integer = quantize(net, torch.zeros(5, 4))
    assert not integer(integer.quantize_input(torch.rand(5, 4))).any()
    encode(integer)


def test_layer_without_bias_and_double_precision():
    net = nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)).double()
    integer = quantize(net, torch.randn(20, 5))
    assert not integer.matrices[0].bias.any()


def test_weight_quantised_to_zero_stays_a_code():
    net = nn.Sequential(nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([[1.0, 0, 1e-6, 0], [0, 1.0, 0, 1.0]])
    LevelPruning.apply(net[0], "weight", torch.tensor([[1, 1]] * 2))
    encoded = encode(quantize(net, torch.rand(9, 4)))
    assert encoded.layers[0].weight.tolist() == [127, 0, 127, 127]
    assert encoded.layers[0].index.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("removed", [False, True])
def test_removed_mask_gives_the_same_network(removed):
    net, x = model(16, 12, 4), torch.rand(30, 16)
    prune(net, 4)
    with torch.no_grad():  # a kept weight of exactly 0 becomes fill once the mask is gone; avoid it here
        assert masked_weight(net[0]).count_nonzero() == net[0].weight_mask.sum()
    reference = encode(quantize(net, x)).digest
    if removed:
        for index in (0, 2):
            torch_prune.remove(net[index], "weight")
    assert encode(quantize(net, x)).digest == reference


def test_fine_tuning_after_remove_is_noticed():
    net, x = model(16, 12), torch.rand(30, 16)
    LevelPruning.apply(net[0], "weight", torch.tensor([[2, 1]] * 12))
    torch_prune.remove(net[0], "weight")
    with torch.no_grad():
        net[0].weight[7] = 1.0
    with pytest.raises(DarbError, match=r"layer '0', row 7: a block of level \(2, 1\) holds more than 1 weights"):
        encode(quantize(net, x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 1}, "weight bits 1 must be 2 to 8"),
        ({"weight_bits": 9}, "weight bits 9 must be 2 to 8"),
        ({"activation_bits": 17}, "activation bits 17 must be 2 to 16"),
        ({"percentile": 0}, "percentile 0 must be above 0"),
        ({"calibration": []}, "calibration: no inputs"),
        ({"calibration": torch.zeros(0, 4)}, "calibration: no inputs"),
        ({"calibration": torch.full((2, 4), torch.nan)}, "calibration: an input is NaN"),
        ({"calibration": None}, "calibration: NoneType given"),
        ({"calibration": {"x": 1}}, "calibration: give a tensor"),
        ({"calibration": torch.tensor(1.0)}, "calibration: give a tensor"),
        ({"calibration": [torch.zeros(2, 4), torch.zeros(2, 3)]}, "calibration: inputs of 3 values"),
        ({"calibration": torch.zeros(2, 5)}, r"does not run on the example, \(\d, 5\)"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(DarbError, match=message):
        quantize(model(4, 3), **{"calibration": torch.rand(8, 4)} | options)


@pytest.mark.parametrize("relu", [True, False])
def test_an_empty_row_costs_the_other_rows_no_precision(relu):
    net, x = model(6, 4, last_relu=relu), torch.rand(50, 6)
    with torch.no_grad():
        net[0].weight *= 1e-3  # factors far below 1/256
        net[0].bias[:] = torch.tensor([1.0, 0.5, 0.25, 0.1])
    full = quantize(net, x).matrices[0]
    with torch.no_grad():
        net[0].weight[2] = 0
    thin = quantize(net, x).matrices[0]
    rows = torch.tensor([0, 1, 3])
    assert torch.equal(thin.shift, full.shift)
    assert torch.equal(thin.mult[rows], full.mult[rows])
    assert int(thin.mult.max()) >= 2**15
    assert int(thin.mult.max()) <= 256 * (int(thin.mult.min()) + 1)
    with torch.no_grad():
        net[0].weight[:] = 0
    empty = quantize(net, x).matrices[0]
    assert torch.allclose(empty.mult / 2.0**empty.shift, torch.tensor(1 / 256))


def test_factors_of_a_layer_stay_within_reach_of_one_shift_whatever_its_biases():
    net, x = model(6, 4), torch.rand(50, 6)
    with torch.no_grad():
        net[0].bias[1] = 1e9
    layer = quantize(net, x, activation_bits=16).matrices[0]
    assert int(layer.mult.max()) <= 256 * int(layer.mult.min()) + 256
    assert int(layer.bias.abs().max()) <= 2**30


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_other_precisions(kind, bits):
    net, x = model(6, 8, 3), torch.rand(32, 6)
    prune(net, 2)
    expected = quantize(net, x).matrices
    net.to(kind)
    for matrix, wanted in zip(quantize(net, x).matrices, expected, strict=True):
        assert (matrix.weights[0] - wanted.weights[0]).abs().max() <= 1
    if kind is torch.float64:
        data = [(x.to(kind), torch.zeros(32, dtype=torch.int64))]
        assert finetune(net, data, 2, weight_bits=bits, progress=False)[1] > 0


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("weight_bits", "bits"), [(8, 8), (8, 16), (4, 8)])
def test_every_kind_of_network(case, weight_bits, bits):
    net, x = CASES[case]()
    prune(net, 2, example=x)
    integer = quantize(net, x, weight_bits, bits)
    # The tables of cells have steps of 1/16 and 1/32, whatever the bits.
    assert error_of(integer, x, net(x)) < {4: 0.35, 8: 0.06}[weight_bits]
    with torch.no_grad():
        fake = FakeQuantized(net, x, weight_bits, bits)(x).double() / scale_of(integer)
    found = integer(integer.quantize_input(x)).double()
    assert fake.shape == found.shape == net(x).shape
    close = (fake - found).abs() <= (2.01 if bits == 8 else 600)
    assert close.double().mean() > 0.97
    encoded = encode(integer)
    assert encoded.kept < encoded.weights
    assert encoded.recurrent == (case not in ("residual", "padded", "curves") and not case.startswith("columns"))


MODELS = {
    "lenet-300-100": (lenet_300_100, (784,)),
    "lenet-5": (lenet5, (1, 28, 28)),
    "resnet-20": (resnet20, (3, 32, 32)),
    "speech": (Speech, (10, 40)),
    "characters": (partial(LanguageModel, 65, 64, 128), 10),
    "words": (partial(LanguageModel, 200, 40, 40, 2, 0.5, 0.1), 10),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_of_the_tasks(name):
    build, shape = MODELS[name]
    net, symbols = build().eval(), isinstance(shape, int)
    x = torch.randint(0, 60, (8, shape)) if symbols else torch.randn(8, *shape)
    if name == "resnet-20":
        trained_norms(net, *shape)
    prune(net, 2)
    integer = quantize(net, x)
    expected = net(x)
    assert error_of(integer, x, expected[0] if symbols else expected) < 0.15
    encoded = encode(integer)
    assert encoded.emit == ("last" if name == "speech" else "step")
    assert encoded.recurrent == (name in ("speech", "characters", "words"))


class Shortcut(nn.Module):
    """What cells give out is added to what leaves -1 to 1."""

    def __init__(self):
        super().__init__()
        self.first, self.output = nn.Linear(6, 8), nn.Linear(8, 3)
        self.cells, self.again = nn.LSTM(8, 8, batch_first=True), nn.LSTM(8, 8, batch_first=True)

    def forward(self, x):
        x = self.first(x)
        one, _ = self.cells(x)
        two, _ = self.again(one)
        return self.output(x + one + two)


def test_outputs_of_cells_are_added_at_the_scale_of_the_sum():
    net, x = Shortcut(), 4 * torch.randn(30, 5, 6)
    integer = quantize(net, x)
    assert error_of(integer, x, net(x)) < 0.05
    with torch.no_grad():
        fake = FakeQuantized(net, x, 8, 8)(x).double() / scale_of(integer)
    assert (fake - integer(integer.quantize_input(x)).double()).abs().max() < 2.01
    encode(integer)


def test_models_that_take_steps_first():
    first, x = nn.LSTM(6, 5, batch_first=False), torch.randn(7, 9, 6)
    same = nn.LSTM(6, 5, batch_first=True)
    same.load_state_dict(first.state_dict())
    one = quantize(nn.Sequential(first), [x[:, :4], x[:, 4:]])
    other = quantize(nn.Sequential(same), x.transpose(0, 1))
    assert encode(one).digest == encode(other).digest
    assert FakeQuantized(first, x, 8, 8)(x).shape == (7, 9, 5)


def test_average_pooling_has_weights_of_one():
    net, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 2)), None
    x = torch.rand(9, 1, 6, 6)
    integer = quantize(net, x)
    mean = integer.matrices[1]
    assert mean.window.depthwise
    assert mean.weights[0].tolist() == torch.ones(2, 1, 2, 2).tolist()
    source, target = (integer.tensors[name] for name in (*mean.inputs, mean.output))
    assert torch.allclose(mean.mult / 2.0**mean.shift, torch.tensor(source.scale / target.scale / 4), rtol=1e-4)
    assert (target.qmin, source.qmin) == (0, 0)


def test_cells_symbols_and_functions():
    net, x = Recurrent("GRU", True, 300), torch.randint(0, 300, (9, 4))
    with torch.no_grad():
        net.embedding.weight[3] *= 100  # nobody calibrates with it
    x[x == 3] = 4
    integer = quantize(net, x, activation_bits=6)
    source = integer.tensors[integer.input]
    assert (source.bits, source.qmin, source.qmax, source.scale) == (10, 0, 299, 1.0)
    (embedding,) = [stage for stage in integer.stages if hasattr(stage, "table")]
    assert (int(embedding.table.min()), int(embedding.table.max())) == (-32, 31)
    for cell in (stage for stage in integer.stages if hasattr(stage, "gates")):
        assert integer.tensors[cell.gates].bits == 16
        output = integer.tensors[cell.output]
        assert (output.bits, output.qmin, output.qmax, output.scale) == (6, -32, 31, 2.0**-5)
    tables = [matrix.tables for matrix in integer.matrices if matrix.tables is not None]
    assert all(torch.equal(table, function_table("sigmoid")[None]) for table in tables)
    assert len(tables) == 2


def test_an_order_of_channels_reaches_every_layer():
    net, x = CASES["residual"]()
    prune(net, 2, Darb(order="spread"))
    encoded = encode(quantize(net, x))
    assert sum(tensor.order is not None for tensor in encoded.tensors) >= 2


def test_networks_that_have_no_integers():
    with pytest.raises(DarbError, match="40000 symbols; at most 32768"):
        quantize(Recurrent("LSTM", True, 40000), torch.zeros(2, 3, dtype=torch.int64))
    net, x = CASES["lstm"]()
    with pytest.raises(DarbError, match=r"calibration: inputs of 5 values \(float32\), Recurrent reads 6 floats"):
        quantize(net, [x, torch.rand(2, 7, 5)])
    with torch.no_grad():
        net.cells.bias_hh_l1[5] = torch.nan
    with pytest.raises(DarbError, match=r"layer 'cells.1', row 5: weight or bias is NaN"):
        quantize(net, x)


@pytest.mark.parametrize("channels", [5, 8])
def test_pruned_layers_that_read_columns_of_several_lines(channels):
    """Blocks of an LSTM that were cut through the end of a line: the file has levels of its own for them."""
    net, x = Columns("LSTM", channels), torch.randn(20, 1, 4, 14)
    prune(net, 3, Darb(), example=x)
    integer = quantize(net, x)
    encoded = encode(integer)
    assert encoded.sections == (Section(1, 2), Section(2, 3, True), Section(5, 6), Section(6, 7, True))
    for layer, matrix in zip(encoded.layers, integer.matrices, strict=True):
        if matrix.name == "cells.0":
            assert [(part.length, part.line) for part in layer.segments] == [(channels, 0), (channels, 1), (7, 0)]
            own = [list(map(int, (layer.levels[n].bits, layer.levels[n].kept))) for n in layer.row_level]
            assert (own == matrix.levels.tolist()) == (channels == 8)
            assert (layer.weight != 0).sum() == sum(int((weight != 0).sum()) for weight in matrix.weights)
