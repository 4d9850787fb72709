"""The program: a word for each run of a group, and for each wait."""

from dataclasses import dataclass
from itertools import groupby

from darb_hw.plan.groups import Group, Loop, Run
from darb_prune.encoded import DENSE

__all__ = ["Wait", "Word", "words_of"]


@dataclass(frozen=True)
class Word:
    """A word of the program: one run of a group, and how often the group is repeated with other rows; or a wait.

    ``end`` is 1 for the end of the program, 2 for the end of a step that is not the last one of its sequence;
    behind ``release`` nothing reads the input.
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


@dataclass(frozen=True)
class Wait:
    """Idle cycles in a word of their own, which names the loop of what comes behind."""

    cycles: int
    loop: Loop


def words_of(items: list[Group | Wait], marks: dict[int, dict]) -> list[Word]:
    """The program: equal groups in succession become one group that is repeated."""
    words, numbered = [], list(enumerate(items))

    def kind(entry):
        number, item = entry
        marked = sum(place < number for place in marks)  # nothing is repeated over a mark
        if isinstance(item, Wait):
            return (number,)
        return marked, item.runs, len(item.rows), item.fold, item.index_bits, item.loop

    for _, same in groupby(numbered, key=kind):
        same = list(same)
        mark, item = marks.get(same[-1][0], {}), same[0][1]
        if isinstance(item, Wait):
            words.append(Word(Run(0, 1, DENSE, pad=item.cycles - 1), 0, 0, item.loop, idle=True, **mark))
            continue
        for number, run in enumerate(item.runs):
            first, last = number == 0, number == len(item.runs) - 1
            words.append(
                Word(
                    run, len(item.rows), len(same) - 1, item.loop, first, last, fold=item.fold,
                    index_bits=item.index_bits, **(mark if last else {}),
                )
            )  # fmt: skip
    return words
