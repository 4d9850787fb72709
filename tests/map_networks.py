"""Networks of maps for lanes over output positions: one made by hand, and averages for those that are drawn."""

from dataclasses import replace

import numpy as np

from darb_prune.encoded import DENSE, EMPTY, EncodedNetwork, Layer, Level, Operand, Segment, Tensor
from tests.draws import SeedDraw
from tests.networks import RandomNetwork
from tests.random_rows import LEVELS, draw_codes, make_layer, matrix_of, requantisation
from tests.reference import Matrix

__all__ = ["averaging", "residual_network", "with_mean", "with_residual", "with_transposed"]


def averaging(random: RandomNetwork) -> RandomNetwork:
    """The same network, but each row of a depthwise layer has the same weight, its first one, in all of its taps."""
    layers, matrices = [], []
    for layer, matrix in zip(random.network.layers, random.matrices, strict=True):
        count = len(layer.segments)
        if layer.depthwise and count > 1 and len({segment.tensor for segment in layer.segments}) == 1:
            index, weight = (codes.reshape(layer.rows, -1)[:, 0] for codes in (layer.index, layer.weight))
            layer = replace(layer, index=index, weight=weight)
            dense = matrix.weight.reshape(layer.rows, count, -1)
            matrix = replace(matrix, weight=np.repeat(dense[:, :1], count, axis=1).reshape(layer.rows, -1))
        layers.append(layer)
        matrices.append(matrix)
    return RandomNetwork(replace(random.network, layers=tuple(layers)), matrices)


def with_mean(random: RandomNetwork, draw: SeedDraw) -> RandomNetwork:
    """The same network with two more layers: one that averages the pixels of a map, channel by channel, and one that
    reads that beside the former output. The network itself if it has no map, or time steps."""
    network, rng = random.network, draw.rng
    maps = [tensor for tensor in network.tensors if tensor.shape[:2] != (1, 1)]
    if not maps or network.recurrent or network.sections or network.embedding:
        return random
    source = draw.choice(maps)
    height, width, channels = source.shape
    pixels = tuple(Segment(source.name, x * channels, channels, y) for y in range(height) for x in range(width))
    each = rng.integers(-128, 128, channels)
    dense = np.zeros((channels, len(pixels), channels), np.int64)
    dense[np.arange(channels), :, source.channel_position] = each[:, None]
    mean = Tensor("mean", (1, 1, channels), 8, -128, 127, 1.0, rng.permutation(channels).astype(np.int32))
    tensors = {tensor.name: tensor for tensor in (*network.tensors, mean)}
    level = Level((channels - 1).bit_length(), 1)
    codes = source.channel_position.astype(np.uint16), each.astype(np.int8)
    parameters = requantisation(rng, np.abs(dense).sum(axis=(1, 2)) * 30.0, np.full(channels, 127.0))
    layer = make_layer("mean", "mean", pixels, 8, (level,), np.zeros(channels), *codes, depthwise=True, **parameters)
    last = Tensor("last", (1, 1, draw.integer(1, 5)), 8, -128, 127, 1.0)
    behind, dense_last = _beside(rng, draw, ("mean", network.output), last, tensors)
    matrices = [*random.matrices, matrix_of(dense.reshape(channels, -1), pixels, tensors), dense_last]
    made = replace(
        network, output="last", tensors=(*network.tensors, mean, last), layers=(*network.layers, layer, behind)
    )
    return RandomNetwork(made, matrices)


