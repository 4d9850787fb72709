"""Runs the ROM words of a plan whose lanes compute neighbouring positions, as ``interpreter.py`` does for others.

Taps, masks, tiles and drains come from the ROMs. So this also finds two results on one write port in a cycle, two reads
of one memory of the write-back, and two outputs at once.
"""

import numpy as np

from tests.hw.interpreter import OUTPUT, Machine, single, unpack

__all__ = ["TileMachine", "rotations_of"]


def rotations_of(plan) -> list[int]:
    """By how much each tap rotates, from the bits of the stages."""
    stages = plan.rotation.stages
    return [
        (plan.rotation.fixed + sum(stage for bit, stage in enumerate(stages) if tap["rotation"] >> bit & 1))
        % plan.config.banks
        for tap in single(plan.images["taps"])
    ]


class TileMachine(Machine):
    """An engine whose lanes have a bank each. A place in memory is ``bank << bits | address``; all lanes of a position
    have the same bank, so it is kept once."""

    def __init__(self, plan, late: bool = False):
        super().__init__(plan, late)
        self._bits = plan.widths.address
        self.memory = [None] * (plan.config.banks << self._bits)
        self._taps, self._tiles = single(plan.images["taps"]), single(plan.images["tiles"])
        self._masks, self._drains = unpack(plan.images["masks"]), unpack(plan.images["drains"])
        self._columns = unpack(plan.images["columns"]) if self._has("columns") else []
        self._rotations = rotations_of(plan)
        self._sent: set[int] = set()
        self._paired = plan.config.memory == "spram"
        self._steps: set[int] = set()  # cycles in which lanes read
        self._aux: dict[int, int] = {}  # the memories of the write-back, which nothing keeps from being written
        self._burst: list[tuple[int, int]] = []
        self._bursts: list[tuple[int, list[tuple[int, int]]]] = []  # whole ones, the oldest first, and when they leave
        self._ends, self._next = False, -1  # whether a result ends a burst; when the last burst is written
        self._read_ports: dict[tuple[int, int], tuple[int, int]] = {}

    def _elements(self, frame: np.ndarray) -> list[tuple[int, int]]:
        plan = self._plan
        values = frame.tolist()
        if plan.config.input_order == "storage":
            values = frame[np.argsort(plan.network.tensor(plan.network.input).position)].tolist()
        return list(zip(self.input_places(len(values), self._bits), values, strict=True))

    def play(self) -> None:
        if self._paired:
            self._steps = {cycle for cycle, order, _, what, _ in self._queue if what == self._step and order == 0}
        super().play()
        assert not self._burst, "a burst does not end"
        assert not self._bursts, "results that nobody has written"

    def _leave(self, now: int) -> None:
        """The oldest burst is written, in all of its banks at once."""
        assert now not in self._steps, f"cycle {now}: a lane reads in a cycle of a write"
        _, burst = self._bursts.pop(0)
        pairs = {(place >> self._bits) // 2: place % (1 << self._bits) for place, _ in burst}
        for place, value in burst:
            bank, address = divmod(place, 1 << self._bits)
            assert pairs[bank // 2] == address, f"cycle {now}: two addresses of a RAM"
            self.memory[place] = value

    def _release(self, reads: list[int], final: bool) -> int:
        return self._plan.schedule.release  # an input that is released too early is overwritten

    def _write(self, now: int, address: int, value: int) -> None:
        port = now, (address >> self._bits) % self._plan.config.ways
        assert port not in self._port, f"cycle {now}: two results on port {port[1]}"
        self._port[port] = address
        written = now + self._latency.visible - 1
        if self._paired:
            self._at(written, 1, self._store_back, address, value)
            self._gather(now, address, value)
        else:
            self._at(written, 1, self._store, address, value)

    def _store(self, now: int, address: int, value: int) -> None:
        super()._store(now, address, value)
        self._store_back(now, address, value)

    def _store_back(self, now: int, address: int, value: int) -> None:
        self._aux[address] = value

    def _read_back(self, now: int, address: int, run: int) -> int:
        if self._paired:
            assert address in self._aux, f"cycle {now}: address {address} read back, which nobody has written"
            return self._aux[address]
        return super()._read_back(now, address, run)

    def _gather(self, now: int, place: int, value: int) -> None:
        """A result on the way to single-port RAMs. A whole burst waits behind those before it."""
        self._burst.append((place, value))
        if self._ends:
            # A burst at a time: behind the last of those that wait, as late as the hardware has it at the RAM.
            self._next = max(now + self._latency.visible - 1, self._next + 1)
            while self._next in self._steps:
                self._next += 1
            # A burst waits from the second cycle behind its last result up to the one before it is at the RAM.
            waiting = 1 + sum(leaves - 1 >= now + 2 for leaves, _ in self._bursts)
            assert waiting <= self._plan.queue, f"cycle {now}: {waiting} bursts wait"
            self._bursts.append((self._next, self._burst))
            self._burst = []
            self._at(self._next, 1, self._leave)

    def _step(self, now: int, cycle: int, step: dict, flags: dict, first: int) -> None:
        config = self._plan.config
        if step["first"]:
            self._sums, self._begun = [0] * config.lanes, cycle - first
        index, column = self._index(step, config.streams), [0] * config.streams
        if step["column"]:
            column = [code["column"] for code in self._columns[self._pointers["columns"]]]
            self._pointers["columns"] += not step.get("stay")
        for stream, code in enumerate(self._weights[self._pointers["weights"]]):
            values = self._fetch(now, step, index[stream], column[stream], flags["run"])
            for position, value in enumerate(values):
                self._sums[stream * config.banks + position] += code["weight"] * value
        self._end(cycle, step, flags, first)

    def _fetch(self, now: int, step: dict, index: int, column: int, run: int) -> list[int]:
        """What the lanes of a stream get."""
        banks, tap_number = self._plan.config.banks, step["tap"] + column
        tap, rotation = self._taps[tap_number], self._rotations[tap_number]
        mask = self._masks[tap["mask"] + self._tiles[step["tile"]]["kind"]]
        values = []
        for position in range(banks):
            bank = (position + rotation) % banks
            # In a RAM with two banks, both have the address of the second one.
            chooser = bank | 1 if self._paired else bank
            address = step["base"] + index + tap["far" if chooser < rotation else "near"]
            place = bank << self._bits | address % (1 << self._bits)
            values.append(self._read(now, place, run) if mask[position]["mask"] else 0)
        return values

    def _capture(self, cycle: int, context: dict, flags: dict, first: int) -> None:
        config, latency = self._plan.config, self._latency
        begun, free = self._drain
        assert cycle >= free, f"cycle {cycle}: the shadow row is still in use"
        words, again = context["words"] + 1, context["repeat"] + 1
        # Of several rows, each has its results in the first registers when the row before has left.
        assert config.streams == 1 or words == config.banks // config.ways * again
        self._drain = [*begun, cycle][-2:], cycle + context["rows"] * words
        for row in range(context["rows"]):
            sums = self._sums[row * config.banks : (row + 1) * config.banks]
            parameters = self._rows[context["row"] + row]
            for word in range(words):
                drained = cycle + latency.shadow + row * words + word
                looked_up = drained + latency.look - latency.activation
                for way, spot in enumerate(self._drains[context["write"] + word]):
                    acc = sum(sums) if context["total"] else sums[word // again * config.ways + way]
                    moved = {
                        "write": spot["bank"] << self._bits | spot["address"] << self._plan.spot_shift,
                        "aux": spot["aux_bank"] << self._bits | spot["aux"] << self._plan.spot_shift,
                        "maximum": context["maximum"],
                        "ends": spot["ends"],
                    }
                    arguments = drained, parameters, acc, moved, self._begun, flags, first
                    if spot["valid"]:
                        self._at(looked_up, 0, self._requantise, *arguments)

    def _requantise(
        self, now: int, drained: int, row: dict, acc: int, context: dict, begun: int, flags: dict, first: int
    ) -> None:
        if row["operand"] or row["product"] or context["maximum"]:
            bank, address = divmod(row["aux"] + context["aux"], 1 << self._bits)
            port = now, bank % self._plan.config.ways
            other = self._read_ports.setdefault(port, (bank, address))
            assert other == (bank, address), f"cycle {now}: two reads of memory {port[1]} of the write-back"
            assert address < 1 << self._plan.aux_bits
        super()._requantise(now, drained, row, acc, context, begun, flags, first)

    def _result(self, now: int, row: dict, value: int, context: dict, begun: int, flags: dict, first: int) -> None:
        self._ends = bool(context["ends"])
        if row["target"] == OUTPUT:
            assert now not in self._sent, f"cycle {now}: two outputs"
            self._sent.add(now)
        super()._result(now, row, value, context, begun, flags, first)
