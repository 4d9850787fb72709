"""Runs the ROM words of a plan in plain Python, cycle by cycle: no schedule, no layouts, no hardware.

Every access to the activation memory happens in the cycle in which the hardware makes it, so that a layer that reads
too early, a result that is overwritten before it was drained and two writes in one cycle are all found.
"""

import heapq
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import reference

INSIDE, OUTPUT, GATE = 0, 1, 2
OLD, NEW = 1, 2


def unpack(image) -> list[list[dict[str, int]]]:
    """Fields of every copy in every word, taken apart by shifting; those that take no place are 0."""
    found = []
    for word in image.integers():
        copies = []
        for _ in range(image.copies):
            values = defaultdict(int)
            for one in image.fields:
                value = word & ((1 << one.width) - 1)
                word >>= one.width
                values[one.name] = value - (1 << one.width) if one.signed and value >> one.width - 1 else value
            copies.append(values)
        found.append(copies)
    return found


def single(image) -> list[dict[str, int]]:
    """The same for an image of one copy."""
    return [copies[0] for copies in unpack(image)]


class _Walk:
    """The counters of a loop, which only know what to add when one of them advances."""

    def __init__(self, loop: dict[str, int]):
        self._loop, self._count = loop, [0] * 4
        self.read = self.write = self.aux = 0

    @property
    def inside(self) -> bool:
        """Whether this is not the first pass of a pooling window."""
        return self._count[:2] != [0, 0]

    def advance(self) -> bool:
        """Go to the next pass; whether there is one."""
        for place in range(4):
            if self._count[place] < self._loop[f"count_{place}"]:
                self._count[place] += 1
                for name in ("read", "write", "aux"):
                    setattr(self, name, getattr(self, name) + self._loop[f"{name}_{place}"])
                return True
            self._count[place] = 0
        return False


def execute(plan, *, final: bool = True, fresh: bool = True, odd: bool = False) -> list[dict | None]:
    """Steps cycle by cycle, as ``Sequencer.model`` gives them, from the words of program and loops."""
    program = single(plan.images["program"])
    loops = single(plan.images["loops"]) if "loops" in plan.images else defaultdict(lambda: defaultdict(int))
    bank, addresses, targets = plan.memory.bank, 1 << plan.widths.address, 1 << plan.widths.target
    offset = {0: 0, OLD: 2 * bank if fresh else bank if odd else 0, NEW: 0 if odd else bank}
    cycles, at, row = [], 0, 0
    while True:
        if program[at]["idle"]:
            cycles += [None] * program[at]["pad"]
            if program[at]["end"] == 1 or (program[at]["end"] == 2 and not final):
                return cycles
            at += 1
            continue
        until = at
        while not program[until]["last"]:
            until += 1
        for _ in range(program[at]["repeat"] + 1):
            loop = loops[program[at]["loop"]]
            walk, more = _Walk(loop), True
            while more:
                steps = []
                for word in program[at : until + 1]:
                    base = word["base"] + offset[word["bank"]] + walk.read
                    for line in range(word["lines"] + 1):
                        for code in range(word["codes"] + 1):
                            block = code // (word["kept"] + 1) << word["bits"]
                            steps.append({"base": (base + line * word["pitch"] + block) % addresses})
                    steps += [None] * word["pad"]
                real = [step for step in steps if step]
                for step in real:
                    step |= {"first": step is real[0], "last": step is real[-1]}
                context = {
                    "rows": program[until]["rows"],
                    "row": row,
                    "write": walk.write % targets,
                    "aux": (walk.aux + offset[loop["aux_bank"]]) % addresses,
                    "maximum": bool(loop["maximum"] or walk.inside),
                }
                more = walk.advance()
                real[-1]["context"] = context | {"again": more}
                cycles += steps
            row += program[until]["rows"]
        at = until + 1


