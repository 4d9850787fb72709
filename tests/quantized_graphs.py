"""ONNX graphs with QuantizeLinear and DequantizeLinear, written by hand; what onnx itself computes for them."""

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

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
