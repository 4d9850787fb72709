"""docs/arithmetic.md in plain NumPy on int64, from dense matrices: shares nothing with oracle, encoder or engine.

Of an encoded network it reads the parameters of layers and cells, never codes, levels or segments.
"""

from dataclasses import dataclass

import numpy as np

from darb_prune.encoded import EncodedNetwork, Layer, Segment, Tensor


@dataclass(frozen=True, eq=False)
class Columns:
    """What some columns of a layer read: ``channel`` of the pixel ``(dy, dx)`` behind the corner of the window.

    Parameters
    ----------
    tensor : str
    channel, dy, dx : numpy.ndarray of int64, shape (columns,)
    """

    tensor: str
    channel: np.ndarray
    dy: np.ndarray
    dx: np.ndarray

    @classmethod
    def of(cls, tensor: Tensor, segment: Segment) -> "Columns":
        pixel, position = np.divmod(segment.start + np.arange(segment.length), tensor.channels)
        channel = position if tensor.order is None else tensor.order[position].astype(np.int64)
        return cls(tensor.name, channel, np.full(len(pixel), segment.line), pixel)

    def at(self, layer: Layer, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row and column of the pixel that each column reads at each output position, and whether it is inside:
        three arrays of shape (rows, columns of the output, columns)."""
        y, x = (np.arange(count) * step - pad for count, step, pad in _axes(layer))
        y, x = np.broadcast_arrays(y[:, None, None] + self.dy, x[:, None] + self.dx)
        if not any(layer.padding):  # a line ends where the next one begins
            y, x = y + x // shape[1], x % shape[1]
        return y, x, (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])


def _axes(layer: Layer):
    return zip(layer.positions, layer.stride, layer.padding[:2], strict=True)


@dataclass(frozen=True, eq=False)
class Matrix:
    """The weights of a layer: (rows, all columns), and what the columns read."""

    weight: np.ndarray
    columns: tuple[Columns, ...]


def accumulate(layer: Layer, matrix: Matrix, values: dict[str, np.ndarray]) -> np.ndarray:
    """``acc + bias``, int64, shape (frames, rows and columns of the output positions, rows of the matrix).

    Parameters
    ----------
    values : dict of str to numpy.ndarray of int64, shape (frames, channels, height, width)
    """
    read = []
    for columns in matrix.columns:
        image = values[columns.tensor]
        y, x, inside = columns.at(layer, (*image.shape[2:], image.shape[1]))
        values_read = image[:, columns.channel, np.where(inside, y, 0), np.where(inside, x, 0)]
        read.append(np.where(inside, values_read, 0))
    return np.concatenate(read, axis=-1) @ matrix.weight.T + np.asarray(layer.bias, np.int64)


def _run_layer(network: EncodedNetwork, layer: Layer, matrix: Matrix, values: dict[str, np.ndarray], sums) -> None:
    tensor = network.tensor(layer.output)
    mult, shift = np.asarray(layer.mult, np.int64), np.asarray(layer.shift, np.int64)
    total = accumulate(layer, matrix, values)
    if sums is not None:
        sums.setdefault(layer.name, []).append(total.reshape(-1, layer.rows))
    v = (total * mult + (np.int64(1) << (shift - 1))) >> shift
    if layer.function is not None:
        for row in np.flatnonzero(layer.function):
            table = network.functions[layer.function[row] - 1].astype(np.int64)
            v[..., row] = table[np.clip(v[..., row], -128, 127) + 128]
    (rows, columns), (down, across) = layer.positions, layer.pool
    if layer.operand:
        step, added = layer.operand.stride, values[layer.operand.tensor]
        for row in range(layer.rows):
            channel = row - layer.operand.first
            if layer.operand.product:
                down_to, across_to = (np.arange(count) * by for count, by in zip((rows, columns), step, strict=True))
                low, high = layer.clamp or (-32768, 32767)
                factor = added[:, channel][:, down_to][:, :, across_to]
                v[..., row] = (np.clip(v[..., row], low, high) * factor + 1024) // 2048
            elif 0 <= channel < added.shape[1]:
                v[..., row] += added[:, channel, : rows * step[0] : step[0], : columns * step[1] : step[1]]
    multiplies = layer.operand and layer.operand.product
    y = np.clip(v, *((not multiplies and layer.clamp) or (tensor.qmin, tensor.qmax)))
    frames = len(y)
    y = y.reshape(frames, rows // down, down, columns // across, across, layer.rows).max(axis=(2, 4))
    y = np.moveaxis(y, -1, 1)
    if layer.output not in values:
        values[layer.output] = np.zeros((frames, tensor.channels, *tensor.shape[:2]), np.int64)
    rows_written = slice(layer.first, layer.first + layer.rows)
    if layer.transposed:  # results of a row are neighbours as they are stored, channels innermost
        stored = np.moveaxis(values[layer.output], 1, 3).reshape(frames, -1, rows * columns)
        stored[:, rows_written] = y.reshape(frames, layer.rows, -1)
        values[layer.output] = np.moveaxis(stored.reshape(frames, *tensor.shape), 3, 1).copy()
        return
    target = values[layer.output][:, rows_written]
    target[:] = np.maximum(y, target) if layer.maximum else y


def _table(function, step: float) -> np.ndarray:
    return np.clip(np.round(2.0**15 * function(np.arange(-128, 128) * step)), -32767, 32767).astype(np.int64)


SIGMOID = _table(lambda x: 1 / (1 + np.exp(-x)), 1 / 16)
TANH = _table(np.tanh, 1 / 32)


def _tanh(index: np.ndarray) -> np.ndarray:
    return TANH[np.clip(index, -128, 127) + 128]


def lstm(gates: np.ndarray, c: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """New h and c of an LSTM whose gates are of shape (frames, 4, units)."""
    i, f, g, o = np.moveaxis(gates, 1, 0)
    c = np.clip((((f * c) << 4) + i * g + (1 << 18)) >> 19, -32768, 32767)
    t = _tanh((c + 32) >> 6)
    h = (o * t + (1 << (30 - bits))) >> (31 - bits)
    return np.clip(h, -(1 << (bits - 1)), (1 << (bits - 1)) - 1), c


def gru(gates: np.ndarray, s: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """New h and s of a GRU whose gates are of shape (frames, 4, units)."""
    r, z, n_x, n_h = np.moveaxis(gates, 1, 0)
    n = _tanh(((n_x << 15) + r * n_h + (1 << 20)) >> 21)
    s = n + ((z * (s - n) + (1 << 14)) >> 15)
    h = s if bits == 16 else (s + (1 << (15 - bits))) >> (16 - bits)
    return np.clip(h, -(1 << (bits - 1)), (1 << (bits - 1)) - 1), s


def _run_step(network: EncodedNetwork, matrices: list[Matrix], values: dict, states: dict, sums) -> None:
    """Run embedding, layers and cells once: ``values`` of the time step before become those of this one."""
    frames = len(values[network.input])
    if network.embedding:
        symbols = values[network.input].reshape(frames, -1)
        values[network.embedding.output] = network.embedding.table[symbols].astype(np.int64).reshape(frames, -1, 1, 1)
    number = 0
    while number < len(network.layers):
        section = next((section for section in network.sections if section.first == number), None)
        if section:
            _run_section(network, matrices, section, values, states, sums)
            number = section.stop
        else:
            _run_layers(network, matrices, [number], values, states, sums)
            number += 1


def _run_layers(network, matrices, numbers, values, states, sums) -> None:
    """Layers one after another, and the cells whose gates are then all written."""
    last_writer = {layer.output: number for number, layer in enumerate(network.layers)}
    for number in numbers:
        layer = network.layers[number]
        _run_layer(network, layer, matrices[number], values, sums)
        for cell in network.cells:
            if cell.gates == layer.output and last_writer[cell.gates] == number:
                gates = values[cell.gates].reshape(len(values[cell.gates]), 4, -1)
                update = {"lstm": lstm, "gru": gru}[cell.kind]
                h, states[cell.name] = update(gates, states[cell.name], network.tensor(cell.output).bits)
                values[cell.output] = h[:, :, None, None]


def _run_section(network, matrices, section, values, states, sums) -> None:
    """All layers of a section for the first column, then all for the next one: each map is cut into vectors."""
    numbers = range(section.first, section.stop)
    written = {network.layers[number].output for number in numbers}
    written |= {cell.output for cell in network.cells if cell.gates in written}
    frames, columns = len(values[network.input]), network.tensor(next(iter(written))).shape[1]
    held = {}
    for name in written:
        tensor = network.tensor(name)
        start = np.zeros(tensor.channels) if tensor.initial is None else tensor.initial
        held[name] = np.tile(start.astype(np.int64)[:, None, None], (frames, 1, 1, 1))
        values[name] = np.zeros((frames, tensor.channels, 1, columns), np.int64)
    for column in range(columns)[:: -1 if section.backward else 1]:
        now = {name: image[..., column : column + 1] for name, image in values.items()}
        now |= {name: vector.copy() for name, vector in held.items()}
        _run_layers(network, matrices, numbers, now, states, sums)
        for name in written:
            held[name] = now[name]
            values[name][..., column : column + 1] = now[name]


def evaluate(
    network: EncodedNetwork,
    matrices: list[Matrix],
    inputs: np.ndarray,
    lengths: np.ndarray | None = None,
    sums: dict | None = None,
) -> dict[str, np.ndarray]:
    """Every tensor of every frame, int32, shape (frames, size), in logical order.

    Parameters
    ----------
    inputs : integers of shape (frames, size)
        Frames of a sequence one after another.
    lengths : integers of shape (sequences,), optional
        Frames of each sequence; every frame is a sequence of its own if absent.
    sums : dict, optional
        Gets ``acc + bias`` of each layer by name: a list of arrays of shape (frames x positions, rows).
    """
    lengths = np.ones(len(inputs), int) if lengths is None else np.asarray(lengths)
    sequences, steps = len(lengths), int(max(lengths, default=0))
    real = np.arange(steps) < lengths[:, None]  # a shorter sequence goes on with zeros, which nobody looks at
    height, width, channels = network.tensor(network.input).shape
    padded = np.zeros((sequences, steps, channels, height, width), np.int64)
    padded[real] = np.asarray(inputs, np.int64).reshape(-1, channels, height, width)
    values, states, steps_done = {}, {}, []
    for tensor in network.tensors:
        if tensor.name in network.sectioned:
            continue
        start = np.zeros(tensor.size, np.int64) if tensor.initial is None else tensor.initial.astype(np.int64)
        values[tensor.name] = np.tile(start.reshape(-1, *tensor.shape[:2]), (sequences, 1, 1, 1))
    for cell in network.cells:
        tensor = network.tensor(cell.output)
        state = np.zeros(tensor.channels, np.int64) if cell.state is None else cell.state.astype(np.int64)
        states[cell.name] = np.tile(state, (sequences, 1))
    for step in range(steps):
        values[network.input] = padded[:, step]
        _run_step(network, matrices, values, states, sums)
        steps_done.append({name: value.reshape(sequences, -1).astype(np.int32) for name, value in values.items()})
    return {
        tensor.name: np.stack([done[tensor.name] for done in steps_done], axis=1)[real] for tensor in network.tensors
    }
