"""What makes the rows of a layer legal: parameters, codes, accumulators; and how every check fails."""

from typing import Any

import numpy as np

from darb_prune.encoded.parts import Layer
from darb_prune.encoded.unchecked import UncheckedNetwork
from darb_prune.errors import DarbError, NetworkError

__all__ = [
    "ACCUMULATOR_BITS_MAX",
    "MULT_MAX",
    "SHIFT_MAX",
    "fail_row",
    "is_integer",
    "require",
    "require_array",
    "require_integers",
    "validate_fields",
    "validate_rows",
]

ACCUMULATOR_BITS_MAX = 40
"""Widest ``acc + bias`` allowed, bits, two's complement: times a 16-bit ``mult`` it stays within 64 bits."""
UNIFORM_MAX = 1 << 23
"""Codes that a uniform layer takes at a position: each of them is stored once, so no file bounds their number."""
SHIFT_MAX = 47
MULT_MAX = (1 << 16) - 1


def require(condition: bool, message: str) -> None:
    """Raise :class:`NetworkError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise NetworkError(message)


def is_integer(value: object) -> bool:
    """Whether a value is an integer and no truth value."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def require_integers(where: str, **values: object) -> None:
    """Raise :class:`NetworkError`, naming the value, unless all are integers."""
    for name, value in values.items():
        require(is_integer(value), f"{where}: {name} {value!r} must be an integer")


def require_array(
    where: str, name: str, array: Any, shape: tuple, low: int | None = None, high: int | None = None
) -> None:
    """Raise :class:`NetworkError` unless ``array`` holds integers, has the shape (``None``: any length from 1 on) and
    no value outside ``low..high``."""
    integers = isinstance(array, np.ndarray) and np.issubdtype(array.dtype, np.integer)
    require(integers, f"{where}: {name} must be an array of integers")
    fits = array.ndim == len(shape) and all(
        side == wanted or (wanted is None and side >= 1) for side, wanted in zip(array.shape, shape, strict=False)
    )
    wanted = tuple("any" if side is None else side for side in shape)
    require(fits, f"{where}: {name} has the shape {array.shape}, not {wanted}")
    if low is not None:
        bad = (array < low) | (array > high)
        require(not bad.any(), f"{where}: {name} holds {array.flat[np.argmax(bad)]}, outside {low}..{high}")


def fail_row(
    bad: np.ndarray,
    where: str,
    message: str,
    rows: np.ndarray | None = None,
    error: type[DarbError] = NetworkError,
) -> None:
    """Raise ``error`` for the first row marked in ``bad``: its number is that in ``rows``, or how it is counted."""
    if bad.any():
        row = np.argmax(bad)
        raise error(f"{where}, row {row if rows is None else rows[row]}: {message}")


def validate_fields(layer: Layer, where: str) -> None:
    """Raise :class:`NetworkError`, naming ``where`` and field, unless what describes the rows has the right types."""
    require_integers(where, weight_bits=layer.weight_bits)
    require(2 <= layer.weight_bits <= 8, f"{where}: weight bits {layer.weight_bits} must be 2 to 8")
    require(bool(layer.levels), f"{where}: no levels")
    for level in layer.levels:
        require_integers(f"{where}, level {level}", bits=level.bits, kept=level.kept)
    for name in ("row_level", "index", "weight", "bias", "mult", "shift", "function"):
        array = getattr(layer, name)
        legal = isinstance(array, np.ndarray) and array.ndim == 1 and np.issubdtype(array.dtype, np.integer)
        legal = legal or (name == "function" and array is None)
        require(legal, f"{where}: {name} must be a vector of integers")
    require(layer.rows >= 1, f"{where}: no rows")


def validate_rows(network: UncheckedNetwork, layer: Layer, where: str) -> None:
    """Raise :class:`NetworkError`, naming ``where``, row and field, unless the rows of ``layer`` are legal."""
    _validate_parameters(network, layer, where)
    if layer.depthwise:
        _validate_depthwise(network, layer, where)
    _validate_codes(layer, where)
    if layer.depthwise and not _picks(network, layer):
        _validate_channels(network, layer, where)
    if layer.groups > 1:
        _validate_groups(network, layer, where)
    low, high = network.accumulator_bounds(layer)
    limit = 1 << (ACCUMULATOR_BITS_MAX - 1)
    fail_row((low < -limit) | (high >= limit), where, f"accumulator may leave {ACCUMULATOR_BITS_MAX} bits")


def _validate_parameters(network: UncheckedNetwork, layer: Layer, where: str) -> None:
    outside = (layer.row_level < 0) | (layer.row_level >= len(layer.levels))
    fail_row(outside, where, f"level number is not 0 to {len(layer.levels) - 1}")
    for name in ("bias", "mult", "shift", "function"):
        array = layer.row_function if name == "function" else getattr(layer, name)
        require(len(array) == layer.rows, f"{where}: {len(array)} values of {name} for {layer.rows} rows")
    fail_row((layer.mult < 0) | (layer.mult > MULT_MAX), where, f"mult must be 0 to {MULT_MAX}")
    fail_row((layer.shift < 1) | (layer.shift > SHIFT_MAX), where, f"shift must be 1 to {SHIFT_MAX}")
    limit = 1 << (ACCUMULATOR_BITS_MAX - 1)
    fail_row((layer.bias < -limit) | (layer.bias >= limit), where, f"bias leaves {ACCUMULATOR_BITS_MAX} bits")
    unknown = (layer.row_function < 0) | (layer.row_function > len(network.functions))
    fail_row(unknown, where, f"function number is not 0 to {len(network.functions)}")


