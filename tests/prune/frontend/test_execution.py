"""Stages written by hand against torch, and what hooks see and replace."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.frontend.execution import Hooks, folded, padded, run
from darb_prune.frontend.stages import (
    Addend,
    CellStage,
    EmbeddingStage,
    Matrix,
    Stages,
    StageSection,
    Value,
    Weight,
    Window,
)
from darb_prune.modules.layers import Part
from darb_prune.modules.masked import apply_mask, regrowing
from darb_prune.patterns.masks import level_mask, level_rows


def whole(module, name="weight", rows=None):
    return Weight(Part(module, name), rows)


def of(stages, shapes, **options):
    names = list(shapes)
    return Stages("Net", names[0], names[-1], {n: Value(n, s) for n, s in shapes.items()}, tuple(stages), **options)


def lstm(module, number=0, source="x", **cell):
    units = module.hidden_size
    weights = whole(module, f"weight_ih_l{number}"), whole(module, f"weight_hh_l{number}")
    bias = lambda: getattr(module, f"bias_ih_l{number}") + getattr(module, f"bias_hh_l{number}")  # noqa: E731
    functions = ("sigmoid", 2 * units), ("tanh", units), ("sigmoid", units)
    names = f"g{number}", f"h{number}"
    return [
        Matrix(f"lstm.{number}", names[0], 4 * units, (source, names[1]), weights, bias, functions=functions),
        CellStage(f"cell.{number}", "lstm", *names, units, **cell),
    ]


def gru(module, **cell):
    units = module.hidden_size
    bias = {name: getattr(module, f"bias_{name}_l0") for name in ("ih", "hh")}
    rz, n = (0, 2 * units), (2 * units, 3 * units)
    both = [whole(module, "weight_ih_l0", rz), whole(module, "weight_hh_l0", rz)]
    new = [whole(module, "weight_ih_l0", n)], [whole(module, "weight_hh_l0", n)]
    total = lambda: (bias["ih"] + bias["hh"])[: 2 * units]  # noqa: E731
    return [
        Matrix("n_x", "g", units, ("x",), tuple(new[0]), lambda: bias["ih"][2 * units :], 2 * units),
        Matrix("rz", "g", 2 * units, ("x", "h"), tuple(both), total, functions=(("sigmoid", 2 * units),)),
        Matrix("n_h", "g", units, ("h",), tuple(new[1]), lambda: bias["hh"][2 * units :], 3 * units),
        CellStage("cell", "gru", "g", "h", units, **cell),
    ]


def test_two_layers_of_lstm_with_a_head_and_a_tail():
    table, module, out = nn.Embedding(7, 5), nn.LSTM(5, 4, 2, batch_first=True).double(), nn.Linear(4, 3)
    table, out = table.double(), out.double()
    stages = [
        EmbeddingStage("table", "x", table), *lstm(module), *lstm(module, 1, "h0"),
        Matrix("out", "y", 3, ("h1",), (whole(out),), lambda: out.bias),
    ]  # fmt: skip
    sizes = {"t": 1, "x": 5, "g0": 16, "h0": 4, "g1": 16, "h1": 4, "y": 3}
    shapes = {name: (size, 1, 1) for name, size in sizes.items()}
    net = of(stages, shapes, recurrent=True)
    assert net.delayed == ("h0", "h1")
    tokens = torch.randint(7, (3, 6))
    values = run(net, tokens)
    hidden, _ = module(table(tokens))
    assert values["y"].shape == (3, 6, 3, 1, 1)
    assert torch.allclose(values["h1"].flatten(2), hidden)
    assert torch.allclose(values["y"].flatten(2), out(hidden))
    values["y"].sum().backward()
    found = [parameter.grad.clone() for parameter in (*module.parameters(), table.weight)]
    module.zero_grad(), table.zero_grad()
    out(module(table(tokens))[0]).sum().backward()
    for grad, parameter in zip(found, (*module.parameters(), table.weight), strict=True):
        assert torch.allclose(grad, parameter.grad)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_initial_states(kind):
    module = (nn.LSTM if kind == "lstm" else nn.GRU)(3, 4, batch_first=True).double()
    h, c = torch.randn(2, 4).double()
    gates, out = ("g0", "h0") if kind == "lstm" else ("g", "h")
    stages = lstm(module, state=c) if kind == "lstm" else gru(module, state=h)
    net = of(stages, {"x": (3, 1, 1), gates: (16, 1, 1), out: (4, 1, 1)}, recurrent=True, initial={out: h})
    x = torch.randn(2, 5, 3).double()
    state = h.expand(1, 2, 4).contiguous()
    state = (state, c.expand(1, 2, 4).contiguous()) if kind == "lstm" else state
    assert torch.allclose(run(net, x)[out].flatten(2), module(x, state)[0])


def test_a_gru_without_states_given():
    module = nn.GRU(3, 4, batch_first=True).double()
    net = of(gru(module), {"x": (3, 1, 1), "g": (16, 1, 1), "h": (4, 1, 1)}, recurrent=True)
    x = torch.randn(2, 5, 3).double()
    values = run(net, x)
    assert torch.allclose(values["h"].flatten(2), module(x)[0])
    assert values["g"].shape == (2, 5, 16, 1, 1)


@pytest.mark.parametrize("backward", [False, True])
def test_a_section(backward):
    """Columns of a map of two lines, from an initial state, with gradient."""
    module = nn.LSTM(6, 4, batch_first=True).double()
    h, c = torch.randn(2, 4).double()
    shapes = {"x": (3, 2, 5), "g0": (16, 1, 5), "h0": (4, 1, 5)}
    net = of(lstm(module, state=c), shapes, initial={"h0": h}, sections=(StageSection(0, 2, backward),))
    x = torch.randn(2, 3, 2, 5).double()
    columns = x.permute(0, 3, 1, 2).flatten(2)
    state = (h.expand(1, 2, 4).contiguous(), c.expand(1, 2, 4).contiguous())
    expected = module(columns.flip(1), state)[0].flip(1) if backward else module(columns, state)[0]
    values = run(net, x)
    assert {name: value.shape[1:] for name, value in values.items()} == shapes
    assert torch.allclose(values["h0"], expected.transpose(1, 2)[:, :, None])
    values["h0"].sum().backward()
    found = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    expected.sum().backward()
    assert all(torch.allclose(a, b.grad) for a, b in zip(found, module.parameters(), strict=True))


def block():
    conv, norm = nn.Conv2d(4, 6, 3, 2, 1, bias=False).double(), nn.BatchNorm2d(6).double().eval()
    with torch.no_grad():
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), norm.weight.normal_(), norm.bias.normal_()
    window = Window((3, 3), (2, 2), (1, 1, 1, 1))
    stage = Matrix("conv", "y", 6, ("x",), (whole(conv),), norm=norm, window=window, low=0.0, high=6.0)
    return conv, norm, stage


def test_folded_norm_and_a_shortcut_with_stride_and_zero_channels():
    conv, norm, stage = block()
    stage = Matrix(**vars(stage) | {"operand": Addend("x", (2, 2), 1)})
    x = torch.randn(3, 4, 7, 8).double()
    y = run(of([stage], {"x": (4, 7, 8), "y": (6, 4, 4)}), x)["y"]
    assert torch.allclose(y, F.relu6(norm(conv(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))))
    y.sum().backward()
    assert conv.weight.grad.any()
    assert norm.weight.grad.any()


def test_pooling_drops_what_is_left_over():
    conv, norm, stage = block()
    stage = Matrix(**vars(stage) | {"pool": (2, 2)})
    x = torch.randn(3, 4, 9, 9).double()
    y = run(of([stage], {"x": (4, 9, 9), "y": (6, 2, 2)}), x)["y"]
    assert torch.allclose(y, F.max_pool2d(F.relu6(norm(conv(x))), 2))


def test_taps_of_an_overlapping_maximum():
    windows = [Window((1, 1), (2, 2), (1, 1, 1, 1), True, divmod(n, 3)) for n in range(9)]
    stages = [
        Matrix(f"tap{n}", "y", 4, ("x",), (Weight(),), window=window, maximum=True) for n, window in enumerate(windows)
    ]
    x = torch.rand(3, 4, 7, 8)
    assert torch.equal(run(of(stages, {"x": (4, 7, 8), "y": (4, 4, 4)}), x)["y"], F.max_pool2d(x, 3, 2, 1))


def test_averages_and_concatenation():
    options = {"rows": 2, "window": Window((2, 2), (2, 2), depthwise=True), "factor": 0.25}
    functions = ("tanh", 1), (None, 1)
    stages = [
        Matrix("a", "y", inputs=("x",), weights=(Weight(),), **options),
        Matrix("b", "y", inputs=("x",), weights=(Weight(),), offset=1.0, functions=functions, first=2, **options),
    ]
    x = torch.randn(3, 2, 4, 6).double()
    mean = F.avg_pool2d(x, 2)
    wanted = torch.cat([mean, (mean[:, :1] + 1).tanh(), mean[:, 1:] + 1], dim=1)
    assert torch.allclose(run(of(stages, {"x": (2, 4, 6), "y": (4, 2, 3)}), x)["y"], wanted)


def test_masked_weights_and_regrowing():
    linear = nn.Linear(8, 4)
    apply_mask(linear, level_mask(linear.weight, level_rows(Level(2, 1), len(linear.weight))))
    net = of([Matrix("fc", "y", 4, ("x",), (whole(linear),), lambda: linear.bias)], {"x": (8, 1, 1), "y": (4, 1, 1)})
    x = torch.randn(5, 8)
    assert torch.allclose(run(net, x)["y"].flatten(1), linear(x), atol=1e-6)
    with regrowing(linear):
        run(net, x)["y"].sum().backward()
    assert linear.weight_orig.grad.all()


def test_padding_that_is_not_symmetric():
    x = torch.rand(1, 2, 5, 4)
    window = Window((2, 3), (1, 1), (0, 1, 1, 1))  # "same": one line behind, none before
    assert torch.equal(padded(x, window, (5, 4)), F.pad(x, (1, 1, 0, 1)))
    assert padded(x, Window((1, 1), (2, 2)), (2, 2)).shape == (1, 2, 3, 3)


class Seen(Hooks):
    """Everything replaced by something that can be counted."""

    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        if name in ("weight", "bias", "pre_activation", "stored", "gate", "state", "cell_output"):

            def hook(*args):
                what = args[0] if isinstance(args[0], str) else args[0].name
                self.calls.append((name, what, *args[1:-1], tuple(args[-1].shape)))
                return args[-1] * 0 + 0.5

            return hook
        return super().__getattribute__(name)


def test_hooks():
    module, hooks = nn.LSTM(3, 4), Seen()
    net = of(lstm(module), {"x": (3, 1, 1), "g0": (16, 1, 1), "h0": (4, 1, 1)}, recurrent=True)
    values = run(net, torch.randn(2, 5, 3), hooks)
    assert (values["h0"] == 0.5).all()
    assert (values["x"] == 0.5).all()
    once = [
        ("weight", "lstm.0", 0, (16, 3)), ("weight", "lstm.0", 1, (16, 4)), ("bias", "lstm.0", (16,)),
        ("stored", "x", (10, 3, 1, 1)),
    ]  # fmt: skip
    step = [
        ("pre_activation", "lstm.0", "sigmoid", (2, 8, 1, 1)), ("pre_activation", "lstm.0", "tanh", (2, 4, 1, 1)),
        ("pre_activation", "lstm.0", "sigmoid", (2, 4, 1, 1)), ("gate", "lstm.0", (2, 16, 1, 1)),
        ("state", "cell.0", (2, 4, 1, 1)), ("pre_activation", "cell.0", "tanh", (2, 4, 1, 1)),
        ("cell_output", "cell.0", (2, 4, 1, 1)),
    ]  # fmt: skip
    assert hooks.calls == once + step * 5


def test_hooks_see_folded_weights():
    conv, norm, stage = block()
    weights, bias = folded(Matrix(**vars(stage) | {"factor": 0.5, "offset": 1.0}))
    x = torch.randn(3, 4, 7, 8).double()
    assert torch.allclose(F.conv2d(x, weights[0], bias, 2, 1), norm(conv(x)) / 2 + 1)
    net = of([stage], {"x": (4, 7, 8), "y": (6, 4, 4)})
    hooks = Seen()
    assert (run(net, x, hooks)["y"] == 0.5).all()
    assert [call[0] for call in hooks.calls] == ["weight", "bias", "stored", "stored"]


@pytest.mark.parametrize("shape", [(2, 5), (2, 0, 3), (3,), (0, 2, 3)])
def test_inputs_of_another_shape(shape):
    net = of(lstm(nn.LSTM(3, 4)), {"x": (3, 1, 1), "g0": (16, 1, 1), "h0": (4, 1, 1)}, recurrent=True)
    with pytest.raises(DarbError, match=r"Net: inputs of shape .*; \(samples, steps\) and \(3, 1, 1\) are needed"):
        run(net, torch.zeros(shape))
