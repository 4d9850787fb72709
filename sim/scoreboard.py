"""Compares what the engine does with the oracle's vectors and with the plan's cycle counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from amaranth.lib import data
from cocotb.handle import HierarchyObject, LogicArrayObject, LogicObject, PackedObject

from darb_hw.engine.cell import unit_layout
from darb_hw.engine.requant import result_layout
from darb_hw.plan.pace import InferenceTimes
from darb_hw.plan.plan import Plan
from darb_prune.encoded import TestVectors, elements_of
from sim.scenario import Frame, Report

__all__ = ["Mismatch", "RowMonitor", "Scoreboard", "bit_of", "expand", "known", "signed", "vector_of"]


Vector = LogicArrayObject | PackedObject
"""A signal of several bits: which of the two depends on the simulator."""


class Mismatch(AssertionError):
    """The engine and the oracle, or the engine and the plan, differ."""


def bit_of(dut: HierarchyObject, name: str) -> LogicObject:
    """A signal of the top level that has one bit."""
    handle = getattr(dut, name)
    assert isinstance(handle, LogicObject)
    return handle


def vector_of(dut: HierarchyObject, name: str) -> Vector:
    """A signal of the top level that has several bits."""
    handle = getattr(dut, name)
    assert isinstance(handle, LogicArrayObject | PackedObject)
    return handle


def known(handle: LogicObject | Vector, now: int) -> int:
    """The value of a signal, which must not hold an unknown bit."""
    value = str(handle.value)
    try:
        return int(value, 2)
    except ValueError:
        raise Mismatch(f"cycle {now}: {handle._name} is {value}") from None


def signed(value: int, bits: int) -> int:
    """A value of so many bits as two's complement."""
    return value - (value >> bits - 1 << bits)


@dataclass(eq=False)
class ActiveInference:
    """An inference, or a time step of a sequence, that is under way.

    Parameters
    ----------
    times : InferenceTimes
        Its cycles: ``begun`` is that of the first element of its frame, ``start`` is what the plan says.
    row : int
        Row of the vectors.
    sample : int
        Test vector of its frame, -1 for a wrong frame.
    time_step : int
        Which time step of its frame it is.
    final : bool
        Whether it ends its frame.
    outputs_before : int
        Outputs that come before its own, if it has one.
    subset : int
        The tasks that it computes.
    """

    times: InferenceTimes
    row: int
    sample: int
    time_step: int
    final: bool
    outputs_before: int
    subset: int