def with_residual(random: RandomNetwork, draw: SeedDraw) -> RandomNetwork:
    """The same network with four more layers behind a map of it: the last but one adds what the first gave, in the same
    layout, and the last one reads the sum beside the former output. The network itself if it has no map, or time
    steps."""
    network, rng = random.network, draw.rng
    maps = [tensor for tensor in network.tensors if tensor.shape[:2] != (1, 1) and tensor.name != network.output]
    if not maps or network.recurrent or network.sections or network.embedding:
        return random
    source = draw.choice(maps)
    shape = *source.shape[:2], draw.integer(1, 4)
    order = rng.permutation(shape[2]).astype(np.int32)
    made = [Tensor(name, shape, 8, -128, 127, 1.0, order) for name in ("branch", "inner", "sum", "behind")]
    last = Tensor("beside", (1, 1, draw.integer(1, 5)), 8, -128, 127, 1.0)
    tensors = {tensor.name: tensor for tensor in (*network.tensors, *made, last)}
    around = {"positions": shape[:2], "padding": (1, 1, 1, 1)}
    added = Operand("branch", product=draw.chance(30))
    pairs = [
        _convolution(rng, source, made[0], (draw.choice(LEVELS),), tensors, 1, positions=shape[:2]),
        _convolution(rng, made[0], made[1], (draw.choice(LEVELS),), tensors, **around),
        _convolution(rng, made[1], made[2], (draw.choice(LEVELS), EMPTY), tensors, operand=added, **around),
        _convolution(rng, made[2], made[3], (draw.choice(LEVELS),), tensors, **around),
        _beside(rng, draw, ("behind", network.output), last, tensors),
    ]
    layers, matrices = zip(*pairs, strict=True)
    grown = replace(
        network, output="beside", tensors=(*network.tensors, *made, last), layers=(*network.layers, *layers)
    )
    return RandomNetwork(grown, [*random.matrices, *matrices])


