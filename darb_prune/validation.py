"""What makes an encoded network legal: every check that its makers and readers rely on."""

import numpy as np

from darb_prune.container import DarbError

__all__ = ["ACCUMULATOR_BITS_MAX", "BLOCK_BITS_MAX", "MULT_MAX", "SHIFT_MAX", "fail_row", "validate"]

ACCUMULATOR_BITS_MAX = 40
"""Widest ``acc + bias`` allowed, bits, two's complement: times a 16-bit ``mult`` it stays within 64 bits."""
BLOCK_BITS_MAX = 15
SHIFT_MAX = 47
MULT_MAX = (1 << 16) - 1


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DarbError(message)


def _require_integers(where: str, **values) -> None:
    for name, value in values.items():
        integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        _require(integer, f"{where}: {name} {value!r} must be an integer")


def validate(network) -> None:
    """Raise :class:`DarbError`, naming layer, row and field, unless ``network`` is legal in every respect."""
    _require(bool(network.tensors and network.layers), "the network has no layers")
    _require(isinstance(network.provenance, dict), "provenance must be a dictionary")
    for named in (network, *network.tensors, *network.layers):
        _require(isinstance(named.name, str), f"name {named.name!r} must be a string")
    names = [tensor.name for tensor in network.tensors]
    _require(len(set(names)) == len(names), f"two tensors of one name among {names}")
    layers = [layer.name for layer in network.layers]
    _require(len(set(layers)) == len(layers), f"two layers of one name among {layers}")
    for tensor in network.tensors:
        _validate_tensor(tensor)
    for role in (network.input, network.output):
        _require(role in names, f"tensor {role!r} is not in the network")
    source = network.tensor(network.input)
    full = -(1 << (source.bits - 1)), (1 << (source.bits - 1)) - 1
    _require(
        (source.qmin, source.qmax) == full,
        f"tensor {source.name!r}: nothing clamps an input, so its range must be all of {full[0]}..{full[1]}",
    )
    written = {network.input}
    for layer in network.layers:
        _validate_layer(network, layer, names, written)
        written.add(layer.output)
    _require(written == set(names), f"tensors without a producer: {sorted(set(names) - written)}")
    _require(network.output != network.input, "the output of the network is its input")


def _validate_tensor(tensor) -> None:
    where = f"tensor {tensor.name!r}"
    _require_integers(where, size=tensor.size, bits=tensor.bits, qmin=tensor.qmin, qmax=tensor.qmax)
    _require(tensor.size >= 1, f"{where}: size {tensor.size} must be at least 1")
    _require(2 <= tensor.bits <= 16, f"{where}: bits {tensor.bits} must be 2 to 16")
    low, high = -(1 << (tensor.bits - 1)), (1 << (tensor.bits - 1)) - 1
    _require(
        low <= tensor.qmin <= 0 < tensor.qmax <= high,
        f"{where}: range {tensor.qmin}..{tensor.qmax} must hold 0 and lie in {low}..{high}",
    )
    _require(bool(np.isfinite(tensor.scale)) and tensor.scale > 0, f"{where}: scale {tensor.scale} must be positive")
    if tensor.order is not None:
        legal = tensor.order.shape == (tensor.size,) and np.array_equal(np.sort(tensor.order), np.arange(tensor.size))
        _require(legal, f"{where}: order is no permutation of its {tensor.size} elements")


