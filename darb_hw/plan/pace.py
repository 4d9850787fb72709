"""When what happens at the ports: the cycles of inferences, one after another, no stalls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darb_hw.plan.latency import Latency
from darb_hw.plan.schedule import Schedule
from darb_prune.encoded import EncodedNetwork

__all__ = ["InferenceTimes", "Timing"]

_SETTLED = 12
"""Inferences after which the pace does not change any more."""


@dataclass
class InferenceTimes:
    """Cycles of an inference, or of a step of a sequence: first input element taken from its sender; last one in the
    loader, which makes room for another; last one stored; start of the sequencer; first output element offered and
    last one taken, -1 if it gives none."""

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

    The sequencer starts when the input is stored, the program is through with the input before, and one of the banks
    of the output buffer is free. Results that are written take the write port from elements that come in.

    Parameters
    ----------
    load, features, outputs : int
        Cycles of an input, of which the last so many are no elements of its own; elements of an output.
    latency : Latency
    offer : int
        Start of the sequencer to first output element.
    period, release : tuple of int
        Start to the next one; start to the cycle from which on the bank of the input may be filled again. Of steps
        that are not the last of their sequence, and of those that are.
    every : bool
        Whether every step gives an output, or the last one of its sequence only.
    banks, output_banks : int
        Inputs that are in the engine at a time; outputs.
    busy : int64 array
        Cycles, from the start on, in which no element can enter the loader; of a step that is not the last the first
        ``body_busy``.
    body_busy : int
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
    def of(
        cls,
        network: EncodedNetwork,
        schedule: Schedule,
        latency: Latency,
        overlapped: bool,
        load: int,
        features: int,
        outputs: int,
    ) -> "Timing":
        return cls(
            load,
            features,
            outputs,
            latency,
            offer=latency.issue + schedule.written + latency.send,
            period=(schedule.body_period, schedule.period),
            release=(schedule.body_release + latency.release, schedule.release + latency.release),
            every=network.emit == "step",
            banks=1 + overlapped,
            output_banks=output_banks_of(schedule, latency, load, outputs),
            busy=(schedule.busy + latency.issue - latency.load) if overlapped else np.zeros(0, np.int64),
            body_busy=schedule.body_busy,
        )

    def start(self, stored: int, before: InferenceTimes | None, final: bool, left: int) -> int:
        """Start of the sequencer for an input.

        Parameters
        ----------
        stored : int
            Its last element is stored.
        before : InferenceTimes, optional
            The step before.
        final : bool
            Whether that was the last one of its sequence.
        left : int
            The last element of the output ``output_banks`` before left the engine; anything small if there is none.
        """
        start = max(stored + self.latency.start, left + self.latency.room)
        return start if before is None else max(start, before.start + self.period[final])

    def steps(self, lengths: Sequence[int]) -> list[list[InferenceTimes]]:
        """Cycles of sequences of so many steps, sent and taken as fast as the engine can; from the first element on."""
        found: list[list[InferenceTimes]] = []
        flat: list[tuple[InferenceTimes, bool]] = []
        given: list[InferenceTimes] = []
        taken = np.zeros(0, np.int64)  # when no element can enter the loader
        for length in lengths:
            found.append([])
            for number in range(length):
                final = number == length - 1
                before, was_final = flat[-1] if flat else (None, False)
                begun = before.entered if before else 0
                first = max(begun + self.latency.accept, before.stored + 1 if before else 0)
                if len(flat) >= self.banks:
                    user, last = flat[-self.banks]
                    first = max(first, user.start + self.release[last] + 1)
                entered, stored = (_free(taken, first, self.load - 1 - behind) for behind in (self.features, 0))
                emits = self.every or final
                left = given[-self.output_banks].left if len(given) >= self.output_banks else -(1 << 40)
                step = InferenceTimes(begun, entered, stored, self.start(stored, before, was_final, left))
                if emits:
                    previous = given[-1].left if given else -1
                    step.offered = max(step.start + self.offer, previous + 1)
                    step.left = step.offered + self.outputs - 1
                    given.append(step)
                busy = self.busy if final else self.busy[: self.body_busy]
                taken = np.union1d(taken[taken > begun], step.start + busy)
                flat.append((step, final))
                found[-1].append(step)
        return found

    def latency_of(self, steps: int) -> int:
        """First input element to last output element of a sequence, both included."""
        return self.steps([steps])[0][-1].left + 1

    def interval_of(self, steps: int) -> int:
        """Cycles from one sequence to the next, back to back, rounded up if they take turns."""
        begun = [sequence[0].start for sequence in self.steps([steps] * (_SETTLED + 7))]
        return -((begun[_SETTLED] - begun[_SETTLED + 6]) // 6)  # they take turns by two or by three


def _free(taken: np.ndarray, begin: int, place: int) -> int:
    """The cycle number ``place``, from ``begin`` on, that is not among ``taken`` (ascending)."""
    later = taken[np.searchsorted(taken, begin) :]
    return begin + place + int(np.searchsorted(later - np.arange(len(later)), begin + place, side="right"))
