"""Encoded network -> dense integer matrices: slow, plain, and written from the format alone.

It exists to check the encoder and to look into files; nothing in the flow needs it.
"""

import numpy as np

from darb_prune.encoded import EncodedNetwork

__all__ = ["decode"]


def decode(network: EncodedNetwork) -> dict[str, np.ndarray]:
    """Dense integer matrices by layer name.

    Returns
    -------
    dict of str to int64 array of shape (rows, columns)
        In logical order: column ``j`` of a segment that covers a whole tensor is element ``j`` of that
        tensor, whatever its storage order. Where a segment covers part of a tensor, its columns are in
        rising logical order of the elements that it covers.
    """
    matrices = {}
    for layer in network.layers:
        dense = np.zeros((layer.rows, layer.columns), np.int64)
        code = 0
        for row in range(layer.rows):
            level = layer.levels[layer.row_level[row]]
            first_column = 0
            for segment in layer.segments:
                order = network.tensor(segment.tensor).order
                stored = range(segment.start, segment.start + segment.length)
                logical = [position if order is None else int(order[position]) for position in stored]
                rank = {element: column for column, element in enumerate(sorted(logical))}
                start = 0
                while start < segment.length and level.kept:
                    for _ in range(level.kept):
                        column = rank[logical[start + int(layer.index[code])]]
                        dense[row, first_column + column] += int(layer.weight[code])
                        code += 1
                    start += 2**level.bits
                first_column += segment.length
        assert code == len(layer.index), "codes left over"
        matrices[layer.name] = dense
    return matrices
