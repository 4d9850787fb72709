"""The program: a word for each run of a group, and for each wait."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import groupby

from darb_hw.plan.groups import Group, Loop, Run
from darb_prune.encoded import DENSE

__all__ = ["COLUMN_END", "PROGRAM_END", "TIME_STEP_END", "Wait", "Word", "words_of"]

PROGRAM_END, TIME_STEP_END, COLUMN_END = 1, 2, 3
"""What ends with a word: the program; a time step that is not the last one of its sequence; a step of a section."""


@dataclass(frozen=True)
class Word:
    """A word of the program: one run of a group, or a wait.

    Parameters
    ----------
    run : Run
    rows : int
        Rows of the group.
    repeat : int
        How many more groups follow that are equal but for their rows and codes.
    loop : Loop
        The loop of the group; of a wait, that of the group behind it.
    first, last : bool
        Whether the run is the first, the last one of its group.
    idle : bool
        Whether this is a wait.
    end : int
        ``PROGRAM_END``, ``TIME_STEP_END``, ``COLUMN_END`` or 0.
    opens : bool
        Whether each step of a section begins with it.
    jump : int, optional
        The layer whose codes and rows it begins, if those of the word before end elsewhere.
    fold : int
        log2 of the lanes of a row.
    index_bits : int
        Bits of an index of the group.
    column : bool
        Whether its codes say how many taps behind that of their line they read.
    release : bool
        Whether no word behind this one reads the input.
    uniform : bool
        Whether all steps of the group take the same codes.
    """

    run: Run
    rows: int
    repeat: int
    loop: Loop
    first: bool = True
    last: bool = True
    idle: bool = False
    end: int = 0
    fold: int = 0
    index_bits: int = 0
    release: bool = False
    column: bool = False
    uniform: bool = False
    opens: bool = False
    jump: int | None = None


@dataclass(frozen=True)
class Wait:
    """Idle cycles in a word of their own, which names the loop of the group behind it."""

    cycles: int
    loop: Loop


def words_of(
    items: list[Group | Wait], ends: Mapping[int, int], release: int | None, opens: Collection[int] = (),
    jumps: Mapping[int, int] | None = None,
) -> list[Word]:  # fmt: skip
    """The program. Equal groups in succession become one group that is repeated.

    Parameters
    ----------
    items : list of Group or Wait
    ends : mapping of int to int
        Items with which something ends: their numbers, and ``PROGRAM_END``, ``TIME_STEP_END`` or ``COLUMN_END``.
    release : int, optional
        Number of the last item that reads the input, if the sender may fill its bank from then on.
    opens : collection of int
        Numbers of the items with which the steps of a section begin.
    jumps : mapping of int to int, optional
        Items whose codes and rows do not follow those of the item before: their numbers, and their layers.
    """
    jumps = jumps or {}
    begins = (item_number - 1 for item_number in (*opens, *jumps))
    marked = {*ends, *begins, *([] if release is None else [release])}

    def kind(numbered: tuple[int, Group | Wait]) -> tuple:
        """Equal for items that can be one word repeated: groups that are alike, with no marked one before the last."""
        item_number, item = numbered
        if isinstance(item, Wait):
            return (item_number,)
        marks_before = sum(mark < item_number for mark in marked)
        alike = item.runs, len(item.rows), item.fold, item.index_bits, item.column_bits > 0, item.loop, item.uniform
        return marks_before, *alike

    words = []
    for _, alike in groupby(enumerate(items), key=kind):
        numbers, same = zip(*alike, strict=True)
        item, end, releases = same[0], ends.get(numbers[-1], 0), numbers[-1] == release
        if isinstance(item, Wait):
            run = Run(0, 1, DENSE, pad=item.cycles - 1)
            words.append(Word(run, 0, 0, item.loop, idle=True, end=end, release=releases))
            continue
        for run_number, run in enumerate(item.runs):
            first, last = run_number == 0, run_number == len(item.runs) - 1
            words.append(
                Word(
                    run, len(item.rows), len(same) - 1, item.loop, first, last, end=end if last else 0, fold=item.fold,
                    index_bits=item.index_bits, release=releases and last, column=item.column_bits > 0,
                    uniform=item.uniform, opens=first and numbers[0] in opens,
                    jump=jumps.get(numbers[0]) if first else None,
                )
            )  # fmt: skip
    return words
