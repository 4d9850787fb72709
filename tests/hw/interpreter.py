"""Runs the ROM words of a plan in plain Python, cycle by cycle: no schedule, no layouts, no hardware.

Every access to the activation memory happens in the cycle in which the hardware makes it. So this finds a layer that
reads too early, a result that is overwritten before it was drained, and two writes in one cycle.
"""

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from tests import reference

INSIDE, OUTPUT, GATE = 0, 1, 2
OLD, NEW, LOADED = 1, 2, 3


def unpack(image) -> list[list[dict[str, int]]]:
    """Fields of every copy in every word, taken apart by shifting. A field without bits is 0."""
    words = []
    for word in image.integers():
        copies = []
        for _ in range(image.copies):
            values = defaultdict(int)
            for entry in image.fields:
                value = word & ((1 << entry.width) - 1)
                word >>= entry.width
                values[entry.name] = value - (1 << entry.width) if entry.signed and value >> entry.width - 1 else value
            copies.append(values)
        words.append(copies)
    return words


def single(image) -> list[dict[str, int]]:
    """The same for an image of one copy."""
    return [copies[0] for copies in unpack(image)]


class _Walk:
    """The counters of a loop, which only know what to add when one of them advances."""

    def __init__(self, loop: dict[str, int]):
        self._loop, self._count = loop, [0] * 4
        self.read = self.write = self.aux = self.tap = self.tile = 0

    @property
    def inside(self) -> bool:
        """Whether this is not the first pass of a pooling window."""
        return self._count[:2] != [0, 0]

    def advance(self) -> bool:
        """Go to the next pass; whether there is one."""
        for level in range(4):
            if self._count[level] < self._loop[f"count_{level}"]:
                self._count[level] += 1
                for name in ("read", "write", "aux", "tap", "tile"):
                    setattr(self, name, getattr(self, name) + self._loop[f"{name}_{level}"])
                return True
            self._count[level] = 0
        return False


def execute(
    plan,
    *,
    final: bool = True,
    fresh: bool = True,
    odd: bool = False,
    second: bool = False,
    entered: list | None = None,
) -> list[dict | None]:
    """Steps cycle by cycle, as ``Sequencer.model`` gives them, from the words of program and loops.

    ``entered`` gets (cycle, step) of each step of a section.
    """
    program = single(plan.images["program"])
    loops = single(plan.images["loops"]) if "loops" in plan.images else defaultdict(lambda: defaultdict(int))
    bank, addresses, targets = plan.memory.bank, 1 << plan.widths.address, 1 << plan.widths.target
    if plan.banked:
        targets = 1 << max(1, (plan.images["drains"].depth - 1).bit_length())
    offset = {0: 0, OLD: 2 * bank if fresh else bank if odd else 0, NEW: 0 if odd else bank}
    offset[LOADED] = plan.memory.second if second else 0
    cycles, first, row = [], 0, 0
    opened, section, step_number = (0, 0), 0, 0
    while True:
        last = first
        follow = [0, *(step_number * move for move in plan.memory.columns.moves)]
        if program[first].get("opens"):
            opened = (first, row) if step_number == 0 else opened
            if entered is not None:
                entered.append((len(cycles), step_number))
        while not program[last]["last"]:
            last += 1
        if program[first]["idle"]:
            cycles += [None] * (program[first]["cycles"] + 1)
        for _ in range(0 if program[first]["idle"] else program[first]["repeat"] + 1):
            loop = loops[program[first]["loop"]]
            walk, more = _Walk(loop), True
            while more:
                steps = []
                for word in program[first : last + 1]:
                    base = word["base"] + offset[word["bank"]] + walk.read + follow[word.get("follow", 0)]
                    for step in range(word["steps"] + 1):
                        line, code = divmod(step, word["codes"] + 1) if plan.lines > 1 else (0, step)
                        block = code // (word["kept"] + 1) << word["bits"]
                        address = (base + line * word["pitch"] + block) % addresses
                        steps.append({"base": address, "index": (1 << word["index"]) - 1})
                        if plan.banked:
                            tap, tile = (
                                word["tap"] + walk.tap + line * word["tap_pitch"],
                                loop["first_tile"] + walk.tile,
                            )
                            steps[-1] |= {"tap": tap, "tile": tile, "column": bool(word["column"])}
                    steps += [None] * (word["cycles"] - word["steps"])
                real = [step for step in steps if step]
                for step in real:
                    step |= {"first": step is real[0], "last": step is real[-1]}
                    if plan.uniform:
                        step["stay"] = bool(program[last]["uniform"]) and not step["last"]
                written = follow[loop.get("write_follow", 0)]
                context = {
                    "row": row,
                    "rows": program[last]["rows"],
                    "write": (loop["first_write"] + walk.write + offset[loop["write_bank"]] + written) % targets,
                    "maximum": bool(loop["maximum"] or walk.inside),
                }
                if plan.banked:
                    context |= {name: loop[name] for name in ("words", "repeat")} | {"total": bool(loop["total"])}
                else:
                    aux = (walk.aux + offset[loop["aux_bank"]] + follow[loop.get("aux_follow", 0)]) % addresses
                    context |= {"fold": program[last]["fold"], "aux": aux}
                more = walk.advance()
                real[-1] |= {"context": context, "again": more}
                cycles += steps
            row += program[last]["rows"]
        if program[last]["end"] == 1 or (program[last]["end"] == 2 and not final):
            return cycles
        first, ended = last + 1, program[last]["end"] == 3
        if ended and step_number + 1 < plan.memory.columns.sweeps[section].steps:
            step_number += 1
            first, row = opened
        elif ended:
            section, step_number = section + 1, 0


