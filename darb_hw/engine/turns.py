"""The words of the program that run now and next, and when one follows another."""

from typing import NamedTuple

from amaranth.hdl import Signal, Value

__all__ = ["Turn", "Words"]


class Words(NamedTuple):
    """The word that runs, and the one that runs next.

    ``coming``: fields of the next word, at the output of the ROM. ``current``: registers with the fields of the word
    that runs, as far as they are needed after its first cycle. ``pc``: address of the coming word.
    """

    coming: dict[str, Value]
    current: dict[str, Signal]
    pc: Signal


class Turn(NamedTuple):
    """When one word follows another.

    ``load``: the coming word becomes the current one at the end of this cycle. ``loaded``: the cycle behind ``load``.
    ``leaving``: the current word is the last one of its group, and no pass or repetition is left. ``ended``: the
    current word is the last one of the program. ``opening``: the coming word is the first one of the program.
    ``looping``: the coming word is of the current group again. ``step_ends``: in the cycle in which the current
    word is known to be the last one of a step of a section.
    """

    load: Signal
    loaded: Signal
    leaving: Signal
    ended: Signal
    opening: Signal
    looping: Signal
    step_ends: Signal
