"""Shapes and ranks of block-term layers: a matrix of any size as modes, and the ranks that a budget pays."""

from collections.abc import Iterator

from darb_prune.modules.block_term import Modes

__all__ = ["modes_of", "ranks_of"]


def factorisations(number: int, count: int, least: int = 1) -> Iterator[tuple[int, ...]]:
    """All ways to write ``number`` as a product of ``count`` integers from ``least`` on, in rising order."""
    if count == 1:
        yield from [(number,)] if number >= least else []
        return
    for first in range(least, int(number ** (1 / count) + 1e-9) + 1):
        if number % first == 0:
            yield from ((first, *rest) for rest in factorisations(number // first, count - 1, first))


def modes_of(inputs: int, outputs: int, modes: int, gates: int = 1) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes of the modes of a matrix, ``I_k`` and ``J_k``: inputs and outputs are both cut as evenly as possible, and
    modes of few inputs have many outputs.

    The second mode is the smallest one, since the core is applied with it. Of the others the last is that which makes
    the fewest outputs of its inputs, since it comes first.

    Parameters
    ----------
    inputs, outputs : int
        Columns and rows of the matrix.
    modes : int
    gates : int
        Gates of a recurrent layer, which are a factor of the first mode's outputs.
    """
    even_in, even_out = (min(factorisations(whole, modes), key=sum) for whole in (inputs, outputs // gates))
    pairs = list(zip(even_in, reversed(even_out), strict=True))
    pairs.sort(key=lambda pair: pair[0] / pair[1])
    first = pairs.pop(0)
    second = min(pairs, key=lambda pair: pair[0] * pair[1])
    pairs.remove(second)
    ordered = [(first[0], gates * first[1]), second, *pairs]
    return tuple(i for i, _ in ordered), tuple(j for _, j in ordered)


def ranks_of(inputs: tuple[int, ...], outputs: tuple[int, ...], rank: int, terms: int) -> Modes:
    """Modes that have one rank each, as far as they are large enough."""
    ranks = tuple(min(rank, i * j) for i, j in zip(inputs, outputs, strict=True))
    return Modes(inputs, outputs, ranks, terms)
