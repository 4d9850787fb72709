"""TFLite files: scales, integers and operators against the reference kernels of LiteRT."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from darb_prune import check, encode, finetune, load_tflite, prune, quantize
from darb_prune.cli import app
from darb_prune.errors import ModelError
from darb_prune.frontend.tflite.reading import read_graph
from tests.tflite_graphs import PER_ROW, RELU, VALID, Graph, interpreted, pool, tiny_cnn

FIRST = 0.0625
"""Scale of what :func:`first` writes."""


def first(shape=(6, 6, 2), rows=4, zero=-3):
    """A layer that both compute exactly: all scales are powers of two, and nothing is rounded."""
    graph = Graph(shape, 0.5, 5)
    weight = graph.drawn(rows, 1, 1, shape[-1], low=-3, high=3)
    inputs = [graph.source, graph.constant(weight, [0.125] * rows), graph.constant(np.int32(rows * [7]), FIRST)]
    return graph, graph.node("CONV_2D", inputs, (*shape[:-1], rows), FIRST, zero)


def real(graph, x):
    """What the integers of the input stand for."""
    source = graph.tensors[graph.source]
    return torch.from_numpy((x.astype(np.float64) - source["zero"][0]) * source["scale"][0]).float()


def zeros(graph, number):
    return 0 if graph.tensors[number]["zero"] is None else int(graph.tensors[number]["zero"][0])


def difference(tmp_path, graph, *outputs, samples=40, **options):
    """How far the integers are from those of the interpreter; the integer network too."""
    path = graph.save(tmp_path / "model.tflite", *outputs)
    x = graph.drawn(samples, *graph.tensors[graph.source]["shape"][1:], low=-128)
    model = load_tflite(path)
    integer = quantize(model, real(graph, x), **options)
    encode(integer)
    wanted = [
        values.long().flatten(1) - zeros(graph, number)
        for number, values in zip(outputs, interpreted(path, x, outputs), strict=True)
    ]
    found = integer(integer.quantize_input(real(graph, x))).flatten(1)
    return (found - torch.cat(wanted, 1)).abs(), integer


def pooled(kind, kernel, stride, shape, **options):
    return lambda g, h: pool(g, h, kind, kernel, stride, shape, FIRST, -3, **options)


def flat(g, h):
    return g.node("RESHAPE", [h, g.numbers(1, 144)], (144,), FIRST, -3)


def above(g, h):
    """``h`` behind a ReLU."""
    return g.node("RELU", [h], g.tensors[h]["shape"][1:], FIRST, -3)


def other(g, scale=FIRST, zero=9):
    """A second tensor, of the shape of the first layer."""
    weight = g.drawn(4, 1, 1, 2, low=-3, high=3)
    inputs = [g.source, g.constant(weight, [0.125] * 4), g.constant(np.int32([3, -5, 9, 0]), 0.0625)]
    return g.node("CONV_2D", inputs, (6, 6, 4), scale, zero)


def gate(g, h):
    """Squeeze and excitation."""
    mean = g.node("MEAN", [h, g.numbers(1, 2)], (1, 1, 4), 0.03, -3, KeepDims=True)
    rows = g.conv(mean, (1, 1, 4), (1, 1), 0.01, 0.05, 0)
    return g.node("MUL", [h, g.node("LOGISTIC", [rows], (1, 1, 4), 2.0**-8, -128)], (6, 6, 4), 0.05, 2)


IMAGE = (6, 6, 4)
EXACT, ROUNDED, TIES = (0, 0), (1, 0.006), (1, 0.15)
MEAN = (1, 0.35)  # the zero point of the input is rounded by itself there
OPERATORS = {
    "conv, same": (lambda g, h: g.conv(h, IMAGE, (3, 3), PER_ROW, 0.1, 14), ROUNDED),
    "conv, same, stride 2": (lambda g, h: g.conv(h, (3, 3, 4), (3, 2), PER_ROW, 0.1, StrideH=2, StrideW=2), ROUNDED),
    "conv, valid": (lambda g, h: g.conv(h, (4, 4, 3), (3, 3), 0.003, 0.1, **VALID), ROUNDED),
    "conv, dilated": (lambda g, h: g.conv(h, IMAGE, (3, 3), 0.003, 0.1, DilationHFactor=2), ROUNDED),
    "conv, relu6": (lambda g, h: g.conv(h, IMAGE, (3, 3), 0.003, 0.05, FusedActivationFunction=3), ROUNDED),
    "conv, -1 to 1": (lambda g, h: g.conv(h, IMAGE, (3, 3), 0.003, 0.02, FusedActivationFunction=2), ROUNDED),
    "depthwise": (lambda g, h: g.depthwise(h, IMAGE, (3, 3), PER_ROW, 0.1, -14, **RELU), ROUNDED),
    "depthwise, multiplier": (
        lambda g, h: g.depthwise(h, (3, 3, 8), (3, 3), 0.003, 0.1, StrideH=2, StrideW=2), ROUNDED,
    ),
    "dense of an image": (lambda g, h: g.fc(h, 5, 0.001, 0.1, 3), ROUNDED),
    "flattened": (lambda g, h: g.fc(flat(g, h), 5, 0.001, 0.1, 3), ROUNDED),
    "flattened, relu": (lambda g, h: g.fc(g.node("RELU", [flat(g, h)], (144,), FIRST, -3), 5, 0.001, 0.1), ROUNDED),
    "max": (pooled("MAX_POOL_2D", 2, 2, (3, 3, 4)), EXACT),
    "max, overlapping": (lambda g, h: pooled("MAX_POOL_2D", 3, 2, (3, 3, 4), Padding=0)(g, above(g, h)), EXACT),
    "average": (pooled("AVERAGE_POOL_2D", 3, 3, (2, 2, 4)), ROUNDED),
    "average, ties": (pooled("AVERAGE_POOL_2D", 2, 2, (3, 3, 4)), TIES),
    "mean": (lambda g, h: g.node("MEAN", [h, g.numbers(1, 2)], (4,), FIRST, -3), TIES),
    "mean, other scales": (lambda g, h: g.node("MEAN", [h, g.numbers(1, 2)], (1, 1, 4), 0.04, 7, KeepDims=True), MEAN),
    "mean of lines": (lambda g, h: g.node("MEAN", [h, g.numbers(1)], (1, 6, 4), 0.04, 7, KeepDims=True), MEAN),
    "greatest": (lambda g, h: g.node("REDUCE_MAX", [h, g.numbers(1, 2)], (4,), FIRST, -3), EXACT),
    "add": (lambda g, h: g.node("ADD", [h, other(g)], IMAGE, FIRST, 4), EXACT),
    "add, relu": (lambda g, h: g.node("ADD", [h, other(g)], IMAGE, FIRST, -128, **RELU), EXACT),
    "add, other scales": (lambda g, h: g.node("ADD", [h, other(g, 0.125)], IMAGE, 0.09, 4), (1, 0.25)),
    "sub": (lambda g, h: g.node("SUB", [h, other(g)], IMAGE, FIRST, 4), EXACT),
    "add a number": (lambda g, h: g.node("ADD", [h, g.constant(np.int8([9]), 0.1)], IMAGE, 0.07, 4), TIES),
    "mul": (lambda g, h: g.node("MUL", [h, other(g)], IMAGE, 0.3, 4), (1, 0.01)),
    "mul by a number": (lambda g, h: g.node("MUL", [h, g.constant(np.int8([-90]), 0.01)], IMAGE, 0.07, 4), ROUNDED),
    "gate": (gate, (2, 0.1)),
    "pad": (
        lambda g, h: g.conv(
            g.node("PAD", [h, g.constant(np.int32([[0, 0], [1, 0], [2, 1], [0, 0]]))], (7, 9, 4), FIRST, -3),
            (5, 7, 4), (3, 3), 0.003, 0.1, **VALID,
        ),
        ROUNDED,
    ),
    "quantize": (lambda g, h: g.node("QUANTIZE", [h], IMAGE, 0.09, 7), ROUNDED),
    "relu": (lambda g, h: g.node("RELU", [h], IMAGE, 0.09, -128), ROUNDED),
    "relu6": (lambda g, h: g.node("RELU6", [h], IMAGE, 6 / 255, -128), ROUNDED),
    "logistic": (lambda g, h: g.node("LOGISTIC", [h], IMAGE, 2.0**-8, -128), EXACT),
    "tanh": (lambda g, h: g.node("TANH", [h], IMAGE, 2.0**-7, 0), EXACT),
    "hard swish": (lambda g, h: g.node("HARD_SWISH", [h], IMAGE, 0.05, -100), TIES),
    "leaky relu": (lambda g, h: g.node("LEAKY_RELU", [h], IMAGE, FIRST, -3, Alpha=0.1), TIES),
    "concatenation": (
        lambda g, h: g.node("CONCATENATION", [h, other(g, zero=-3)], (6, 6, 8), FIRST, -3, Axis=-1), EXACT,
    ),
    "split": (
        lambda g, h: g.conv(
            g.node("SPLIT", [g.numbers(3), h], (6, 6, 2), FIRST, -3, count=2, NumSplits=2)[1],
            IMAGE, (3, 3), 0.003, 0.1,
        ),
        ROUNDED,
    ),
    "strided slice": (
        lambda g, h: g.node(
            "STRIDED_SLICE", [h, g.numbers(0, 1, 0, 1), g.numbers(0, 6, 5, 4), g.numbers(1, 2, 1, 1)], (3, 5, 3),
            FIRST, -3, BeginMask=1, EndMask=1,
        ),
        EXACT,
    ),
    "slice": (
        lambda g, h: g.node("SLICE", [h, g.numbers(0, 1, 0, 0), g.numbers(-1, 4, 6, -1)], (4, 6, 4), FIRST, -3), EXACT,
    ),
    "transposed twice": (
        lambda g, h: g.node(
            "TRANSPOSE",
            [g.node("TRANSPOSE", [h, g.numbers(0, 3, 1, 2)], (4, 6, 6), FIRST, -3), g.numbers(0, 2, 3, 1)],
            IMAGE, FIRST, -3,
        ),
        EXACT,
    ),
    "squeezed": (
        lambda g, h: g.fc(
            g.node("SQUEEZE", [pooled("MAX_POOL_2D", 6, 6, (1, 1, 4))(g, h)], (4,), FIRST, -3), 5, 0.01, 0.1,
        ),
        ROUNDED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_gives_the_integers_of_the_file(tmp_path, name):
    make, (most, share) = OPERATORS[name]
    graph, h = first()
    apart, _ = difference(tmp_path, graph, make(graph, h))
    assert apart.max() <= most
    assert (apart > 0).float().mean() <= share


def test_weights_biases_and_zero_points_are_those_of_the_file(tmp_path):
    graph, logits, output = tiny_cnn()
    path = graph.save(tmp_path / "model.tflite", output)
    x = graph.drawn(50, 6, 6, 2, low=-128)
    model = load_tflite(path)
    (problem,) = check(model, real(graph, x)).problems
    assert "softmax" in str(problem)
    integer = quantize(model, real(graph, x), drop_softmax=True)
    integers = integer.quantize_input(real(graph, x))
    assert torch.equal(integers.flatten(1), torch.from_numpy(x).long().movedim(-1, 1).flatten(1) - 17)
    stored = [tensor["data"] for tensor in graph.tensors if tensor["data"] is not None and tensor["scale"] is not None]
    convolution, depthwise, dense = (matrix for matrix in integer.matrices if matrix.bias.any())
    assert np.array_equal(convolution.weights[0].numpy(), stored[0].transpose(0, 3, 1, 2))
    assert np.array_equal(depthwise.weights[0].numpy(), stored[2].transpose(3, 0, 1, 2))
    assert np.array_equal(dense.weights[0].numpy(), stored[4])
    for matrix, bias in zip((convolution, depthwise, dense), stored[1::2], strict=True):
        assert np.array_equal(matrix.bias.numpy(), bias)
    (wanted,) = interpreted(path, x, [logits])
    apart = (integer(integers) - (wanted.long() - 14)).abs()
    assert apart.max() <= 2
    scales = {round(tensor.scale, 4) for tensor in integer.tensors.values()}
    assert scales >= {0.031, 0.041, 0.0171}


def test_an_imported_model_is_pruned_and_trained(tmp_path):
    graph, logits, _ = tiny_cnn()
    model = load_tflite(graph.save(tmp_path / "model.tflite", logits))
    x = real(graph, graph.drawn(30, 6, 6, 2, low=-128))
    before = quantize(model, x)
    prune(model, 2)
    integer = quantize(model, x)
    for old, new in zip(before.matrices, integer.matrices, strict=True):
        for a, b in zip(old.weights, new.weights, strict=True):
            assert torch.equal(b, torch.where(b != 0, a, 0))
    encode(integer)
    finetune(model, [(x, torch.randint(3, (30,)))], epochs=1, weight_bits=8, calibration=x)


def floating(shape=(5, 6, 2), seed=0):
    return Graph(shape, None, kind="FLOAT32", seed=seed)


def normal(graph, *shape):
    return graph.random.normal(0, 1, shape).astype(np.float32)


def float_cnn(halves=False):
    """With ``halves``, weights are stored as float16 and converted by the file."""
    g = floating()
    weight = normal(g, 4, 3, 3, 2)
    stored = g.constant(weight.astype(np.float16) if halves else weight)
    stored = g.node("DEQUANTIZE", [stored], weight.shape) if halves else stored
    h = g.node("CONV_2D", [g.source, stored, g.constant(normal(g, 4))], (5, 6, 4), None, **RELU)
    flat = g.node("RESHAPE", [h, g.numbers(1, 120)], (120,))
    return g, g.node("FULLY_CONNECTED", [flat, g.constant(normal(g, 3, 120)), -1], (3,))


def sequence():
    """A Conv1d as TensorFlow writes it, read by a dense layer at every step; the output has its channels last."""
    g = floating((9, 2))
    image = g.node("EXPAND_DIMS", [g.source, g.numbers(1)], (1, 9, 2))
    h = g.node("CONV_2D", [image, g.constant(normal(g, 4, 1, 3, 2)), g.constant(normal(g, 4))], (1, 9, 4), None, **RELU)
    steps = g.node("RESHAPE", [h, g.numbers(1, 9, 4)], (9, 4))
    return g, g.node("FULLY_CONNECTED", [steps, g.constant(normal(g, 3, 4)), -1], (9, 3), None, KeepNumDims=True)


def unary(kind, **options):
    def make():
        g, h = float_cnn()
        h = g.node(kind, [h], (3,), None, **options)
        return g, g.node("FULLY_CONNECTED", [h, g.constant(normal(g, 2, 3)), -1], (2,))

    return make


FLOATS = {
    "cnn": float_cnn, "float16": lambda: float_cnn(True), "sequence": sequence,
    "leaky relu": unary("LEAKY_RELU", Alpha=0.2), "hard swish": unary("HARD_SWISH"),
    "gelu": unary("GELU", Approximate=True), "abs": unary("ABS"), "exp": unary("EXP"), "tanh": unary("TANH"),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOATS)
def test_floats(tmp_path, name):
    graph, output = FLOATS[name]()
    path = graph.save(tmp_path / "model.tflite", output)
    x = normal(graph, 4, *graph.tensors[graph.source]["shape"][1:])
    (wanted,) = interpreted(path, x, [output])
    model = load_tflite(path)
    found = model(torch.from_numpy(x))
    wanted = wanted.movedim(1, -1) if wanted.dim() > 2 else wanted
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    assert check(model, torch.from_numpy(x)).problems == ()


def test_weights_alone_may_be_integers(tmp_path):
    g = floating((4,))
    weight = g.drawn(3, 4)
    output = g.node("FULLY_CONNECTED", [g.source, g.constant(weight, [0.5]), -1], (3,))
    model = load_tflite(g.save(tmp_path / "model.tflite", output))
    integer = quantize(model, torch.randn(9, 4))
    assert np.array_equal(integer.matrices[0].weights[0].numpy(), weight)


def test_the_command_line_takes_it(tmp_path):
    graph, _, output = tiny_cnn()
    command = ["check", str(graph.save(tmp_path / "net.tflite", output))]  # the shape is that of the file
    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, "softmax" in refused.output) == (1, True)
    assert CliRunner().invoke(app, [*command, "--drop-softmax"]).exit_code == 0


def refused(kind, inputs=(), shape=IMAGE, **options):
    """An operator behind a layer that cannot be taken."""

    def make():
        g, h = first()
        made = [h, *(g.numbers(*entry) if isinstance(entry, tuple) else entry for entry in inputs)]
        return g, g.node(kind, made, shape, FIRST, -3, **options)

    return make


def with_tensor(**changes):
    """The second layer's weights changed."""

    def make():
        g, h = first()
        y = g.conv(h, IMAGE, (1, 1), PER_ROW, 0.1)
        g.tensors[g.operators[-1]["inputs"][1]] |= changes
        return g, y

    return make