class Scoreboard:
    """Expects results and outputs for each whole input, at the cycles the plan predicts.

    Parameters
    ----------
    plan : Plan
    vectors : TestVectors
    report : Report
        Filled in while the simulation runs.
    inside : bool
        Whether it will be told of the results inside the engine.
    """

    def __init__(self, plan: Plan, vectors: TestVectors, report: Report, inside: bool = True) -> None:
        network = plan.network
        self._inside = inside
        self._plan, self._report = plan, report
        self._expected = vectors.tensors[network.output]
        self._layers = [layer.name for layer in network.layers]
        self._outputs = [vectors.tensors[layer.output] for layer in network.layers]
        self._cells = [(cell.name, vectors.tensors[cell.output]) for cell in network.cells]
        # Of each subset of tasks: elements of the output, results, outputs of cells, and the last result of each layer:
        # its number in the order of results -> the layer.
        self._elements = {subset: elements_of(network, subset).tolist() for subset in plan.subsets}
        self._writes: dict[int, list[tuple[int, int, int, bool]]] = {}
        self._units: dict[int, list[tuple[int, int]]] = {}
        self._ends: dict[int, dict[int, int]] = {}
        for subset, writes in plan.subset_writes.items():
            columns = (writes.layer, writes.row, writes.element, writes.final)
            self._writes[subset] = list(zip(*(column.tolist() for column in columns), strict=True))
            self._units[subset] = list(zip(writes.cell.tolist(), writes.unit.tolist(), strict=True))
            ran = plan.subsets[subset].layers
            self._ends[subset] = {int(np.flatnonzero(writes.layer == layer)[-1]): layer for layer in ran}
        self.reset()

    def reset(self) -> None:
        """Forget everything in flight."""
        self._begun = 0  # cycle of the first element of the frame that comes in
        self._outputs_due = 0  # outputs of all that was sent so far
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

    def fail(self, message: str) -> NoReturn:
        raise Mismatch(message)

    @property
    def idle(self) -> bool:
        return not self._pending and not self._running

    @property
    def done(self) -> int:
        return self._report.frames

    def sent(self, now: int, entered: int, frame: Frame, position: int) -> None:
        """An element of a frame was taken in cycle ``now``, and has entered the loader in cycle ``entered``."""
        if position == 0:
            self._begun = now
        time_step, element = divmod(position, self._plan.input_size)
        if element != self._plan.input_size - 1 or time_step >= len(frame.rows):
            return
        final = position == len(frame.values) - 1
        times = InferenceTimes(self._begun, entered, stored=entered + self._plan.features, start=-1)
        row = frame.rows[time_step]
        subset = frame.subset or max(self._plan.subsets)
        inference = ActiveInference(times, row, frame.sample, time_step, final, self._outputs_due, subset)
        self._unstarted.append(inference)
        if self._inside:
            self._running.append(inference)
        if self._inside and self._units[subset]:
            self._updating.append(inference)
        if final or self._plan.network.emit == "step":
            self._pending.append(inference)
            self._outputs_due += 1

    def result(self, now: int, value: int) -> None:
        """A result on its way to the memories, in the order of the schedule."""
        if not self._running:
            self.fail(f"cycle {now}: a result was computed, but no input was sent")
        inference = self._running[0]
        writes = self._writes[inference.subset]
        layer, row, element, final = writes[self._result]
        where = f"cycle {now}: layer {self._layers[layer]!r}, row {row}"
        if self._result == 0:
            self._starts(inference)
        expected = int(self._outputs[layer][inference.row, element])
        # Where a maximum is still to come, no value may be above the one that stays.
        if value != expected if final else value > expected:
            self.fail(f"{where}, element {element}, {self._where(inference)}: engine {value}, oracle {expected}")
        if self._result in self._ends[inference.subset]:
            self._layer_ended(now - inference.times.start, inference.subset, layer, where)
        self._report.rows += 1
        self._result += 1
        if self._result == (len(writes) if inference.final else self._plan.body_writes(inference.subset)):
            self._result = 0
            self._running.pop(0)

    def _starts(self, inference: ActiveInference) -> None:
        """Set when the plan says that an inference and all before it start.

        The input is there, the program has finished the inference before, and there is room for an output.
        """
        banks = self._plan.output_banks
        while inference in self._unstarted:
            first, before = self._unstarted.pop(0), self._before
            left = self._left[first.outputs_before - banks] if first.outputs_before >= banks else -(1 << 60)
            earlier = (before.times, before.final) if before else (None, False)
            timing = self._plan.timings[before.subset] if before else self._plan.timing
            start = timing.start(first.times.stored, *earlier, left)
            first.times = replace(first.times, start=start)
            self._before = first

    def _layer_ended(self, cycles: int, subset: int, layer: int, where: str) -> None:
        """The last result of a layer came ``cycles`` after the start."""
        plan = self._plan
        network, latency = plan.network, plan.latency
        planned = latency.issue + plan.subsets[subset].spans[layer].written
        if network.layers[layer].output in {cell.gates for cell in network.cells}:
            planned -= latency.cell
        if cycles != planned:
            self.fail(f"{where}: the layer ends after {cycles} cycles, the plan says {planned}")
        if len(self._report.layers) == layer and subset == max(plan.subsets):
            self._report.layers.append(cycles)

    def unit(self, now: int, value: int) -> None:
        """The output of a unit of a cell."""
        if not self._updating:
            self.fail(f"cycle {now}: the output of a cell was computed, but no input was sent")
        inference = self._updating[0]
        units = self._units[inference.subset]
        cell, unit = units[self._unit]
        name, values = self._cells[cell]
        where = f"cycle {now}: cell {name!r}, unit {unit}"
        expected = int(values[inference.row, unit])
        if value != expected:
            self.fail(f"{where}, {self._where(inference)}: engine {value}, oracle {expected}")
        self._unit += 1
        if self._unit == len(units):
            self._unit = 0
            self._updating.pop(0)

    def _where(self, inference: ActiveInference) -> str:
        return f"sample {inference.sample}" + f", step {inference.time_step}" * self._plan.network.recurrent

    def offered(self, now: int) -> None:
        """An output element is valid for the first time."""
        if not self._first_offer:
            return
        self._first_offer = False
        if not self._pending:
            self.fail(f"cycle {now}: an output frame without an input frame")
        inference = self._pending[0]
        offer = self._plan.timings[inference.subset].offer
        self._starts(inference)
        start = inference.times.start
        planned = start + offer
        if self._left:
            planned = max(planned, self._left[-1] + 1)
        if now != planned:
            cycles = f"{now - start} cycles, the plan says {planned - start}"
            self.fail(f"cycle {now}: first output after {cycles}")
        if planned == start + offer and offer not in self._report.compute:
            self._report.compute.append(offer)

    def taken(self, now: int, value: int, last: int) -> None:
        """An output element was taken, with its ``tlast``."""
        inference = self._pending[0]
        elements = self._elements[inference.subset]
        row = elements[self._element]
        expected = int(self._expected[inference.row, row])
        where = f"cycle {now}: output {row} (layer {self._layers[-1]!r}, row {row}), {self._where(inference)}"
        if value != expected:
            self.fail(f"{where}: engine {value}, oracle {expected}")
        self._element += 1
        whole = self._element == len(elements)
        if last != (whole and inference.final):
            self.fail(f"{where}: tlast {last} with element {self._element} of {len(elements)}")
        if not whole:
            return
        self._pending.pop(0)
        self._element, self._first_offer = 0, True
        self._left.append(now)
        if inference.final:
            self._report.frames += 1
            self._begins.append(inference.times.begun)
            self._ends_at.append(now)

    def check_pace(self, lengths: Sequence[int], subsets: Sequence[int]) -> None:
        """Compare first and last cycle of all frames, sent and taken without a pause, with what the plan says.

        Parameters
        ----------
        lengths : sequence of int
            Time steps of each frame.
        subsets : sequence of int
            The tasks that each asks for; 0 is all.
        """
        report, first = self._report, self._begins[0]
        timings = [self._plan.timings[subset or max(self._plan.subsets)] for subset in subsets]
        planned = self._plan.timing.times_of(lengths, timings)
        for frame, (times, begun, left) in enumerate(zip(planned, self._begins, self._ends_at, strict=True)):
            if (begun - first, left - first) != (times[0].begun, times[-1].left):
                self.fail(
                    f"frame {frame} from cycle {begun - first} to {left - first}, the plan says {times[0].begun} to "
                    f"{times[-1].left}"
                )
        report.latency = self._ends_at[0] - first + 1
        # Not from the inputs: the first ones come in faster, into memory that is still free.
        if len(self._ends_at) > 1:
            report.interval = self._ends_at[-1] - self._ends_at[-2]


