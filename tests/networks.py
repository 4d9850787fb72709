"""Random legal networks for tests, with the dense integer matrices they were made from, and inputs for them."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from darb_prune.encoded import EncodedNetwork, Level, Segment, Tensor, TestVectors
from tests.draws import HypothesisDraw, SeedDraw
from tests.random_graphs import KINDS, random_graph
from tests.random_rows import LEVELS, draw_codes, edge_requantisation, make_layer, matrix_of
from tests.reference import Matrix, accumulate, evaluate

__all__ = [
    "KINDS",
    "RandomNetwork",
    "at_the_edges",
    "bound_inputs",
    "draw_layer",
    "lively",
    "networks",
    "random_inputs",
    "random_lengths",
    "random_network",
    "reaches_bounds",
    "twin",
    "with_bound_state",
]


@dataclass(frozen=True, eq=False)
class RandomNetwork:
    """An encoded network and the dense matrices it was made from, one a layer."""

    network: EncodedNetwork
    matrices: list[Matrix]

    @property
    def dense(self) -> list[np.ndarray]:
        """Matrices (rows, columns of all segments); columns in storage order."""
        return [matrix.weight for matrix in self.matrices]

    def trace(self, inputs: np.ndarray, lengths: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Every tensor for ``inputs`` (frames, size): the normative formula."""
        return evaluate(self.network, self.matrices, inputs, lengths)

    def vectors(self, inputs: np.ndarray, lengths: np.ndarray | None = None) -> TestVectors:
        extra = {} if lengths is None else {"lengths": np.asarray(lengths, np.int32)}
        return TestVectors(self.network.digest, self.trace(inputs, lengths), **extra)

    def sums(self, inputs: np.ndarray) -> np.ndarray:
        """``acc + bias`` of the first layer at the first time step, shape (frames, height, width, rows)."""
        network = self.network
        names = (name for name in (*network.delayed, network.input) if name in network.layers[0].reads)
        tensors = [network.tensor(name) for name in names]
        values = {}
        for tensor in tensors:
            initial = tensor.initial if tensor.initial is not None else np.zeros(tensor.size, np.int64)
            read = np.asarray(inputs if tensor.name == self.network.input else [initial] * len(inputs), np.int64)
            height, width, channels = tensor.shape
            values[tensor.name] = read.reshape(-1, channels, height, width)
        return accumulate(self.network.layers[0], self.matrices[0], values)


def twin(random: RandomNetwork) -> RandomNetwork:
    """Another network for the same Verilog: in each layer, rows that store as many codes change places."""
    layers, matrices = [], []
    for layer, matrix in zip(random.network.layers, random.matrices, strict=True):
        source = np.arange(layer.rows)
        if not layer.depthwise:
            for level in range(len(layer.levels)):
                source[layer.rows_of(level)] = np.roll(layer.rows_of(level), 1)
        starts = layer.row_offset
        codes = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in source])
        moved = {name: getattr(layer, name)[source] for name in ("bias", "mult", "shift")}
        layers.append(replace(layer, index=layer.index[codes], weight=layer.weight[codes], **moved))
        matrices.append(replace(matrix, weight=matrix.weight[source]))
    return RandomNetwork(replace(random.network, layers=tuple(layers)), matrices)


def random_network(seed: int | SeedDraw, kind: str = "chain", **options) -> RandomNetwork:
    """A network of a kind: a chain of Linear, or one of ``KINDS``.

    Parameters
    ----------
    seed : int or SeedDraw
    kind : str
        ``"chain"``, or one of ``KINDS``, or ``"any"``.
    options
        Of :func:`random_chain` or :func:`random_graphs.random_graph`.
    """
    draw = seed if isinstance(seed, SeedDraw) else SeedDraw(seed)
    if kind == "any":
        kind = draw.choice(("chain", *KINDS))
    if kind == "chain":
        return random_chain(draw, **options)
    random = RandomNetwork(*random_graph(draw, kind, **options))
    return lively(random, draw) if draw.chance(80) else random


