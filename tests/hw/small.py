"""Networks made by hand, for tests that look at one thing each."""

import numpy as np

from darb_prune.encoded import DENSE, Cell, EncodedNetwork, Layer, Level, Segment, Tensor
from tests.random_rows import draw_codes, make_layer


def tensor(name: str, *shape: int, **fields) -> Tensor:
    """A tensor of 8 bits in its full range; a vector if ``shape`` is one number."""
    shape = shape if len(shape) == 3 else (1, 1, *shape)
    return Tensor(name, shape, **{"bits": 8, "qmin": -128, "qmax": 127, "scale": 1.0} | fields)


def layer(
    name: str, output: str, segments, rows: int, levels: tuple[Level, ...] = (DENSE,), row_level=None, **fields
) -> Layer:
    """A layer of ``rows`` rows of random weights; ``segments`` are those of ``Segment``, or their arguments."""
    segments = tuple(item if isinstance(item, Segment) else Segment(*item) for item in segments)
    rng = np.random.default_rng(rows)
    row_level = np.zeros(rows, int) if row_level is None else np.asarray(row_level)
    _, index, weight = draw_codes(rng, segments, levels, row_level, 8)
    chosen = {name: fields.pop(name) for name in ("bias", "mult", "shift") if name in fields}
    parameters = {
        "bias": np.arange(rows) - 2,
        "mult": np.full(rows, 300, np.int32),
        "shift": np.full(rows, 15, np.uint8),
    } | chosen
    return make_layer(name, output, segments, 8, levels, row_level, index, weight, **parameters, **fields)


def window(source: Tensor, kernel: tuple[int, int]) -> tuple[Segment, ...]:
    """Segments of a convolution."""
    return tuple(Segment(source.name, 0, kernel[1] * source.channels, line) for line in range(kernel[0]))


def convolution(
    name: str, source: Tensor, target: Tensor, kernel=(3, 3), padding=(1, 1), stride=(1, 1), pool=(1, 1), **fields
) -> Layer:
    """A convolution that writes all channels of ``target``; the same padding on both sides."""
    positions = tuple(pixels * over for pixels, over in zip(target.shape[:2], pool, strict=True))
    return layer(
        name, target.name, window(source, kernel), target.channels, positions=positions, stride=stride,
        padding=padding * 2, pool=pool, **fields,
    )  # fmt: skip


def network(tensors, layers, **fields) -> EncodedNetwork:
    """From the first tensor to the output of the last layer."""
    return EncodedNetwork("small", tensors[0].name, layers[-1].output, tuple(tensors), tuple(layers), **fields)


def lstm(units: int = 3, emit: str = "step", tail: int = 2, **state) -> EncodedNetwork:
    """x -> gates (with h of the step before) -> cell -> ``tail`` Linear layers."""
    tensors = [tensor("x", 4), tensor("gates", 4 * units, bits=16, qmin=-32768, qmax=32767)]
    tensors.append(tensor("h", units, scale=2.0**-7))
    layers = [layer("gate", "gates", [("x", 0, 4), ("h", 0, units)], 4 * units)]
    for number in range(tail):
        tensors.append(tensor(f"y{number}", 5))
        layers.append(layer(f"tail{number}", f"y{number}", [(tensors[-2].name, 0, tensors[-2].size)], 5))
    return network(tensors, layers, cells=(Cell("cell", "lstm", "gates", "h", **state),), emit=emit)
