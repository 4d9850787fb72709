"""When inputs come in and outputs leave, inference after inference, if nothing outside makes the engine wait."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from darb_hw.plan.latency import Latency
from darb_hw.plan.ports import features_of
from darb_hw.plan.schedule import Schedule
from darb_prune.encoded import EncodedNetwork, elements_of

__all__ = ["InferenceTimes", "Timing"]

_SETTLED = 12
"""Inferences after which the pace does not change any more."""
_TURNS = 6
"""Inferences may take turns by two or by three; this many are whole turns of both."""
_NEVER = -(1 << 40)
"""A cycle before all others."""


@dataclass(frozen=True)
class InferenceTimes:
    """Cycles of an inference, or of a time step of a sequence.

    Parameters
    ----------
    begun : int
        First input element taken from its sender.
    entered : int
        Last input element in the loader, which makes room for another.
    stored : int
        Last input element stored.
    start : int
        Start of the sequencer.
    offered, left : int
        First output element offered, last one taken; -1 if it gives no output.
    """

    begun: int
    entered: int
    stored: int
    start: int
    offered: int = -1
    left: int = -1


def output_banks_of(schedule: Schedule, latency: Latency, load: int, outputs: int) -> int:
    """Outputs that there is room for: two, or three if two would hold the pace back."""
    alone = latency.issue + schedule.written + latency.send + outputs - 1 + latency.room
    return 2 if alone <= 2 * max(schedule.period, load, outputs) else 3


@dataclass(frozen=True, eq=False)
class Timing:
    """What the cycles of an inference follow from.

    The sequencer starts when three things are true: the input is stored, the program is through with the input before,
    and a bank of the output buffer is free. Results that are written take the write port from elements that come in.

    Parameters
    ----------
    load : int
        Cycles in which an input is loaded: first element in the loader to last one stored, both included.
    features : int
        The last cycles of ``load``, in which no element enters: the features of the last symbol. 0 without embedding.
    outputs : int
        Elements of an output.
    latency : Latency
    offer : int
        Start of the sequencer to first output element.
    period : (int, int)
        Start of the sequencer to the next one: of a time step that is not the last of its sequence, and of one that is.
    release : (int, int)
        Start of the sequencer to the last cycle in which the bank of the input is in use, of both kinds of time steps.
    every : bool
        Whether every time step gives an output; else the last one of a sequence only.
    banks, output_banks : int
        How many inputs, how many outputs are in the engine at a time.
    busy : int64 array
        Cycles, from the start on, in which no element can enter the loader.
    body_busy : int
        How many of them, from the first on, are of a time step that is not the last.
    """

    load: int
    features: int
    outputs: int
    latency: Latency
    offer: int
    period: tuple[int, int]
    release: tuple[int, int]
    every: bool
    banks: int
    output_banks: int
    busy: np.ndarray
    body_busy: int

    @classmethod
    def of_subsets(
        cls, network: EncodedNetwork, schedules: Mapping[int, Schedule], latency: Latency, overlapped: bool, banks: int,
        output_banks: int | None = None,
    ) -> "dict[int, Timing]":  # fmt: skip
        """The timings of the schedules of each subset of tasks. They have as many banks for outputs: ``output_banks``,
        or what they need.

        ``overlapped`` if an input comes in while the engine works, into one of ``banks``.
        """
        timings = {
            subset: cls.of(network, schedule, latency, overlapped, banks, len(elements_of(network, subset)))
            for subset, schedule in schedules.items()
        }
        most = output_banks or max(timing.output_banks for timing in timings.values())
        return {subset: replace(timing, output_banks=most) for subset, timing in timings.items()}

    @classmethod
    def of(
        cls, network: EncodedNetwork, schedule: Schedule, latency: Latency, overlapped: bool, banks: int, outputs: int
    ) -> "Timing":
        """The timing of a schedule that gives so many ``outputs``."""
        features = features_of(network)
        load = network.tensor(network.input).size * (1 + features)
        return cls(
            load,
            features,
            outputs,
            latency,
            offer=latency.issue + schedule.written + latency.send,
            period=(schedule.body_period, schedule.period),
            release=(schedule.body_release + latency.release, schedule.release + latency.release),
            every=network.emit == "step",
            banks=banks,
            output_banks=output_banks_of(schedule, latency, load, outputs),
            busy=(schedule.busy + latency.issue - latency.load) if overlapped else np.zeros(0, np.int64),
            body_busy=schedule.body_busy,
        )

    @property
    def compute(self) -> int:
        """Last input element stored to first output element offered, if the engine waits for nothing else.

        An element is stored when it enters the loader, a symbol when all its features are.
        """
        return self.latency.start + self.offer

    def start(self, stored: int, before: InferenceTimes | None, final: bool, left: int) -> int:
        """Start of the sequencer for an input. This is the timing of the time step before, if there is one.

        Parameters
        ----------
        stored : int
            Cycle in which its last element is stored.
        before : InferenceTimes, optional
            The time step before.
        final : bool
            Whether that was the last one of its sequence.
        left : int
            When the last element left of the output that had the bank before: ``output_banks`` outputs ago. Anything
            small if there is none.
        """
        start = max(stored + self.latency.start, left + self.latency.room)
        return start if before is None else max(start, before.start + self.period[final])

    def times_of(self, lengths: Sequence[int], timings: "Sequence[Timing] | None" = None) -> list[list[InferenceTimes]]:
        """Cycles of sequences, sent and taken as fast as the engine can, from the first element on.

        Parameters
        ----------
        lengths : sequence of int
            Time steps of each sequence.
        timings : sequence of Timing, optional
            Of each sequence: that of its subset of tasks. This one if absent.
        """
        sequences: list[list[InferenceTimes]] = []
        # All time steps, whether each was the last of its sequence, and its timing.
        history: list[tuple[InferenceTimes, bool, Timing]] = []
        outputs: list[InferenceTimes] = []  # those that gave an output
        blocked = np.zeros(0, np.int64)  # when no element can enter the loader
        for length, mine in zip(lengths, timings or [self] * len(lengths), strict=True):
            sequences.append([])
            for time_step in range(length):
                final = time_step == length - 1
                before, was_final, timing = history[-1] if history else (None, False, mine)
                begun = before.entered if before else 0
                first = max(begun + self.latency.accept, before.stored + 1 if before else 0)
                if len(history) >= self.banks:
                    user, last, its = history[-self.banks]  # the time step that had this bank of the input before
                    first = max(first, user.start + its.release[last] + 1)
                entered = _free(blocked, first, self.load - 1 - self.features)
                stored = _free(blocked, first, self.load - 1)
                had_bank = outputs[-self.output_banks].left if len(outputs) >= self.output_banks else _NEVER
                start = timing.start(stored, before, was_final, had_bank)
                if self.every or final:
                    offered = max(start + mine.offer, (outputs[-1].left if outputs else -1) + 1)
                    times = InferenceTimes(begun, entered, stored, start, offered, offered + mine.outputs - 1)
                    outputs.append(times)
                else:
                    times = InferenceTimes(begun, entered, stored, start)
                busy = mine.busy if final else mine.busy[: mine.body_busy]
                blocked = _merged(blocked[np.searchsorted(blocked, begun, side="right") :], start + busy)
                history.append((times, final, mine))
                sequences[-1].append(times)
        return sequences

    def latency_of(self, time_steps: int) -> int:
        """First input element to last output element of a sequence, both included."""
        return self.times_of([time_steps])[0][-1].left + 1

    def interval_of(self, time_steps: int) -> int:
        """Cycles from one sequence to the next, back to back. If sequences take turns, their mean, rounded up."""
        starts = [sequence[0].start for sequence in self.times_of([time_steps] * (_SETTLED + _TURNS + 1))]
        return -((starts[_SETTLED] - starts[_SETTLED + _TURNS]) // _TURNS)


def _merged(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The cycles of two rising arrays, rising, each once.

    A stable sort merges them in linear time. ``np.union1d`` hashes them: a hundred times as long, if many are close
    together.
    """
    cycles = np.sort(np.concatenate([some, others]), kind="stable")
    return cycles[np.diff(cycles, prepend=_NEVER) > 0]


def _free(blocked: np.ndarray, begin: int, count: int) -> int:
    """The cycle behind ``count`` others, from ``begin`` on, none of them among ``blocked`` (rising)."""
    later = blocked[np.searchsorted(blocked, begin) :]
    return begin + count + int(np.searchsorted(later - np.arange(len(later)), begin + count, side="right"))