def flattened_sum():
    g, h = first()
    return g, g.node("ADD", [flat(g, side) for side in (h, other(g, zero=-3))], (144,), FIRST, -3)


REFUSED = {
    "unknown operator": (
        refused("CUMSUM"),
        "operator cumsum_1, tensor 't4': operator CUMSUM is not supported; make the model of supported ones: ABS, ADD",
    ),
    "another activation": (
        refused(
            "MAX_POOL_2D", FusedActivationFunction=5, FilterHeight=2, FilterWidth=2, StrideH=2, StrideW=2
        ),
        "activation 5 is not supported; supported: NONE, RELU",
    ),
    "average with padding": (
        refused("AVERAGE_POOL_2D", FilterHeight=3, FilterWidth=3, StrideH=1, StrideW=1),
        "SAME padding does not count in its averages; use VALID",
    ),
    "stride 0": (
        refused("MAX_POOL_2D", FilterHeight=2, FilterWidth=2), r"stride \(0, 0\), dilation \(1, 1\); convert it again",
    ),
    "vector": (refused("MUL", [2]), "is no constant|a constant of|it reads tensor"),
    "beta": (refused("SOFTMAX", Beta=2.0), "beta 2; multiply the logits in the layer before"),
    "samples": (refused("SLICE", [(0, 0, 0, 0), (0, 6, 6, 4)]), "it takes some of the samples; index other dimensions"),
    "axis": (refused("MEAN", [(7,)], KeepDims=True), "axis 7 of 4 dimensions; convert it again"),
    "an axis away": (refused("MEAN", [(1,)], shape=(6, 4)), r"keep the dimensions \(keepdims=True\)"),
    "new axis": (refused("STRIDED_SLICE", [(0,), (1,), (1,)], NewAxisMask=1), "an index with ... or a new axis; write"),
    "flattened": (flattened_sum, "it reads an image that was flattened; only FULLY_CONNECTED and activations"),
    "scale 0": (with_tensor(scale=np.float32([0] * 4)), "scale 0 must be a positive, finite number; calibrate"),
    "scales of columns": (
        with_tensor(axis=3), r"scales along axis 3; quantise them per tensor, or per output channel \(axis 0\)",
    ),
    "too many scales": (
        with_tensor(scale=np.float32([1] * 5), zero=np.int64([0] * 5)), "5 scales along axis 0 of a tensor",
    ),
    "asymmetric": (with_tensor(zero=np.int64([100] * 4)), r"need more than 8 bits; quantise weights symmetrically"),
    "other zero points": (with_tensor(zero=np.int64([1, 2])), "4 scales and 2 zero points"),
    "short": (with_tensor(data=np.int8([1])), "1 bytes for INT8 of shape"),
    "huge": (with_tensor(shape=(1 << 30, 1 << 30)), r"has the shape \[1073741824, 1073741824\]"),
    "type": (with_tensor(kind="COMPLEX64"), "constants of type COMPLEX64, supported: FLOAT32"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_in_one_line(tmp_path, name):
    make, message = REFUSED[name]
    graph, output = make()
    path = graph.save(tmp_path / "model.tflite", output)
    with pytest.raises(ModelError, match=message) as caught:
        load_tflite(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_file(tmp_path):
    for name, message in {"none.tflite": "no such file", ".": "is a folder"}.items():
        with pytest.raises(ModelError, match=message):
            load_tflite(tmp_path / name)
    for contents in (b"", b"TFL3", b"\0\0\0\0TFL3", b"\x1c\0\0\0TFL3" + b"\xff" * 100, b"no model at all"):
        (tmp_path / "bad.tflite").write_bytes(contents)
        with pytest.raises(ModelError, match=r"not a valid TFLite model \(.*; convert it again"):
            load_tflite(tmp_path / "bad.tflite")


def test_many_tensors_of_the_same_bytes(tmp_path):
    graph, h = first()
    name = "x" * 100_000
    for _ in range(30):
        h = graph.node("RELU", [h], IMAGE, FIRST, -3)
    content = graph.content(h)
    assert read_graph(graph.save(tmp_path / "few.tflite", h)).operators[-1].kind == "RELU"
    graph.tensors[h]["name"] = name
    for tensor in graph.tensors[-31:]:
        tensor["name"] = name  # the writer stores it once
    path = tmp_path / "many.tflite"
    path.write_bytes(graph.content(h))
    assert path.stat().st_size < len(content) + 2 * len(name)
    with pytest.raises(ModelError, match="the same bytes belong to many tensors"):
        load_tflite(path)
