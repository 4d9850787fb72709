"""Encoded network -> dense integer matrices: slow, plain, and written from the format alone.

It exists to check the encoder and to look into files; nothing in the flow needs it.
"""

import numpy as np

from darb_prune.encoded import EncodedNetwork, Segment, Tensor

__all__ = ["decode"]


def decode(network: EncodedNetwork) -> dict[str, np.ndarray]:
    """Dense integer matrices by layer name.

    Returns
    -------
    dict of str to int64 array of shape (rows, columns)
        In logical order, segment by segment. Where a segment covers a whole tensor, column ``j`` is its element ``j``
        (channels outermost, as torch flattens it); else columns go pixel by pixel, channels innermost.
    """
    matrices = {}
    for layer in network.layers:
        dense = np.zeros((layer.rows, layer.columns), np.int64)
        columns = [_columns(segment, network.tensor(segment.tensor)) for segment in layer.segments]
        code = 0
        for row in range(layer.rows):
            level = layer.levels[layer.row_level[row]]
            first_column = 0
            for segment, logical in zip(layer.segments, columns, strict=True):
                start = 0
                while start < segment.length and level.kept:
                    for _ in range(level.kept):
                        column = logical[start + int(layer.index[code])]
                        dense[row, first_column + column] += int(layer.weight[code])
                        code += not layer.uniform
                    start += 2**level.bits
                first_column += segment.length
            code += layer.uniform
        assert code == len(layer.index), "codes left over"
        matrices[layer.name] = dense
    return matrices


def _columns(segment: Segment, tensor: Tensor) -> list[int]:
    """Column of each stored element of a segment."""
    height, width, channels = tensor.shape
    whole = segment.start == 0 and segment.length == tensor.size
    elements = []
    for stored in range(segment.start, segment.start + segment.length):
        pixel, position = divmod(stored, channels)
        channel = position if tensor.order is None else int(tensor.order[position])
        elements.append(channel * height * width + pixel if whole else pixel * channels + channel)
    rank = {element: column for column, element in enumerate(sorted(elements))}
    return [rank[element] for element in elements]