def _validate_codes(layer: Layer, where: str) -> None:
    expected = int(layer.row_offset[-1])
    for name in ("index", "weight"):
        count = len(getattr(layer, name))
        require(count == expected, f"{where}: {count} codes in {name}, its rows and levels need {expected}")
    limit = 1 << (layer.weight_bits - 1)
    bad = (layer.weight < -limit) | (layer.weight >= limit)
    if bad.any():
        row = int(np.searchsorted(layer.row_offset, np.argmax(bad), side="right")) - 1
        raise NetworkError(f"{where}, row {row}: weight {layer.weight[np.argmax(bad)]} leaves {layer.weight_bits} bits")
    for level_number, level in enumerate(layer.levels):
        rows = layer.rows_of(level_number)
        if level.is_empty or not len(rows):
            continue
        layout = layer.code_layout(level)
        index, weight = layer.codes_of(rows)
        bad = (index < 0) | (index >= layout[:, 2])
        if bad.any():
            row, code = np.argwhere(bad)[0]
            raise NetworkError(
                f"{where}, row {rows[row]}: index {index[row, code]} outside its block of {layout[code, 2]} columns"
            )
        follows = layout[1:, 3] > 0
        rising = (index[:, 1:] > index[:, :-1]) | ((index[:, 1:] == 0) & (weight[:, 1:] == 0)) | ~follows
        fail_row(~rising.all(axis=1), where, "indices of a block must rise", rows)


def _validate_groups(network: UncheckedNetwork, layer: Layer, where: str) -> None:
    """Rows keep weights of the channels of their group; what fills a block is no weight."""
    for level_number, level in enumerate(layer.levels):
        rows = layer.rows_of(level_number)
        if level.is_empty or not len(rows):
            continue
        layout, (index, weight) = layer.code_layout(level), layer.codes_of(rows)
        group = np.zeros(index.shape, np.int64)
        for segment_number, segment in enumerate(layer.segments):
            tensor, own = network.tensor(segment.tensor), layout[:, 0] == segment_number
            channel = np.argsort(tensor.channel_position)[layout[own, 1] + index[:, own]]
            group[:, own] = channel * layer.groups // tensor.channels
        foreign = (group != (rows * layer.groups // layer.rows)[:, None]) & ((index != 0) | (weight != 0))
        fail_row(foreign.any(axis=1), where, "keeps a weight of another group", rows)


def _validate_depthwise(network: UncheckedNetwork, layer: Layer, where: str) -> None:
    """A segment is a pixel, or a part of one, and one block."""
    picks = _picks(network, layer)
    bits = ((layer.columns if picks else layer.rows) - 1).bit_length()
    only = [(level.bits, level.kept) for level in layer.levels] == [(bits, 1)]
    require(only, f"{where}: depthwise, so its only level must be ({bits}, 1)")
    if picks:
        return
    first = _first_channel(network, layer)
    for segment in layer.segments:
        channels = network.tensor(segment.tensor).channels
        fits = segment.length == layer.rows and segment.start % channels == first
        pixel = fits and first + layer.rows <= channels
        require(pixel, f"{where}, {segment}: depthwise, so it must be {layer.rows} channels of one pixel, as all")
    taken = layer.rows * len(layer.segments)
    require(
        not layer.uniform or taken <= UNIFORM_MAX,
        f"{where}: {taken} codes out of {layer.rows}, at most {UNIFORM_MAX} are possible",
    )


def _picks(network: UncheckedNetwork, layer: Layer) -> bool:
    """Whether the only segment is a whole pixel: each row of a depthwise layer may read any of its channels then."""
    (segment, *others), channels = layer.segments, network.tensor(layer.segments[0].tensor).channels
    return not others and segment.length == channels and segment.start % channels == 0


def _first_channel(network: UncheckedNetwork, layer: Layer) -> int:
    """The first of the channels that a depthwise layer reads."""
    return layer.segments[0].start % network.tensor(layer.segments[0].tensor).channels


def _validate_channels(network: UncheckedNetwork, layer: Layer, where: str) -> None:
    """Row ``r`` of a depthwise layer keeps the ``r``-th channel of each segment."""
    first = _first_channel(network, layer)
    own = slice(first, first + layer.rows)
    channels = [network.tensor(segment.tensor).channel_position[own] - first for segment in layer.segments]
    index, _ = layer.codes_of(np.arange(layer.rows))
    foreign = (index != np.stack(channels, axis=1)).any(axis=1)
    fail_row(foreign, where, "depthwise, so it must keep its own channel of each segment")