class RowMonitor:
    """Watches the write-back inside the engine, so that a mismatch names the layer and row where it began.

    Parameters
    ----------
    dut : cocotb.handle.HierarchyObject
        The top level.
    plan : Plan
    scoreboard : Scoreboard
    """

    def __init__(self, dut: HierarchyObject, plan: Plan, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        results = vector_of(dut, "results" if plan.banked else "result")
        self._results = _Watched(results, result_layout(plan), plan.config.ways)
        self._units = None
        if plan.network.cells:
            bits = plan.network.tensor(plan.network.cells[0].output).bits
            self._units = _Watched(vector_of(dut, "unit"), unit_layout(plan.memory.cell_units, bits))

    def cycle(self, now: int) -> None:
        """Tell the scoreboard of what is written in this cycle."""
        self._results.cycle(now, self._scoreboard.result)
        if self._units is not None:
            self._units.cycle(now, self._scoreboard.unit)


class _Watched:
    """A signal that is an array of ``count`` entries, whose layout has the fields ``valid`` and ``value``.

    It is read once a cycle, as text: bits of cocotb's own arrays take most of the time of a simulation.
    """

    def __init__(self, handle: Vector, layout: data.StructLayout, count: int = 1) -> None:
        assert len(handle) == count * layout.size
        self._handle = handle
        valid, value = layout["valid"].offset, layout["value"]
        # The text begins with the highest bit.
        self._entries = [
            (last - valid, slice(last - value.offset - value.width + 1, last - value.offset + 1))
            for last in range(count * layout.size - 1, -1, -layout.size)
        ]

    def cycle(self, now: int, tell: Callable[[int, int], None]) -> None:
        """Tell of every valid value; an unknown bit counts as valid, and the value is unknown then."""
        text = str(self._handle.value)
        for valid, field in self._entries:
            if text[valid] == "0":
                continue
            bits = text[field]
            try:
                value = int(bits, 2)
            except ValueError:
                raise Mismatch(f"cycle {now}: {self._handle._name} is {text}") from None
            tell(now, signed(value, len(bits)))


def expand(values: np.ndarray) -> list[int]:
    """Plain integers of vectors, row by row."""
    return values.reshape(-1).tolist()