def lively(random: RandomNetwork, draw: SeedDraw) -> RandomNetwork:
    """The same network with biases and multipliers that let most rows vary with the inputs.

    Of parameters that are drawn, many leave a row at an end of its range whatever it reads; behind some layers of
    those nothing depends on the input any more, and a wrong engine could give right outputs.
    """
    network, rng = random.network, draw.rng
    seed = int(rng.integers(0, 1000))
    lengths = random_lengths(seed, network, 3)
    inputs = random_inputs(seed, network, 6 if lengths is None else int(lengths.sum()))
    layers = list(network.layers)
    for number, layer in enumerate(layers):
        sums = {}
        evaluate(replace(network, layers=tuple(layers)), random.matrices, inputs, lengths, sums)
        acc = np.concatenate(sums[layer.name]).astype(float)
        tensor = network.tensor(layer.output)
        low, high = layer.clamp or ((-4096, 4095) if layer.multiplies else (tensor.qmin, tensor.qmax))
        wide = np.where(layer.row_function > 0, 100.0, (high - low) / 2)
        aim = np.where(layer.row_function > 0, 0.0, (high + low) / 2)
        spread, middle = acc.std(axis=0), acc.mean(axis=0) - layer.bias
        chosen = (spread > 0) & (wide > 0) & (rng.random(layer.rows) < 0.8)
        factor = np.where(chosen, wide, 1.0) / (np.where(chosen, spread, 1.0) * rng.uniform(0.8, 3.0, layer.rows))
        shift = np.clip(15 - np.floor(np.log2(factor)).astype(int), 1, 47)
        mult = np.clip(np.round(factor * 2.0**shift), 1, 65535)
        bias = np.clip(np.round(aim / factor - middle), -(1 << 36), 1 << 36)
        layers[number] = replace(
            layer,
            bias=np.where(chosen, bias, layer.bias).astype(np.int64),
            mult=np.where(chosen, mult, layer.mult).astype(np.int32),
            shift=np.where(chosen, shift, layer.shift).astype(np.uint8),
        )
    return replace(random, network=replace(network, layers=tuple(layers)))


@st.composite
def networks(draw, kind: str = "any", **options) -> RandomNetwork:
    """Strategy of :func:`random_network`."""
    return random_network(HypothesisDraw(draw), kind, **options)


def random_chain(
    draw: SeedDraw,
    *,
    sizes: tuple[int, ...] | None = None,
    levels: tuple[Level, ...] = LEVELS,
    weight_bits: int = 8,
    activation_bits: int = 8,
    extreme: bool = False,
    split: bool = False,
) -> RandomNetwork:
    """A chain of layers of random sizes, levels, orders, weights and requantisation parameters.

    Parameters
    ----------
    extreme : bool
        All weights at the ends of their range, and requantisation that clamps nothing away needlessly.
    split : bool
        Rows read several segments, of the tensor before and of the one before that.
    """
    rng = draw.rng
    if sizes is None:
        count = draw.integer(2, 4)
        sizes = tuple(draw.integer(1, 39) for _ in range(count))
    names = ["x"] + [f"t{i}" for i in range(1, len(sizes))]
    low, high = -(1 << (activation_bits - 1)), (1 << (activation_bits - 1)) - 1
    tensors = []
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        inner = 0 < number < len(sizes) - 1
        order = rng.permutation(size).astype(np.int32) if number < len(sizes) - 1 and rng.random() < 0.7 else None
        qmin = 0 if inner and rng.random() < 0.5 else low
        tensors.append(Tensor(name, (1, 1, size), activation_bits, qmin, high, 1.0, order))
    by_name = {tensor.name: tensor for tensor in tensors}
    layers, matrices = [], []
    for number in range(1, len(sizes)):
        segments = _segments(rng, tensors, number, split)
        layer, dense = draw_layer(
            rng, tensors[number].name, sizes[number], number, segments, levels, weight_bits, extreme
        )
        layers.append(layer)
        matrices.append(matrix_of(dense, segments, by_name))
    return RandomNetwork(EncodedNetwork("random", "x", names[-1], tuple(tensors), tuple(layers)), matrices)


def _segments(rng, tensors, number, split):
    source = tensors[number - 1]
    if not split:
        return (Segment(source.name, 0, source.size),)
    cut = int(rng.integers(0, source.size))
    parts = [(source, 0, cut), (source, cut, source.size - cut)]
    if number > 1:
        older = tensors[number - 2]
        start = int(rng.integers(0, older.size))
        parts.append((older, start, older.size - start))
    return tuple(Segment(t.name, start, length) for t, start, length in parts if length)


def draw_layer(rng, output, rows, number, segments, levels, weight_bits, extreme):
    row_level = rng.integers(0, len(levels), rows)
    dense, index, weight = draw_codes(rng, segments, levels, row_level, weight_bits, extreme)
    # Multipliers that bring typical sums into the range of the output, and some that clamp.
    spread = np.maximum(np.abs(dense).sum(axis=1) * 40.0, 1.0)
    shift = rng.integers(14, 20, rows)
    mult = np.clip(np.round(127.0 / spread * (1 << shift.astype(np.int64)) * rng.uniform(0.3, 3.0, rows)), 0, 65535)
    bias = rng.integers(-2000, 2001, rows)
    parameters = {"bias": bias, "mult": mult.astype(np.int32), "shift": shift.astype(np.uint8)}
    name = f"layer{number}"
    return make_layer(name, output, segments, weight_bits, levels, row_level, index, weight, **parameters), dense


