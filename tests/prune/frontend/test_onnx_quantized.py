"""Quantised ONNX files: their scales and integers against the reference evaluator of onnx and onnxruntime."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from darb_prune import check, encode, finetune, load_onnx, prune, quantize  # noqa: E402
from darb_prune.encoded import EncodedNetwork  # noqa: E402
from darb_prune.errors import DarbError, ModelError  # noqa: E402
from tests.quantized_graphs import Graph, each_layer, runtime_integers, statically_quantized, tiny_cnn  # noqa: E402


def loaded(tmp_path, graph, output, x, **options):
    model = load_onnx(graph.save(tmp_path / "model.onnx", output))
    return model, quantize(model, x, **options)


@pytest.mark.parametrize("symmetric", [True, False])
def test_each_layer_of_a_network_gives_the_integers_of_the_file(tmp_path, symmetric):
    graph, output = tiny_cnn(symmetric)
    x = torch.randn(600, 2, 6, 6)
    _, integer = loaded(tmp_path, graph, output, x)
    expected = graph.expected(output, x)
    names = [name for name in integer.tensors if not name.endswith("operand.out")]
    first, depthwise, total, pool, average, linear = each_layer(integer, names, expected).values()
    assert torch.equal(integer.quantize_input(x), expected[0])
    for difference in (first, depthwise, average, linear):
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < 0.002
    assert pool.max() == 0
    assert total.max() <= 1  # both sides are rounded to the scale of the sum
    assert integer.tensors["input"].bits == (8 if symmetric else 9)  # zeros around it are no zero points
    assert (integer(integer.quantize_input(x)) - expected[-1]).abs().max() <= 2


def dense(zero_in, kind_in, scales, zero_out=0, kind_out=np.int8, relu=False, rows=6, columns=9, clip=None, seed=0):
    graph = Graph((columns,), seed)
    x = graph.qdq("x", 0.037, zero_in, kind_in, clip)
    h = graph.fc(x, columns, rows, 0.037, scales)
    h = graph.node("Relu", h) if relu else h
    return graph, graph.qdq(h, 0.21, zero_out, kind_out)


PER_ROW = [0.002, 0.0031, 0.0007, 0.0044, 0.00001, 0.01]
DENSE = {
    "symmetric": dense(0, np.int8, 0.0031),
    "per channel": dense(0, np.int8, PER_ROW),
    "zero points": dense(-37, np.int8, PER_ROW, 14),
    "uint8 from 0": dense(0, np.uint8, 0.0031, 0, np.uint8, True),
    "uint8 around 128": dense(128, np.uint8, 0.0031, 128, np.uint8),
    "uint8, all above": dense(255, np.uint8, 0.0031, 3, np.uint8),
    "clipped": dense(0, np.int8, PER_ROW, clip=(-127, 127)),
    "narrow": dense(2, np.int8, PER_ROW, clip=(-8, 7)),
}


@pytest.mark.parametrize("name", DENSE)
def test_a_layer_gives_the_integers_of_the_file(tmp_path, name):
    graph, output = DENSE[name]
    x = torch.randn(400, 9) * 3
    model, integer = loaded(tmp_path, graph, output, x[:50])
    inputs, outputs = graph.expected(output, x)
    quantized = integer.quantize_input(x)
    source = integer.tensors["input"]
    assert torch.equal(quantized - source.zero, inputs)
    assert source.bits == (4 if name == "narrow" else 8)
    difference = (integer(quantized) - outputs).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.002
    (matrix,) = integer.matrices
    stored = numpy_helper.to_array(next(c for c in graph.constants if numpy_helper.to_array(c).shape == (6, 9)))
    assert np.array_equal(matrix.weights[0].numpy(), stored)
    wanted = ReferenceEvaluator(graph.model(output)).run(None, {"x": x.numpy()})[0]
    assert (model(x) - torch.from_numpy(wanted)).abs().max() <= 0.2101  # a unit, where float sums round otherwise
    network = encode(integer)
    network.save(tmp_path / "net.darb")
    again = EncodedNetwork.load(tmp_path / "net.darb")
    assert again.digest == network.digest
    assert again.tensor("input").zero == source.zero


def test_biases_are_those_of_the_file(tmp_path):
    graph, output = dense(0, np.int8, 0.0031)
    _, integer = loaded(tmp_path, graph, output, torch.randn(9, 9))
    stored = next(numpy_helper.to_array(c) for c in graph.constants if numpy_helper.to_array(c).dtype == np.int32)
    assert np.array_equal(integer.matrices[0].bias.numpy(), stored)
    graph, output = dense(-37, np.int8, 0.0031, 14)  # the zero point of the input in the biases
    _, integer = loaded(tmp_path, graph, output, torch.randn(9, 9))
    arrays = [numpy_helper.to_array(c) for c in graph.constants]
    stored = next(array for array in arrays if array.dtype == np.int32)
    weight = next(array for array in arrays if array.shape == (6, 9)).astype(np.int64)
    assert integer.tensors["input"].zero == -37
    assert np.array_equal(integer.matrices[0].bias.numpy(), stored + 37 * weight.sum(1))
    assert integer.tensors[integer.output].zero == 0


@given(
    zeros=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    scales=st.lists(st.floats(1e-5, 1e-1), min_size=4, max_size=4),
    ends=st.tuples(st.floats(1e-3, 1), st.floats(1e-2, 10)),
    seed=st.integers(0, 1000),
)
def test_differences_are_ties_and_multipliers(tmp_path_factory, zeros, scales, ends, seed):
    """What differs is within the error of a multiplier of 16 bits of the middle between two integers."""
    graph = Graph((5,), seed)
    source, target = (float(np.float32(end)) for end in ends)
    x = graph.qdq("x", source, zeros[0])
    output = graph.qdq(graph.fc(x, 5, 4, source, scales), target, zeros[1])
    inputs = torch.from_numpy(graph.random.normal(0, 50 * source, (40, 5)).astype(np.float32))
    _, integer = loaded(tmp_path_factory.mktemp("graph"), graph, output, inputs)
    centred, expected = graph.expected(output, inputs)
    found = integer(integer.quantize_input(inputs))
    arrays = [numpy_helper.to_array(c) for c in graph.constants]
    weight = next(array for array in arrays if array.shape == (4, 5)).astype(np.int64)
    bias = next(array for array in arrays if array.dtype == np.int32)
    real = (centred.numpy() @ weight.T + bias) * (np.float32(scales).astype(np.float64) * source / target)
    fraction = np.abs(real - np.floor(real) - 0.5)
    slack = np.abs(real) * 2.0**-15 + 1e-6
    difference = np.abs((found - expected).numpy())
    assert difference.max() <= 1
    assert not difference[fraction > slack].any()


def test_ties_go_up_where_onnx_goes_to_the_even(tmp_path):
    graph = Graph((1,))
    x = graph.qdq("x", 1.0)
    h = graph.node("Gemm", x, graph.weight(np.int8([[1]]), 0.5), transB=1)
    output = graph.qdq(h, 1.0)
    inputs = torch.arange(-6.0, 7)[:, None]
    _, integer = loaded(tmp_path, graph, output, inputs)
    assert graph.expected(output, inputs)[1].flatten().tolist() == [-3, -2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2, 3]
    assert integer(integer.quantize_input(inputs)).flatten().tolist() == [-3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh", "HardSigmoid"])
@pytest.mark.parametrize("zero", [-128, 5])
def test_tables_have_an_entry_for_each_integer(tmp_path, kind, zero):
    graph = Graph((3,))
    x = graph.qdq("x", 0.03)
    h = graph.qdq(graph.fc(x, 3, 40, 0.03, 0.01), 0.047, zero)
    output = graph.qdq(graph.node(kind, h), 1 / 127, -100)
    inputs = torch.randn(200, 3) * 2
    _, integer = loaded(tmp_path, graph, output, inputs)
    _, before, after = graph.expected(output, inputs)
    names = list(integer.tensors)
    table = integer.matrices[-1]
    values = {table.inputs[0]: before.view(-1, 40, 1, 1)}
    table.run(values, integer.tensors[table.output])
    if kind == "HardSigmoid":  # arithmetic, and not a table
        assert (values[table.output].flatten(1) - after).abs().max() <= 1
    else:
        assert torch.equal(values[table.output].flatten(1), after)
    assert len(names) == 3


def joining(kind, scales):
    graph = Graph((2, 4, 4), rank=4)
    x = graph.qdq("x", 0.02, 3)
    a = graph.qdq(graph.conv(x, 2, 4, (1, 1), 0.02, 0.003), scales[0], -20)
    b = graph.qdq(graph.conv(x, 2, 4, (3, 3), 0.02, 0.002, pads=[1] * 4), scales[1], 9)
    h = graph.node("Concat", a, b, axis=1) if kind == "Concat" else graph.node(kind, a, b)
    return graph, graph.qdq(h, scales[2], 7)


@pytest.mark.parametrize("scales", [(0.05, 0.05, 0.05), (0.05, 0.07, 0.06), (0.011, 0.09, 0.031)])
@pytest.mark.parametrize("kind", ["Add", "Sub", "Concat"])
def test_two_tensors_of_scales_of_their_own(tmp_path, kind, scales):
    graph, output = joining(kind, scales)
    inputs = torch.randn(60, 2, 4, 4)
    _, integer = loaded(tmp_path, graph, output, inputs)
    expected = graph.expected(output, inputs)
    found = integer(integer.quantize_input(inputs))
    difference = (found - expected[-1]).abs()
    assert difference.max() <= 2  # one of a side, one of rounding both sides
    if len(set(scales)) == 1:
        assert (difference > 0).float().mean() < 0.01
    encode(integer)
    assert integer.tensors[integer.output].scale == np.float32(scales[2])


def test_an_operand_does_not_saturate_before_the_sum(tmp_path):
    graph = Graph((1,))
    x = graph.qdq("x", 1.0)
    rows = [graph.node("Gemm", x, graph.weight(np.int8([[w]]), 1.0), transB=1) for w in (1, -1)]
    a, b = graph.qdq(rows[0], 8.0), graph.qdq(rows[1], 7.0)
    output = graph.qdq(graph.node("Add", a, b), 0.5)
    inputs = torch.tensor([[112.0], [56.0], [-112.0], [3.0]])
    _, integer = loaded(tmp_path, graph, output, inputs)
    assert torch.equal(integer(integer.quantize_input(inputs)), graph.expected(output, inputs)[-1])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.d, self.b = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        self.c, self.fc = nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, x):
        h = F.relu(self.norm(self.a(x)))
        h = F.relu(h + self.b(F.relu6(self.d(h))))
        h = self.c(F.max_pool2d(h, 2))
        return self.fc(h.mean((2, 3)))


OPTIONS = {
    "int8, per channel": {"activation_type": "QInt8", "per_channel": True},
    "uint8": {"activation_type": "QUInt8"},
    "symmetric": {"activation_type": "QInt8", "per_channel": True, "extra_options": {"ActivationSymmetric": True}},
    "uint8 weights": {"activation_type": "QUInt8", "weight_type": "QUInt8", "extra_options": {"WeightSymmetric": True}},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_static_quantisation_of_onnxruntime(tmp_path, name):
    torch.manual_seed(3)
    x = torch.randn(40, 2, 8, 8)
    path = statically_quantized(tmp_path, Net(), x, **OPTIONS[name])
    model = load_onnx(path)
    assert check(model, x[:2]).problems == ()
    integer = quantize(model, x)
    wanted = runtime_integers(path.read_bytes(), x)
    traced = integer.trace(integer.quantize_input(x))
    first = [values for key, values in wanted.items() if values.shape[1] == 8 * 64]
    assert torch.equal(traced["input"], next(iter(wanted.values())))
    difference = (traced["a.out"] - first[1 if name == "symmetric" else 0]).abs()  # symmetric: rounded, then ReLU
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.002
    output = list(wanted.values())[-1]
    assert (traced[integer.output] - output).abs().max() <= 3
    encode(integer)


def test_a_softmax_at_the_end_may_be_rounded(tmp_path):
    graph = Graph((4,))
    logits = graph.qdq(graph.fc(graph.qdq("x", 0.5), 4, 3, 0.5, 0.1), 0.7)
    output = graph.qdq(graph.node("Softmax", logits), 2.0**-8, -128)
    x = torch.randn(8, 4)
    model = load_onnx(graph.save(tmp_path / "model.onnx", output))
    (problem,) = check(model, x).problems
    assert "leave it out of the model" in str(problem)
    report = check(model, x, drop_softmax=True)
    assert (len(report.problems), len(report.warnings)) == (0, 1)
    integer = quantize(model, x, drop_softmax=True)
    logits = graph.expected(output, x)[1]
    assert (integer(integer.quantize_input(x)) - logits).abs().max() <= 1


def test_an_imported_model_is_pruned_and_trained(tmp_path):
    graph, output = tiny_cnn()
    x = torch.randn(30, 2, 6, 6)
    model, before = loaded(tmp_path, graph, output, x)
    prune(model, 2, example=x)
    integer = quantize(model, x)
    for old, new in zip(before.matrices, integer.matrices, strict=True):
        for a, b in zip(old.weights, new.weights, strict=True):
            assert torch.equal(b, torch.where(b != 0, a, 0))
    encode(integer)
    labels = torch.randint(3, (30,))
    finetune(model, [(x, labels)], epochs=1, weight_bits=8, calibration=x)
    trained = quantize(model, x)
    assert [tensor.scale for tensor in trained.tensors.values()] == [t.scale for t in integer.tensors.values()]
    with pytest.raises(DarbError, match=r"its weights have 8 bits of their own; weight bits 4"):
        quantize(model, x, weight_bits=4)


def test_float_weights_that_the_file_quantises(tmp_path):
    """As Brevitas exports: QuantizeLinear, Clip and DequantizeLinear of float weights, transposed for a MatMul."""
    graph = Graph((7,))
    x = graph.qdq("x", 2.0**-5, clip=(-127, 127))
    values = graph.random.normal(0, 1, (5, 7)).astype(np.float32)
    pair = graph.constant(np.float32([2.0**-6] * 5)), graph.constant(np.zeros(5, np.int8))
    q = graph.node("QuantizeLinear", graph.constant(values), *pair, axis=0)
    q = graph.node("Clip", q, graph.constant(np.int8(-127)), graph.constant(np.int8(127)))
    w = graph.node("Transpose", graph.node("DequantizeLinear", q, *pair, axis=0), perm=[1, 0])
    output = graph.qdq(graph.node("MatMul", x, w), 2.0**-4, clip=(-127, 127))
    inputs = torch.randn(50, 7) * 3
    _, integer = loaded(tmp_path, graph, output, inputs)
    integers, expected = graph.expected(output, inputs)
    assert torch.equal(integer.quantize_input(inputs), integers)
    assert np.array_equal(integer.matrices[0].weights[0].numpy(), np.clip(np.round(values * 64), -127, 127))
    assert integer.matrices[0].clamp == (-127, 127)
    difference = (integer(integers) - expected).abs()
    assert difference.max() <= 1
    assert not difference[(integers @ integer.matrices[0].weights[0].T) % 128 != 64].any()  # ties only


def test_weights_of_four_bits(tmp_path):
    graph = Graph((6,))
    x = graph.qdq("x", 0.1)
    weight = helper.make_tensor("w", TensorProto.INT4, [3, 6], graph.random.integers(-8, 8, 18))
    graph.constants.append(weight)
    scale, zero = graph.constant(np.float32(0.25)), helper.make_tensor("z", TensorProto.INT4, [], [0])
    graph.constants.append(zero)
    h = graph.node("Gemm", x, graph.node("DequantizeLinear", "w", scale, "z"), transB=1)
    output = graph.qdq(h, 0.3)
    model = load_onnx(graph.save(tmp_path / "m.onnx", output, opset=21))
    inputs = torch.randn(20, 6)
    integer = quantize(model, inputs, weight_bits=4)
    wanted = numpy_helper.to_array(weight).astype(np.int64)
    assert np.array_equal(integer.matrices[0].weights[0].numpy(), wanted)
    assert encode(integer).layers[0].weight_bits == 4


def altered(**changes):
    """A small graph with one thing in it that is not legal."""
    options = {"scale": np.float32(0.1), "zero": np.int8(0), "weight_scale": np.float32(0.1), "weight_zero": np.int8(0)}
    options |= {"weight": np.int8([[1, 2], [3, 4], [5, 6]]), "axis": 0, "back": None, **changes}
    graph = Graph((2,))
    pair = graph.constant(options["scale"]), graph.constant(options["zero"])
    q = graph.node("QuantizeLinear", "x", *pair)
    back = (graph.constant(options["back"]), pair[1]) if options["back"] is not None else pair
    x = graph.node("DequantizeLinear", q, *back)
    weight = graph.node(
        "DequantizeLinear", graph.constant(options["weight"]), graph.constant(options["weight_scale"]),
        graph.constant(options["weight_zero"]), axis=options["axis"],
    )  # fmt: skip
    return graph, graph.node("Gemm", x, weight, transB=1)


ILLEGAL = {
    "scale 0": ({"scale": np.float32(0)}, "scale 0 must be a positive, finite number; calibrate"),
    "scale NaN": ({"scale": np.float32("nan")}, "scale nan must be a positive"),
    "scale inf": ({"scale": np.float32("inf")}, "scale inf must be a positive"),
    "scale negative": ({"scale": np.float32(-1)}, "scale -1 must be a positive"),
    "scale tiny": ({"scale": np.float32(1e-38)}, "is out of all proportion"),
    "weight scale 0": ({"weight_scale": np.float32(0)}, "scale 0 must be a positive"),
    "a weight scale NaN": (
        {"weight_scale": np.float32([1, "nan", 1]), "weight_zero": np.zeros(3, np.int8)},
        "scale nan must be a positive",
    ),
    "too many scales": (
        {"weight_scale": np.ones(4, np.float32), "weight_zero": np.zeros(4, np.int8)},
        r"4 scales along axis 0 of a tensor of \[3, 2\]; give one, or as many as the axis is long",
    ),
    "axis out of range": (
        {"weight_scale": np.ones(3, np.float32), "weight_zero": np.zeros(3, np.int8), "axis": 5},
        r"3 scales along axis 5",
    ),
    "scales of columns": (
        {"weight_scale": np.ones(2, np.float32), "weight_zero": np.zeros(2, np.int8), "axis": 1},
        r"scales along axis 1; quantise them per tensor, or per output channel \(axis 0\)",
    ),
    "scales of an activation": (
        {"scale": np.ones(2, np.float32), "zero": np.zeros(2, np.int8)},
        "2 scales of an activation; one is possible, quantise activations per tensor",
    ),
    "zero points do not fit": (
        {"zero": np.zeros(2, np.int8)},
        "its zero point is not a constant integer for each scale",
    ),
    "another scale back": ({"back": np.float32(0.2)}, "give a pair of QuantizeLinear and DequantizeLinear the same"),
    "asymmetric weights": (
        {"weight": np.uint8([[0, 255], [3, 4], [5, 6]]), "weight_zero": np.uint8(10)},
        r"need more than 8 bits; quantise weights symmetrically \(int8, zero point 0\)",
    ),
    "16 bits, asymmetric": ({"zero": np.uint16(5)}, "need 17 bits, at most 16 are possible; quantise activations symm"),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_what_is_not_legal_is_refused_in_one_line(tmp_path, name):
    changes, message = ILLEGAL[name]
    graph, output = altered(**changes)
    path = graph.save(tmp_path / "model.onnx", output, opset=21)
    with pytest.raises(ModelError, match=message) as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@given(
    scale=st.floats(allow_nan=True, allow_infinity=True, width=32),
    weight_scale=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=0, max_size=4),
    zero=st.integers(-128, 127),
    axis=st.integers(-3, 3),
)
def test_any_scales_are_taken_or_refused(tmp_path_factory, scale, weight_scale, zero, axis):
    graph, output = altered(
        scale=np.float32(scale), zero=np.int8(zero), axis=axis,
        weight_scale=np.float32(weight_scale), weight_zero=np.zeros(len(weight_scale), np.int8),
    )  # fmt: skip
    path = graph.save(tmp_path_factory.mktemp("graph") / "model.onnx", output)
    legal = all(2.0**-100 <= value <= 2.0**100 for value in (scale, *weight_scale)) and weight_scale
    if not legal:
        with pytest.raises(ModelError, match="scale"):
            load_onnx(path)
        return
    try:
        encode(quantize(load_onnx(path), torch.randn(4, 2)))
    except DarbError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["QLinearMatMul", "MatMulInteger", "DynamicQuantizeLinear"])
def test_other_formats_are_refused_with_the_remedy(tmp_path, kind):
    inputs = {"QLinearMatMul": "aszbszsz", "MatMulInteger": "ab", "DynamicQuantizeLinear": "x"}[kind]
    graph = Graph((2, 2))
    names = {"x": "x", "a": "x", "b": graph.constant(np.int8([[1, 2], [3, 4]]))}
    names |= {"s": graph.constant(np.float32(1)), "w": names["b"], "z": graph.constant(np.int8(0))}
    dynamic = kind == "DynamicQuantizeLinear"
    outputs = ["y", "s1", "z1"] if dynamic else ["y"]
    nodes = [helper.make_node(kind, [names[letter] for letter in inputs], outputs)]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT if dynamic else TensorProto.INT8, [2, 2])
    result = {"D": TensorProto.UINT8, "Q": TensorProto.INT8, "M": TensorProto.INT32}[kind[0]]
    result = helper.make_tensor_value_info("y", result, [2, 2])
    model = helper.make_model(
        helper.make_graph(nodes, "graph", [entry], [result], graph.constants),
        opset_imports=[helper.make_opsetid("", 21)], ir_version=10,
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=rf"operator {kind} is not supported; quantise statically in the QDQ format"):
        load_onnx(path)


def test_an_input_of_integers_is_taken_as_what_it_stands_for(tmp_path):
    graph = Graph((4,))
    pair = graph.constant(np.float32(0.5)), graph.constant(np.uint8(7))
    x = graph.node("DequantizeLinear", "x", *pair)
    output = graph.fc(x, 4, 3, 0.5, 0.1)
    model = graph.model(output)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    integers = torch.randint(256, (9, 4), dtype=torch.uint8)
    real = (integers.float() - 7) * 0.5
    wanted = ReferenceEvaluator(model).run(None, {"x": integers.numpy()})[0]
    loaded = load_onnx(path)
    assert torch.allclose(loaded(real), torch.from_numpy(wanted), rtol=1e-5)
    integer = quantize(loaded, real)
    assert integer.tensors["input"].zero == 7 - 128
    assert torch.equal(integer.quantize_input(real), integers.long() - 128)
