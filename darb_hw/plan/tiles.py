"""How a layer walks over its output positions, tile by tile: what each lane reads, and where its results go.

A tile is as many neighbouring output positions as there are banks. A tap is a pixel of the window of a layer. All lanes
of a tile read the same tap of their positions: that pixel stands in neighbouring banks, at one of two neighbouring
addresses. Lanes whose pixel lies outside the map are masked: they read a zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from darb_hw.plan.banks import BankedLayout
from darb_hw.plan.pairs import LAST, Codes, Lines, Tap, burst_ends, mask_of_part, split
from darb_prune.encoded import EncodedNetwork, Layer, Level, Segment

__all__ = ["Drainage", "Lines", "Tables", "Tiling", "is_total", "taps_of", "tiling_of"]


class Table:
    """Words that are told apart by their numbers. Equal stretches of words are kept once.

    Parameters
    ----------
    fields : int
        Values of a word.
    """

    def __init__(self, fields: int) -> None:
        self._parts: list[np.ndarray] = [np.zeros((0, fields), np.int64)]
        self._first: dict[bytes, int] = {}
        self._depth = 0

    def add(self, words: np.ndarray) -> int:
        """Number of the first of these words, int64, shape (words, fields)."""
        words = np.ascontiguousarray(words, np.int64)
        key = words.tobytes()
        if key not in self._first:
            self._first[key] = self._depth
            self._parts.append(words)
            self._depth += len(words)
        return self._first[key]

    @property
    def words(self) -> np.ndarray:
        """All words, int64, shape (words, fields)."""
        return np.concatenate(self._parts)


class Tables:
    """What the walks of all layers look up.

    Parameters
    ----------
    banks, ways : int
        Positions computed at once, results written at once.
    paired : bool
        Whether two banks stand in one single-port RAM.

    Attributes
    ----------
    taps : Table
        Of each tap: address of the banks that read the tile itself, relative to the first channel read; address of the
        banks that read the tile behind it, if any do; rotation, which is also the number of banks that do; its first
        mask.
    masks : Table
        Of each tap in each kind of tile: a one for each lane whose pixel lies in the map.
    tiles : Table
        Of each tile: its kind. All taps have the same masks in tiles of one kind.
    drains : Table
        Of each cycle in which a row drains, and for each way: whether there is a result, bank and address of its pixel,
        bank and address of the pixel that the write-back reads. Where two banks stand in one RAM, whether a burst ends
        with the result besides.
    """

    def __init__(self, banks: int, ways: int, paired: bool = False) -> None:
        self.taps, self.masks, self.tiles = Table(4), Table(banks), Table(1)
        self.drains = Table((5 + paired) * ways)
        self.paired = paired


@dataclass(frozen=True, eq=False)
class Drainage:
    """Where the results of a tile go, row by row.

    Parameters
    ----------
    repeat : int
        Words of neighbouring results that stand in the first lanes of the chains. It is more than 1 where some of them
        go to banks of one write port.
    valid : bool array of shape (tiles, words, ways)
    bank, address : int64 arrays of that shape
        Of the pixel, relative to the tensor, in memory or in the output buffer.
    pixel : int64 array of that shape
        Pixel of the output tensor in logical order.
    first : int
        Number of the first word of the first tile.
    ends : bool array of shape (tiles, words)
        Where two banks stand in one RAM: with which words a burst ends. Else there is none.
    """

    repeat: int
    valid: np.ndarray
    bank: np.ndarray
    address: np.ndarray
    pixel: np.ndarray
    first: int
    ends: np.ndarray

    @property
    def words(self) -> int:
        """Cycles in which a row of a tile drains."""
        return self.valid.shape[1]

    @property
    def bursts(self) -> int:
        """Most bursts of a row of a tile."""
        return int(self.ends.sum(axis=1).max(initial=0))


@dataclass(frozen=True, eq=False)
class Tiling:
    """The walk of a layer over its tiles, for the rows of a level.

    Parameters
    ----------
    tiles : int
    lines : tuple of (str, Lines)
        What a row reads, and from which tensor.
    window : int
        Taps from a position of a pooling window to the next one.
    offsets : int64 array of shape (taps, 2)
        The two addresses of each tap.
    index, column : int64 arrays of shape (rows, codes)
        Of each code: channel behind the address that its line has reached; taps behind the one of its line.
    weight : int64 array of that shape
    index_bits, column_bits : int
    drainage : Drainage
    first_tile : int
    total : bool
        A row has one position, and its lanes read different pixels of the map: their sums are added up.
    """

    tiles: int
    lines: tuple[tuple[str, Lines], ...]
    window: int
    first_tap: int
    offsets: np.ndarray
    index: np.ndarray
    column: np.ndarray
    weight: np.ndarray
    index_bits: int
    column_bits: int
    drainage: Drainage
    first_tile: int
    total: bool


@dataclass(frozen=True, eq=False)
class _Positions:
    """Output positions of a layer in tiles: row, column and whether there is such a position, shape (tiles, banks)."""

    y: np.ndarray
    x: np.ndarray
    exists: np.ndarray


def _positions(layer: Layer, source: BankedLayout) -> _Positions:
    height, width = np.floor_divide(layer.positions, layer.pool).tolist()
    count = (height - 1) * source.pitch + width
    tiles = -(-count // source.banks)
    y, x = np.divmod(np.arange(tiles * source.banks).reshape(tiles, source.banks), source.pitch)
    return _Positions(y, x, (y < height) & (x < width))


def is_total(layer: Layer) -> bool:
    """Whether the lanes can read different pixels and add up what they have: one position, and all weights of a row are
    equal, as where pixels are averaged. The pixels are those of one tensor, each once."""
    if not layer.depthwise or layer.position_count > 1 or len(layer.segments) == 1:
        return False
    pixels = {(segment.line, segment.start) for segment in layer.segments}
    if len(pixels) < len(layer.segments) or len({segment.tensor for segment in layer.segments}) > 1:
        return False
    coded = [number for number, level in enumerate(layer.levels) if not level.is_empty and len(layer.rows_of(number))]
    return all(
        layer.levels[number].kept == 1
        and all(layer.levels[number].block >= segment.length for segment in layer.segments)
        and all((codes == codes[:, :1]).all() for codes in layer.codes_of(layer.rows_of(number)))
        for number in coded
    )


def _pixels(layer: Layer, segment: Segment, width: int, channels: int) -> tuple[list[tuple[int, int]], int]:
    """Pixels that a segment touches, relative to the first output position, and the channel that it begins with."""
    first, start = divmod(segment.start, channels)
    count = -(-(start + segment.length) // channels)
    if any(layer.padding) or first + count <= width:
        return [(segment.line - layer.padding[0], x - layer.padding[1]) for x in range(first, first + count)], start
    # A vector that was a map: its pixels go on in the next line.
    return [(segment.line + x // width, x % width) for x in range(first, first + count)], start


def tiling_of(
    network: EncodedNetwork, layer: Layer, level: Level, rows: np.ndarray, layouts: Mapping[str, BankedLayout],
    tables: Tables, streams: int, ways: int, window: int,
) -> Tiling:  # fmt: skip
    """The walk of a layer for ``rows``, which are of one level.

    ``streams`` rows run at once, and ``ways`` results are written at once. ``window`` is the number of taps from a
    position of a pooling window to the next one. It is the same for all levels: the groups of a layer have one loop.
    """
    source = layouts[layer.segments[0].tensor]
    positions = _positions(layer, source)
    total = is_total(layer)
    lines, taps, codes = _lines_of(layer, level, rows, layouts, tables.paired)
    taps += taps[-1:] * (window - len(taps))
    index, column, weight, column_bits = codes
    words, masks = [], []
    for move_y, move_x in _windows(layer):
        for tap in taps:
            word, mask = _tap(tap, move_y, move_x, layer, layouts, positions, total)
            words.append(word)
            masks.append(mask)
    kinds, kind = np.unique(np.stack(masks, axis=1).reshape(len(positions.y), -1), axis=0, return_inverse=True)
    of_taps = kinds.reshape(len(kinds), len(words), source.banks)
    first_masks = [tables.masks.add(of_taps[:, tap]) for tap in range(len(words))]
    # Lanes up to the last one that has a part of a sum; one of zeros if all that is read lies outside the map.
    summed = int(np.flatnonzero(np.any(masks, axis=(0, 1))).max(initial=0)) + 1 if total else 0
    first_tap = tables.taps.add(np.column_stack([words, first_masks]))
    first_tile = tables.tiles.add(kind.reshape(-1, 1))
    return Tiling(
        tiles=len(positions.y),
        lines=tuple(lines),
        window=len(taps),
        first_tap=first_tap,
        offsets=np.array(words)[:, :2],
        index=index,
        column=column,
        weight=weight,
        index_bits=int(index.max(initial=0)).bit_length(),
        column_bits=column_bits,
        drainage=_drainage(network, layer, positions, layouts, tables, streams, ways, summed),
        first_tile=first_tile,
        total=total,
    )


def _windows(layer: Layer) -> list[tuple[int, int]]:
    """How far each position of a pooling window is from the first one, in pixels of what is read."""
    return [(y * layer.stride[0], x * layer.stride[1]) for y in range(layer.pool[0]) for x in range(layer.pool[1])]


def _tap(
    tap: Tap, move_y: int, move_x: int, layer: Layer, layouts: Mapping[str, BankedLayout], positions: _Positions,
    total: bool,
) -> tuple[tuple[int, int, int], np.ndarray]:  # fmt: skip
    """The word of a tap, and its masks, bool, shape (tiles, banks)."""
    layout = layouts[tap.tensor]
    height, width, channels = layout.shape
    if total:
        offset = (tap.y * layout.tiles + tap.x) * channels
        members = np.zeros((1, layout.banks), bool)
        for segment in layer.segments:
            for y, x in _pixels(layer, segment, width, channels)[0]:
                bank, address = layout.pixel(np.array(y), np.array(x))
                inside = 0 <= y < height and 0 <= x < width
                members[0, bank] |= inside and address == offset
        return (offset, offset, 0), members
    y, x = tap.y + move_y, tap.x + move_x
    phase, distance = layout.turn(y, x)
    further, rotation = divmod(distance, layout.banks)
    offset = (phase * layout.tiles + further) * channels
    if layer.position_count > 1:
        y, x = y + positions.y * layout.phases[0], x + positions.x * layout.phases[1]
    mask = positions.exists & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    mask = mask_of_part(tap.part, rotation, mask)
    far = offset + channels * (rotation > 0)
    # The lane that reads alone reads the tile behind.
    return (far if tap.part == LAST else offset, far, rotation), mask


def taps_of(layer: Layer, level: Level, layouts: Mapping[str, BankedLayout], paired: bool = False) -> int:
    """Taps of a position of the window, as rows of a level read them."""
    return len(_lines_of(layer, level, np.zeros(0, np.int64), layouts, paired)[1])


def _lines_of(
    layer: Layer, level: Level, rows: np.ndarray, layouts: Mapping[str, BankedLayout], paired: bool
) -> tuple[list[tuple[str, Lines]], list[Tap], Codes]:
    """Lines, taps and codes of rows. If banks are ``paired``, some lines come twice."""
    if is_total(layer):
        return _total_lines(layer, level, rows, layouts)
    made = _window_lines(layer, level, rows, layouts)
    if not paired:
        return made
    positions = _positions(layer, layouts[layer.segments[0].tensor])

    def is_odd(tap: Tap) -> bool:
        read = [_tap(tap, *moves, layer, layouts, positions, False) for moves in _windows(layer)]
        return any(rotation % 2 and mask[:, -1].any() for (*_, rotation), mask in read)

    return split(*made, is_odd)


def _window_lines(
    layer: Layer, level: Level, rows: np.ndarray, layouts: Mapping[str, BankedLayout]
) -> tuple[list[tuple[str, Lines]], list[Tap], Codes]:
    """Lines, taps and codes of rows that walk over the taps of their window.

    A block within a pixel needs no more than an index. Where blocks hold whole pixels, a line is a block, and its codes
    name the pixel, too. Where they hold parts of pixels, a line is a whole segment.
    """
    lines: list[tuple[str, Lines]] = []
    taps: list[Tap] = []
    all_codes, weight = _codes_of(layer, level, rows)
    places = layer.code_layout(level)
    index, column = all_codes.copy(), np.zeros_like(all_codes)
    column_bits = 0
    for number, segment in enumerate(layer.segments):
        layout = layouts[segment.tensor]
        channels = layout.channels
        pixels, start = _pixels(layer, segment, layout.shape[1], channels)
        codes = level.codes(segment.length)
        mine = places[:, 0] == number
        here = len(taps)
        if len(pixels) == 1:
            made = Lines(start, codes, level, 1, here, 1, 1, segment.length)
        elif not start and segment.length % channels == 0 and channels % level.block == 0:
            made = Lines(0, codes // len(pixels), level, len(pixels), here, 1, 1, channels)
        elif not start and segment.length % channels == 0 and level.block % channels == 0:
            each = level.block // channels
            count = -(-len(pixels) // each)
            pixels += [pixels[-1]] * (count * each - len(pixels))
            made = Lines(0, level.kept, level, count, here, each, each, channels)
            column[:, mine], index[:, mine] = np.divmod(all_codes[:, mine], channels)
            column_bits = max(column_bits, (each - 1).bit_length())
        else:
            element = start + places[mine, 1] + all_codes[:, mine]
            # A code that fills a block reads nothing: its weight is zero.
            element = np.minimum(element, len(pixels) * channels - 1)
            whole = Level(codes.bit_length(), codes) if codes else level  # its address never advances
            made = Lines(0, codes, whole, 1, here, len(pixels), len(pixels), channels)
            column[:, mine], index[:, mine] = np.divmod(element, channels)
            column_bits = max(column_bits, (len(pixels) - 1).bit_length())
        taps += [Tap(segment.tensor, y, x) for y, x in pixels]
        before = lines[-1][1] if lines and lines[-1][0] == segment.tensor else None
        if before and _alike(before, made):
            made = replace(before, count=before.count + made.count)
            lines.pop()
        lines.append((segment.tensor, made))
    return lines, taps, (index, column, weight, column_bits)


def _codes_of(layer: Layer, level: Level, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index and weight of the codes of rows of a level, int64, shape (rows, codes)."""
    if not len(rows):
        none = np.zeros((0, layer.level_codes(level)), np.int64)
        return none, none
    index, weight = layer.codes_of(rows)
    return index.astype(np.int64), weight.astype(np.int64)


