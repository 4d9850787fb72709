"""The static schedule: rows into groups, groups into runs, and the idle cycles that keep them apart.

Everything is decided here, so that the hardware only counts: no arbitration and no stall inside an inference.
"""

from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from darb_prune.encoded import DENSE, EncodedNetwork, Layer, Level

__all__ = ["RUN_CYCLES_MIN", "Group", "Latency", "Run", "Word", "groups_of", "pad_groups", "words_of"]

RUN_CYCLES_MIN = 4
"""Cycles from the start of a run to the earliest start of the next: the next word of the program is on its way."""


@dataclass(frozen=True)
class Latency:
    """Cycles along the data path; the components assert that these are theirs.

    Parameters
    ----------
    lane_multiplier, requant_multiplier : int
        Register stages of the two kinds of multiplier.
    """

    lane_multiplier: int
    requant_multiplier: int

    code = 3  # step -> code word in the lanes: block RAM, register beside it, register beside the lane
    address = 1  # code word -> read address
    activation = 2  # read address -> activation: block RAM, register
    accumulate = 1  # product -> accumulator
    capture = 1  # accumulator -> shadow row
    parameters = 2  # row number -> row parameters: block RAM, register
    start = 3  # last input element accepted -> start of the sequencer (the program ROM must have been read)
    issue = 2  # start of the sequencer -> its first step
    write = 1  # requantised value -> write port of the memories
    send = 3  # last row on the write port -> first output element offered

    @property
    def lane(self) -> int:
        """Step to accumulator."""
        return self.code + self.address + self.activation + self.lane_multiplier + self.accumulate

    @property
    def requant(self) -> int:
        """Shadow row to requantised value: parameters, bias, multiplier, shift, round, clamp."""
        return self.parameters + 1 + self.requant_multiplier + 3

    @property
    def drain(self) -> int:
        """Last step of a group to its first row on the write port."""
        return self.lane + self.capture + self.requant + self.write

    @property
    def turnaround(self) -> int:
        """Last step of a layer to the first step that may read its result, for a last group of one row.

        A value on the write port in one cycle can be addressed in the next; the read address of a step
        leaves ``code + address`` cycles after the step.
        """
        return self.drain + 1 - (self.code + self.address)


@dataclass(frozen=True)
class Run:
    """One segment of a group: ``steps`` steps from address ``base`` on, then ``pad`` idle cycles."""

    base: int
    steps: int
    level: Level
    pad: int = 0


@dataclass(frozen=True, eq=False)
class Group:
    """Up to one row a lane, in lock-step.

    Parameters
    ----------
    layer : int
    level : Level
        Level of the rows that have codes.
    rows : numpy.ndarray of int64
        Rows of the layer, lane by lane: first ``coded`` rows of the level, then rows without codes that use
        lanes left over.
    coded : int
    runs : tuple of Run
    """

    layer: int
    level: Level
    rows: np.ndarray
    coded: int
    runs: tuple[Run, ...]

    @property
    def steps(self) -> int:
        return sum(run.steps for run in self.runs)

    @property
    def lead(self) -> int:
        """Cycles from the first step of the group to its last."""
        return sum(run.steps + run.pad for run in self.runs) - self.runs[-1].pad

    def padded(self, pad: int) -> "Group":
        """This group with at least ``pad`` idle cycles after its last step."""
        last = self.runs[-1]
        return replace(self, runs=self.runs[:-1] + (replace(last, pad=max(pad, last.pad)),))


def _runs(layer: Layer, level: Level, base: dict[str, int]) -> tuple[Run, ...]:
    if level.is_empty:
        # Rows without codes still pass through the lanes: one step of null codes.
        first = layer.segments[0]
        return (_minimal(Run(base[first.tensor] + first.start, 1, DENSE)),)
    return tuple(
        _minimal(Run(base[segment.tensor] + segment.start, level.codes(segment.length), level))
        for segment in layer.segments
    )


def _minimal(run: Run) -> Run:
    return replace(run, pad=max(0, RUN_CYCLES_MIN - run.steps))


def groups_of(network: EncodedNetwork, number: int, lanes: int, base: dict[str, int]) -> list[Group]:
    """Cut the rows of a layer into groups of one level; empty rows fill the lanes left over.

    Parameters
    ----------
    base : dict of str to int
        Address of each tensor.
    """
    layer = network.layers[number]
    empty = [layer.rows_of(i) for i, level in enumerate(layer.levels) if level.is_empty]
    spare = np.concatenate([*empty, np.zeros(0, np.int64)]).astype(np.int64)
    groups = []
    for level in sorted({level for level in layer.levels if not level.is_empty}):
        # A level may be listed twice: its rows are one set all the same.
        rows = np.flatnonzero(np.isin(layer.row_level, [i for i, lv in enumerate(layer.levels) if lv == level]))
        for start in range(0, len(rows), lanes):
            coded = rows[start : start + lanes]
            take = lanes - len(coded)
            mine, spare = np.concatenate([coded, spare[:take]]), spare[take:]
            groups.append(Group(number, level, mine, len(coded), _runs(layer, level, base)))
    for start in range(0, len(spare), lanes):
        level = Level(0, 0)
        groups.append(Group(number, level, spare[start : start + lanes], 0, _runs(layer, level, base)))
    return groups


def pad_groups(groups: list[Group], latency: Latency) -> list[Group]:
    """Insert idle cycles: a shadow row is not overwritten before it has drained, and no layer reads what the
    one before it has not written yet."""
    padded = []
    for group, after in zip(groups, groups[1:] + [None], strict=True):
        if after is None:
            pad = 0
        elif after.layer != group.layer:
            pad = latency.turnaround + len(group.rows) - 2
        else:
            pad = len(group.rows) - after.lead
        padded.append(group.padded(max(pad, 0)))
    return padded


@dataclass(frozen=True)
class Word:
    """A word of the program: one run of a group, and how often the group is repeated with other rows."""

    run: Run
    rows: int
    repeat: int
    first: bool
    last: bool
    end: bool = False


def words_of(groups: list[Group]) -> list[Word]:
    """The program: equal groups in succession become one group that is repeated."""
    words = []
    sets = [list(same) for _, same in groupby(groups, key=lambda g: (g.layer, g.runs, len(g.rows)))]
    # The group that ends the inference stands alone: its word carries the end mark.
    if len(sets[-1]) > 1:
        sets[-1:] = [sets[-1][:-1], sets[-1][-1:]]
    for same in sets:
        runs = same[0].runs
        words += [
            Word(run, len(same[0].rows), len(same) - 1, first=i == 0, last=i == len(runs) - 1)
            for i, run in enumerate(runs)
        ]
    words[-1] = replace(words[-1], end=True)
    return words
