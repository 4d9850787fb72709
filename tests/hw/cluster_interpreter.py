"""Runs the ROM words of a plan whose lanes are in clusters, as ``interpreter.py`` does for others."""

from tests.hw.interpreter import Machine

__all__ = ["ClusterMachine"]


class ClusterMachine(Machine):
    """An engine with a memory for each cluster. A place in memory is ``cluster << bits | address``. What is written
    says 0 for the memories of all clusters, or a cluster, counted from 1."""

    def __init__(self, plan, late: bool = False):
        super().__init__(plan, late)
        self._bits, self._clusters = plan.widths.address, plan.config.clusters
        own: list[int | None] = [None] * (1 << self._bits)
        for region in plan.memory.regions.values():
            for zero in region.layout.border.nonzero()[0]:
                own[region.start + zero] = 0
        self.memory = own * self._clusters
        self._target = 0

    def input_places(self, size: int, bank_bits: int = 0) -> list[int]:
        return super().input_places(size, self._bits)

    def _store(self, now: int, address: int, value: int) -> None:
        target, address = divmod(address, 1 << self._bits)
        for cluster in range(self._clusters) if target == 0 else [target - 1]:
            super()._store(now, (cluster << self._bits) + address, value)

    def _result(self, now: int, row: dict, *rest) -> None:
        self._target = row["bank"]
        super()._result(now, row, *rest)

    def _write(self, now: int, address: int, value: int) -> None:
        super()._write(now, (self._target << self._bits) + address, value)

    def _step(self, now: int, cycle: int, step: dict, flags: dict, first: int) -> None:
        if step["first"]:
            self._sums, self._begun = [0] * len(self._sums), cycle - first
        index = self._index(step, len(self._sums))
        for lane, code in enumerate(self._weights[self._pointers["weights"]]):
            place = (lane % self._clusters << self._bits) + step["base"] + index[lane]
            self._sums[lane] += code["weight"] * self._read(now, place, flags["run"])
        self._end(cycle, step, flags, first)
