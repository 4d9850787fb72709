"""ONNX files against onnxruntime, through torch and through stages."""

import os
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from darb_prune import JoinedInputs, encode, prune, quantize  # noqa: E402
from darb_prune.errors import DarbError, ModelError  # noqa: E402
from darb_prune.frontend.capture import capture  # noqa: E402
from darb_prune.frontend.execution import run  # noqa: E402
from darb_prune.frontend.onnx.load import load_onnx  # noqa: E402
from darb_prune.frontend.onnx.operators import explicit_pads  # noqa: E402
from darb_prune.modules import layers  # noqa: E402
from darb_prune.tasks.fsdd import Speech  # noqa: E402
from darb_prune.tasks.language import LanguageModel  # noqa: E402
from darb_prune.tasks.lenet import lenet5  # noqa: E402
from darb_prune.tasks.resnet import ResNet  # noqa: E402


def reference(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def check(path, x):
    """The loaded model gives what onnxruntime gives, and so do its stages."""
    model, wanted = load_onnx(path).eval(), reference(path, x)
    found = model(x)
    found = found[0] if isinstance(found, tuple) else found
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-5)
    stages = capture(model, x)
    made = run(stages, stages.samples_first(x))[stages.output]
    made = made[:, -1] if stages.emit == "last" else made
    wanted = stages.samples_first(wanted) if stages.recurrent and stages.emit == "step" else wanted
    assert torch.allclose(stages.as_given(made).flatten(), wanted.flatten(), atol=1e-5)
    return model, stages


def export(tmp_path, model, x, **options):
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (x,), str(path), dynamo=False, input_names=["x"], **options)
    return path


def lively(model):
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


TASKS = {
    "lenet5": (lenet5, lambda: torch.randn(2, 1, 28, 28), {0: "samples"}),
    "resnet": (lambda: ResNet(1), lambda: torch.randn(2, 3, 32, 32), {0: "samples"}),
    "language": (lambda: LanguageModel(9, 4, 5, 2), lambda: torch.randint(9, (2, 6)), {0: "samples", 1: "steps"}),
    "speech": (lambda: Speech(5, 4, 3), lambda: torch.randn(2, 6, 5), {0: "samples", 1: "steps"}),
}


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("name", TASKS)
def test_models_of_the_tasks(tmp_path, name, dynamic):
    build, make, axes = TASKS[name]
    x = make()
    path = export(tmp_path, lively(build()), x, **({"dynamic_axes": {"x": axes}} if dynamic else {}))
    model, stages = check(path, x)
    assert {layer.name for layer in layers.layers(model)} <= {stage.name.removesuffix(".rz") for stage in stages.stages}


@pytest.mark.parametrize("name", TASKS)
def test_loaded_models_are_pruned_and_encoded(tmp_path, name):
    build, make, axes = TASKS[name]
    model = load_onnx(export(tmp_path, lively(build()), make(), dynamic_axes={"x": axes}))
    pruned = prune(model, 3, example=make())
    network = encode(quantize(model, make()))
    assert pruned.ratio > 2.9
    assert sum(layer.kept for layer in network.layers) >= pruned.kept
    assert any(tensor.order is not None for tensor in network.tensors)


def test_names_are_those_of_the_nodes(tmp_path):
    path = export(tmp_path, lenet5(), torch.randn(1, 1, 28, 28))
    assert [layer.name for layer in layers.layers(load_onnx(path))] == ["conv1", "conv2", "fc1", "fc2", "fc3"]


def test_linear_at_every_position(tmp_path):
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.first, self.second = nn.Conv1d(3, 6, 3), nn.Linear(6, 5), nn.Linear(5, 4)

        def forward(self, x):
            return self.second(self.first(self.conv(x.transpose(1, 2)).transpose(1, 2)).relu())

    x = torch.randn(2, 8, 3)
    _, stages = check(export(tmp_path, Positions(), x), x)
    assert (stages.input_last, stages.output_last) == (True, True)


