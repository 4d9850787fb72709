"""Integer model -> encoded network, without a loop over rows or codes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from darb_prune.encoded import (
    DENSE,
    EMPTY,
    FACTOR_RANGE,
    Cell,
    Embedding,
    EncodedNetwork,
    Layer,
    Level,
    Operand,
    Section,
    Segment,
    TaskOutput,
    Tensor,
)
from darb_prune.encoded.rows import fail_row
from darb_prune.errors import ModelError
from darb_prune.frontend.stages import StageSection
from darb_prune.integer.arithmetic import IntegerCell, IntegerEmbedding, IntegerMatrix, IntegerTensor
from darb_prune.integer.network import IntegerNetwork
from darb_prune.modules.matrix import as_matrix

__all__ = ["channel_orders", "cheapest_level", "columns_of", "encode", "encode_matrix", "encoded_tensor", "segments_of"]


TABLES_MAX = 255
"""Rows have the number of their table in 8 bits, and 0 is none."""


def encode(
    network: IntegerNetwork, name: str | None = None, provenance: dict | None = None,
    tasks: Sequence[str] | Mapping[str, int] = (),
) -> EncodedNetwork:  # fmt: skip
    """Encode every layer as rows of codes.

    Parameters
    ----------
    network : IntegerNetwork
    name : str, optional
        Of the encoded network; that of ``network`` if absent.
    provenance : dict, optional
        Anything JSON, kept in the file; with ``outputs``, the elements of each output of the model, if several became
        one.
    tasks : sequence of str, or mapping of str to int
        Each input frame can say which of several outputs it wants: a name for each output of the model, or names and
        numbers of neighbouring elements of its only output.

    Raises
    ------
    ModelError
        If there are other names of tasks than outputs.
        If a layer was pruned without levels, a block holds more kept weights than its level allows, or two layers
        want a tensor stored in different orders.
    """
    sizes = tuple(tasks.values()) if isinstance(tasks, Mapping) else network.outputs
    if len(tasks) not in (0, len(sizes)):
        count = len(network.outputs) or 1
        raise ModelError(f"tasks {list(tasks)}: the model has {count} outputs; name each of them, or none")
    orders = channel_orders(network)
    tensors = {name: encoded_tensor(tensor, orders.get(name)) for name, tensor in network.tensors.items()}
    functions: list[np.ndarray] = []
    layers = tuple(_layer(matrix, tensors, functions) for matrix in network.matrices)
    cells = tuple(
        Cell(stage.name, stage.kind, stage.gates, stage.output, _optional(stage.state))
        for stage in network.stages
        if isinstance(stage, IntegerCell)
    )
    embeddings = (
        Embedding(stage.name, stage.output, stage.table.numpy().astype(np.int16))
        for stage in network.stages
        if isinstance(stage, IntegerEmbedding)
    )
    return EncodedNetwork(
        name=name or network.name,
        input=network.input,
        output=network.output,
        tensors=tuple(tensors.values()),
        layers=layers,
        cells=cells,
        embedding=next(embeddings, None),
        functions=tuple(functions),
        emit=network.emit,
        sections=tuple(_section(network, section) for section in network.sections),
        provenance=({"outputs": list(network.outputs)} if network.outputs else {}) | (provenance or {}),
        tasks=tuple(TaskOutput(name, size) for name, size in zip(tasks, sizes, strict=False)),
    )


def _section(network: IntegerNetwork, section: StageSection) -> Section:
    """A section in numbers of layers."""
    first, stop = (
        sum(isinstance(stage, IntegerMatrix) for stage in network.stages[:stage_number])
        for stage_number in (section.first, section.stop)
    )
    return Section(first, stop, section.backward)


def _optional(values: torch.Tensor | None) -> np.ndarray | None:
    return None if values is None else values.numpy().astype(np.int32)


def _fail_row(bad: np.ndarray, where: str, message: str, rows: np.ndarray | None = None) -> None:
    """:func:`~darb_prune.encoded.rows.fail_row`, where the model is to blame."""
    fail_row(bad, where, message, rows, ModelError)


def encoded_tensor(tensor: IntegerTensor, order: np.ndarray | None) -> Tensor:
    """A tensor whose channels are stored in ``order``."""
    channels, height, width = tensor.shape
    shape = (height, width, channels)
    order = None if order is None else order.astype(np.int32)
    initial = _optional(tensor.initial)
    return Tensor(tensor.name, shape, tensor.bits, tensor.qmin, tensor.qmax, tensor.scale, order, initial, tensor.zero)


def channel_orders(network: IntegerNetwork) -> dict[str, np.ndarray]:
    """Storage order of the channels of each tensor that is not stored in their own order; all readers agree."""
    orders: dict[str, tuple[str, np.ndarray]] = {}  # of each tensor: who reads it so, and the order
    picked: dict[str, list[np.ndarray]] = {}  # of each tensor whose readers have channels of their own: these
    for matrix in network.matrices:
        if matrix.picks is not None and matrix.window is None:
            order = matrix.orders[0] if matrix.orders else None
            own = np.array(matrix.picks)
            picked.setdefault(matrix.inputs[0], []).append(own if order is None else own[order.numpy()])
            continue
        for input_number, name in enumerate(matrix.inputs):
            order = matrix.orders[input_number] if matrix.orders else None
            if matrix.channels is not None:  # they stand side by side in their own order only
                channels = np.arange(network.tensors[name].shape[0])
                if order is not None and not torch.equal(order, torch.arange(len(order))):
                    raise ModelError(
                        f"layer {matrix.name!r}: it reads a part of tensor {name!r}, and was pruned in an order of its "
                        "columns; prune it again"
                    )
            elif order is None or matrix.groups > 1:
                continue
            else:
                channels = _of_channels(order.numpy(), network.tensors[name], matrix)
            other, known = orders.setdefault(name, (matrix.name, channels))
            if not np.array_equal(known, channels):
                raise ModelError(
                    f"tensor {name!r}: layers {other!r} and {matrix.name!r} read it in different orders; "
                    "prune both in one call"
                )
    found = {name: order for name, (_, order) in orders.items()}
    found |= {name: np.concatenate(own) for name, own in picked.items()}
    return {name: order for name, order in found.items() if not np.array_equal(order, np.arange(len(order)))}


def _of_channels(order: np.ndarray, tensor: IntegerTensor, matrix: IntegerMatrix) -> np.ndarray:
    """Order of the channels, from that of the columns of one that reads them, which must be made of nothing else."""
    channels, height, width = tensor.shape
    width = 1 if matrix.column else width
    if matrix.window is None:  # columns as torch flattens a map, channels outermost; stored channels innermost
        channel_order = order[:channels] // (height * width)
        whole = (channel_order * height * width + np.arange(height * width)[:, None]).reshape(-1)
    else:
        channel_order = order[:channels]
        whole = (np.arange(0, len(order), channels)[:, None] + channel_order).reshape(-1)
    if not np.array_equal(whole, order):
        raise ModelError(
            f"layer {matrix.name!r}: its columns are not stored pixel by pixel, all in one order of the channels; "
            "exclude it from pruning"
        )
    return channel_order


def segments_of(matrix: IntegerMatrix, tensors: dict[str, Tensor]) -> tuple[Segment, ...]:
    """The columns of a layer, in order."""
    segments = []
    for name, weight in zip(matrix.inputs, matrix.weights, strict=True):
        channels, window = tensors[name].channels, matrix.window
        first, end = matrix.channels or (0, channels)
        if matrix.picks is not None and window is None:
            start = int(tensors[name].channel_position[list(matrix.picks)].min())
            segments.append(Segment(name, start, len(matrix.picks)))
            continue
        if window is None and matrix.column:
            segments += [Segment(name, first, end - first, line) for line in range(tensors[name].shape[0])]
            continue
        if window is None:
            size = tensors[name].size if matrix.channels is None else end - first
            segments.append(Segment(name, first, size))
            continue
        lines, pixels = (
            range(offset, offset + size * dilation, dilation)
            for offset, size, dilation in zip(window.offset, weight.shape[2:], window.dilation, strict=True)
        )
        if window.depthwise or window.groups > 1 or pixels.step > 1 or matrix.channels is not None:
            segments += [Segment(name, x * channels + first, end - first, y) for y in lines for x in pixels]
        else:
            segments += [Segment(name, pixels.start * channels, len(pixels) * channels, y) for y in lines]
    return tuple(segments)


def columns_of(matrix: IntegerMatrix, tensors: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and which are kept, with columns in storage order: int64 and bool, shape (rows, columns)."""
    weights, kept = [], []
    for input_number, (name, weight) in enumerate(zip(matrix.inputs, matrix.weights, strict=True)):
        tensor = tensors[name]
        values = as_matrix(weight).numpy()
        mask = matrix.kept[input_number] if matrix.kept and not matrix.depthwise else None
        mask = np.ones(values.shape, bool) if mask is None else mask.numpy()
        if matrix.depthwise or matrix.groups > 1:
            # A part of a tensor is stored in its own order.
            position = tensor.channel_position if matrix.channels is None else np.arange(matrix.rows)
            own = position if matrix.picks is None else position[list(matrix.picks)]
            weights.append(_of_groups(values, own, weight.shape[1], len(position)))
            kept.append(_of_groups(mask, own, weight.shape[1], len(position)))
            continue
        if matrix.picks is not None:
            order = np.argsort(tensor.channel_position[list(matrix.picks)])
        elif matrix.channels is not None:
            order = np.arange(values.shape[1])
        elif matrix.window is None:
            read = replace(tensor, shape=(tensor.shape[0], 1, tensor.channels)) if matrix.column else tensor
            order = np.argsort(read.position)
        else:
            order = np.argsort(tensor.channel_position) + np.arange(0, values.shape[1], tensor.channels)[:, None]
        weights.append(values[:, order.reshape(-1)])
        kept.append(mask[:, order.reshape(-1)])
    return np.concatenate(weights, axis=1), np.concatenate(kept, axis=1)


