"""TFLite files written by hand, and what the interpreter of LiteRT computes for them."""

import flatbuffers
import numpy as np
import tflite
import torch

KINDS = {np.dtype(np.int8): "INT8", np.dtype(np.int16): "INT16", np.dtype(np.int32): "INT32"}
KINDS |= {np.dtype(np.float32): "FLOAT32", np.dtype(np.uint8): "UINT8", np.dtype(np.float16): "FLOAT16"}
KINDS |= {np.dtype(np.int64): "INT64"}
OPTIONS = {
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions", "MAX_POOL_2D": "Pool2DOptions", "ADD": "AddOptions", "SUB": "SubOptions",
    "MUL": "MulOptions", "MEAN": "ReducerOptions", "REDUCE_MAX": "ReducerOptions", "SOFTMAX": "SoftmaxOptions",
    "CONCATENATION": "ConcatenationOptions", "RESHAPE": "ReshapeOptions", "STRIDED_SLICE": "StridedSliceOptions",
    "SPLIT": "SplitOptions", "LEAKY_RELU": "LeakyReluOptions", "GELU": "GeluOptions", "SQUEEZE": "SqueezeOptions",
}  # fmt: skip
WINDOW = {"Padding": 0, "StrideH": 1, "StrideW": 1}  # SAME
DILATION = {"DilationHFactor": 1, "DilationWFactor": 1}
DEFAULTS = {
    "CONV_2D": WINDOW | DILATION, "DEPTHWISE_CONV_2D": WINDOW | DILATION | {"DepthMultiplier": 1},
    "SOFTMAX": {"Beta": 1.0}, "FULLY_CONNECTED": {},
}  # fmt: skip
VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "HARD_SWISH": 1, "RESHAPE": 1, "SQUEEZE": 1,
    "EXPAND_DIMS": 1, "GELU": 1, "PRELU": 1, "LOG_SOFTMAX": 1, "EXP": 1, "ABS": 1,
}  # fmt: skip
"""Of the operators, 2 for the others."""
RELU, VALID = {"FusedActivationFunction": 1}, {"Padding": 1}
PER_ROW = [0.002, 0.0031, 0.0007, 0.0044]


def packed(builder, start, end, prepend, values):
    start(builder, len(values))
    for value in reversed(values):
        prepend(value)
    return builder.EndVector()