class Many(nn.Module):
    """Operators of torch that become many of ONNX."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm, self.line, self.norm1 = nn.BatchNorm2d(4), nn.Conv1d(4, 3, 3, bias=False), nn.BatchNorm1d(3)
        self.fc = nn.Linear(3, 5)

    def forward(self, x):
        h = F.relu6(self.norm(F.hardtanh(self.a(x), -1, 2)))
        h = F.max_pool2d(h, 3, 2, 1)
        h = F.avg_pool2d(torch.tanh(self.b(h)) + h, (4, 1)).squeeze(2)
        h = self.norm1(self.line(F.pad(h, (1, 0)))).sigmoid().mean(2)
        return self.fc(torch.clamp(h, 0.1, 0.7))


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_many_operators(tmp_path, opset):
    x = torch.randn(3, 2, 8, 6)
    path = export(tmp_path, lively(Many()), x, opset_version=opset, training=torch.onnx.TrainingMode.PRESERVE)
    check(path, x)


def save(tmp_path, nodes, shape, constants=(), kind=TensorProto.FLOAT, outputs=1, opset=17):
    path = tmp_path / "model.onnx"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(f"y{n}", TensorProto.FLOAT, None) for n in range(outputs)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))  # which says what the outputs are
    return path


def node(kind, inputs, output="y0", **attributes):
    outputs = output.split() if output else []
    return helper.make_node(kind, inputs.split(" "), outputs, name=f"n_{outputs[0]}", **attributes)


def floats(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


MATRIX = {"w": floats(4, 3), "b": floats(3)}
NODES = {
    "matmul and add": ([node("MatMul", "x w", "h"), node("Add", "b h")], MATRIX, (2, 4)),
    "matmul alone": ([node("MatMul", "x w", "h"), node("Relu", "h")], MATRIX, (2, 4)),
    "matmul read twice": (
        [node("MatMul", "x w", "h"), node("MatMul", "h v", "k"), node("Add", "k h")],
             MATRIX | {"v": floats(3, 3)}, (2, 4),
    ),
    "gemm": ([node("Gemm", "x w b", alpha=0.5, beta=2.0)], MATRIX, (2, 4)),
    "gemm transposed": ([node("Gemm", "x w", transB=1)], {"w": floats(3, 4)}, (2, 4)),
    "sum": ([node("MatMul", "x w", "h"), node("MatMul", "x v", "k"), node("Sum", "h k")],
             MATRIX | {"v": floats(4, 3)}, (2, 4)),
    "clip": ([node("MatMul", "x w", "h"), node("Clip", "h low high")],
             MATRIX | {"low": np.float32(0), "high": np.float32(6)}, (2, 4)),
    "clip from below": ([node("MatMul", "x w", "h"), node("Clip", "h low")],
             MATRIX | {"low": np.float32(-0.1)}, (2, 4)),
    "dropout": ([node("MatMul", "x w", "h"), node("Dropout", "h", "k"), node("Identity", "k")], MATRIX, (2, 4)),
    "same upper": ([node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 1])],
             {"w": floats(2, 3, 2, 4)}, (2, 3, 7, 5)),
    "same lower": ([node("Conv", "x w", auto_pad="SAME_LOWER")], {"w": floats(2, 3, 2, 4)}, (2, 3, 7, 5)),
    "valid": ([node("Conv", "x w b", auto_pad="VALID")], {"w": floats(2, 3, 2, 4), "b": floats(2)}, (2, 3, 7, 5)),
    "pads that are not symmetric": ([node("Conv", "x w", pads=[1, 0, 0, 2])], {"w": floats(2, 3, 3, 3)}, (2, 3, 7, 5)),
    "pad": ([node("Pad", "x p", "h"), node("Conv", "h w")],
            {"p": np.array([0, 0, 1, 0, 0, 0, 0, 2]), "w": floats(2, 3, 3, 3)}, (2, 3, 7, 5)),
    "dilated": ([node("Conv", "x w", dilations=[2, 3], pads=[2, 0, 0, 1])], {"w": floats(2, 3, 3, 2)}, (2, 3, 7, 5)),
    "groups": ([node("Conv", "x w", group=3)], {"w": floats(6, 2, 3, 3)}, (2, 6, 5, 4)),
    "depthwise, same upper": ([node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2], group=3)],
             {"w": floats(3, 1, 3, 3)}, (2, 3, 8, 6)),
    "a large kernel": ([node("Conv", "x w", pads=[5, 5, 4, 6], strides=[4, 4])],
             {"w": floats(2, 3, 11, 11)}, (2, 3, 12, 9)),
    "line": ([node("Conv", "x w", pads=[1, 0])], {"w": floats(2, 3, 3)}, (2, 3, 7)),
    "dilated line": ([node("Conv", "x w", "h", pads=[5, 4], dilations=[3]), node("Relu", "h", "k"),
                      node("MaxPool", "k", kernel_shape=[2], strides=[2], pads=[0, 1])],
                     {"w": floats(2, 3, 4)}, (2, 3, 9)),
    "uneven maximum": ([node("Conv", "x w", "h"), node("Relu", "h", "k"),
                        node("MaxPool", "k", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")],
                       {"w": floats(2, 3, 1, 1)}, (2, 3, 8, 6)),
    "dilated maximum": ([node("Conv", "x w", "h"), node("Relu", "h", "k"),
                        node("MaxPool", "k", kernel_shape=[2, 2], strides=[1, 2], pads=[1, 0, 0, 1], dilations=[2, 3])],
                       {"w": floats(2, 3, 1, 1)}, (2, 3, 8, 6)),
    "maximum": ([node("Conv", "x w", "h"), node("ReduceMax", "h", axes=[2, 3], keepdims=0)],
                {"w": floats(2, 3, 2, 2)}, (2, 3, 5, 4)),
    "transposed": ([node("ConvTranspose", "x w b", strides=[2, 3], pads=[1, 0, 1, 0], output_padding=[1, 0])],
                   {"w": floats(3, 2, 3, 4), "b": floats(2)}, (2, 3, 5, 4)),
    "every second channel": ([node("Conv", "x w", "h"), node("Slice", "h zero three one two")],
                             {"w": floats(3, 2, 1, 1), "zero": np.array([0]), "three": np.array([3]),
                              "one": np.array([1]), "two": np.array([2])}, (2, 2, 5, 4)),
    "transposed line": ([node("ConvTranspose", "x w", strides=[2])], {"w": floats(3, 2, 4)}, (2, 3, 5)),
    "resize": ([node("Conv", "x w", "h"), node("Resize", "h  s", mode="nearest", nearest_mode="floor",
                                               coordinate_transformation_mode="asymmetric")],
               {"w": floats(2, 3, 2, 2), "s": np.array([1, 1, 2, 3], np.float32)}, (2, 3, 5, 4)),
    "resize to sizes": ([node("Conv", "x w", "h"), node("Resize", "h   s", mode="nearest")],
                        {"w": floats(2, 3, 2, 2), "s": np.array([2, 2, 8, 9])}, (2, 3, 5, 4)),
    "uneven average": ([node("Conv", "x w", "h"),
                        node("AveragePool", "h", kernel_shape=[3, 2], pads=[0, 1, 2, 0], count_include_pad=1)],
                       {"w": floats(2, 3, 1, 1)}, (2, 3, 8, 6)),
    "pools": ([node("Conv", "x w", "h"), node("MaxPool", "h", "k", kernel_shape=[2, 2], strides=[2, 2]),
               node("AveragePool", "k", kernel_shape=[2, 1], pads=[1, 0, 1, 0], count_include_pad=1)],
              {"w": floats(2, 3, 1, 1)}, (2, 3, 8, 6)),
    "global": ([node("Conv", "x w", "h"), node("GlobalAveragePool", "h", "k"), node("Flatten", "k", "l"),
                node("GlobalMaxPool", "h", "m"), node("Squeeze", "m axes", "n"), node("Concat", "l n", "o", axis=1),
                node("MatMul", "o v")],
               {"w": floats(2, 3, 1, 1), "v": floats(4, 2), "axes": np.array([2, 3])}, (2, 3, 4, 6)),
    "mean": ([node("Conv", "x w", "h"), node("ReduceMean", "h", axes=[2, 3], keepdims=0)],
             {"w": floats(2, 3, 1, 1)}, (2, 3, 4, 6)),
    "reshape": ([node("Conv", "x w", "h"), node("Reshape", "h s", "k"), node("MatMul", "k v")],
                {"w": floats(2, 3, 1, 1), "s": np.array([0, -1]), "v": floats(48, 2)}, (2, 3, 4, 6)),
    "one batch size": ([node("Conv", "x w", "h"), node("Reshape", "h s", "k"), node("MatMul", "k v")],
                       {"w": floats(2, 3, 1, 1), "s": np.array([2, 48]), "v": floats(48, 2)}, (2, 3, 4, 6)),
    "split": ([node("Conv", "x w", "h"), node("Split", "h s", "k l", axis=1), node("Conv", "l u", "m"),
               node("Concat", "m k", axis=1)],
              {"w": floats(5, 3, 2, 2), "s": np.array([2, 3]), "u": floats(4, 3, 1, 1)}, (2, 3, 4, 6)),
    "slice": ([node("Conv", "x w", "h", pads=[0, 4, 0, 4]), node("Slice", "h start end axes", "k"), node("Relu", "k")],
              {"w": floats(5, 3, 1, 5), "start": np.array([0, 1]), "end": np.array([-4, 4]), "axes": np.array([3, 1])},
              (2, 3, 1, 9)),
    "constant node": ([node("Constant", "", "w", value=numpy_helper.from_array(floats(4, 3))), node("MatMul", "x w")],
                      {}, (2, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_nodes(tmp_path, name):
    nodes, constants, shape = NODES[name]
    for entry in nodes:
        if list(entry.input) == [""]:
            del entry.input[:]
    check(save(tmp_path, nodes, shape, constants), torch.randn(shape))


@pytest.mark.parametrize("channels", [0, 1])
def test_zeros_around_a_map_leave_its_channels_where_they_are(tmp_path, channels):
    nodes = [node("Conv", "x v", "g"), node("Pad", "g p", "h"), node("Conv", "h w", strides=[2, 2])]
    constants = {"p": np.array([0, channels, 0, 0, 0, 0, 1, 1]), "v": floats(5, 2, 1, 1)}
    constants["w"] = floats(4, 5 + channels, 3, 3)
    model = load_onnx(save(tmp_path, nodes, (2, 2, 6, 6), constants))
    if channels:
        with pytest.raises(DarbError, match="n_h: padding of channels and of the image"):
            prune(model, 2)
    else:
        prune(model, 2)
        network = encode(quantize(model, torch.randn(4, 2, 6, 6)))
        assert network.tensors[1].order is not None
        assert network.layers[1].padding == (0, 0, 1, 1)


def test_pad_with_axes(tmp_path):
    nodes = [node("Pad", "x p  a", "h"), node("Conv", "h w", strides=[2, 2])]
    constants = {"p": np.array([4, 1, 5, 1]), "a": np.array([2, 3]), "w": floats(2, 3, 10, 4)}
    check(save(tmp_path, nodes, (2, 3, 7, 5), constants, opset=18), torch.randn(2, 3, 7, 5))


def test_auto_pad_with_dilation():
    """onnxruntime does not run it; of an even number of zeros both kinds are torch's "same"."""
    for kind in ("SAME_UPPER", "SAME_LOWER"):
        attributes = {"auto_pad": kind, "dilations": [3, 2]}
        assert explicit_pads(attributes, [3, 2], [1, 1], [None, None]) == [3, 1, 3, 1]
        odd = explicit_pads({"auto_pad": kind, "dilations": [3]}, [2], [2], [9])
        assert odd == ([1, 2] if kind == "SAME_UPPER" else [2, 1])