@dataclass
class Result:
    """A result on the write port: when, how far its layer is, where it goes, of a gate which one; and its value."""

    cycle: int
    begun: int
    target: int
    address: int
    bank: int
    value: int


@dataclass
class Run:
    """What was on the write port during a run, in order; ``units`` are (cycle, number, value) of cell outputs."""

    cycles: int
    results: list[Result] = field(default_factory=list)
    units: list[tuple[int, int, int]] = field(default_factory=list)
    reads: int = 0


class Machine:
    """An engine whose memories are lists; ``None`` is unknown, and nothing may ever read it."""

    def __init__(self, plan):
        self._plan = plan
        image = plan.images.get("activations")
        power_up = [word["value"] for word in single(image)] if image else []
        self.memory: list[int | None] = power_up or [None] * plan.memory_depth
        self.output: list[int | None] = [None] * plan.output_size
        self._codes, self._rows = unpack(plan.images["codes"]), single(plan.images["rows"])
        self._functions = [word["value"] for word in single(plan.images["functions"])] if self._has("functions") else []
        self._states = [word["value"] for word in single(plan.images["cell_state"])] if self._has("cell_state") else []
        self._gates: dict[tuple[int, int], int] = {}
        self._fresh, self._odd = True, False

    def _has(self, name: str) -> bool:
        return name in self._plan.images

    def load(self, frame: np.ndarray) -> None:
        """Write an input, given in logical order, where the loader writes it."""
        plan = self._plan
        source = plan.network.tensor(plan.network.input)
        if plan.network.embedding:
            features = plan.network.embedding.table.shape[1]
            table = [word["value"] for word in single(plan.images["embedding"])]
            values = [table[int(symbol) * features + k] for symbol in frame for k in range(features)]
        elif plan.config.input_order == "storage":
            values = frame[np.argsort(source.position)].tolist()
        else:
            values = frame.tolist()
        addresses = single(plan.images["input_order"]) if self._has("input_order") else None
        for number, value in enumerate(values):
            self.memory[addresses[number]["address"] if addresses else plan.load_base + number] = int(value)

    def run(self, final: bool = True) -> Run:
        """Run the program once."""
        steps = execute(self._plan, final=final, fresh=self._fresh, odd=self._odd)
        run = _Pass(self, steps).run()
        self._fresh, self._odd = final, not self._odd
        return run


