"""Integer model -> encoded network, without a loop over rows or codes."""

import numpy as np

from darb_prune.container import DarbError
from darb_prune.encoded import DENSE, EMPTY, EncodedNetwork, Layer, Level, Segment, Tensor
from darb_prune.quantization import IntegerLinear, IntegerNetwork
from darb_prune.validation import fail_row

__all__ = ["encode", "encode_matrix"]


def encode(network: IntegerNetwork, name: str | None = None, provenance: dict | None = None) -> EncodedNetwork:
    """Encode every layer as rows of codes.

    Parameters
    ----------
    network : IntegerNetwork
    name : str, optional
        Of the encoded network; that of ``network`` if absent.
    provenance : dict, optional
        Anything JSON, kept in the file.

    Raises
    ------
    DarbError
        If a layer was pruned without levels, or a block holds more kept weights than its level allows.
    """
    names = network.tensor_names
    orders = [_order(layer) for layer in network.layers] + [None]
    sizes = [network.layers[0].weight.shape[1], *(layer.weight.shape[0] for layer in network.layers)]
    bits, scale = network.input_bits, network.input_scale
    tensors = [Tensor(names[0], sizes[0], bits, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, scale, orders[0])]
    for layer, tensor, size, order in zip(network.layers, names[1:], sizes[1:], orders[1:], strict=True):
        tensors.append(Tensor(tensor, size, layer.output_bits, layer.qmin, layer.qmax, layer.output_scale, order))
    layers = [
        _layer(layer, Segment(source, 0, size), target)
        for layer, source, size, target in zip(network.layers, names, sizes, names[1:], strict=False)
    ]
    return EncodedNetwork(name or network.name, names[0], names[-1], tuple(tensors), tuple(layers), provenance or {})


def _order(layer: IntegerLinear) -> np.ndarray | None:
    if layer.order is None:
        return None
    order = layer.order.numpy()
    return None if np.array_equal(order, np.arange(len(order))) else order.astype(np.int32)


def _layer(layer: IntegerLinear, segment: Segment, output: str) -> Layer:
    if layer.levels is None:
        raise DarbError(
            f"layer {layer.name!r}: pruned without levels (irregular), which has no encoding; "
            "prune with method darb, mixed, bmwm, bank, nm or dense"
        )
    pairs, row_level = np.unique(layer.levels.numpy(), axis=0, return_inverse=True)
    if len(pairs) > 256:
        raise DarbError(f"layer {layer.name!r}: {len(pairs)} different levels, a layer has room for 256")
    levels = tuple(Level(int(bits), int(kept)) for bits, kept in pairs)
    weight, kept = layer.weight.numpy(), layer.kept.numpy()
    order = _order(layer)
    if order is not None:
        weight, kept = weight[:, order], kept[:, order]
    limit = 1 << (layer.weight_bits - 1)
    outside = ((weight < -limit) | (weight >= limit)).any(axis=1)
    fail_row(outside, f"layer {layer.name!r}", f"a weight leaves {layer.weight_bits} bits")
    row_level = row_level.reshape(-1).astype(np.uint8)
    index, value = encode_matrix(weight, kept, levels, row_level, f"layer {layer.name!r}")
    rows = len(weight)
    return Layer(
        name=layer.name,
        output=output,
        segments=(segment,),
        weight_bits=layer.weight_bits,
        levels=levels,
        row_level=row_level,
        index=index,
        weight=value,
        bias=layer.bias.numpy().copy(),
        mult=layer.mult.numpy().astype(np.int32),
        shift=np.full(rows, layer.shift, np.uint8),
    )


def encode_matrix(
    weight: np.ndarray, kept: np.ndarray, levels: tuple[Level, ...], row_level: np.ndarray, where: str = "matrix"
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a matrix whose columns are in storage order and form one segment.

    Parameters
    ----------
    weight : integer array of shape (rows, columns)
    kept : bool array of shape (rows, columns)
        Weights that become codes (also if 0); no other weight may differ from 0.
    levels, row_level
        As in :class:`~darb_prune.encoded.Layer`.
    where : str
        What messages call the matrix.

    Returns
    -------
    index : uint16 array of shape (codes,)
    value : int8 array of shape (codes,)
        In code order; a block with fewer than ``m`` kept weights is filled with codes (0, 0).

    Raises
    ------
    DarbError
        Naming the row of a weight that is not kept and not 0, or of a block that holds more kept weights than
        its level.
    """
    fail_row((~kept & (weight != 0)).any(axis=1), where, "a weight that is not kept is not 0")
    columns = weight.shape[1]
    counts = np.array([level.codes(columns) for level in levels], np.int64)[row_level]
    offset = np.cumsum(counts) - counts
    index = np.zeros(counts.sum(), np.uint16)
    value = np.zeros(counts.sum(), np.int8)
    for number, level in enumerate(levels):
        rows = np.flatnonzero(row_level == number)
        if not len(rows):
            continue
        here, marked = weight[rows], kept[rows]
        if level == DENSE:
            value[offset[rows][:, None] + np.arange(columns)] = here
            continue
        if level == EMPTY:
            fail_row(marked.any(axis=1), where, "keeps weights, but its level is empty", rows)
            continue
        row, column = np.nonzero(marked)  # rising rows, and rising columns in each
        block = row * -(-columns // level.block) + column // level.block
        # The number of a weight in its block: how far it stands behind the first weight of the block.
        first = np.ones(len(block), bool)
        first[1:] = block[1:] != block[:-1]
        place = np.arange(len(block))
        nth = place - np.maximum.accumulate(np.where(first, place, 0))
        crowded = np.zeros(len(rows), bool)
        crowded[row[nth >= level.kept]] = True
        message = f"a block of level {level} holds more than {level.kept} weights; prune again"
        fail_row(crowded, where, message, rows)
        slot = offset[rows][row] + (column // level.block) * level.kept + nth
        index[slot] = column % level.block
        value[slot] = here[row, column]
    return index, value
