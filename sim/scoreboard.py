"""Compares what the engine does with the oracle's vectors and with the plan's cycle counts."""

import numpy as np

from darb_hw.plan import Plan
from darb_prune.encoded import TestVectors
from sim.scenario import Report

__all__ = ["Mismatch", "RowMonitor", "Scoreboard", "expand", "known"]


class Mismatch(AssertionError):
    """The engine and the oracle, or the engine and the plan, differ."""


def known(handle, now: int) -> int:
    """The value of a signal, which must not hold an unknown bit."""
    value = handle.value
    if not value.is_resolvable:
        raise Mismatch(f"cycle {now}: {handle._name} is {value}")
    return int(value)


class Scoreboard:
    """Expects one output frame for each whole input frame, at the cycle the plan predicts.

    Parameters
    ----------
    plan : Plan
    vectors : TestVectors
    report : Report
        Filled in as the simulation goes on.
    """

    def __init__(self, plan: Plan, vectors: TestVectors, report: Report):
        self._plan, self._report = plan, report
        self._expected = vectors.tensors[plan.network.output]
        self._layers = [layer.name for layer in plan.network.layers]
        self._outputs = [vectors.tensors[layer.output] for layer in plan.network.layers]
        self._schedule = plan.schedule
        self.reset()

    def reset(self) -> None:
        """Forget everything in flight."""
        self._pending: list[tuple[int, int, int]] = []  # sample, cycle of first element, cycle of last element
        self._begun = 0
        self._element = 0
        self._first_offer = True
        self._row = 0
        self._running: list[int] = []
        self._left_at = -(1 << 60)
        self._previous_begin: int | None = None

    def fail(self, message: str) -> None:
        raise Mismatch(message)

    @property
    def idle(self) -> bool:
        return not self._pending and not self._running

    @property
    def done(self) -> int:
        return self._report.frames

    def frame_begins(self, now: int, sample: int) -> None:
        self._begun = now

    def frame_loaded(self, now: int, sample: int) -> None:
        if sample >= 0:
            self._pending.append((sample, self._begun, now))
            self._running.append(sample)

    def row(self, now: int, value: int, last: bool) -> None:
        """A requantised value, in the order of the schedule."""
        layer, row = self._schedule[self._row]
        where = f"cycle {now}: layer {self._layers[layer]!r}, row {row}"
        if not self._running:
            self.fail(f"{where}: computed, but no frame was sent")
        sample = self._running[0]
        expected = int(self._outputs[layer][sample, row])
        if value != expected:
            self.fail(f"{where}, sample {sample}: engine {value}, oracle {expected}")
        self._report.rows += 1
        self._row += 1
        if last != (self._row == len(self._schedule)):
            self.fail(f"{where}: end mark {int(last)} after {self._row} of {len(self._schedule)} rows")
        if last:
            self._row = 0
            self._running.pop(0)

    def offered(self, now: int) -> None:
        """An output element is valid for the first time."""
        if not self._first_offer:
            return
        self._first_offer = False
        if not self._pending:
            self.fail(f"cycle {now}: an output frame without an input frame")
        _, _, loaded = self._pending[0]
        compute = now - max(loaded, self._left_at)
        if compute != self._plan.compute_cycles:
            self.fail(f"cycle {now}: first output after {compute} cycles, the plan says {self._plan.compute_cycles}")
        if compute not in self._report.compute:
            self._report.compute.append(compute)

    def taken(self, now: int, value: int, last: int) -> None:
        sample, begun, _ = self._pending[0]
        row = self._element
        expected = int(self._expected[sample, row])
        where = f"cycle {now}: output {row} (layer {self._layers[-1]!r}, row {row}), sample {sample}"
        if value != expected:
            self.fail(f"{where}: engine {value}, oracle {expected}")
        self._element += 1
        if last != (self._element == self._plan.output_size):
            self.fail(f"{where}: tlast {last} with element {self._element} of {self._plan.output_size}")
        if last:
            self._pending.pop(0)
            self._element, self._first_offer = 0, True
            self._left_at = now
            self._report.frames += 1
            if self._report.latency is None:
                self._report.latency = now - begun + 1
            if self._previous_begin is not None:
                self._report.interval = begun - self._previous_begin
            self._previous_begin = begun


class RowMonitor:
    """Watches the write-back inside the engine, so that a mismatch names the layer and row where it began.

    Parameters
    ----------
    dut : cocotb handle of the top level
    plan : Plan
    scoreboard : Scoreboard
    """

    def __init__(self, dut, plan: Plan, scoreboard: Scoreboard):
        self._result, self._scoreboard = dut.result, scoreboard
        self._value_at = len(dut.result) - max(plan.widths.activation, plan.widths.output)
        self._bits = len(dut.result) - self._value_at

    def cycle(self, now: int) -> None:
        word = self._result.value
        if word[0] == "0":  # bit 0: valid
            return
        word = known(self._result, now)
        value = (word >> self._value_at) & ((1 << self._bits) - 1)
        value -= (value >> (self._bits - 1)) << self._bits
        self._scoreboard.row(now, value, bool(word >> 1 & 1))


def expand(values: np.ndarray) -> list[int]:
    """Plain integers of a row of vectors."""
    return [int(value) for value in values]