def at_the_edges(random: RandomNetwork, seed: int) -> RandomNetwork:
    """The same chain with tensors of all widths and ranges, and every shift, multiplier and bias that is legal."""
    rng = np.random.default_rng(seed)
    network = random.network
    tensors = []
    for tensor in network.tensors:
        bits = int(rng.choice([2, 4, 7, 9, 13, 16]))
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if tensor.name != network.input and rng.random() < 0.5:
            low, high = int(rng.integers(low, 1)), int(rng.integers(1, high + 1))
        tensors.append(replace(tensor, bits=bits, qmin=low, qmax=high))
    layers = [replace(layer, **edge_requantisation(rng, layer.rows)) for layer in network.layers]
    return replace(random, network=replace(network, tensors=tuple(tensors), layers=tuple(layers)))


def random_inputs(seed: int, network: EncodedNetwork, frames: int) -> np.ndarray:
    """Random inputs; the first two are all at the ends of the range."""
    tensor = network.tensor(network.input)
    inputs = np.random.default_rng(seed).integers(tensor.qmin, tensor.qmax + 1, (frames, tensor.size))
    inputs[0] = tensor.qmax
    if frames > 1:
        inputs[1] = tensor.qmin
    return inputs


def random_lengths(seed: int, network: EncodedNetwork, sequences: int, longest: int = 4) -> np.ndarray | None:
    """Time steps of each sequence; ``None`` if the network is not recurrent."""
    return np.random.default_rng(seed).integers(1, longest + 1, sequences) if network.recurrent else None


def _worth(random: RandomNetwork, row: int) -> dict[str, np.ndarray]:
    """Weight of each element that layer 0 reads for ``row``, (channels, height, width), at the output position where
    the row has most of its weights inside the image."""
    network, layer, matrix = random.network, random.network.layers[0], random.matrices[0]
    pixels = [columns.at(layer, network.tensor(columns.tensor).shape) for columns in matrix.columns]
    kept = np.concatenate([inside for _, _, inside in pixels], axis=-1) & (matrix.weight[row] != 0)
    position = np.unravel_index(np.argmax(kept.sum(axis=-1)), layer.positions)
    worth: dict[str, np.ndarray] = {}
    column = 0
    for columns, (y, x, inside) in zip(matrix.columns, pixels, strict=True):
        tensor = network.tensor(columns.tensor)
        image = worth.setdefault(tensor.name, np.zeros((tensor.channels, *tensor.shape[:2]), np.int64))
        weight = matrix.weight[row, column : column + len(columns.channel)]
        at = inside[position]
        np.add.at(image, (columns.channel[at], y[position][at], x[position][at]), weight[at])
        column += len(columns.channel)
    return worth


def reaches_bounds(random: RandomNetwork, row: int) -> bool:
    """Whether ``row`` of the first layer can reach the ends of its accumulator: all its weights are inside the image
    at some output position, and none works against another one."""
    reached = sum(np.abs(image).sum() for image in _worth(random, row).values())
    return bool(reached == np.abs(random.dense[0][row]).sum())


def _extremes(random: RandomNetwork, row: int, high: bool) -> dict[str, np.ndarray]:
    """Values of what layer 0 reads that drive ``row`` to an end of its accumulator."""
    worth = _worth(random, row)
    ends = {name: (random.network.tensor(name).qmin, random.network.tensor(name).qmax) for name in worth}
    return {name: np.where((image > 0) == high, *ends[name][::-1]).reshape(-1) for name, image in worth.items()}


def bound_inputs(random: RandomNetwork, row: int) -> np.ndarray:
    """Two inputs that drive row ``row`` of the first layer to its greatest and its least accumulator.

    If the layer also reads the time step before, :func:`with_bound_state` does the rest.
    """
    return np.stack([_extremes(random, row, high)[random.network.input] for high in (True, False)])


def with_bound_state(random: RandomNetwork, row: int, high: bool) -> RandomNetwork:
    """The same network with initial values that drive row ``row`` of the first layer to an end of its accumulator."""
    values = _extremes(random, row, high)
    tensors = [
        replace(tensor, initial=values[tensor.name].astype(np.int32))
        if tensor.name in values and tensor.name in random.network.delayed
        else tensor
        for tensor in random.network.tensors
    ]
    return replace(random, network=replace(random.network, tensors=tuple(tensors)))
