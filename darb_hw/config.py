"""What the user chooses: number of lanes, device, style of multipliers. Frozen, checked, free of Amaranth."""

from dataclasses import asdict, dataclass

from darb_prune.encoded import DarbError

__all__ = ["DEVICES", "LANES_MAX", "OMITTED", "EngineConfig", "Target"]

LANES_MAX = 128


@dataclass(frozen=True)
class Target:
    """A target device, as far as the plan and the place-and-route tools need to know it.

    Parameters
    ----------
    name : str
        The name used on the command line.
    family : str
        ``"ice40"``, ``"ecp5"``, ``"gowin"`` or ``"nexus"``.
    nextpnr : tuple of str
        Options that select the device, its package and its speed grade.
    luts, block_rams, block_ram_bits, dsps : int
        Number of 4-input LUTs, of block RAMs, of the bits of one, of multipliers.
    dsp_bits : int
        Operand width of one multiplier, signed.
    target_mhz : float
        Clock that place and route aims for. It stops trying harder once this is met.
    like : str
        The device of the same silicon and speed whose clock estimates take for this one; empty if it has its own.
    chip : str
        What the tools of Gowin's devices call the chip in the package: its series and size.
    ffs : int or None
        Number of flip-flops; None if there are as many as LUTs.
    sprams : int
        Number of single-port RAMs of 16K words of 16 bits.
    """

    name: str
    family: str
    nextpnr: tuple[str, ...]
    luts: int
    block_rams: int
    block_ram_bits: int
    dsps: int
    dsp_bits: int
    target_mhz: float
    like: str = ""
    chip: str = ""
    ffs: int | None = None
    sprams: int = 0

    @property
    def has_primitives(self) -> bool:
        """Whether it has better modules for memories and multipliers than those that any tool takes."""
        return self.family != "ice40" or self.dsps > 0

    @property
    def needs_pins(self) -> bool:
        """Whether its nextpnr takes no port without a pin."""
        return self.family in ("gowin", "nexus")


DEVICES = {
    device.name: device
    for device in (
        Target("ice40-up5k", "ice40", ("--up5k", "--package", "sg48"), 5280, 30, 4096, 8, 16, 60.0, sprams=4),
        Target("ice40-hx8k", "ice40", ("--hx8k", "--package", "ct256"), 7680, 32, 4096, 0, 16, 150.0),
        Target("ecp5-25k", "ecp5", ("--25k", "--package", "CABGA381", "--speed", "6"), 24288, 56, 18432, 28, 18, 240.0),
        Target(
            "ecp5-85k", "ecp5", ("--85k", "--package", "CABGA381", "--speed", "6"), 83640, 208, 18432, 156, 18, 240.0
        ),
        # HX4K and LFE5U-12F are sold with less than their die has. nextpnr places on all of it; these are the numbers
        # of the data sheets.
        Target(
            "ice40-hx1k", "ice40", ("--hx1k", "--package", "tq144"), 1280, 16, 4096, 0, 16, 150.0, like="ice40-hx8k"
        ),
        Target(
            "ice40-hx4k", "ice40", ("--hx4k", "--package", "tq144"), 3520, 20, 4096, 0, 16, 150.0, like="ice40-hx8k"
        ),
        Target("ice40-lp1k", "ice40", ("--lp1k", "--package", "qn84"), 1280, 16, 4096, 0, 16, 100.0),
        Target("ice40-lp8k", "ice40", ("--lp8k", "--package", "cm81"), 7680, 32, 4096, 0, 16, 100.0),
        Target(
            "ecp5-12k", "ecp5", ("--12k", "--package", "CABGA381", "--speed", "6"), 12000, 32, 18432, 28, 18, 240.0,
            like="ecp5-25k",
        ),
        Target(
            "ecp5-45k", "ecp5", ("--45k", "--package", "CABGA381", "--speed", "6"), 43848, 108, 18432, 72, 18, 240.0,
            like="ecp5-25k",
        ),
        Target(
            "gw1nr-9", "gowin", ("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C"),
            8640, 26, 18432, 20, 18, 200.0, chip="GW1N-9C", ffs=6480,
        ),
        Target(
            "gw2a-18", "gowin", ("--device", "GW2A-LV18PG256C8/I7", "--vopt", "family=GW2A-18C"),
            20736, 46, 18432, 48, 18, 400.0, chip="GW2A-18C", ffs=15552,
        ),
        Target("lifcl-40", "nexus", ("--device", "LIFCL-40-9BG400C"), 32256, 84, 18432, 112, 9, 350.0),
    )
}  # fmt: skip