def _of_groups(values: np.ndarray, position: np.ndarray, channels: int, columns: int) -> np.ndarray:
    """Columns of rows that read a group of ``channels`` channels each, which stand at ``position`` among the
    ``columns`` of each tap."""
    rows, groups = len(values), len(position) // channels
    taps = values.reshape(rows, -1, channels)
    group = np.arange(rows) * groups // rows
    own = position.reshape(groups, 1, channels)[group]
    made = np.zeros((*taps.shape[:2], columns), values.dtype)
    np.put_along_axis(made, np.broadcast_to(own, taps.shape), taps, axis=2)
    return made.reshape(rows, -1)


def _levels(matrix: IntegerMatrix, tensors: dict[str, Tensor]) -> tuple[tuple[Level, ...], np.ndarray]:
    """The levels in use and the number of each row."""
    if matrix.depthwise:
        columns = matrix.rows if matrix.picks is None else tensors[matrix.inputs[0]].channels
        bits = (columns - 1).bit_length()
        return (Level(bits, 1),), np.zeros(matrix.rows, np.uint8)
    if matrix.levels is None:
        raise ModelError(
            f"layer {matrix.name!r}: pruned without levels (irregular), which has no encoding; "
            "prune with method darb, mixed, bmwm, bank, nm or dense"
        )
    levels = matrix.levels.numpy()
    if matrix.groups > 1:
        levels = _levels_of_groups(levels, tensors[matrix.inputs[0]].channels, matrix.weights[0].shape[1])
    pairs, row_level = np.unique(levels, axis=0, return_inverse=True)
    if len(pairs) > 256:
        raise ModelError(f"layer {matrix.name!r}: {len(pairs)} different levels, a layer has room for 256")
    return tuple(Level(int(bits), int(kept)) for bits, kept in pairs), row_level.reshape(-1).astype(np.uint8)