@dataclass
class Result:
    """A result on the write port. ``cycle``: when it is there. ``begun``: when its pass began. ``bank``: which gate."""

    cycle: int
    begun: int
    target: int
    address: int
    bank: int
    value: int


@dataclass
class Run:
    """What was on the write port during a run, in order. Cycles count from the first step of the run.

    ``units``: (cycle, number of the unit, value) of each cell output. ``port``: cycles of writes to the activation
    memory.
    """

    cycles: int
    results: list[Result] = field(default_factory=list)
    units: list[tuple[int, int, int]] = field(default_factory=list)
    port: list[int] = field(default_factory=list)
    reads: int = 0


class Machine:
    """An engine whose memories are lists. ``None`` is unknown, and nothing may ever read it.

    Inputs follow one another as fast as they can, or come in as late as they can (``late``). A queue holds what happens
    in which cycle; within a cycle, reads come before writes.
    """

    def __init__(self, plan, late: bool = False):
        self._plan, self._latency, self._late = plan, plan.latency, late
        image = plan.images.get("activations")
        power_up = [word["value"] for word in single(image)] if image else []
        self.memory: list[int | None] = power_up or [None] * plan.memory_depth
        self._weights, self._rows = unpack(plan.images["weights"]), single(plan.images["rows"])
        self._indices, low = [], 0
        while f"index_{len(self._indices)}" in plan.images:
            image = plan.images[f"index_{len(self._indices)}"]
            self._indices.append((low, unpack(image)))
            low += image.fields[0].width
        self._functions = [word["value"] for word in single(plan.images["functions"])] if self._has("functions") else []
        self._states = [word["value"] for word in single(plan.images["cell_state"])] if self._has("cell_state") else []
        self._gates: dict[tuple[int, int], int] = {}
        self._queue, self._count = [], 0
        self._last_read: dict[int, int] = {}
        self._sums = [0] * plan.config.lanes
        self._pointers: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._opened: dict[str, int] = {}
        self._begun, self._step_read = 0, -1
        self._port: dict[int, int] = {}
        self._busy: dict[int, int] = {}  # unit -> cycle of its output
        self._drain = [], 0  # since when the last groups drain, until when
        self._start, self._period, self._free = 0, 0, [0] * (1 + (plan.memory.second > 0))
        self._fresh, self._starts = True, []
        self.runs: list[Run] = []
        self.outputs: list[list[int | None]] = []

    def _has(self, name: str) -> bool:
        return name in self._plan.images

    def _elements(self, frame: np.ndarray) -> list[tuple[int, int]]:
        """Address and value of each element of an input, given in logical order, as the loader writes them."""
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
        return list(zip(self.input_places(len(values)), map(int, values), strict=True))

    def input_places(self, size: int, bank_bits: int = 0) -> list[int]:
        """Where the elements of an input go: sums of what counters have and look up, or one table, or one behind the
        other. The bank stands above ``bank_bits`` bits of an address."""
        plan, walk = self._plan, self._plan.input_walk
        if walk is None:
            if not self._has("input_order"):
                return list(range(plan.load_base, plan.load_base + size))
            return [
                (word.get("bank", 0) << bank_bits) + word.get("address", 0)
                for word in single(plan.images["input_order"])
            ]
        tables = {axis: single(plan.images[f"input_{axis}"]) for axis in walk.axes if self._has(f"input_{axis}")}
        places, address = [], walk.first
        counts = [range(len(walk.addresses[axis])) for axis in walk.axes[::-1]]
        for element in product(*counts):
            counters = dict(zip(walk.axes[::-1], element, strict=True))
            moved = next((axis for axis in walk.axes if counters[axis]), None)
            address += walk.moves[moved] if moved else 0
            words = [table[counters[axis]] for axis, table in tables.items()]
            places.append(address + sum((word.get("bank", 0) << bank_bits) + word.get("address", 0) for word in words))
        return places

    def add(self, frame: np.ndarray, final: bool) -> None:
        """Another inference, as soon as it can begin."""
        plan, latency, run_number = self._plan, self._latency, len(self.runs)
        odd, second = bool(run_number % 2), bool(plan.memory.second and run_number % 2)
        entered: list[tuple[int, int]] = []
        steps = execute(plan, final=final, fresh=self._fresh, odd=odd, second=second, entered=entered)
        flags = {"fresh": self._fresh, "odd": odd, "run": run_number}
        elements = self._elements(frame)
        # From the first element to the start of the sequencer.
        ahead = len(elements) - 1 + latency.start
        begun = self._free[run_number % len(self._free)]
        start = max(begun + ahead, self._start + self._period)
        if self._late:
            begun = start - ahead
        for position, (address, value) in enumerate(elements):
            written = begun + position + latency.load + latency.visible - 1
            self._at(written, 1, self._store, address + second * plan.memory.second, value)
        first = start + latency.issue
        self._at(first + latency.fetch, -1, self._restart)
        for cycle, section_step in entered:
            self._at(first + cycle + latency.fetch, -1, self._enter, section_step)
        section_steps = dict(entered)
        for cycle, step in enumerate(steps):
            if cycle in section_steps:
                flags = flags | {"step": section_steps[cycle], "fresh": section_steps[cycle] == 0}
            if step:
                self._at(first + cycle + latency.fetch, 0, self._step, first + cycle, step, flags, first)
        self.runs.append(Run(len(steps)))
        self.outputs.append([None] * plan.output_size)
        self._start, self._period = start, len(steps)
        self._starts.append(start)
        reads = [cycle for cycle, step in enumerate(steps) if step and self._reads_input(step, second)]
        released = len(steps) if not plan.overlapped else self._release(reads, final)
        self._free[run_number % len(self._free)] = start + released + latency.release + 1
        self._fresh = final

    def _reads_input(self, step: dict, second: bool) -> bool:
        region = self._plan.memory.regions[self._plan.memory.loaded]
        return region.start <= step["base"] - second * self._plan.memory.second < region.end

    def _release(self, reads: list[int], final: bool) -> int:
        plan = self._plan
        release = plan.schedule.release if final else plan.schedule.body_release
        assert max(reads) < release
        return release

    def _at(self, cycle: int, order: int, what, *arguments) -> None:
        self._count += 1
        heapq.heappush(self._queue, (cycle, order, self._count, what, arguments))

    def play(self) -> None:
        while self._queue:
            cycle, _, _, what, arguments = heapq.heappop(self._queue)
            what(cycle, *arguments)

    def _read(self, now: int, address: int, run: int) -> int:
        value = self.memory[address]
        assert value is not None, f"cycle {now}: address {address} read, which nobody has written"
        self._last_read[address] = now
        self.runs[run].reads += 1
        return value

    def _read_back(self, now: int, address: int, run: int) -> int:
        """What the write-back reads."""
        return self._read(now, address, run)

    def _store(self, now: int, address: int, value: int) -> None:
        assert self._last_read.get(address) != now, f"cycle {now}: address {address} read while it is written"
        assert not self._latency.shared or now != self._step_read, f"cycle {now}: a lane reads in a cycle of a write"
        self.memory[address] = value

    def _write(self, now: int, address: int, value: int) -> None:
        assert now not in self._port, f"cycle {now}: two writes at once"
        self._port[now] = address
        self._at(now + self._latency.visible - 1, 1, self._store, address, value)

    def _restart(self, now: int) -> None:
        self._pointers, self._groups = defaultdict(int), defaultdict(int)

    def _enter(self, now: int, section_step: int) -> None:
        """A step of a section begins: the codes are those of its first step."""
        if section_step:
            self._pointers, self._groups = self._opened.copy(), self._opened.copy()
        else:
            self._opened = self._pointers.copy()

    def _step(self, now: int, cycle: int, step: dict, flags: dict, first: int) -> None:
        self._step_read = now
        if step["first"]:
            self._sums, self._begun = [0] * len(self._sums), cycle - first
        index = self._index(step, len(self._sums))
        for lane, code in enumerate(self._weights[self._pointers["weights"]]):
            self._sums[lane] += code["weight"] * self._read(now, step["base"] + index[lane], flags["run"])
        self._end(cycle, step, flags, first)

    def _index(self, step: dict, streams: int) -> list[int]:
        """The index of each stream of codes, from as many ROMs as the step uses."""
        index = [0] * streams
        for rom_number, (low, words) in enumerate(self._indices):
            if step["index"] >> rom_number & 1:
                for stream, code in enumerate(words[self._pointers[rom_number]]):
                    index[stream] |= code["index"] << low
                self._pointers[rom_number] += not step.get("stay")
        return index

    def _end(self, cycle: int, step: dict, flags: dict, first: int) -> None:
        """The weights of a step are used up; behind the last step of a pass, codes may be read again."""
        self._pointers["weights"] += not step.get("stay")
        if step["last"]:
            self._capture(cycle + self._latency.lane, step["context"], flags, first)
            if step["again"]:
                self._pointers = self._groups.copy()
            else:
                self._groups = self._pointers.copy()

    def _capture(self, cycle: int, context: dict, flags: dict, first: int) -> None:
        begun, free = self._drain
        held = self._latency.held
        if held:
            assert len(begun) < held or cycle >= begun[-held] + held, f"cycle {cycle}: no row is empty"
        else:
            assert cycle >= free, f"cycle {cycle}: the shadow row is still in use"
        fold = 1 << context["fold"]
        drain = max(cycle, free)
        self._drain = [*begun, drain][-2:], drain + context["rows"] * fold
        for row in range(context["rows"]):
            drained = drain + self._latency.shadow + (row + 1) * fold - 1
            looked_up = drained + self._latency.look - self._latency.activation
            acc = sum(self._sums[row * fold : (row + 1) * fold])
            parameters = self._rows[context["row"] + row]
            begun = self._begun
            self._at(looked_up, 0, self._requantise, drained, parameters, acc, context, begun, flags, first)

    def _requantise(
        self, now: int, drained: int, row: dict, acc: int, context: dict, begun: int, flags: dict, first: int
    ) -> None:
        plan = self._plan
        shift = row["shift"] + plan.shift_base
        value = ((acc + row["bias"]) * row["mult"] + (1 << shift - 1)) >> shift
        if row["function"]:
            value = self._functions[256 * (row["function"] - 1) + min(max(value, -128), 127) + 128]
        old = 0
        if row["operand"] or row["product"] or context["maximum"]:
            address = row["aux"] + context["aux"]
            old = self._read_back(now, address if plan.banked else address % (1 << plan.widths.address), flags["run"])
        if row["product"]:
            low, high = plan.inner_clamps[row["inner_clamp"]]
            value = (min(max(value, low), high) * old + 1024) >> 11
        if row["operand"]:
            value += old
        low, high = plan.clamps[row["clamp"]]
        value = min(max(value, low), high)
        if context["maximum"]:
            value = max(value, old)
        done = drained + self._latency.requant + self._latency.write
        self._at(done, 1, self._result, row, value, context, begun, flags, first)

    def _result(self, now: int, row: dict, value: int, context: dict, begun: int, flags: dict, first: int) -> None:
        address = row["address"] + context["write"]
        if not self._plan.banked:  # in banks, the number of the bank stands above the address
            address %= 1 << self._plan.widths.target
        run = self.runs[flags["run"]]
        run.results.append(Result(now - first, begun, row["target"], address, row["bank"], value))
        if row["target"] == INSIDE:
            run.port.append(now - first)
            self._write(now, address, value)
        elif row["target"] == OUTPUT:
            self.outputs[flags["run"]][address] = value
        else:
            assert now > self._busy.get(address, -1), f"cycle {now}: a gate of unit {address}, which is being computed"
            self._gates[address, row["bank"]] = value
            if row["fire"]:
                following = self._starts[flags["run"] + 1] if flags["run"] + 1 < len(self._starts) else now
                assert now <= following, f"cycle {now}: unit {address} fires in the next time step"
                self._busy[address] = now + self._latency.cell
                self._at(now + self._latency.cell, 1, self._unit, address, flags, first)

    def _unit(self, now: int, unit: int, flags: dict, first: int) -> None:
        plan = self._plan
        cells = plan.memory.cells
        cell = next(c for c in plan.network.cells if unit < cells[c.output] + plan.network.tensor(c.output).channels)
        output = plan.network.tensor(cell.output)
        bits = output.bits
        gates = np.array([[[self._gates[unit, bank]] for bank in range(4)]])
        half = len(self._states) - plan.memory.cell_units
        before = self._states[unit + half * flags["fresh"]]
        update = {"lstm": reference.lstm, "gru": reference.gru}[cell.kind]
        value, state = (int(result[0, 0]) for result in update(gates, np.array([[before]]), bits))
        self._states[unit] = state
        run = self.runs[flags["run"]]
        run.units.append((now - first, unit, value))
        run.port.append(now - first)
        if plan.network.sections:
            writers = [n for n, layer in enumerate(plan.network.layers) if layer.output == cell.gates]
            section = next(s for s in plan.network.sections if s.first <= writers[0] < s.stop)
            columns, layout = output.shape[1], plan.memory.layouts[cell.output]
            column = columns - 1 - flags["step"] if section.backward else flags["step"]
            pixel = plan.memory.regions[cell.output].start + (column + layout.padding[1]) * output.channels
            self._write(now, pixel + unit - cells[cell.output], value)
        else:
            bank = 0 if flags["odd"] else plan.memory.bank
            self._write(now, plan.memory.regions["(states)"].start + bank + unit, value)


def sequences(plan, inputs: np.ndarray, lengths: np.ndarray | None = None, late: bool = False, machine_type=Machine):
    """Run frame after frame; gives (frame, whether it is its sequence's last, Run, output or None)."""
    machine, finals = machine_type(plan, late), []
    for length in [1] * len(inputs) if lengths is None else lengths:
        for step in range(length):
            finals.append(step == length - 1)
            machine.add(inputs[len(finals) - 1], finals[-1])
    machine.play()
    for frame, (final, run, output) in enumerate(zip(finals, machine.runs, machine.outputs, strict=True)):
        yield frame, final, run, output if final or plan.network.emit == "step" else None