def weights(kind, units=4, columns=5, directions=1):
    gates = 4 if kind == "LSTM" else 3
    return {
        "w": floats(directions, gates * units, columns),
        "r": floats(directions, gates * units, units),
        "b": floats(directions, 2 * gates * units),
    }


STATES = {"h": np.full((1, 2, 4), 0.5, np.float32), "c": np.full((1, 2, 4), -0.25, np.float32)}
SEQUENCES = {
    "lstm": [node("LSTM", "x w r b", "k", hidden_size=4), node("Squeeze", "k one")],
    "lstm without bias": [node("LSTM", "x w r", "k", hidden_size=4), node("Squeeze", "k one")],
    "lstm, states": [node("LSTM", "x w r b  h c", "k", hidden_size=4), node("Squeeze", "k one")],
    "lstm, one state": [node("LSTM", "x w r b  h", "k", hidden_size=4), node("Squeeze", "k one")],
    "lstm, last": [node("LSTM", "x w r b", "k l", hidden_size=4), node("Squeeze", "l zero")],
    "gru": [node("GRU", "x w r b", "k", hidden_size=4, linear_before_reset=1), node("Squeeze", "k one")],
    "gru, state": [node("GRU", "x w r b  h", "k", hidden_size=4, linear_before_reset=1), node("Squeeze", "k one")],
    "gru, sliced": [
        node("GRU", "x w r b", "k", hidden_size=4, linear_before_reset=1), node("Slice", "k m e zero", "s"),
        node("Squeeze", "s both"),
    ],
    "gru, gathered": [
        node("GRU", "x w r b", "k", hidden_size=4, linear_before_reset=1), node("Squeeze", "k one", "s"),
        node("Gather", "s m", "t", axis=0), node("Squeeze", "t zero"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_recurrent_nodes(tmp_path, name):
    constants = weights("LSTM" if "lstm" in name else "GRU") | STATES
    constants |= {"one": np.array([1]), "zero": np.array([0]), "m": np.array([-1]), "e": np.array([2**31 - 1])}
    constants["both"] = np.array([0, 1])
    _, stages = check(save(tmp_path, SEQUENCES[name], (6, 2, 5), constants), torch.randn(6, 2, 5))
    assert stages.time_first


TWO = {"hidden_size": 4, "direction": "bidirectional"}
DIRECTIONS = {
    "lstm": [
        node("LSTM", "s w r b", "k", **TWO), node("Transpose", "k", "t", perm=[0, 2, 1, 3]), node("Reshape", "t steps"),
    ],
    "lstm, samples first": [
        node("LSTM", "s w r", "k", **TWO), node("Transpose", "k", "t", perm=[2, 0, 1, 3]), node("Reshape", "t steps"),
    ],
    "lstm, states": [
        node("LSTM", "s w r b  h c", "k", **TWO), node("Transpose", "k", "t", perm=[2, 0, 1, 3]),
        node("Reshape", "t steps"),
    ],
    "gru, states": [
        node("GRU", "s w r b", "k l", linear_before_reset=1, **TWO), node("Transpose", "l", "t", perm=[1, 0, 2]),
        node("Reshape", "t vector"),
    ],
    "gru, state of one direction": [
        node("GRU", "s w r b", "k l", linear_before_reset=1, **TWO), node("Gather", "l m", "t", axis=0),
        node("Squeeze", "t zero"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", DIRECTIONS)
def test_recurrent_nodes_of_two_directions(tmp_path, name):
    constants = weights("LSTM" if "lstm" in name else "GRU", directions=2)
    constants |= {key: np.concatenate([state, -state]) for key, state in STATES.items()}
    constants |= {"steps": np.array([0, 0, 8]), "vector": np.array([0, 8]), "m": np.array([-1]), "zero": np.array([0])}
    nodes = [node("Transpose", "x", "s", perm=[1, 0, 2]), *DIRECTIONS[name]]
    _, stages = check(save(tmp_path, nodes, (2, 6, 5), constants), torch.randn(2, 6, 5))
    assert [section.backward for section in stages.sections] == [False, True]


def test_batch_first_layout(tmp_path):
    """onnxruntime does not run it, so it is compared with the other layout."""
    constants = weights("GRU") | {"h": STATES["h"].transpose(1, 0, 2), "two": np.array([2])}
    gru = {"hidden_size": 4, "linear_before_reset": 1}
    path = save(
        tmp_path, [node("GRU", "x w r b  h", "k", layout=1, **gru), node("Squeeze", "k two")], (2, 6, 5), constants
    )
    x = torch.randn(2, 6, 5)
    found = load_onnx(path)(x)
    constants = weights("GRU") | {"h": STATES["h"], "one": np.array([1])}
    path = save(tmp_path, [node("GRU", "x w r b  h", "k", **gru), node("Squeeze", "k one")], (6, 2, 5), constants)
    assert torch.allclose(found, reference(path, x.transpose(0, 1)).transpose(0, 1), atol=1e-5)


CURVES = {
    "LeakyRelu": {"alpha": 0.2}, "Elu": {"alpha": 0.7}, "Selu": {},
    "selu of other numbers": {"alpha": 1.0, "gamma": 2.0}, "Celu": {"alpha": 0.5}, "HardSwish": {},
    "Softplus": {}, "Softsign": {}, "ThresholdedRelu": {"alpha": 0.1}, "HardSigmoid": {},
    "hardsigmoid of torch": {"alpha": 1 / 6, "beta": 0.5},
    "Erf": {}, "Exp": {}, "Abs": {}, "Neg": {},
}  # fmt: skip


@pytest.mark.parametrize("name", CURVES)
def test_activations(tmp_path, name):
    kind = {"selu": "Selu", "hardsigmoid": "HardSigmoid"}.get(name.split(" ")[0], name)
    nodes = [node("Conv", "x w", "h"), node(kind, "h", "k", **CURVES[name]), node("Conv", "k v")]
    constants = {"w": floats(4, 3, 3, 3), "v": floats(2, 4, 1, 1)}
    model, stages = check(save(tmp_path, nodes, (2, 3, 7, 5), constants), torch.randn(2, 3, 7, 5))
    assert len(stages.stages) == 2
    prune(model, 2)
    network = encode(quantize(model, torch.randn(20, 3, 7, 5)))
    assert network.tensors[1].order is not None


@pytest.mark.parametrize("slopes", [(1,), (4, 1, 1), (1, 4, 1, 1), (1, 1)])
def test_slopes(tmp_path, slopes):
    nodes = [node("Conv", "x w", "h"), node("PRelu", "h s", "k"), node("Conv", "k v")]
    constants = {"w": floats(4, 3, 3, 3), "v": floats(2, 4, 1, 1), "s": floats(*slopes)}
    _, stages = check(save(tmp_path, nodes, (2, 3, 7, 5), constants), torch.randn(2, 3, 7, 5))
    assert len(stages.curves) == 1


ARITHMETIC = {
    "swish": [node("Sigmoid", "h", "s"), node("Mul", "h s", "k")],
    "gelu": [node("Div", "h two", "a"), node("Erf", "a", "e"), node("Add", "e one", "f"), node("Mul", "h f", "g"),
             node("Mul", "half g", "k")],
    "powers": [node("Pow", "h two", "a"), node("Sqrt", "a", "k")],
    "numbers": [node("Sub", "one h", "a"), node("Div", "a two", "b"), node("Add", "half b", "k")],
    "reciprocal": [node("Sigmoid", "h", "s"), node("Add", "s one", "a"), node("Neg", "a", "b"),
                   node("Mul", "b b", "k")],
    "limits": [node("Max", "h half", "a"), node("Min", "one a", "k")],
    "leaky": [node("Mul", "h half", "a"), node("Max", "h a", "k")],
    "difference": [node("Conv", "x w", "i"), node("Sub", "h i", "k")],
    "gate": [node("Conv", "x w", "i"), node("Sigmoid", "i", "s"), node("Mul", "s h", "k")],
    "squeeze": [node("GlobalAveragePool", "h", "p"), node("Sigmoid", "p", "s"), node("Mul", "h s", "k")],
}  # fmt: skip


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(tmp_path, name):
    nodes = [node("Conv", "x u", "h"), *ARITHMETIC[name], node("Conv", "k v")]
    constants = {"u": floats(4, 3, 3, 3), "w": -floats(4, 3, 3, 3), "v": floats(2, 4, 1, 1)}
    constants |= {"two": np.float32(2), "one": np.float32(1), "half": np.full((1, 1, 1, 1), 0.5, np.float32)}
    check(save(tmp_path, nodes, (2, 3, 7, 5), constants), torch.randn(2, 3, 7, 5))


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize(
    "activation",
    [nn.LeakyReLU(0.3), nn.PReLU(), nn.PReLU(4), nn.ELU(), nn.CELU(), nn.SELU(), nn.SiLU(), nn.GELU(), nn.GELU("tanh"),
     nn.Mish(), nn.Softplus(), nn.Hardswish(), nn.Hardsigmoid(), nn.LogSigmoid(), nn.Softsign()],
    ids=repr,
)  # fmt: skip
def test_activations_of_torch(tmp_path, activation, opset):
    net = nn.Sequential(nn.Conv2d(2, 4, 3), activation, nn.Conv2d(4, 3, 1))
    _, stages = check(export(tmp_path, net, torch.randn(2, 2, 6, 6), opset_version=opset), torch.randn(2, 2, 6, 6))
    assert len(stages.curves) == (not isinstance(activation, nn.Hardsigmoid))


def test_several_outputs(tmp_path):
    nodes = [node("MatMul", "x w", "y0"), node("Relu", "y0", "y1")]
    model, x = load_onnx(save(tmp_path, nodes, (2, 4), MATRIX, outputs=2)), torch.randn(2, 4)
    stages = capture(model, x)
    assert stages.outputs == (3, 3)
    assert torch.allclose(run(stages, x)[stages.output].flatten(1), torch.cat(model(x), 1))


class Classes(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.fc, self.end = nn.Linear(4, 3), end

    def forward(self, x):
        return self.end(self.fc(x))


@pytest.mark.parametrize(
    "end", [nn.Softmax(1), nn.LogSoftmax(1), lambda x: x.argmax(1), lambda x: x.argmax(-1, keepdim=True)]
)
def test_the_end_may_be_dropped(tmp_path, end):
    x = torch.randn(2, 4)
    model = load_onnx(export(tmp_path, Classes(end), x))
    assert torch.allclose(model(x).double(), reference(tmp_path / "model.onnx", x).double(), atol=1e-6)
    with pytest.raises(DarbError, match=r"operator .* is not supported; leave it out .* drop_softmax=True"):
        capture(model, x)
    assert [stage.name for stage in capture(model, x, drop_softmax=True).stages] == ["fc"]


GRU = {"hidden_size": 4, "linear_before_reset": 1}
ILLEGAL = {
    "node 'n_y0': operator CumSum is not supported; supported: Abs, Add": (
        [node("CumSum", "x one")], {"one": np.array(1)}, (2, 4)
    ),
    "GRU with linear_before_reset 0": ([node("GRU", "x w r b", hidden_size=4)], weights("GRU"), (6, 2, 5)),
    "GRU of direction reverse": ([node("GRU", "x w r b", direction="reverse", **GRU)], weights("GRU"), (6, 2, 5)),
    "GRU with other activations": (
        [node("GRU", "x w r b", activations=["Sigmoid", "Relu"], **GRU)], weights("GRU"), (6, 2, 5)
    ),
    "GRU with lengths": (
        [node("GRU", "x w r b l", **GRU)], weights("GRU") | {"l": np.array([6, 6], np.int32)}, (6, 2, 5)
    ),
    "B is not a constant": ([node("MatMul", "x x")], {}, (4, 4)),
    "Gemm with transA": ([node("Gemm", "x w", transA=1)], MATRIX, (4, 4)),
    "a convolution of 3 dimensions": ([node("Conv", "x w")], {"w": floats(2, 3, 1, 1, 1)}, (2, 3, 4, 4, 4)),
    "MatMul with 3 dimensions": ([node("MatMul", "x w")], {"w": floats(2, 4, 3)}, (2, 2, 4)),
    "auto_pad SAME_UPPER of an image of unknown size": (
        [node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2])], {"w": floats(2, 3, 3, 3)}, (2, 3, "h", 5)
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(tmp_path, message):
    nodes, constants, shape = ILLEGAL[message]
    with pytest.raises(DarbError, match=message) as caught:
        load_onnx(save(tmp_path, nodes, shape, constants))
    assert "\n" not in str(caught.value)
    assert "model.onnx" in str(caught.value)


@pytest.mark.parametrize(
    ("message", "nodes"),
    [
        (r"node 'n_y0': PRelu with slopes of shape \(8, 8\)", [node("PRelu", "x c")]),
        (
            "n_y0: padding of a max pooling needs values from 0 on; put it behind a ReLU",
            [node("MaxPool", "x", kernel_shape=[2, 2], auto_pad="SAME_UPPER")],
        ),
        (
            "AveragePool with padding that is not symmetric and does not count; set count_include_pad",
            [node("AveragePool", "x", kernel_shape=[2, 2], auto_pad="SAME_UPPER")],
        ),
        (r"n_y0: add with a constant tensor of \(8, 8\)", [node("Add", "x c")]),
    ],
)
def test_illegal_when_it_runs(tmp_path, message, nodes):
    constants = {"c": floats(8, 8), "zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
    model = load_onnx(save(tmp_path, nodes, (2, 3, 8, 8), constants))
    with pytest.raises(DarbError, match=message):
        capture(model, torch.randn(2, 3, 8, 8))


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(DarbError, match=r"missing\.onnx: No such file"):
        load_onnx(tmp_path / "missing.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(DarbError, match=r"bad.onnx: not a valid ONNX model \(.*\); export it again"):
        load_onnx(tmp_path / "bad.onnx")


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(DarbError, match=r"pipe.onnx: is a pipe or a device"):
        load_onnx(tmp_path / "pipe.onnx")


def test_equal_parameters_are_written_once(tmp_path):
    """The exporter gives the others by Identity: here the statistics of norms as they are before training."""
    layers = [nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)]
    path, x = export(tmp_path, nn.Sequential(*layers), torch.randn(1, 6)), torch.randn(1, 6)
    assert "Identity" in {node.op_type for node in onnx.load(str(path)).graph.node}
    check(path, x)


def test_normalisations_use_the_statistics_of_the_file(tmp_path):
    """The model is in ``eval`` mode; statistics of a batch would give other integers."""
    rows = {name: floats(3) for name in ("gain", "bias", "mean")} | {"variance": np.ones(3, np.float32)}
    path = save(tmp_path, [node("BatchNormalization", "x gain bias mean variance")], (4, 3, 2, 2), rows)
    model, x = load_onnx(path), torch.randn(4, 3, 2, 2)
    assert not any(module.training for module in model.modules())
    assert torch.allclose(model(x), reference(path, x), atol=1e-5)


@pytest.mark.parametrize("name", ["training", "forward", "weight_pad", "T_destination", "call_super_init", "__class__"])
def test_nodes_may_have_any_name(tmp_path, name):
    """Also one that a module of torch has for itself, or that of the padding of another node."""
    weights = {"w": floats(3, 3, 3, 3)}
    nodes = [
        helper.make_node("Relu", ["x"], ["h"], name=name),
        helper.make_node("Conv", ["h", "w"], ["k"], name="weight", pads=[0, 0, 1, 1]),
        helper.make_node("Relu", ["k"], ["y0"], name=f"{name}/Relu"),
    ]
    path, x = save(tmp_path, nodes, (1, 3, 5, 5), weights), torch.randn(1, 3, 5, 5)
    assert torch.allclose(load_onnx(path)(x), reference(path, x), atol=1e-5)


def test_initializers_of_the_wrong_size(tmp_path):
    path = save(tmp_path, [node("MatMul", "x w")], (2, 4), {"w": floats(4, 3)})
    model = onnx.load(str(path))
    model.graph.initializer[0].dims[1] = 5
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=r"model.onnx: (initializer 'w' of shape \[4, 5\] cannot be read|not a valid)"):
        load_onnx(path)


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([node("Conv", "x w b")], {"w": floats(2, 4, 1), "b": floats(3)}, "node 'n_y0': Conv with constants or attrib"),
        ([node("Conv", "x w", group=3)], {"w": floats(2, 4, 1)}, "node 'n_y0': Conv with constants or attributes"),
        ([node("LSTM", "x w r")], {"w": floats(1, 8, 4), "r": floats(1, 8, 1 << 20)}, r"LSTM with W and R of shapes"),
        ([node("GRU", "x w r", linear_before_reset=1)], {"w": floats(1, 6), "r": floats(1, 6, 2)}, "GRU with W and R"),
    ],
)
def test_constants_that_do_not_go_together(tmp_path, monkeypatch, nodes, constants, message):
    monkeypatch.setattr(onnx.checker, "check_model", lambda model: None)  # this and the next find some of it first
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", lambda model: model)
    path = save(tmp_path, nodes, (2, 4, 4), constants)
    with pytest.raises(ModelError, match=message):
        load_onnx(path)


def test_models_of_two_inputs(tmp_path):
    path = save(tmp_path, [node("Gemm", "x w")], (2, 4), {"w": floats(4, 3)})
    file = onnx.load(str(path))
    file.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (2, 3)))
    file.graph.node[0].output[0] = "h"
    file.graph.node.append(helper.make_node("Add", ["h", "z"], [file.graph.output[0].name]))
    onnx.save(file, str(path))
    model = load_onnx(path)
    with pytest.raises(
        DarbError, match=r"takes 2 inputs \(x, z\) and got 1; darb_prune.JoinedInputs\(model, channels\)"
    ):
        capture(model, torch.randn(2, 7))
    x, z = torch.randn(2, 4), torch.randn(2, 3)
    (wanted,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x.numpy(), "z": z.numpy()})
    joined = JoinedInputs(model, (4, 3))
    assert torch.allclose(joined(torch.cat([x, z], 1)), torch.from_numpy(wanted), atol=1e-6)
    stages = capture(joined, torch.randn(2, 7))
    assert torch.allclose(
        run(stages, torch.cat([x, z], 1))[stages.output].flatten(1), torch.from_numpy(wanted), atol=1e-6
    )