def _levels_of_groups(levels: np.ndarray, channels: int, own: int) -> np.ndarray:
    """Levels of rows that keep weights of ``own`` channels, where a block is a tap with all ``channels``."""
    bits = (channels - 1).bit_length()
    kept = [Level(int(pair[0]), int(pair[1])).weights(own) for pair in levels]
    return np.array([(bits, count) if count else (0, 0) for count in kept])


def _crowd(kept: np.ndarray, lengths: Sequence[int], bits: int) -> tuple[int, int]:
    """The most weights that rows keep in a block of ``1 << bits`` columns of segments of ``lengths``, and the number of
    these blocks."""
    most, blocks, first = 0, 0, 0
    for length in lengths:
        starts, here = np.arange(0, length, 1 << bits), kept[:, first : first + length]
        most = max(most, int(np.add.reduceat(here, starts, axis=1, dtype=np.int64).max()))
        blocks += len(starts)
        first += length
    return most, blocks


def cheapest_level(kept: np.ndarray, lengths: Sequence[int], weight_bits: int) -> tuple[int, int]:
    """The level whose blocks hold what rows keep with the fewest codes, and of those the fewest bits.

    Parameters
    ----------
    kept : bool array of shape (rows, columns)
    lengths : sequence of int
        Columns of each segment.
    weight_bits : int

    Returns
    -------
    bits, count : int
        The block has ``1 << bits`` columns and keeps ``count``.
    """
    costs = []
    for bits in range((max(lengths) - 1).bit_length() + 1):
        count, blocks = _crowd(kept, lengths, bits)
        costs.append((blocks * count, blocks * count * (weight_bits + bits), bits, count))
    return min(costs)[2:]