class _Pass:
    """One run: a queue of what happens in which cycle. Of one cycle, reads come before writes."""

    def __init__(self, machine: Machine, steps: list[dict | None]):
        self._machine, self._plan, self._latency = machine, machine._plan, machine._plan.latency
        self._queue, self._count = [], 0
        self._last_read: dict[int, int] = {}
        self._sums = [0] * self._plan.config.lanes
        self._code = self._group = self._begun = 0
        self._port: dict[int, str] = {}
        self._busy: dict[int, int] = {}  # unit -> cycle of its output
        self._shadow = -1
        self._run = Run(len(steps))
        for cycle, step in enumerate(steps):
            if step:
                self._at(cycle + self._latency.fetch, 0, self._step, cycle, step)

    def _at(self, cycle: int, order: int, what, *arguments) -> None:
        self._count += 1
        heapq.heappush(self._queue, (cycle, order, self._count, what, arguments))

    def run(self) -> Run:
        while self._queue:
            cycle, _, _, what, arguments = heapq.heappop(self._queue)
            what(cycle, *arguments)
        return self._run

    def _read(self, now: int, address: int) -> int:
        value = self._machine.memory[address]
        assert value is not None, f"cycle {now}: address {address} read, which nobody has written"
        self._last_read[address] = now
        self._run.reads += 1
        return value

    def _write(self, now: int, address: int, value: int) -> None:
        assert self._last_read.get(address) != now, f"cycle {now}: address {address} read while it is written"
        assert now not in self._port, f"cycle {now}: two writes at once"
        self._port[now] = address
        self._machine.memory[address] = value

    def _step(self, now: int, cycle: int, step: dict) -> None:
        if step["first"]:
            self._sums, self._begun = [0] * len(self._sums), cycle
        for lane, code in enumerate(self._machine._codes[self._code]):
            self._sums[lane] += code["weight"] * self._read(now, step["base"] + code["index"])
        self._code += 1
        if step["last"]:
            self._capture(cycle + self._latency.lane, step["context"])

    def _capture(self, cycle: int, context: dict) -> None:
        assert cycle > self._shadow, f"cycle {cycle}: the shadow row is still in use"
        self._shadow = cycle + context["rows"] - 1
        for lane in range(context["rows"]):
            drained = cycle + self._latency.shadow + lane
            looked_up = drained + self._latency.look - self._latency.activation
            row = self._machine._rows[context["row"] + lane]
            self._at(looked_up, 0, self._requantise, drained, row, self._sums[lane], context, self._begun)
        if context["again"]:
            self._code = self._group
        else:
            self._group = self._code

    def _requantise(self, now: int, drained: int, row: dict, acc: int, context: dict, begun: int) -> None:
        plan = self._plan
        shift = row["shift"] + plan.shift_base
        value = ((acc + row["bias"]) * row["mult"] + (1 << shift - 1)) >> shift
        if row["function"]:
            value = self._machine._functions[256 * (row["function"] - 1) + min(max(value, -128), 127) + 128]
        old = 0
        if row["operand"] or context["maximum"]:
            old = self._read(now, row["aux"] + context["aux"])
        if row["operand"]:
            value += old
        low, high = plan.clamps[row["clamp"]]
        value = min(max(value, low), high)
        if context["maximum"]:
            value = max(value, old)
        self._at(drained + self._latency.requant + self._latency.write, 1, self._result, row, value, context, begun)

    def _result(self, now: int, row: dict, value: int, context: dict, begun: int) -> None:
        address = row["address"] + context["write"]
        self._run.results.append(Result(now, begun, row["target"], address, row["bank"], value))
        if row["target"] == INSIDE:
            self._write(now, address, value)
        elif row["target"] == OUTPUT:
            self._machine.output[address] = value
        else:
            assert now > self._busy.get(address, -1), f"cycle {now}: a gate of unit {address}, which is being computed"
            self._machine._gates[address, row["bank"]] = value
            if row["fire"]:
                self._busy[address] = now + self._latency.cell
                self._at(now + self._latency.cell, 1, self._unit, address)

    def _unit(self, now: int, unit: int) -> None:
        machine, plan = self._machine, self._plan
        cell = next(c for c in plan.network.cells if unit < plan.memory.units[c.output] + _size(plan, c.output))
        bits = plan.network.tensor(cell.output).bits
        gates = np.array([[[machine._gates[unit, bank]] for bank in range(4)]])
        half = len(machine._states) - plan.memory.bank
        before = machine._states[unit + half * machine._fresh]
        update = {"lstm": reference.lstm, "gru": reference.gru}[cell.kind]
        value, state = (int(one[0, 0]) for one in update(gates, np.array([[before]]), bits))
        machine._states[unit] = state
        bank = 0 if machine._odd else plan.memory.bank
        self._run.units.append((now, unit, value))
        self._write(now, plan.memory.regions["(states)"].start + bank + unit, value)


def _size(plan, tensor: str) -> int:
    return plan.network.tensor(tensor).size


def sequences(plan, inputs: np.ndarray, lengths: np.ndarray | None = None):
    """Load and run frame after frame; gives (frame, whether it is its sequence's last, Run, output or None)."""
    machine, frame = Machine(plan), 0
    for length in [1] * len(inputs) if lengths is None else lengths:
        for step in range(length):
            final = step == length - 1
            machine.load(inputs[frame])
            run = machine.run(final)
            emits = final or plan.network.emit == "step"
            yield frame, final, run, list(machine.output) if emits else None
            frame += 1
