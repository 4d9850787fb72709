"""Compares what the engine does with the oracle's vectors and with the plan's cycle counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darb_hw.plan.plan import Plan
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


@dataclass(eq=False)
class ActiveInference:
    """A run of the engine that is under way.

    Parameters
    ----------
    row : int
        Of the vectors.
    sample, number : int
        Its frame (-1 for a wrong one), and the place of this step in it.
    final : bool
        Whether it ends its frame.
    begun : int
        Cycle of the first element of its frame.
    stored : int
        Cycle in which its last element is stored.
    given : int
        Outputs that come before its own, if it has one.
    start : int
        Cycle in which the plan says that it starts.
    """

    row: int
    sample: int
    number: int
    final: bool
    begun: int
    stored: int
    given: int
    start: int = 0


class Scoreboard:
    """Expects results and outputs for each whole input, at the cycles the plan predicts.

    Parameters
    ----------
    plan : Plan
    vectors : TestVectors
    report : Report
        Filled in as the simulation goes on.
    inside : bool
        Whether it will be told of the results inside the engine.
    """

    def __init__(self, plan: Plan, vectors: TestVectors, report: Report, inside: bool = True):
        network, writes = plan.network, plan.writes
        self._inside = inside
        self._plan, self._report = plan, report
        self._expected = vectors.tensors[network.output]
        self._layers = [layer.name for layer in network.layers]
        self._outputs = [vectors.tensors[layer.output] for layer in network.layers]
        columns = (writes.layer, writes.row, writes.element, writes.final)
        self._writes = list(zip(*(column.tolist() for column in columns), strict=True))
        self._cells = [(cell.name, vectors.tensors[cell.output]) for cell in network.cells]
        self._units = list(zip(writes.cell.tolist(), writes.unit.tolist(), strict=True))
        # Where in the order of results each layer ends.
        self._ends = {int(np.flatnonzero(writes.layer == number)[-1]): number for number in range(len(self._layers))}
        self.reset()

    def reset(self) -> None:
        """Forget everything in flight."""
        self._begun = self._given = 0
        self._left: list[int] = []  # cycle of the last element of each output
        self._before: ActiveInference | None = None  # started last
        self._unstarted: list[ActiveInference] = []
        self._running: list[ActiveInference] = []  # results are to come
        self._updating: list[ActiveInference] = []  # outputs of cells are to come
        self._pending: list[ActiveInference] = []  # elements of the output are to come
        self._result = self._unit = self._element = 0
        self._first_offer = True
        self._begins: list[int] = []  # first and last cycle of each frame
        self._ends_at: list[int] = []

    def fail(self, message: str) -> None:
        raise Mismatch(message)

    @property
    def idle(self) -> bool:
        return not self._pending and not self._running

    @property
    def done(self) -> int:
        return self._report.frames

    def sent(self, now: int, entered: int, frame, position: int) -> None:
        """An element of a frame was taken, and has entered the loader."""
        if position == 0:
            self._begun = now
        step, place = divmod(position, self._plan.input_size)
        if place != self._plan.input_size - 1 or step >= len(frame.steps):
            return
        final = position == len(frame.values) - 1
        stored = entered + self._plan.features
        entry = ActiveInference(frame.steps[step], frame.sample, step, final, self._begun, stored, self._given)
        self._unstarted.append(entry)
        if self._inside:
            self._running.append(entry)
        if self._inside and self._cells:
            self._updating.append(entry)
        if final or self._plan.network.emit == "step":
            self._pending.append(entry)
            self._given += 1

    def result(self, now: int, value: int) -> None:
        """A result on its way to the memories, in the order of the schedule."""
        layer, row, element, final = self._writes[self._result]
        where = f"cycle {now}: layer {self._layers[layer]!r}, row {row}"
        if not self._running:
            self.fail(f"{where}: computed, but no input was sent")
        step = self._running[0]
        if self._result == 0:
            self._starts(step)
        expected = int(self._outputs[layer][step.row, element])
        # Where a maximum is still to come, no value may be above the one that stays.
        if value != expected if final else value > expected:
            self.fail(f"{where}, element {element}, {self._where(step)}: engine {value}, oracle {expected}")
        if self._result in self._ends:
            self._layer_ended(now - step.start, layer, where)
        self._report.rows += 1
        self._result += 1
        if self._result == (len(self._writes) if step.final else self._plan.body_writes):
            self._result = 0
            self._running.pop(0)

    def _starts(self, step: ActiveInference) -> None:
        """When the plan says that a step and those before it start: the input is there, the program is through with
        the step before, there is room for an output."""
        banks = self._plan.output_banks
        while step in self._unstarted:
            one, before = self._unstarted.pop(0), self._before
            left = self._left[one.given - banks] if one.given >= banks else -(1 << 60)
            one.start = self._plan.timing.start(one.stored, before, before is not None and before.final, left)
            self._before = one

    def _layer_ended(self, cycles: int, layer: int, where: str) -> None:
        """The last result of a layer, so many cycles after the start."""
        plan = self._plan
        network, latency = plan.network, plan.latency
        planned = latency.issue + plan.schedule.spans[layer].written
        if network.layers[layer].output in {cell.gates for cell in network.cells}:
            planned -= latency.cell
        if cycles != planned:
            self.fail(f"{where}: the layer ends after {cycles} cycles, the plan says {planned}")
        if len(self._report.layers) == layer:
            self._report.layers.append(cycles)

    def unit(self, now: int, value: int) -> None:
        """The output of a unit of a cell."""
        cell, unit = self._units[self._unit]
        name, values = self._cells[cell]
        where = f"cycle {now}: cell {name!r}, unit {unit}"
        if not self._updating:
            self.fail(f"{where}: computed, but no input was sent")
        step = self._updating[0]
        expected = int(values[step.row, unit])
        if value != expected:
            self.fail(f"{where}, {self._where(step)}: engine {value}, oracle {expected}")
        self._unit += 1
        if self._unit == len(self._units):
            self._unit = 0
            self._updating.pop(0)

    def _where(self, step: ActiveInference) -> str:
        return f"sample {step.sample}" + f", step {step.number}" * self._plan.network.recurrent

    def offered(self, now: int) -> None:
        """An output element is valid for the first time."""
        if not self._first_offer:
            return
        self._first_offer = False
        if not self._pending:
            self.fail(f"cycle {now}: an output frame without an input frame")
        step, offer = self._pending[0], self._plan.timing.offer
        self._starts(step)
        planned = step.start + offer
        if self._left:
            planned = max(planned, self._left[-1] + 1)
        if now != planned:
            cycles = f"{now - step.start} cycles, the plan says {planned - step.start}"
            self.fail(f"cycle {now}: first output after {cycles}")
        if planned == step.start + offer and offer not in self._report.compute:
            self._report.compute.append(offer)

    def taken(self, now: int, value: int, last: int) -> None:
        step, row = self._pending[0], self._element
        expected = int(self._expected[step.row, row])
        where = f"cycle {now}: output {row} (layer {self._layers[-1]!r}, row {row}), {self._where(step)}"
        if value != expected:
            self.fail(f"{where}: engine {value}, oracle {expected}")
        self._element += 1
        whole = self._element == self._plan.output_size
        if last != (whole and step.final):
            self.fail(f"{where}: tlast {last} with element {self._element} of {self._plan.output_size}")
        if not whole:
            return
        self._pending.pop(0)
        self._element, self._first_offer = 0, True
        self._left.append(now)
        if step.final:
            self._report.frames += 1
            self._begins.append(step.begun)
            self._ends_at.append(now)

    def check_pace(self, lengths: Sequence[int]) -> None:
        """Compare first and last cycle of all frames, sent and taken without a pause, with what the plan says.

        Parameters
        ----------
        lengths : sequence of int
            Steps of each frame.
        """
        report, first = self._report, self._begins[0]
        planned = self._plan.timing.times_of(lengths)
        for number, (steps, begun, left) in enumerate(zip(planned, self._begins, self._ends_at, strict=True)):
            if (begun - first, left - first) != (steps[0].begun, steps[-1].left):
                self.fail(
                    f"frame {number} from cycle {begun - first} to {left - first}, the plan says {steps[0].begun} to "
                    f"{steps[-1].left}"
                )
        report.latency = self._ends_at[0] - first + 1
        if len(self._begins) > 1:
            report.interval = self._begins[-1] - self._begins[-2]


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
        self._value_at, self._bits = 3 + plan.widths.target, plan.widths.value
        self._unit = dut.unit if plan.network.cells else None
        self._unit_at = 1 + plan.widths.unit

    def cycle(self, now: int) -> None:
        if self._result.value[0] != "0":  # bit 0: valid
            self._scoreboard.result(now, _signed(known(self._result, now) >> self._value_at, self._bits))
        if self._unit is not None and self._unit.value[0] != "0":
            bits = len(self._unit) - self._unit_at
            self._scoreboard.unit(now, _signed(known(self._unit, now) >> self._unit_at, bits))


def _signed(word: int, bits: int) -> int:
    """The lowest ``bits`` bits of ``word``, two's complement."""
    value = word & ((1 << bits) - 1)
    return value - (value >> (bits - 1) << bits)


def expand(values: np.ndarray) -> list[int]:
    """Plain integers of vectors, row after row."""
    return values.reshape(-1).tolist()