def _with_levels_of_lines(matrix: IntegerMatrix, kept: np.ndarray, lengths: tuple[int, ...]) -> IntegerMatrix:
    """A layer of a section that reads several lines, with levels for blocks that end with a line: it was pruned with
    those that go on into the next one."""
    if matrix.levels is None:
        return matrix
    levels = matrix.levels.numpy().copy()
    for bits, count in np.unique(levels, axis=0):
        rows = np.flatnonzero((matrix.levels.numpy() == (bits, count)).all(1))
        if count and _crowd(kept[rows], lengths, int(bits))[0] > count:
            levels[rows] = cheapest_level(kept[rows], lengths, matrix.weight_bits)
    return replace(matrix, levels=torch.from_numpy(levels))


def _layer(matrix: IntegerMatrix, tensors: dict[str, Tensor], functions: list[np.ndarray]) -> Layer:
    where = f"layer {matrix.name!r}"
    segments = segments_of(matrix, tensors)
    lengths = tuple(segment.length for segment in segments)
    weight, kept = columns_of(matrix, tensors)
    if matrix.column and len(segments) > len(matrix.inputs):
        matrix = _with_levels_of_lines(matrix, kept, lengths)
    levels, row_level = _levels(matrix, tensors)
    limit = 1 << (matrix.weight_bits - 1)
    outside = np.any((weight < -limit) | (weight >= limit), axis=1)
    _fail_row(outside, where, f"a weight leaves {matrix.weight_bits} bits")
    index, value = encode_matrix(weight, kept, levels, row_level, where, lengths)
    target, window = tensors[matrix.output], matrix.window
    whole = (target.qmin, target.qmax) if matrix.product is None else FACTOR_RANGE
    if matrix.depthwise:
        index, value = _once(index, value, matrix.rows)
    return Layer(
        name=matrix.name,
        output=matrix.output,
        segments=segments,
        weight_bits=matrix.weight_bits,
        levels=levels,
        row_level=row_level,
        index=index,
        weight=value,
        bias=matrix.bias.numpy().copy(),
        mult=matrix.mult.numpy().astype(np.int32),
        shift=matrix.shift.numpy().astype(np.uint8),
        function=_function(matrix, functions),
        first=matrix.first,
        positions=(1, 1) if matrix.column else matrix.positions((target.shape[2], *target.shape[:2])),
        stride=(1, 1) if window is None else window.stride,
        padding=(0, 0, 0, 0) if window is None else window.padding,
        pool=matrix.pool,
        maximum=matrix.maximum,
        operand=_operand(matrix),
        clamp=None if matrix.clamp == whole else matrix.clamp,
        depthwise=matrix.depthwise,
        groups=matrix.groups,
        spread=matrix.spread,
        origin=matrix.origin,
        transposed=matrix.transposed is not None,
    )


def _operand(matrix: IntegerMatrix) -> Operand | None:
    read = matrix.operand or matrix.product
    return Operand(read.value, read.stride, read.first, matrix.product is not None) if read else None