def _alike(before: Lines, after: Lines) -> bool:
    """Whether the lines of ``after`` go on as those before."""
    return after == replace(before, count=after.count, tap=before.tap + before.count * before.pitch)


def _total_lines(
    layer: Layer, level: Level, rows: np.ndarray, layouts: Mapping[str, BankedLayout]
) -> tuple[list[tuple[str, Lines]], list[Tap], Codes]:
    """Lines, taps and codes of rows whose lanes read different pixels: a line, and a code, for each tile."""
    tensor = layer.segments[0].tensor
    layout = layouts[tensor]
    phases = layout.phases[0] * layout.phases[1]
    taps = [Tap(tensor, phase, tile) for phase in range(phases) for tile in range(layout.tiles)]
    index, weight = (np.repeat(part[:, :1], len(taps), axis=1) for part in _codes_of(layer, level, rows))
    start = layer.segments[0].start % layout.channels
    lines = [(tensor, Lines(start, 1, level, len(taps), 0, 1, 1, layout.channels))]
    return lines, taps, (index, np.zeros_like(index), weight, 0)


def _drainage(
    network: EncodedNetwork, layer: Layer, positions: _Positions, layouts: Mapping[str, BankedLayout], tables: Tables,
    streams: int, ways: int, summed: int,
) -> Drainage:  # fmt: skip
    """Where the results of each tile go, and what the write-back reads for them.

    ``summed`` lanes of a row are added up; 0 if each has a result. With one stream, what stands in the chains behind
    the last result of a row is of no use: the next group comes at once.
    """
    target = layouts[layer.output]
    tiles, banks = positions.y.shape
    y, x = (part.reshape(tiles, banks // ways, ways) for part in (positions.y, positions.x))
    valid = positions.exists.reshape(y.shape)
    y, x = (part * each + first for part, each, first in zip((y, x), layer.spread, layer.origin, strict=True))
    pixel = y * target.shape[1] + x
    bank, address = target.pixel(y, x)
    outside = layer.output == network.output
    if outside:
        bank, address = np.zeros_like(bank), pixel
    aux_bank, aux = (bank, address) if layer.renews else (np.zeros_like(bank), np.zeros_like(bank))
    if layer.operand:
        step_y, step_x = layer.operand.stride
        aux_bank, aux = layouts[layer.operand.tensor].pixel(y * step_y, x * step_x)
    reads = layer.renews or layer.operand is not None
    columns = [valid, bank, address, pixel, aux_bank, aux]
    if summed:  # the last word of a row has its sum
        count = -(-summed // ways) if streams == 1 else banks // ways
        sums = [np.zeros((1, count, ways), column.dtype) for column in columns]
        for column, values in zip(sums, columns, strict=True):
            column[0, -1, 0] = values[0, 0, 0]
        columns, repeat = sums, 1
    else:
        turn = _turns(columns, ways, outside, reads)
        repeat = int(turn.max(initial=0)) + 1
        valid = (turn[..., None, :] == np.arange(repeat)[:, None]) & columns[0][..., None, :]
        columns = [valid] + [np.broadcast_to(column[..., None, :], valid.shape) for column in columns[1:]]
        columns = [np.where(valid, column, 0).reshape(tiles, -1, ways) for column in columns]
        if streams == 1:
            used = int(np.flatnonzero(columns[0].any(axis=(0, 2)))[-1]) + 1
            columns = [column[:, :used] for column in columns]
    valid, bank, address, pixel, aux_bank, aux = (column.astype(np.int64) for column in columns)
    fields, ends = [valid, bank, address, aux_bank, aux], np.zeros(valid.shape[:2], bool)
    if tables.paired:
        if not outside:
            ends = burst_ends(*(column[:, :, 0] for column in (valid.astype(bool), bank, address)))
        fields.append(ends[..., None])
    words = np.stack(fields, axis=-1)
    first = tables.drains.add(words.reshape(-1, len(fields) * ways))
    return Drainage(repeat, valid.astype(bool), bank, address, pixel, first, ends)


def _turns(columns: Sequence[np.ndarray], ways: int, outside: bool, reads: bool) -> np.ndarray:
    """In which word each of the results in the first lanes of the chains goes: no two of a word go to one write port,
    or read different elements of one memory of the write-back."""
    valid, bank, _, _, aux_bank, aux = columns
    turn = np.zeros(valid.shape, np.int64)
    for way in range(1, ways):
        taken = np.zeros((*valid.shape[:2], ways + 1), bool)
        for other in range(way):
            clash = (bank[..., way] - bank[..., other]) % ways == 0
            if outside:
                clash = np.ones_like(clash)
            if reads:
                same = (aux_bank[..., way] == aux_bank[..., other]) & (aux[..., way] == aux[..., other])
                clash |= ((aux_bank[..., way] - aux_bank[..., other]) % ways == 0) & ~same
            clash &= valid[..., way] & valid[..., other]
            np.put_along_axis(taken, turn[..., other, None], _taken_at(taken, turn[..., other]) | clash[..., None], 2)
        turn[..., way] = np.argmin(taken, axis=-1)
    return turn


def _taken_at(taken: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """``taken`` in the word of each turn."""
    return np.take_along_axis(taken, turn[..., None], 2)
