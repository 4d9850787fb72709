"""Cycles along the data path."""

from dataclasses import dataclass

__all__ = ["RUN_CYCLES_MIN", "WAIT_CYCLES_MIN", "Latency"]

RUN_CYCLES_MIN = 5
"""Cycles from the start of a run to the earliest start of the next: the next word of the program is on its way."""
WAIT_CYCLES_MIN = 7
"""Cycles of the shortest wait: the loop of the next word is on its way as well."""


@dataclass(frozen=True)
class Latency:
    """Cycles along the data path; the components assert that these are theirs.

    Parameters
    ----------
    lane_multiplier, requant_multiplier : int
        Register stages of the two kinds of multiplier.
    functions, operand, maximum : bool
        Which parts of the write-back the network needs.
    loops : bool
        Whether there is a ROM of loops.
    folds : bool
        Whether results are sums over several lanes.
    shared : bool
        Whether two lanes share a memory, so that a write goes through the address register of a lane.
    cell : int
        Firing gate value on the write port to cell output on the write port; 0 without cells.
    """

    lane_multiplier: int
    requant_multiplier: int
    functions: bool = False
    operand: bool = False
    maximum: bool = False
    loops: bool = False
    folds: bool = False
    shared: bool = False
    cell: int = 0

    load = 3  # input element accepted -> on the write port: its address from a ROM, register
    room = 2  # last output element taken -> start of the sequencer, if that is what it waits for
    code = 4  # step -> index in the lanes: registers beside the ROM, block RAM, register, register beside the lane
    address = 1  # code word -> read address
    activation = 2  # read address -> activation: block RAM, register
    accumulate = 1  # product -> accumulator
    capture = 1  # accumulator -> shadow row
    parameters = 2  # row number -> row parameters: block RAM, register
    issue = 2  # start of the sequencer -> its first step
    write = 1  # requantised value -> write port of the memories
    send = 3  # last row on the write port -> first output element offered

    @property
    def start(self) -> int:
        """Last input element stored to start of the sequencer: counted, found ready, first word loaded. After a reset
        the first word of the program must have been read, and its loop."""
        return 3 + 2 * self.loops

    @property
    def visible(self) -> int:
        """Result on the write port to the first cycle in which its address can be read."""
        return 2 + self.shared

    @property
    def release(self) -> int:
        """First cycle in which no word of the program reads the input to the one in which another may be accepted in
        its place, less one: what comes is written behind what the last step reads."""
        return max(0, self.issue + self.fetch - self.load - self.visible)

    @property
    def lane(self) -> int:
        """Step to accumulator."""
        return self.fetch + self.activation + self.lane_multiplier + self.accumulate

    @property
    def round(self) -> int:
        """Shadow row to rounded value: parameters, bias, multiplier, shift, round."""
        return self.parameters + 1 + self.requant_multiplier + 2

    @property
    def function(self) -> int:
        """Rounded value to value of its function: clamp, table (block RAM, register)."""
        return 3 * self.functions

    @property
    def requant(self) -> int:
        """Shadow row to requantised value: behind the function operand, clamp, maximum."""
        return self.round + self.function + self.operand + 1 + self.maximum

    @property
    def drain(self) -> int:
        """Last step of a group to its first row on the write port, apart from what a folded row takes longer."""
        return self.lane + self.capture + self.folds + self.requant + self.write

    @property
    def fetch(self) -> int:
        """Step to read address."""
        return self.code + self.address

    @property
    def renew(self) -> int:
        """Least cycles between two steps whose results are each the maximum with what the other left: read address
        to value read, operand, clamp, maximum, write port, memory."""
        return self.activation + self.operand + 1 + 1 + self.write + self.visible