_MULTIPLIERS = ("auto", "dsp", "lut")
_RESERVED = {
    "always", "and", "assign", "begin", "buf", "case", "casex", "casez", "default", "defparam", "else", "end",
    "endcase", "endfunction", "endgenerate", "endmodule", "endtask", "event", "for", "force", "forever", "function",
    "generate", "genvar", "if", "initial", "inout", "input", "integer", "localparam", "logic", "module", "nand",
    "negedge", "nor", "not", "or", "output", "parameter", "posedge", "real", "reg", "repeat", "signed", "specify",
    "task", "time", "tri", "wait", "while", "wire", "xnor", "xor", "primitives",
}  # fmt: skip
_INPUT_ORDERS = ("logical", "storage")
_INPUTS = ("auto", "overlapped", "reused", "alone")
_MEMORIES = ("auto", "private", "shared", "spram")
_ROMS = ("blocks", "spram")
OMITTED = {"clusters": 1, "reload": False, "roms": "blocks"}
"""Options that a manifest does not name at these values: then it is what it was before there were any."""


def _is_power(count: object) -> bool:
    """Whether this is a power of two."""
    return isinstance(count, int) and not isinstance(count, bool) and count > 0 and count & (count - 1) == 0


@dataclass(frozen=True)
class EngineConfig:
    """Choices for one engine.

    Parameters
    ----------
    lanes : int
        Multiplier-accumulators working in lock-step, 1 to 128.
    device : str
        A key of :data:`DEVICES`.
    lane_multiplier, requant_multiplier : str
        ``"dsp"``, ``"lut"``, or ``"auto"``: DSP blocks for the lanes if the device has enough, then for the
        requantiser if any are left.
    input_order : str
        ``"logical"``: the input stream has the order of the model's input. ``"storage"``: the sender has permuted it
        already, which saves a ROM where channels are stored in another order.
    input : str
        ``"overlapped"``: there is room for a second input, which comes in while the engine works on the first.
        ``"reused"``: it comes in over the first one, as soon as that has been read and its memory is free. ``"alone"``:
        an input comes in while the engine rests. Each takes less memory than the one before. ``"auto"``: the first that
        fits.
    memory : str
        ``"private"``: every lane has a copy of the activation memory. ``"shared"``: two lanes share one, through its
        two ports. The lanes then rest while results are written or an input comes in, so ``input`` must be
        ``"alone"``. ``"spram"``: the banks of ``positions`` stand in single-port RAMs, two in each. Results are written
        where no lane reads, so ``input`` must be ``"alone"``, and ``results`` 1. ``"auto"``: private if it fits.
    unroll : int
        Most output columns of a convolution that are computed at once, where a layer has too few rows to fill the
        lanes. Its codes are stored once for each column.
    positions : int, optional
        Neighbouring output positions of a map that lanes compute at once: a power of two that divides ``lanes``. Each
        lane then has a bank of every map, not a copy. With 1, all lanes compute different rows, and each has a copy.
        If absent, :func:`~darb_hw.plan.resources.fitting_plan` takes what is fastest.
    results : int, optional
        Results that are written at once: a power of two up to ``positions``, or up to ``lanes`` if that is absent. If
        absent, the plan takes as many as the network needs.
    clusters : int
        Clusters of lanes, a power of two that divides ``lanes``. The network must have layers in as many parts: the
        memories of the lanes of a cluster hold one part of what such a layer reads.
    reload : bool
        Whether another network can be loaded while the engine runs: every ROM has room for a second network, and the
        engine a port through which it comes.
    roms : str
        Where a network stands. ``"blocks"``: in block RAMs. ``"spram"``: in single-port RAMs, as far as that saves
        block RAMs. Such RAMs hold nothing at power-up: the engine has a port through which its network comes, and
        waits for it.
    top : str
        Name of the top-level Verilog module.

    Raises
    ------
    DarbError
        If a choice is not possible. It says which one, and what is possible.
    """

    lanes: int = 8
    device: str = "ecp5-85k"
    lane_multiplier: str = "auto"
    requant_multiplier: str = "auto"
    input_order: str = "logical"
    input: str = "auto"
    memory: str = "auto"
    unroll: int = 16
    positions: int | None = None
    results: int | None = None
    clusters: int = 1
    reload: bool = False
    roms: str = "blocks"
    top: str = "engine"

    def __post_init__(self) -> None:
        if isinstance(self.lanes, bool) or not isinstance(self.lanes, int) or not 1 <= self.lanes <= LANES_MAX:
            raise DarbError(f"lanes = {self.lanes}: choose a whole number from 1 to {LANES_MAX}")
        if isinstance(self.unroll, bool) or not isinstance(self.unroll, int) or self.unroll < 1:
            raise DarbError(f"unroll = {self.unroll}: choose a whole number from 1 up")
        for name, most in (("positions", self.lanes), ("results", self.positions or self.lanes)):
            count = getattr(self, name)
            if count is not None and not (_is_power(count) and most % count == 0):
                raise DarbError(f"{name} = {count}: choose a power of two that divides {most}")
        if not (_is_power(self.clusters) and self.lanes % self.clusters == 0):
            raise DarbError(f"clusters = {self.clusters}: choose a power of two that divides {self.lanes}")
        if self.clusters > 1 and (self.memory in ("shared", "spram") or self.banks > 1 or self.ways > 1):
            raise DarbError(
                f"clusters = {self.clusters}: each lane has its own memory, and one result comes at a time: leave "
                "memory, positions and results as they are"
            )
        if (self.positions or 1) > 1 and self.memory == "shared":
            raise DarbError("memory = 'shared' is for lanes with copies of maps: choose positions = 1")
        if not isinstance(self.device, str) or self.device not in DEVICES:
            raise DarbError(f"unknown device {self.device!r}: choose one of {', '.join(DEVICES)}")
        for name, legal in (
            ("lane_multiplier", _MULTIPLIERS),
            ("requant_multiplier", _MULTIPLIERS),
            ("input_order", _INPUT_ORDERS),
            ("input", _INPUTS),
            ("memory", _MEMORIES),
            ("roms", _ROMS),
        ):
            if getattr(self, name) not in legal:
                raise DarbError(f"{name} = {getattr(self, name)!r}: choose one of {', '.join(legal)}")
        if not isinstance(self.reload, bool):
            raise DarbError(f"reload = {self.reload!r}: choose true or false")
        if self.memory == "shared" and self.input in ("overlapped", "reused"):
            raise DarbError(f"memory = 'shared' has no port for an {self.input} input: choose input = 'alone'")
        self._check_spram()
        legal = isinstance(self.top, str) and self.top.isidentifier() and self.top.isascii()
        if not legal or self.top in _RESERVED or self.top.startswith("darb_"):
            raise DarbError(f"top = {self.top!r}: not a legal Verilog module name, or one that is taken")

    def _check_spram(self) -> None:
        """Refuse what cannot be in single-port RAMs."""
        for name, what in (("memory", self.memory), ("roms", self.roms)):
            if what == "spram" and not self.target.sprams:
                having = ", ".join(name for name, device in DEVICES.items() if device.sprams)
                raise DarbError(f"{name} = 'spram': {self.device} has no such RAMs: choose the device {having}")
        if self.roms == "spram" and self.memory == "spram":
            raise DarbError("single-port RAMs hold maps or ROMs, not both: choose memory = 'spram' or roms = 'spram'")
        if self.roms == "spram" and self.reload:
            raise DarbError(
                "roms = 'spram' has the port for other networks: leave out reload, which is for two at once"
            )
        if self.memory != "spram":
            return
        most = 2 * self.target.sprams
        if self.lanes > most:
            raise DarbError(f"memory = 'spram' feeds up to {most} lanes, not {self.lanes}: choose fewer lanes")
        if self.positions == 1 or self.lanes % 2:
            raise DarbError(
                "memory = 'spram' has two banks in a RAM: choose an even number of lanes, positions 2 or more"
            )
        if self.ways > 1:
            raise DarbError(f"memory = 'spram' takes one result after the other, not {self.ways}: choose results = 1")
        if self.input in ("overlapped", "reused"):
            raise DarbError(f"memory = 'spram' has no port for an {self.input} input: choose input = 'alone'")

    @property
    def banks(self) -> int:
        """Positions computed at once, 1 if that is left open."""
        return self.positions or 1

    @property
    def ways(self) -> int:
        """Results written at once, 1 if that is left open."""
        return self.results or 1

    @property
    def fits_spram(self) -> bool:
        """Whether the banks of all lanes can stand in the single-port RAMs of the device."""
        free = self.target.sprams if self.roms != "spram" else 0
        return self.banks > 1 and self.ways == 1 and self.lanes <= 2 * free

    @property
    def loads(self) -> bool:
        """Whether a network can come through a port of the engine."""
        return self.reload or self.overwrites

    @property
    def overwrites(self) -> bool:
        """Whether a network that comes takes the place of the one that is there, word by word."""
        return self.roms == "spram"

    @property
    def written(self) -> int:
        """Results that are in the banks at once: of single-port RAMs all banks are written together."""
        return self.banks if self.memory == "spram" else self.ways

    @property
    def streams(self) -> int:
        """Rows computed at once: as many codes are read in a step."""
        return self.lanes // self.banks

    @property
    def target(self) -> Target:
        return DEVICES[self.device]

    def as_dict(self) -> dict[str, int | str | None]:
        """Plain values, for the manifest: ``EngineConfig(**config.as_dict()) == config``."""
        return {name: value for name, value in asdict(self).items() if name not in OMITTED or value != OMITTED[name]}
