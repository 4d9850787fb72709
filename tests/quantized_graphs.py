"""ONNX graphs with QuantizeLinear and DequantizeLinear, written by hand; what onnx itself and onnxruntime
compute for them, layer for layer."""

import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from darb_prune.integer.arithmetic import IntegerMatrix

KINDS = {np.dtype(np.int8): TensorProto.INT8, np.dtype(np.uint8): TensorProto.UINT8}


class Graph:
    """A graph that grows; methods take and give names of tensors.

    Attributes
    ----------
    integers : list of (str, int)
        Tensors of integers that activations are rounded to, and their zero points, in order.
    """

    def __init__(self, shape, seed=0, rank=2):
        self.rank = rank  # of the output
        self.shape, self.random = shape, np.random.default_rng(seed)
        self.nodes, self.constants, self.integers = [], [], []

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind, *inputs, output=None, **attributes):
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"{kind}_{output}", **attributes))
        return output

    def qdq(self, x, scale, zero=0, kind=np.int8, clip=None):
        pair = self.constant(np.float32(scale)), self.constant(kind(zero))
        q = self.node("QuantizeLinear", x, *pair)
        if clip:
            q = self.node("Clip", q, *(self.constant(kind(limit)) for limit in clip))
        self.integers.append((q, zero))
        return self.node("DequantizeLinear", q, *pair)

    def weight(self, values, scale, axis=0, zero=None, **attributes):
        zero = np.zeros(np.shape(scale), values.dtype) if zero is None else zero
        pair = self.constant(np.asarray(scale, np.float32)), self.constant(zero)
        return self.node("DequantizeLinear", self.constant(values), *pair, axis=axis, **attributes)

    def bias(self, values, scale):
        return self.node("DequantizeLinear", self.constant(np.int32(values)), self.constant(np.float32(scale)), axis=0)

    def drawn(self, *shape, low=-128, high=127):
        return self.random.integers(low, high + 1, shape).astype(np.int8)

    def conv(self, x, channels, rows, kernel, source, scale, **attributes):
        """A convolution with random integers; ``source`` and ``scale`` are those of its input and its weights."""
        scale = np.float32(scale)
        weight = self.weight(self.drawn(rows, channels, *kernel), scale)
        bias = self.bias(self.random.integers(-2000, 2000, rows), np.broadcast_to(scale * np.float32(source), rows))
        return self.node("Conv", x, weight, bias, **attributes)

    def fc(self, x, columns, rows, source, scale):
        weight = self.weight(self.drawn(rows, columns), np.float32(scale))
        bias = self.bias(
            self.random.integers(-2000, 2000, rows), np.broadcast_to(np.float32(scale) * np.float32(source), rows)
        )
        return self.node("Gemm", x, weight, bias, transB=1)

    def model(self, output, opset=21):
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *self.shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, list("nchw"[: self.rank]))],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)

    def save(self, path, output, opset=21):
        path.write_bytes(self.model(output, opset).SerializeToString())
        return path

    def expected(self, output, x, opset=21):
        """What the reference evaluator of onnx gives for all tensors of integers, less their zero points."""
        names = [name for name, _ in self.integers]
        values = ReferenceEvaluator(self.model(output, opset)).run(names, {"x": x.numpy()})
        return [
            torch.from_numpy(value.astype(np.int64).reshape(len(x), -1)) - zero
            for value, (_, zero) in zip(values, self.integers, strict=True)
        ]


def tiny_cnn(symmetric=False, shared=False):
    """Convolutions with padding, one of them depthwise, a max pooling, a residual sum, an average, a Linear.

    All activations have scales that are no powers of two; without ``symmetric`` they are uint8 with zero points. With
    ``shared`` both sides of the sum have its scale.
    """
    g = Graph((2, 6, 6), seed=5)
    kind, zero, middle = (np.int8, 0, 0) if symmetric else (np.uint8, 0, 131)
    left, right = (0.041, 0.041) if shared else (0.0217, 0.053)
    x = g.qdq("x", 0.031, middle and 117, kind)
    a = g.node("Relu", g.conv(x, 2, 4, (3, 3), 0.031, [0.002, 0.0031, 0.0007, 0.0044], pads=[1] * 4))
    a = g.qdq(a, left, zero, kind)
    d = g.conv(a, 1, 4, (3, 3), left, [0.001, 0.002, 0.003, 0.004], pads=[1] * 4, group=4)
    d = g.qdq(d, right, middle, kind)
    s = g.qdq(g.node("Relu", g.node("Add", a, d)), 0.041, zero, kind)
    p = g.qdq(g.node("MaxPool", s, kernel_shape=[2, 2], strides=[2, 2]), 0.041, zero, kind)
    m = g.qdq(g.node("GlobalAveragePool", p), 0.03, zero, kind)
    y = g.fc(g.node("Flatten", m), 4, 3, 0.03, 0.0051)
    return g, g.qdq(y, 0.0171, middle and 120, kind)


def each_layer(integer, names, expected):
    """Differences of each tensor of ``names`` from ``expected``, when what is computed before it is as expected."""
    values = {name: part.view(-1, *integer.tensors[name].shape) for name, part in zip(names, expected, strict=True)}
    known, differences = dict(values), {}
    for name in names[1:]:
        known.pop(name)
        for stage in integer.stages:
            if isinstance(stage, IntegerMatrix) and stage.output not in known:
                reads = [*stage.inputs, *([stage.operand.value] if stage.operand else [])]
                if all(entry in known for entry in reads):
                    known.pop(stage.output, None)
                    stage.run(known, integer.tensors[stage.output])
        differences[name] = (known[name] - values[name]).abs()
        known[name] = values[name]
    return differences


def statically_quantized(folder, model, x, activation_type, weight_type="QInt8", **options):
    """What onnxruntime's static quantisation makes of a model of torch."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.samples = iter([{"x": sample[None].numpy()} for sample in x])

        def get_next(self):
            return next(self.samples, None)

    plain, prepared, path = (folder / f"{name}.onnx" for name in ("plain", "prepared", "static"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (x[:1],), str(plain), dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
        )
        quant_pre_process(str(plain), str(prepared))
        quantize_static(
            str(prepared), str(path), Reader(), quant_format=QuantFormat.QDQ,
            activation_type=QuantType[activation_type], weight_type=QuantType[weight_type], **options,
        )  # fmt: skip
    return path


def runtime_integers(content, x):
    """What onnxruntime gives for all tensors of integers of a file of this content, less zero points, in order."""
    import onnxruntime

    model = onnx.load_from_string(content)
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    zeros = {n.output[0]: constants[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    for name, zero in zeros.items():
        kind = helper.np_dtype_to_tensor_dtype(zero.dtype)
        model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(list(zeros), {"x": x.numpy()})
    return {
        name: torch.from_numpy(value.astype(np.int64)).flatten(1) - int(zeros[name])
        for name, value in zip(zeros, values, strict=True)
    }