class Graph:
    """A graph that grows; methods take and give numbers of tensors. Shapes are without the samples, channels last."""

    def __init__(self, shape, scale=0.05, zero=0, kind="INT8", seed=0):
        self.random = np.random.default_rng(seed)
        self.tensors, self.operators = [], []
        self.source = self.tensor((1, *shape), kind, scale, zero)

    def tensor(self, shape, kind, scale=None, zero=0, axis=0, data=None, name=None):
        self.tensors.append({"shape": tuple(shape), "kind": kind, "axis": axis, "data": data})
        scales = None if scale is None else np.atleast_1d(np.float32(scale))
        zeros = None if scale is None else np.broadcast_to(np.int64(zero), scales.shape)
        self.tensors[-1] |= {"scale": scales, "zero": zeros, "name": name or f"t{len(self.tensors) - 1}"}
        return len(self.tensors) - 1

    def constant(self, values, scale=None, zero=0, axis=0):
        values = np.asarray(values)
        return self.tensor(values.shape, KINDS[values.dtype], scale, zero, axis, values)

    def numbers(self, *values):
        return self.constant(np.int32(values))

    def node(self, kind, inputs, shape, scale=None, zero=0, type="INT8", count=1, **options):
        """Several outputs with ``count``; ``scale`` none for floats."""
        type = "FLOAT32" if scale is None and type == "INT8" else type
        outputs = [self.tensor((1, *shape), type, scale, zero) for _ in range(count)]
        options = DEFAULTS.get(kind, {}) | options
        self.operators.append({"kind": kind, "inputs": inputs, "outputs": outputs, "options": options})
        return outputs[0] if count == 1 else outputs

    def drawn(self, *shape, low=-127, high=127):
        return self.random.integers(low, high + 1, shape).astype(np.int8)

    def _weighted(self, kind, x, weight, rows, axis, scales, shape, scale, zero, options):
        scales = np.broadcast_to(np.float32(scales), rows).copy()
        bias = self.random.integers(-2000, 2000, rows).astype(np.int32)
        source = self.tensors[x]["scale"][0]
        inputs = [x, self.constant(weight, scales, 0, axis), self.constant(bias, scales * source)]
        return self.node(kind, inputs, shape, scale, zero, **options)

    def conv(self, x, shape, kernel, scales, scale, zero=0, **options):
        """A convolution with random integers; ``scales`` are those of its weights, ``scale`` that of its output."""
        weight = self.drawn(shape[-1], *kernel, self.tensors[x]["shape"][-1])
        return self._weighted("CONV_2D", x, weight, shape[-1], 0, scales, shape, scale, zero, options)

    def depthwise(self, x, shape, kernel, scales, scale, zero=0, **options):
        weight = self.drawn(1, *kernel, shape[-1])
        options |= {"DepthMultiplier": shape[-1] // self.tensors[x]["shape"][-1]}
        return self._weighted("DEPTHWISE_CONV_2D", x, weight, shape[-1], 3, scales, shape, scale, zero, options)

    def fc(self, x, rows, scales, scale, zero=0, **options):
        weight = self.drawn(rows, int(np.prod(self.tensors[x]["shape"][1:])))
        return self._weighted("FULLY_CONNECTED", x, weight, rows, 0, scales, (rows,), scale, zero, options)

    def content(self, *outputs):
        """The bytes of the file."""
        builder = flatbuffers.Builder(1024)
        codes = sorted({operator["kind"] for operator in self.operators})
        buffers = [self._buffer(builder, None), *(self._buffer(builder, t["data"]) for t in self.tensors)]
        tensors = [self._tensor(builder, number + 1, tensor) for number, tensor in enumerate(self.tensors)]
        operators = [self._operator(builder, codes.index(o["kind"]), o) for o in self.operators]
        lists = {
            "Tensors": self._offsets(builder, tensors),
            "Inputs": builder.CreateNumpyVector(np.int32([self.source])),
            "Outputs": builder.CreateNumpyVector(np.int32(outputs)),
            "Operators": self._offsets(builder, operators),
        }
        tflite.SubGraphStart(builder)
        for name, value in lists.items():
            getattr(tflite, f"SubGraphAdd{name}")(builder, value)
        graph = tflite.SubGraphEnd(builder)
        parts = {
            "OperatorCodes": self._offsets(builder, [self._code(builder, code) for code in codes]),
            "Subgraphs": self._offsets(builder, [graph]),
            "Buffers": self._offsets(builder, buffers),
        }
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        for name, value in parts.items():
            getattr(tflite, f"ModelAdd{name}")(builder, value)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())

    @staticmethod
    def _offsets(builder, offsets):
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    @staticmethod
    def _buffer(builder, data):
        contents = None if data is None else builder.CreateNumpyVector(np.frombuffer(data.tobytes(), np.uint8))
        tflite.BufferStart(builder)
        if contents is not None:
            tflite.BufferAddData(builder, contents)
        return tflite.BufferEnd(builder)

    @staticmethod
    def _tensor(builder, buffer, tensor):
        name, shape = builder.CreateSharedString(tensor["name"]), builder.CreateNumpyVector(np.int32(tensor["shape"]))
        quantization = None
        if tensor["scale"] is not None:
            scale, zero = builder.CreateNumpyVector(tensor["scale"]), builder.CreateNumpyVector(tensor["zero"])
            tflite.QuantizationParametersStart(builder)
            tflite.QuantizationParametersAddScale(builder, scale)
            tflite.QuantizationParametersAddZeroPoint(builder, zero)
            tflite.QuantizationParametersAddQuantizedDimension(builder, tensor["axis"])
            quantization = tflite.QuantizationParametersEnd(builder)
        tflite.TensorStart(builder)
        tflite.TensorAddName(builder, name)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, getattr(tflite.TensorType, tensor["kind"]))
        tflite.TensorAddBuffer(builder, buffer if tensor["data"] is not None else 0)
        if quantization is not None:
            tflite.TensorAddQuantization(builder, quantization)
        return tflite.TensorEnd(builder)

    @staticmethod
    def _operator(builder, code, operator):
        inputs, outputs = (builder.CreateNumpyVector(np.int32(operator[name])) for name in ("inputs", "outputs"))
        kind, options = OPTIONS.get(operator["kind"]), None
        if kind:
            getattr(tflite, f"{kind}Start")(builder)
            for name, value in operator["options"].items():
                getattr(tflite, f"{kind}Add{name}")(builder, value)
            options = getattr(tflite, f"{kind}End")(builder)
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, code)
        tflite.OperatorAddInputs(builder, inputs)
        tflite.OperatorAddOutputs(builder, outputs)
        if kind:
            tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, kind))
            tflite.OperatorAddBuiltinOptions(builder, options)
        return tflite.OperatorEnd(builder)

    @staticmethod
    def _code(builder, kind):
        number = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(number, 127))
        tflite.OperatorCodeAddBuiltinCode(builder, number)
        tflite.OperatorCodeAddVersion(builder, VERSIONS.get(kind, 2))
        return tflite.OperatorCodeEnd(builder)

    def save(self, path, *outputs):
        path.write_bytes(self.content(*outputs))
        return path