def with_transposed(random: RandomNetwork, draw: SeedDraw) -> RandomNetwork:
    """The same network with four more layers behind a map of it: two write the rows of a transposed map, which has a
    channel for each of their positions, or any other shape; a convolution reads it, and the last one reads that beside
    the former output. The network itself if it has no map, or time steps."""
    network, rng = random.network, draw.rng
    maps = [tensor for tensor in network.tensors if tensor.shape[:2] != (1, 1)]
    if not maps or network.recurrent or network.sections or network.embedding:
        return random
    source = draw.choice(maps)
    kernel, stride = draw.integer(1, min(2, *source.shape[:2])), draw.integer(1, 2)
    lines, columns = positions = tuple((size - kernel) // stride + 1 for size in source.shape[:2])
    rows = draw.integer(1, 5)
    whole, reshaped = rows + source.channels, draw.chance(50)
    channels, pixels = lines * columns, whole
    if reshaped:
        channels = draw.choice([count for count in range(1, channels * whole + 1) if channels * whole % count == 0])
        pixels = lines * columns * whole // channels
    height = draw.choice([count for count in (1, 2, 3) if pixels % count == 0])
    shape = height, pixels // height, channels
    made = Tensor("transposed", shape, 8, -128, 127, 1.0)
    side, around = (min(2, *shape[:2]), 0) if reshaped else (3, 1)  # nothing may pad it then
    image = tuple(size + 2 * around - side + 1 for size in shape[:2])
    across = Tensor("across", (*image, draw.integer(1, 3)), 8, -128, 127, 1.0)
    last = Tensor("together", (1, 1, draw.integer(1, 5)), 8, -128, 127, 1.0)
    tensors = {tensor.name: tensor for tensor in (*network.tensors, made, across, last)}
    fields = {"positions": positions, "stride": (stride, stride), "transposed": True}
    own = Level((source.channels - 1).bit_length(), 1)
    pairs = []
    for name, count, first, levels, depthwise in (
        ("rows", rows, source.channels, (draw.choice(LEVELS), EMPTY), False),
        ("taps", source.channels, 0, (own,), True),
    ):
        target = Tensor(name, (*positions, count), 8, -128, 127, 1.0)
        layer, matrix = _convolution(rng, source, target, levels, tensors, kernel, depthwise=depthwise, **fields)
        pairs.append((replace(layer, output=made.name, first=first), matrix))
    walk = {"positions": image, "padding": (around,) * 4}
    pairs.append(_convolution(rng, made, across, (draw.choice(LEVELS),), tensors, side, **walk))
    pairs.append(_beside(rng, draw, (across.name, network.output), last, tensors))
    layers, matrices = zip(*pairs, strict=True)
    grown = replace(
        network, output=last.name, tensors=(*network.tensors, made, across, last), layers=(*network.layers, *layers)
    )
    return RandomNetwork(grown, [*random.matrices, *matrices])


def _beside(
    rng, draw: SeedDraw, sources: tuple[str, str], last: Tensor, tensors: dict[str, Tensor]
) -> tuple[Layer, Matrix]:
    """A Linear layer that reads all of two tensors, and its dense matrix."""
    segments = tuple(Segment(name, 0, tensors[name].size) for name in sources)
    levels = tuple(draw.choice(LEVELS) for _ in range(2))
    row_level = rng.integers(0, 2, last.size)
    dense, index, weight = draw_codes(rng, segments, levels, row_level, 8)
    parameters = requantisation(rng, np.abs(dense).sum(axis=1) * 30.0, np.full(last.size, 127.0))
    layer = make_layer(last.name, last.name, segments, 8, levels, row_level, index, weight, **parameters)
    return layer, matrix_of(dense, segments, tensors)


def _convolution(
    rng, source: Tensor, target: Tensor, levels: tuple[Level, ...], tensors: dict[str, Tensor], kernel: int = 3,
    **fields,
) -> tuple[Layer, Matrix]:  # fmt: skip
    """A layer of ``kernel x kernel`` pixels, and its dense matrix; a depthwise one has a segment for each pixel."""
    channels, depthwise = source.channels, fields.get("depthwise", False)
    if depthwise:
        segments = [Segment(source.name, x * channels, channels, y) for y in range(kernel) for x in range(kernel)]
    else:
        segments = [Segment(source.name, 0, kernel * channels, y) for y in range(kernel)]
    row_level = np.arange(target.channels) % len(levels)
    own = source.channel_position.tolist() if depthwise else None
    dense, index, weight = draw_codes(rng, segments, levels, row_level, 8, taps=own)
    parameters = requantisation(rng, np.abs(dense).sum(axis=1) * 30.0, np.full(target.channels, 127.0))
    layer = make_layer(
        target.name, target.name, tuple(segments), 8, levels, row_level, index, weight, **parameters, **fields
    )
    return layer, matrix_of(dense, tuple(segments), tensors)


def residual_network(height: int = 6, width: int = 5, seed: int = 0, short: bool = False) -> RandomNetwork:
    """Padding of all sides and of three, an addition, a depthwise layer with pooling, an average, and a Linear layer
    that reads it beside a map. Tiles run over the ends of lines of maps of odd width. A ``short`` one ends with the
    addition."""
    rng = np.random.default_rng(seed)
    pooled = height // 2, (width - 1) // 2
    shapes = {"x": (height, width, 3), "a": (height, width, 4), "b": (height, width, 4)}
    shapes |= {"c": (*pooled, 4), "d": (*pooled, 5)}
    tensors = {
        name: Tensor(name, shape, 8, 0 if name == "a" else -128, 127, 1.0, rng.permutation(shape[2]).astype(np.int32))
        for name, shape in shapes.items()
    }
    x, a, b, c, d = tensors.values()
    around = {"positions": (height, width), "padding": (1, 1, 1, 1)}
    halved = {"positions": (height, width - 1), "padding": (1, 0, 1, 1), "pool": (2, 2), "depthwise": True}
    made = [
        _convolution(rng, x, a, (Level(1, 1), DENSE), tensors, **around),
        _convolution(rng, a, b, (Level(2, 1), EMPTY, Level(3, 1)), tensors, operand=Operand("a"), **around),
        _convolution(rng, b, c, (Level(2, 1),), tensors, **halved),
        _convolution(rng, c, d, (Level(2, 2),), tensors, positions=pooled, padding=(1, 1, 1, 1)),
    ]
    layers, matrices = zip(*made, strict=True)
    if short:
        return RandomNetwork(EncodedNetwork("residual", "x", "b", (x, a, b), layers[:2]), list(matrices[:2]))
    network = EncodedNetwork("residual", "x", "d", tuple(tensors.values()), layers)
    return with_mean(RandomNetwork(network, list(matrices)), SeedDraw(seed))