def _validate_layer(network, layer, names: list[str], written: set[str]) -> None:
    where = f"layer {layer.name!r}"
    _require(layer.output in names, f"{where}: output tensor {layer.output!r} is not in the network")
    _require(layer.output not in written, f"{where}: output tensor {layer.output!r} is written twice")
    size = network.tensor(layer.output).size
    _require(layer.rows == size, f"{where}: {layer.rows} rows, but its output tensor has {size} elements")
    _require_integers(where, weight_bits=layer.weight_bits)
    _require(2 <= layer.weight_bits <= 8, f"{where}: weight bits {layer.weight_bits} must be 2 to 8")
    _require(bool(layer.segments), f"{where}: no segments")
    for segment in layer.segments:
        _require_integers(f"{where}, segment {segment}", start=segment.start, length=segment.length)
        _require(segment.tensor in written, f"{where}: reads tensor {segment.tensor!r} before it is written")
        size = network.tensor(segment.tensor).size
        inside = segment.start >= 0 and segment.length >= 1 and segment.start + segment.length <= size
        _require(inside, f"{where}: segment {segment} leaves its tensor of {size} elements")
    _require(bool(layer.levels), f"{where}: no levels")
    for level in layer.levels:
        _require_integers(f"{where}, level {level}", bits=level.bits, kept=level.kept)
    for name in ("row_level", "index", "weight", "bias", "mult", "shift"):
        array = getattr(layer, name)
        _require(
            array.ndim == 1 and np.issubdtype(array.dtype, np.integer), f"{where}: {name} must be a vector of integers"
        )
    _validate_rows(layer, where)
    _validate_codes(layer, where)
    low, high = network.accumulator_bounds(layer)
    limit = 1 << (ACCUMULATOR_BITS_MAX - 1)
    fail_row((low < -limit) | (high >= limit), where, f"accumulator may leave {ACCUMULATOR_BITS_MAX} bits")


def fail_row(bad: np.ndarray, where: str, message: str, rows: np.ndarray | None = None) -> None:
    """Raise :class:`DarbError` for the first row marked in ``bad``, whose number is its place or that in ``rows``."""
    if bad.any():
        row = np.argmax(bad)
        raise DarbError(f"{where}, row {row if rows is None else rows[row]}: {message}")


def _validate_rows(layer, where: str) -> None:
    outside = (layer.row_level < 0) | (layer.row_level >= len(layer.levels))
    fail_row(outside, where, f"level number is not 0 to {len(layer.levels) - 1}")
    for name in ("bias", "mult", "shift"):
        array = getattr(layer, name)
        _require(len(array) == layer.rows, f"{where}: {len(array)} values of {name} for {layer.rows} rows")
    fail_row((layer.mult < 0) | (layer.mult > MULT_MAX), where, f"mult must be 0 to {MULT_MAX}")
    fail_row((layer.shift < 1) | (layer.shift > SHIFT_MAX), where, f"shift must be 1 to {SHIFT_MAX}")
    limit = 1 << (ACCUMULATOR_BITS_MAX - 1)
    fail_row((layer.bias < -limit) | (layer.bias >= limit), where, f"bias leaves {ACCUMULATOR_BITS_MAX} bits")


def _validate_codes(layer, where: str) -> None:
    expected = int(layer.row_offset[-1])
    for name in ("index", "weight"):
        count = len(getattr(layer, name))
        _require(count == expected, f"{where}: {count} codes in {name}, its rows and levels need {expected}")
    limit = 1 << (layer.weight_bits - 1)
    bad = (layer.weight < -limit) | (layer.weight >= limit)
    if bad.any():
        row = int(np.searchsorted(layer.row_offset, np.argmax(bad), side="right")) - 1
        raise DarbError(f"{where}, row {row}: weight {layer.weight[np.argmax(bad)]} leaves {layer.weight_bits} bits")
    for number, level in enumerate(layer.levels):
        rows = layer.rows_of(number)
        if level.is_empty or not len(rows):
            continue
        layout = layer.code_layout(level)
        index, weight = layer.codes_of(rows)
        bad = (index < 0) | (index >= layout[:, 2])
        if bad.any():
            row, code = np.argwhere(bad)[0]
            raise DarbError(
                f"{where}, row {rows[row]}: index {index[row, code]} outside its block of {layout[code, 2]} columns"
            )
        follows = layout[1:, 3] > 0
        rising = (index[:, 1:] > index[:, :-1]) | ((index[:, 1:] == 0) & (weight[:, 1:] == 0)) | ~follows
        fail_row(~rising.all(axis=1), where, "indices of a block must rise", rows)