def _once(index: np.ndarray, weight: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The codes of a depthwise layer: one a row, if all of a row are the same."""
    of_rows = [codes.reshape(rows, -1) for codes in (index, weight)]
    if all((codes == codes[:, :1]).all() for codes in of_rows):
        index, weight = (codes[:, 0].copy() for codes in of_rows)
    return index, weight


def _function(matrix: IntegerMatrix, functions: list[np.ndarray]) -> np.ndarray | None:
    """Function of each row; its tables are added to ``functions`` unless they are there."""
    if matrix.function is None or not bool(matrix.function.any()):
        return None
    assert matrix.tables is not None
    network_number = np.zeros(1 + len(matrix.tables), np.uint8)  # of each table of the layer
    for table_number, table in enumerate(matrix.tables.numpy().astype(np.int16), start=1):
        same = [known_number for known_number, known in enumerate(functions, start=1) if np.array_equal(known, table)]
        if not same:
            functions.append(table)
            if len(functions) > TABLES_MAX:
                raise ModelError(
                    f"layer {matrix.name!r}: more than {TABLES_MAX} tables of functions in the network; "
                    "use PReLU with one slope for all channels"
                )
        network_number[table_number] = same[0] if same else len(functions)
    return network_number[matrix.function.numpy()]


def encode_matrix(
    weight: np.ndarray,
    kept: np.ndarray,
    levels: tuple[Level, ...],
    row_level: np.ndarray,
    where: str = "matrix",
    segments: tuple[int, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a matrix whose columns are in storage order.

    Parameters
    ----------
    weight : integer array of shape (rows, columns)
    kept : bool array of shape (rows, columns)
        Weights that become codes (also if 0); no other weight may differ from 0.
    levels, row_level
        As in :class:`~darb_prune.encoded.Layer`.
    where : str
        What messages call the matrix.
    segments : tuple of int, optional
        Columns of each segment; one of all columns if absent.

    Returns
    -------
    index : uint16 array of shape (codes,)
    value : int8 array of shape (codes,)
        In code order; a block with fewer than ``m`` kept weights is filled with codes (0, 0).

    Raises
    ------
    ModelError
        Naming the row of a weight that is not kept and not 0, or of a block that holds more kept weights than
        its level.
    """
    _fail_row(np.any(~kept & (weight != 0), axis=1), where, "a weight that is not kept is not 0")
    columns = weight.shape[1]
    lengths = np.array((columns,) if segments is None else segments, np.int64)
    column = np.arange(columns) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # within its segment
    blocks = [-(-lengths // level.block) for level in levels]
    counts = np.array([level.kept * int(count.sum()) for level, count in zip(levels, blocks, strict=True)], np.int64)
    counts = counts[row_level]
    offset = np.cumsum(counts) - counts
    index = np.zeros(counts.sum(), np.uint16)
    value = np.zeros(counts.sum(), np.int8)
    for level_number, level in enumerate(levels):
        rows = np.flatnonzero(row_level == level_number)
        if not len(rows):
            continue
        if level == DENSE:
            value[offset[rows][:, None] + np.arange(columns)] = weight[rows]
            continue
        marked = kept[rows]
        if level == EMPTY:
            _fail_row(np.any(marked, axis=1), where, "keeps weights, but its level is empty", rows)
            continue
        block_of = column // level.block + np.repeat(np.cumsum(blocks[level_number]) - blocks[level_number], lengths)
        row, kept_column = np.nonzero(marked)  # rising rows, and rising columns in each
        block = row * int(blocks[level_number].sum()) + block_of[kept_column]
        # The number of a weight in its block: how far it stands behind the first weight of the block.
        first = np.ones(len(block), bool)
        first[1:] = block[1:] != block[:-1]
        count = np.arange(len(block))
        nth = count - np.maximum.accumulate(np.where(first, count, 0))
        crowded = np.zeros(len(rows), bool)
        crowded[row[nth >= level.kept]] = True
        message = f"a block of level {level} holds more than {level.kept} weights; prune again"
        _fail_row(crowded, where, message, rows)
        slot = offset[rows][row] + block_of[kept_column] * level.kept + nth
        index[slot] = column[kept_column] % level.block
        value[slot] = weight[rows[row], kept_column]
    return index, value
