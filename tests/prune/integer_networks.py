"""Random integer networks of every kind of layer, for the oracle and the encoder."""

import torch

from darb_prune.frontend.stages import Addend, StageSection, Window
from darb_prune.integer.arithmetic import IntegerCell, IntegerEmbedding, IntegerMatrix, IntegerTensor, function_table
from darb_prune.integer.network import IntegerNetwork
from darb_prune.modules.matrix import as_matrix, as_parameter, segments
from darb_prune.patterns.masks import level_mask

LEVELS = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 1), (2, 3), (3, 1), (4, 5), (4, 16), (6, 2), (7, 1)]


class Maker:
    """Adds layers one after another; every choice comes from the seed."""

    def __init__(self, seed: int, shape: tuple[int, int, int], bits: int = 8, weight_bits: int = 8):
        self.random = torch.Generator().manual_seed(seed)
        self.bits, self.weight_bits = bits, weight_bits
        self.tensors, self.stages, self.orders = {}, [], {}
        self.tensor("input", shape)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=self.random)

    def pick(self, *choices):
        return choices[int(self.integers(0, len(choices), 1))]

    def tensor(self, name, shape, bits=None, positive=False, initial=False):
        bits = bits or self.bits
        top = 1 << (bits - 1)
        start = self.integers(-top, top, shape[0]) if initial else None
        self.tensors[name] = IntegerTensor(name, tuple(shape), bits, 0 if positive else -top, top - 1, 1 / top, start)
        self.orders[name] = torch.randperm(shape[0], generator=self.random) if self.pick(0, 1, 1) else None

    def matrix(self, name, output, inputs, rows, window=None, column=False, **options):
        """A layer whose weights follow random levels in the orders of its inputs, or of their columns."""
        top, target = 1 << (self.weight_bits - 1), self.tensors[output]
        levels = torch.tensor(LEVELS, dtype=torch.int16)[self.integers(0, len(LEVELS), rows)]
        weights, kept, orders = [], [], []
        for source in inputs:
            channels, height, width = self.tensors[source].shape
            width = 1 if column else width
            shape = (rows, channels * height * width)
            if window is not None:
                shape = (rows, 1 if window.depthwise else channels, *window.kernel)
            weight = self.integers(-top, top, *shape)
            order = self.columns(source, window, column)
            if window is None or not window.depthwise:
                strength = torch.rand(as_matrix(weight).shape, generator=self.random)
                widths = segments(shape, window is not None and window.dilation[1] > 1)
                mask = level_mask(strength, levels, order, (channels,) * height if column else widths)
                weight = weight * as_parameter(mask, shape)
                kept.append(mask)
            else:
                kept.append(None)
            weights.append(weight)
            orders.append(order)
        fan = max(sum(int((weight != 0).sum()) for weight in weights) // rows, 1)
        clamp = (target.qmin, target.qmax)
        self.stages.append(
            IntegerMatrix(
                name, output, tuple(inputs), tuple(weights), self.integers(-3000, 3000, rows),
                self.integers(0, 2**16, rows), self.integers(21, 24, rows) + fan.bit_length() // 2, self.weight_bits,
                window=window, kept=tuple(kept), levels=None if window and window.depthwise else levels,
                orders=tuple(orders), column=column, **{"clamp": clamp} | options,
            )
        )  # fmt: skip

    def columns(self, source, window, column=False):
        """Storage order of the columns that read ``source``, from that of its channels."""
        order, (channels, height, width) = self.orders[source], self.tensors[source].shape
        width = 1 if column else width
        if window is not None and window.depthwise:
            return None
        if order is None and height * width == 1:
            return None
        order = torch.arange(channels) if order is None else order
        if window is None:
            return (order * height * width + torch.arange(height * width)[:, None]).reshape(-1)
        taps = window.kernel[0] * window.kernel[1]
        return (torch.arange(taps)[:, None] * channels + order).reshape(-1)

    def network(self, output, **options):
        return IntegerNetwork("random", "input", output, self.tensors.values(), self.stages, **options)


def multilayer(seed, sizes=(9, 5, 7), weight_bits=8, bits=8):
    make = Maker(seed, (sizes[0], 1, 1), bits, weight_bits)
    source = "input"
    for number, size in enumerate(sizes[1:]):
        name = f"net.{number}"
        make.tensor(f"{name}.out", (size, 1, 1), positive=number < len(sizes) - 2)
        tables = torch.stack([function_table("tanh", 2.0**-7, -127, 127), function_table("sigmoid", 2.0**-7, 0, 127)])
        options = {}
        if make.pick(0, 1):
            options = {"tables": tables, "function": make.integers(0, 3, size)}
        make.matrix(name, f"{name}.out", [source], size, **options)
        source = f"{name}.out"
    return make.network(source)


def convolutional(seed):
    """Convolution with pooling, residual add with other channels, depthwise, overlapping max pooling, concatenation."""
    make = Maker(seed, (1 + seed % 3, 7, 8))
    make.tensor("a", (4, 3, 4), positive=True)
    make.matrix("conv1", "a", ["input"], 4, Window((3, 3), (1, 1), (1, 1, 1, 1)), pool=(2, 2))
    make.tensor("b", (6, 2, 2), positive=True)
    window = Window((3, 3), (2, 2), (1, make.pick(0, 1), 1, 1))
    make.matrix("conv2", "b", ["a"], 6, window, operand=Addend("a", (2, 2), make.pick(0, 1, 2, -1)))
    make.tensor("c", (4, 3, 4))
    make.matrix(
        "depthwise", "c", ["a"], 4, Window((3, 2), (1, 1), (1, *make.pick((0, 1, 1), (1, 1, 0))), depthwise=True)
    )
    make.tensor("d", (4, 2, 3))
    taps = Window((1, 1), depthwise=True)
    for number, offset in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        window = Window(taps.kernel, taps.stride, taps.padding, True, offset)
        make.matrix(f"pool.{number}", "d", ["c"], 4, window, maximum=number > 0)
    make.tensor("f", (3, 2, 2))
    dilation = make.pick((1, 2), (2, 1), (2, 2))
    make.matrix("dilated", "f", ["a"], 3, Window((2, 2), (1, 2), (1, 0, 0, 2), dilation=dilation))
    make.tensor("g", (4, 1, 2))
    make.matrix("sparse", "g", ["c"], 4, Window((2, 3), (4, 3), (0, 2, 1, 2), depthwise=True, dilation=dilation))
    make.tensor("e", (9, 1, 1))
    make.matrix("fc1", "e", ["b"], 2, clamp=(-5, 100))
    make.matrix("fc2", "e", ["d"], 3, first=2)
    make.matrix("fc4", "e", ["f"], 2, first=5)
    make.matrix("fc5", "e", ["g"], 2, first=7)
    make.tensor("out", (3, 1, 1))
    make.matrix("fc3", "out", ["e"], 3)
    return make.network("out")


def transposed(seed):
    """Two layers that write the pixels of a transposed map, one of them a copy, a convolution that reads it, and a
    copy of that which is transposed again, into a map of another shape or one with a channel for each position."""
    make = Maker(seed, (1 + seed % 3, 4, 5))
    make.tensor("a", (3, 4, 3), positive=True)
    make.matrix("conv", "a", ["input"], 3, Window((1, 3)))
    positions = 2, 3
    make.tensor("b", (6, *make.pick((1, 8), (2, 4), (8, 1))))
    make.orders["b"] = None
    make.matrix("rows", "b", ["a"], 5, Window((2, 1), (2, 1)), transposed=positions)
    make.matrix("copy", "b", ["a"], 3, Window((1, 1), (2, 1), depthwise=True), first=5, transposed=positions)
    image = make.tensors["b"].shape[1:]
    make.tensor("c", (4, *image), positive=True)
    make.matrix("behind", "c", ["b"], 4, Window((3, 3), padding=(1, 1, 1, 1)))
    make.tensor("d", make.pick((8, 1, 4), (4, 2, 4), (1, 4, 8), (32, 1, 1), (16, 2, 1)))
    make.orders["d"] = None
    make.matrix("back", "d", ["c"], 4, Window((1, 1), depthwise=True), transposed=image)
    make.tensor("out", (3, 1, 1))
    make.matrix("fc", "out", ["d"], 3)
    return make.network("out")


def recurrent(seed, kind="lstm", bits=8, emit="step", embedded=False):
    """Two layers of cells behind each other, and a tail of two layers. Of the kind ``"projection"`` each cell is that
    of an LSTM with a layer behind it; of ``"rnn"`` a layer reads what it wrote a time step before, without a cell."""
    make = Maker(seed, (1 if embedded else 5, 1, 1), bits)
    source = "input"
    if embedded:
        make.tensors["input"] = IntegerTensor("input", (2, 1, 1), 4, 0, 6, 1.0)
        make.tensor("embedding.out", (6, 1, 1))
        make.orders["input"] = None
        top = 1 << (bits - 1)
        make.stages.append(IntegerEmbedding("embedding", "input", "embedding.out", make.integers(-top, top, 7, 3)))
        source = "embedding.out"
    units = 3
    sigmoid, tanh = function_table("sigmoid"), function_table("tanh")
    for number in range(2):
        gates, hidden = f"l{number}.gates", f"l{number}.out"
        make.tensor(hidden, (units, 1, 1), initial=bool(make.pick(0, 1)))
        if kind == "rnn":
            make.matrix(f"l{number}", hidden, [source, hidden], units)
            source = hidden
            continue
        make.tensor(gates, (4 * units, 1, 1), 16)
        output = hidden
        if kind == "projection":
            output = f"l{number}.inner"
            make.tensor(output, (units, 1, 1))
        if kind in ("lstm", "projection"):
            function = torch.tensor([1] * 6 + [2] * 3 + [1] * 3)
            make.matrix(
                f"l{number}", gates, [source, hidden], 12, tables=torch.stack([sigmoid, tanh]), function=function
            )
        else:
            ones = torch.ones(6, dtype=torch.int64)
            make.matrix(f"l{number}.rz", gates, [source, hidden], 6, tables=sigmoid[None], function=ones)
            make.matrix(f"l{number}.n_x", gates, [source], 3, first=6)
            make.matrix(f"l{number}.n_h", gates, [hidden], 3, first=9)
        state = make.integers(-32768, 32768, units) if make.pick(0, 1) else None
        name = "lstm" if kind == "projection" else kind
        make.stages.append(IntegerCell(f"l{number}.cell", name, gates, output, state))
        if kind == "projection":
            make.matrix(f"l{number}.projection", hidden, [output], units)
        source = hidden
    make.tensor("f", (4, 1, 1), positive=True)
    make.matrix("fc1", "f", [source], 4)
    make.tensor("out", (2, 1, 1))
    make.matrix("fc2", "out", ["f"], 2)
    return make.network("out", recurrent=True, emit=emit)


def sectioned(seed, kind="lstm", bits=8, embedded=False):
    """Perhaps an embedding; a convolution, two sections that read the columns of its map, a third one and a convolution
    behind them, of the kinds of :func:`recurrent`."""
    make = Maker(seed, (2, 3, 4), bits)
    height, width, units = make.pick(1, 2), make.pick(1, 3), 3
    make.tensor("map", (5, height, width), positive=True)
    if embedded:
        make.tensors["input"] = IntegerTensor("input", (4, 1, 1), 4, 0, 6, 1.0)
        make.tensor("embedding.out", (3, 1, 4))
        make.orders["input"], height, top = None, 1, 1 << (bits - 1)
        make.tensor("map", (5, height, width), positive=True)
        make.stages.append(IntegerEmbedding("embedding", "input", "embedding.out", make.integers(-top, top, 7, 3)))
    source = "embedding.out" if embedded else "input"
    window = Window((1 if embedded else 4 - height, 5 - width))
    make.matrix("conv", "map", [source], 5, window)
    sections, source = [], "map"
    for name, backward in (("left", False), ("right", True), ("third", bool(make.pick(0, 1)))):
        if name == "third":
            make.tensor("both", (2 * units, 1, width))
            for number, part in enumerate(("left", "right")):
                copy = Window((1, 1), depthwise=True)
                make.matrix(f"both.{number}", "both", [part], units, copy, first=number * units)
            make.orders["both"], source = None, "both"
        first = len(make.stages)
        make.tensor(name, (units, 1, width), initial=bool(make.pick(0, 1)))
        _section(make, name, kind, source, units)
        sections.append(StageSection(first, len(make.stages), backward))
    make.tensor("out", (2, 1, width))
    make.matrix("last", "out", ["third"], 2, Window((1, 1)))
    return make.network("out", sections=tuple(sections))


def _section(make, name, kind, source, units):
    """The layers and the cell of a section, which writes tensor ``name``."""
    width, sigmoid, tanh = make.tensors[name].shape[2], function_table("sigmoid"), function_table("tanh")
    if kind == "rnn":
        make.matrix(f"{name}.rnn", name, [source, name], units, column=True)
        return
    make.tensor(f"{name}.gates", (4 * units, 1, width), 16)
    gates, output = f"{name}.gates", name
    make.orders[gates] = None
    if kind == "projection":
        output = f"{name}.inner"
        make.tensor(output, (units, 1, width))
    if kind == "gru":
        ones = torch.ones(2 * units, dtype=torch.int64)
        make.matrix(f"{name}.rz", gates, [source, name], 2 * units, tables=sigmoid[None], function=ones, column=True)
        make.matrix(f"{name}.n_x", gates, [source], units, first=2 * units, column=True)
        make.matrix(f"{name}.n_h", gates, [name], units, first=3 * units, column=True)
    else:
        function = torch.tensor([1] * 2 * units + [2] * units + [1] * units)
        tables = torch.stack([sigmoid, tanh])
        make.matrix(f"{name}.ifgo", gates, [source, name], 4 * units, tables=tables, function=function, column=True)
    state = make.integers(-32768, 32768, units) if make.pick(0, 1) else None
    make.stages.append(IntegerCell(f"{name}.cell", "gru" if kind == "gru" else "lstm", gates, output, state))
    if kind == "projection":
        make.matrix(f"{name}.projection", name, [output], units, column=True)


def inputs(network, samples, *steps, seed=0):
    source = network.tensors[network.input]
    random = torch.Generator().manual_seed(seed)
    return torch.randint(source.qmin, source.qmax + 1, (samples, *steps, source.size), generator=random)