def interpreted(path, x, numbers):
    """What LiteRT's reference kernels give for tensors of these numbers, in the order of torch; ``x`` is as the file
    takes it, integers or floats of shape (samples, ...)."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_REF
    made = Interpreter(
        str(path), experimental_op_resolver_type=kernels, experimental_preserve_all_tensors=True, num_threads=1
    )
    made.allocate_tensors()
    (source,) = made.get_input_details()
    values = []
    for sample in x:
        made.set_tensor(source["index"], sample[None])
        made.invoke()
        values.append([made.get_tensor(number)[0] for number in numbers])
    stacked = [torch.from_numpy(np.stack(entries)) for entries in zip(*values, strict=True)]
    return [tensor.movedim(-1, 1) if tensor.dim() > 2 else tensor for tensor in stacked]


def pool(graph, x, kind, kernel, stride, shape, scale, zero, **options):
    """A pooling, VALID unless ``options`` say something else."""
    sizes = {"FilterHeight": kernel, "FilterWidth": kernel, "StrideH": stride, "StrideW": stride}
    return graph.node(kind, [x], shape, scale, zero, **VALID | sizes | options)


def tiny_cnn():
    """A convolution, a depthwise one, a residual sum, a max pooling, an average, a dense layer, a softmax.

    Gives the graph, its logits and its output. No two scales are the same, but where TFLite wants that.
    """
    g = Graph((6, 6, 2), 0.031, 17)
    a = g.conv(g.source, (6, 6, 4), (3, 3), PER_ROW, 0.041, -128, **RELU)
    d = g.depthwise(a, (6, 6, 4), (3, 3), PER_ROW, 0.053, 3)
    s = g.node("ADD", [a, d], (6, 6, 4), 0.041, -128, **RELU)
    p = pool(g, s, "MAX_POOL_2D", 2, 2, (3, 3, 4), 0.041, -128)
    m = pool(g, p, "AVERAGE_POOL_2D", 3, 3, (1, 1, 4), 0.041, -128)
    y = g.fc(g.node("RESHAPE", [m, g.numbers(1, 4)], (4,), 0.041, -128), 3, 0.0051, 0.0171, 14)
    return g, y, g.node("SOFTMAX", [y], (3,), 2.0**-8, -128)
