"""Tensor orders: the position at which each channel is stored. An order costs nothing in hardware."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.patterns.choices import Order

__all__ = ["ORDERS", "Reader", "bit_reverse", "channel_order", "kept_energy"]

ORDERS: tuple[str, ...] = get_args(Order)
ROUNDS = 400
"""Exchanges that ``"search"`` tries, by default."""
PATIENCE = 60
"""Exchanges without any gain after which ``"search"`` ends."""
_PAIR = 0  # instead of a block size: two random positions
_MORE = 1 + 1e-12  # a smaller gain may be rounding of the sums


@dataclass(frozen=True, eq=False)
class Reader:
    """A matrix that reads a tensor: column ``repeat * channels + channel``, channels in their own order.

    Parameters
    ----------
    weight : tensor of shape (rows, repeats * channels)
        Repeats are the positions of a kernel or a feature map (HWC). A plain vector has one repeat.
    segments : tuple of int
        Widths of the segments of a row.
    levels : integer tensor of shape (rows, 2), optional
        Level of each row. Only ``"search"`` needs it.
    blocks : (int, int), optional
        Instead of levels: columns of a block, and weights kept in each, of all rows.
    """

    weight: Tensor
    segments: tuple[int, ...]
    levels: Tensor | None = None
    blocks: tuple[int, int] | None = None

    def kinds(self) -> list[tuple[int, int, np.ndarray | slice]]:
        """Columns of a block, weights kept in each, and the rows that are pruned like that."""
        if self.blocks is not None:
            return [(*self.blocks, slice(None))]
        if self.levels is None:
            return []
        levels = [(row, Level(*row.tolist())) for row in torch.unique(self.levels, dim=0)]
        return [(level.block, level.kept, (self.levels == row).all(dim=1).numpy()) for row, level in levels]


def bit_reverse(count: int) -> np.ndarray:
    """The integers ``0 .. count - 1`` with their bits reversed, in the width of ``count - 1``: int64."""
    width = max(count - 1, 0).bit_length()
    numbers = np.arange(count)
    reverse = np.zeros(count, np.int64)
    for bit in range(width):
        reverse |= (numbers >> bit & 1) << (width - 1 - bit)
    return reverse


def channel_order(
    channels: int,
    readers: Sequence[Reader],
    order: str,
    rounds: int = ROUNDS,
    patience: int = PATIENCE,
    seed: int = 0,
) -> Tensor:
    """Storage order of a tensor, common to all its readers. ``"spread"`` and ``"search"`` are additions to DARB.

    ``"spread"`` ranks the channels by their L2 norm over all weights that read them, the strongest first, and sorts
    them by bit-reversed rank. So the strongest channels are in different blocks, for every block size at once. Ranks
    beyond the channels leave no holes.

    ``"search"`` starts from the better of ``"spread"`` and ``"none"``. It raises the sum of ``w**2`` over the weights
    that the levels keep. Each round chooses one of the block sizes in use and a random position in each block. As long
    as no two of these positions share a block, the worth of a channel at one of them does not depend on the others.
    Then a linear assignment is the best way to exchange all their channels at once. If positions share a block
    (larger blocks, blocks that hold several repeats), the assignment is a guess, and it is carried out only if the
    exact sum rises. For blocks that hold several repeats, random pairs are tried as well.

    Parameters
    ----------
    channels : int
    readers : sequence of Reader
    order : "none", "spread" or "search"
    rounds, patience : int
        Limits of ``"search"``: rounds in all, and rounds in a row without gain.
    seed : int
        Seed of the random positions of ``"search"``.

    Returns
    -------
    int64 tensor of shape (channels,); ``order[position]`` is the channel stored at ``position``.

    Raises
    ------
    DarbError
        If a reader does not fit, or no reader has the levels that ``"search"`` needs.
    """
    if order not in ORDERS:
        raise DarbError(f"order {order!r}: choose one of {', '.join(ORDERS)}")
    for reader in readers:
        columns = reader.weight.shape[1]
        if columns % channels or sum(reader.segments) != columns:
            raise DarbError(
                f"reader of {columns} columns in segments {tuple(reader.segments)} does not fit {channels} channels"
            )
    none = torch.arange(channels)
    if order == "none" or not readers:
        return none
    spread = _spread(channels, readers)
    if order == "spread":
        return spread
    if not any(reader.kinds() for reader in readers):
        raise DarbError("order 'search' needs the levels of a reader; allocate levels first, or choose spread")
    starts = [spread.numpy(), none.numpy()]
    views = [_views(channels, readers, start) for start in starts]
    energies = [sum(view.energy() for view in start_views) for start_views in views]
    best = int(energies[1] > energies[0])
    return torch.from_numpy(_search(starts[best].copy(), views[best], rounds, patience, seed))


def kept_energy(channels: int, readers: Sequence[Reader], order: Tensor) -> float:
    """The sum of ``w**2`` over kept weights, which ``"search"`` raises.

    Rows that keep the same weights in every order are left out.
    """
    return sum(view.energy() for view in _views(channels, readers, order.numpy()))


def _spread(channels: int, readers: Sequence[Reader]) -> Tensor:
    energy = torch.zeros(channels, dtype=torch.float64)
    for reader in readers:
        squares = reader.weight.detach().double().square()
        energy += squares.sum(dim=0).reshape(-1, channels).sum(dim=0)
    ranked = torch.sort(energy, descending=True, stable=True).indices
    return ranked[torch.from_numpy(np.argsort(bit_reverse(channels), kind="stable"))]


class _View:
    """The rows of a level of a reader, in storage order, for exchanges of channels.

    Parameters
    ----------
    squares : float64 array of shape (columns, rows)
        ``w**2`` in storage order. Columns come first, so that blocks are gathered as whole lines.
    block, kept : int
        Columns of a block, and how many of them stay.
    channels : int
    segments : tuple of int
    """

    def __init__(self, squares: np.ndarray, block: int, kept: int, channels: int, segments: Sequence[int]) -> None:
        columns, rows = squares.shape
        self.kept = kept
        self.repeats = np.arange(columns // channels)[:, None] * channels
        # A last line of zeros stands for the columns that partial blocks lack.
        self.squares = np.concatenate([squares, np.zeros((1, rows))])
        blocks, first = [], 0
        for width in segments:
            column = np.arange(-(-width // block) * block)
            blocks.append(np.where(column < width, first + column, columns).reshape(-1, block))
            first += width
        self.blocks = np.concatenate(blocks)
        self.block_of = np.empty(columns + 1, np.int64)
        self.block_of[self.blocks.reshape(-1)] = np.repeat(np.arange(len(self.blocks)), block)

    def columns(self, positions: np.ndarray) -> np.ndarray:
        """Stored columns of the channels at ``positions``: shape (repeats, positions)."""
        return self.repeats + positions

    def energy(self, blocks: np.ndarray | slice = slice(None)) -> float:
        """Sum of the squares kept in ``blocks``."""
        values = self.squares[self.blocks[blocks].T]
        if self.kept == 1:
            return float(values.max(axis=0).sum())
        return float(np.partition(values, -self.kept, axis=0)[-self.kept :].sum())

    def worth(self, columns: np.ndarray) -> np.ndarray:
        """What each channel of ``columns`` adds at each of their positions, while all others are taken out.

        Parameters
        ----------
        columns : int array of shape (repeats, positions)

        Returns
        -------
        float64 array of shape (positions, channels)
        """
        values = self.squares[columns]
        self.squares[columns] = 0
        around = self.squares[self.blocks[self.block_of[columns]].transpose(2, 0, 1)]
        self.squares[columns] = values
        least = around.max(axis=0) if self.kept == 1 else np.partition(around, -self.kept, axis=0)[-self.kept]
        # A column that is larger than the least kept one replaces it; max(x, y) = (x + y + |x - y|) / 2.
        count = columns.shape[1]
        least = least.transpose(1, 0, 2).reshape(count, -1)
        values = values.transpose(1, 0, 2).reshape(count, -1)
        return (values.sum(axis=1) - least.sum(axis=1)[:, None] + cdist(least, values, "cityblock")) / 2


def _views(channels: int, readers: Sequence[Reader], order: np.ndarray) -> list[_View]:
    views = []
    for reader in readers:
        kinds = reader.kinds()
        if not kinds:
            continue
        squares = reader.weight.detach().double().square().numpy().T
        stored = squares.reshape(-1, channels, squares.shape[1])[:, order].reshape(squares.shape)
        for block, kept, rows in kinds:
            whole = block >= max(reader.segments) and not any(width % channels for width in reader.segments)
            if whole or kept in (0, block):
                continue  # no order changes what these rows keep
            views.append(_View(stored[:, rows], block, kept, channels, reader.segments))
    return views


def _search(order: np.ndarray, views: list[_View], rounds: int, patience: int, seed: int) -> np.ndarray:
    channels = len(order)
    if not views or channels < 2:
        return order
    # A block of more than half of the channels would leave one position, and nothing to exchange.
    sizes = sorted({min(view.blocks.shape[1], channels // 2) for view in views})
    if any(len(view.repeats) > 1 and channels % view.blocks.shape[1] for view in views):
        sizes.append(_PAIR)  # blocks hold several repeats, where assignments guess badly
    random = np.random.default_rng(seed)
    idle = 0
    for _ in range(rounds):
        size = sizes[random.integers(len(sizes))]
        if size == _PAIR:
            pair = random.choice(channels, 2, replace=False)
            gain = _move(order, views, pair, pair[::-1])
        else:
            gain = _exchange(order, views, _positions(channels, size, random))
        idle = 0 if gain > 0 else idle + 1
        if idle == patience:
            break
    return order


def _positions(channels: int, size: int, random: np.random.Generator) -> np.ndarray:
    """A random position in each block of ``size``."""
    first = np.arange(0, channels, size)
    return first + random.integers(np.minimum(size, channels - first))


def _exchange(order: np.ndarray, views: list[_View], positions: np.ndarray) -> float:
    """Assign the channels at ``positions`` to these positions, changing ``order``; return the gain."""
    worth = np.zeros((len(positions), len(positions)))
    for view in views:
        worth += view.worth(view.columns(positions))
    target, source = linear_sum_assignment(worth, maximize=True)
    moved = target != source
    if worth[target, source].sum() <= np.trace(worth) * _MORE:
        return 0.0
    return _move(order, views, positions[target[moved]], positions[source[moved]])


def _move(order: np.ndarray, views: list[_View], target: np.ndarray, source: np.ndarray) -> float:
    """Move the channels at ``source`` to ``target`` if that gains something, changing ``order``; return the gain.

    Both hold the same positions.
    """
    touched = [np.unique(view.block_of[view.columns(target)]) for view in views]
    before = sum(view.energy(blocks) for view, blocks in zip(views, touched, strict=True))
    for view in views:
        view.squares[view.columns(target)] = view.squares[view.columns(source)]
    after = sum(view.energy(blocks) for view, blocks in zip(views, touched, strict=True))
    if after <= before * _MORE:
        for view in views:
            view.squares[view.columns(source)] = view.squares[view.columns(target)]
        return 0.0
    order[target] = order[source]
    return after - before
