"""Cycles along the data path."""

from dataclasses import dataclass

__all__ = ["RUN_CYCLES_MIN", "SHIFT_LEVELS", "WAIT_CYCLES_MIN", "Latency"]

RUN_CYCLES_MIN = 5
"""Cycles from the start of a run to the earliest start of the next: the next word of the program is on its way."""
WAIT_CYCLES_MIN = 7
"""Cycles of the shortest wait: the loop of the next word is on its way as well."""
SHIFT_LEVELS = 2
"""Bits of the shift that a stage of the requantiser takes: so many multiplexers in a row."""


@dataclass(frozen=True)
class Latency:
    """Cycles along the data path. Every component asserts its own.

    Parameters
    ----------
    lane_multiplier, requant_multiplier, product_multiplier : int
        Register stages of the three kinds of multiplier; 0 if no result is multiplied by an operand.
    functions, operand, maximum : bool
        Which parts of the write-back the network needs. ``operand`` is one that is added.
    loops : bool
        Whether there is a ROM of loops.
    folds : int
        Greatest log2 of the lanes that share a row.
    held : int
        Rows of registers in front of the shadow row. The sums of a group wait in one while those before them drain.
    shared : bool
        Whether two lanes share a memory. A write then goes through the address register of a lane.
    shift_bits : int
        Bits of the requantiser's shift.
    banked : bool
        Whether lanes compute neighbouring positions. A code then says which bank is read where only after it has been
        read itself.
    ways : int
        Results written at once.
    rotations : int
        Bits of the rotations that take what the banks give to the lanes.
    cell : int
        From the last gate value of a unit on the write port to the unit's output there; 0 without cells.
    subsets : bool
        Whether an input says where in the program its inference begins.
    paired : bool
        Whether banks stand in single-port RAMs, two in each. They are written in cycles in which no lane reads.
    """

    lane_multiplier: int
    requant_multiplier: int
    product_multiplier: int = 0
    functions: bool = False
    operand: bool = False
    maximum: bool = False
    loops: bool = False
    folds: int = 0
    held: int = 0
    shared: bool = False
    shift_bits: int = 0
    cell: int = 0
    banked: bool = False
    ways: int = 1
    rotations: int = 0
    subsets: bool = False
    paired: bool = False

    accept = 1  # input element taken from its sender -> in the loader: a register behind the port
    room = 4  # last output element taken -> start of the sequencer, if that is what it waits for
    activation = 2  # read address -> activation: block RAM, register
    gather = 2  # last result of a burst on the write port -> it waits: put together, the queue
    way = 1  # activation, weight -> multiplier: block RAM and multiplier can stand far apart
    accumulate = 2  # product -> accumulator: a register behind the multiplier, sum
    early = 1  # row number -> its accumulator
    parameters = 2  # accumulator -> row parameters: block RAM (`early`), its register, another
    bias = 1  # accumulator, parameters -> biased sum
    rounding = 1  # shifted product -> rounded value, with the operand or with how it compares with the clamp
    select = 1  # how a value compares with the clamp -> clamped value
    issue = 2  # start of the sequencer -> its first step
    write = 1  # requantised value -> write port of the memories
    send = 5  # last row on the write port -> first output element offered
    address = 1  # index in the lanes, or the two addresses of a tap -> read address
    taps = 4  # number of a tap -> its word: block RAM, its register, two on the way
    tree = 2  # weight of a stream -> in its lanes

    @property
    def spread(self) -> int:
        """Write port to memories, by a tree of registers; behind it, banks have one for whether they are meant. To
        single-port RAMs: a burst, the queue, the address of a RAM, if no other burst waits and no lane reads."""
        return 2 + self.banked

    @property
    def ahead(self) -> int:
        """Notice that the write port will be taken to the result that takes it. Notices of several requantisers are put
        together before the loader has them: a register."""
        return self.load - self.write + self.banked

    @property
    def load(self) -> int:
        """Input element in the loader to the write port: its address from a ROM, register. Parts of an address that are
        added up come from ROMs that can stand far away: another register."""
        return 3 + self.banked

    @property
    def code(self) -> int:
        """Step to index in the lanes: registers beside the ROM, block RAM, register, two on the way to the lane. Where
        there are taps, what the index becomes: the number of the tap, its word, the two addresses, one of them."""
        return self.index + 1 + self.taps + 1 + 1 if self.banked else 5

    @property
    def index(self) -> int:
        """Step to index: at the lanes, or where it is split up into what the banks read."""
        return 5 if self.banked else self.code

    @property
    def weight(self) -> int:
        """Step to weight, at the lanes or before the tree of registers that takes it to those of a stream."""
        return self.fetch + self.activation + self.rotate - self.tree * self.banked

    @property
    def rotate(self) -> int:
        """Activation of a bank to that of a lane: a register on the way from the block RAM, then two levels of
        multiplexers a register. The last level masks."""
        return 1 + max(1, -(-self.rotations // 2)) if self.banked else 0

    @property
    def start(self) -> int:
        """Last input element stored to start of the sequencer: it is counted, the input is found ready, the first word
        is loaded. After a reset this also covers reading the first word of the program and its loop. Where the input
        says which word that is, two registers are in front: the subset, the address."""
        return 3 + 2 * self.loops + 2 * self.subsets

    @property
    def visible(self) -> int:
        """Result on the write port to the first cycle in which its address can be read."""
        return self.spread + 1 + self.shared

    @property
    def lag(self) -> int:
        """Result on the write port to the first step that can read it."""
        return self.visible - self.fetch

    @property
    def release(self) -> int:
        """First cycle behind the last word that reads the input to the last cycle in which no element of another input
        may be accepted in its place. An element that is accepted later is written after the last step has read."""
        return max(0, self.issue + self.fetch - self.load - self.visible)

    @property
    def lane(self) -> int:
        """Step to accumulator."""
        return self.fetch + self.activation + self.rotate + self.way + self.lane_multiplier + self.accumulate

    @property
    def fold(self) -> int:
        """Shadow row to the sum of the lanes that share a row, counted from the last of them: of a chain, of all."""
        return int(self.folds > 0) * (1 + (self.ways - 1).bit_length())

    @property
    def capture(self) -> int:
        """Accumulator to shadow row."""
        return 1 + self.held

    @property
    def shadow(self) -> int:
        """Accumulator to value handed to the requantiser."""
        return self.capture + self.fold

    @property
    def shifts(self) -> int:
        """Stages of the shift. There are enough of them for an operand to arrive: its address is a row parameter."""
        early = self.parameters + 1 + self.aux + 1 if self.operand and not self.apart else 0
        before = self.parameters + self.bias + self.requant_multiplier
        return max(-(-self.shift_bits // SHIFT_LEVELS), early - before)

    @property
    def round(self) -> int:
        """Drained value to rounded value: parameters, bias, multiplier, shift, round."""
        return self.parameters + self.bias + self.requant_multiplier + self.shifts + self.rounding

    @property
    def function(self) -> int:
        """Rounded value to value of its function: index, table (block RAM, register), function or value itself."""
        return 4 * self.functions

    @property
    def reads_back(self) -> bool:
        """Whether the write-back reads the activation memory: operands, or results so far."""
        return self.operand or self.maximum or self.product > 0

    @property
    def apart(self) -> bool:
        """Whether something stands between the rounding and the sum with the operand."""
        return self.functions or self.product > 0

    @property
    def product(self) -> int:
        """Value of a function to its product with an operand: how it compares with its range, its range, multiplier,
        rounding, product or value itself."""
        return 1 + 1 + self.product_multiplier + 1 + 1 if self.product_multiplier else 0

    @property
    def add(self) -> int:
        """Product to sum with the operand. If nothing stands between, the sum is part of the rounding."""
        return int(self.apart and self.operand)

    @property
    def compare(self) -> int:
        """Sum to how it compares with the clamp. Where the sum is the shifted product alone, ``round`` has it."""
        return int(self.apart or self.operand)

    @property
    def largest(self) -> int:
        """Clamped value to maximum with what is there: comparison, selection."""
        return 2 * self.maximum

    @property
    def requant(self) -> int:
        """Drained value to requantised value."""
        return self.round + self.function + self.product + self.add + self.compare + self.select + self.largest

    @property
    def look(self) -> int:
        """Drained value to the value that the write-back reads: an operand one register before it is multiplied or
        added, or the maximum so far when it is compared."""
        if self.product:
            return self.round + self.function + 1
        if self.operand:
            return self.round + self.function + self.add - 2
        return self.requant - self.largest

    @property
    def aux(self) -> int:
        """Address of what the write-back reads to its value. Where several results are written at once, each may read
        any memory: a register behind the choice."""
        return self.activation + self.banked

    @property
    def drain(self) -> int:
        """Last step of a group to its first row on the write port. A folded row takes longer: its lanes are added."""
        return self.lane + self.shadow + self.requant + self.write

    @property
    def enter(self) -> int:
        """Begin of a step of a section to the cycle before the first gate value that it can have on the write port."""
        return self.issue + self.drain - 1

    @property
    def look_back(self) -> int:
        """Last step of a row to the cycle in which the memory has to hold what the write-back reads for it, if no other
        row drains before it; counted from the last cycle in which another input may not be accepted (`release`)."""
        read = self.issue + self.lane + self.shadow + self.look - self.activation
        return read - (self.release + self.load + self.visible)

    @property
    def fetch(self) -> int:
        """Step to read address."""
        return self.code + self.address

    @property
    def renew(self) -> int:
        """Least cycles between two steps whose results go into one maximum: read address to value read, to result,
        write port, memory."""
        return self.activation + self.requant - self.look + self.write + self.visible
