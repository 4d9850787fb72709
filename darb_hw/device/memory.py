"""Memories: ROMs filled from a plan's images, RAMs for activations and states.

In Amaranth's own simulator they are ``lib.memory.Memory``. In Verilog they are modules, the plain ones of
``memory.v`` or those of ``primitives.py``. The plain ones read their contents from files, so that other weights need
no other RTL.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Member, Out

from darb_hw.device.modules import MODULES
from darb_hw.plan.image import Image, unsigned_bits

__all__ = ["FileMemories", "MemoryShape", "PairedRam", "Ram", "Rom", "SharedRam", "SingleRam", "rom_layout"]


def _address_bits(depth: int) -> int:
    return max(1, unsigned_bits(depth - 1))


@dataclass(frozen=True)
class MemoryShape:
    """A memory of the generated Verilog, as its module sees it.

    Parameters
    ----------
    module : str
        A key of :data:`~darb_hw.device.modules.MODULES`.
    width, depth : int
    image : Image or None
        What it holds at power-up.
    copies : int
        Of the address of a ROM.
    late : bool
        Whether a ROM has a register behind those of its blocks.
    """

    module: str
    width: int
    depth: int
    image: Image | None
    copies: int = 1
    late: bool = False

    @property
    def address(self) -> int:
        """Bits of an address."""
        return _address_bits(self.depth)

    @property
    def file(self) -> str:
        """Name of the file of its contents within a build folder; empty without."""
        return f"rom/{self.image.name}.hex" if self.image else ""

    @property
    def parameters(self) -> dict[str, int | str]:
        """Parameters of its instance."""
        parameters: dict[str, int | str] = {"WIDTH": self.width, "DEPTH": self.depth, "ADDRESS": self.address}
        if self.image:
            parameters["FILE"] = self.file
        if self.copies > 1:
            parameters["COPIES"] = self.copies
        if self.late:
            parameters["LATE"] = 1
        return parameters


class FileMemories:
    """The ``platform`` of ``elaborate`` that makes memories instances of Verilog modules.

    Parameters
    ----------
    shapes : dict of tuple to MemoryShape
        Every kind of memory that there is; filled during elaboration.
    """

    def __init__(self) -> None:
        self.shapes: dict[tuple[str, int, int, str], MemoryShape] = {}

    def instance(self, shape: MemoryShape, component: wiring.Component) -> Instance:
        """An instance of ``shape``. Its ports are the members of ``component`` with the same names."""
        self.shapes[shape.module, shape.width, shape.depth, shape.file] = shape
        module = MODULES[shape.module]
        signals = {port.name: Value.cast(getattr(component, port.name)) for port in module.ports}
        return module.instance(shape.parameters, **signals)


def rom_layout(image: Image) -> data.Layout:
    """Layout of a word of ``image``: an array of its copies, each with all fields."""
    layout = data.StructLayout(
        {field.name: signed(field.width) if field.signed else unsigned(field.width) for field in image.fields}
    )
    return data.ArrayLayout(layout, image.copies)


class Rom(wiring.Component):
    """Read-only memory with an output register.

    Parameters
    ----------
    image : Image
    copies : int
        Of the address. Each copy drives a part of a wide memory.
    late : bool
        Another register at the output, for a memory of many blocks: what they read is multiplexed between the two.
    filled : str
        How other contents come, word for word: not at all if empty; ``"beside"`` those of the image, to be read in
        their place; ``"over"`` them.
    single : int
        Lowest bits of a word that are in memory with one port. Then it holds nothing at power-up.

    Members
    -------
    address : In(unsigned)
        All copies, one above the other.
    data : Out(rom_layout(image))
    bank : In(1)
        Which contents are read: those of the image, or the others. Those that are not read can be written. It is there
        if others come beside.
    write_enable, write_address, write_data : In
        These three are there if other contents come.
    """

    address: Signal
    data: data.View
    bank: Signal
    write_enable: Signal
    write_address: Signal
    write_data: Signal

    latency = 2
    """Without the late register."""

    def __init__(self, image: Image, copies: int = 1, late: bool = False, filled: str = "", single: int = 0) -> None:
        self._image, self._copies, self._late, self._filled, self._single = image, copies, late, filled, single
        address = _address_bits(image.depth)
        writes = {"write_enable": In(1), "write_address": In(address), "write_data": In(image.width)}
        super().__init__(
            {"address": In(unsigned(copies * address)), "data": Out(rom_layout(image))}
            | (writes if filled else {})
            | ({"bank": In(1)} if filled == "beside" else {})
        )

    @property
    def copies(self) -> int:
        return self._copies

    @property
    def image(self) -> Image:
        return self._image

    def field(self, name: str, copy: int = 0) -> Value:
        """A field of the word that is read; the constant 0 for a field of no bits."""
        present = any(field.name == name for field in self._image.fields)
        return self.data[copy][name] if present else Const(0, 1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._filled:
            self._fetched(m, self._written(m))
            return m
        if isinstance(platform, FileMemories):
            shape = MemoryShape("darb_rom", self._image.width, self._image.depth, self._image, self._copies, self._late)
            m.submodules.rom = platform.instance(shape, self)
            return m
        m.submodules.rom = rom = Memory(
            shape=unsigned(self._image.width), depth=self._image.depth, init=self._image.integers()
        )
        port = rom.read_port()
        m.d.comb += port.addr.eq(self.address[: len(port.addr)])
        fetched = Signal(self._image.width)
        m.d.sync += fetched.eq(port.data)
        self._fetched(m, fetched)
        return m

    def _fetched(self, m: Module, words: Value) -> None:
        """What is read, from the registers behind the memory on."""
        if self._late:
            m.d.sync += Value.cast(self.data).eq(words)
        else:
            m.d.comb += Value.cast(self.data).eq(words)

    def _written(self, m: Module) -> Value:
        """What memories give that are written. Both contents stand in one, their words in turn: the last bit of its
        address is the bank."""
        image, bank = self._image, [self.bank] if self._filled == "beside" else []
        read = Cat(*bank, self.address[: unsigned_bits(image.depth - 1)])
        write = Cat(*(~bit for bit in bank), self.write_address[: unsigned_bits(image.depth - 1)])
        given: list[Value] = []
        if self._single:
            m.submodules.single = ram = SingleRam(self._single, image.depth)
            given.append(self._connected(m, ram, read, write, self.write_data[: self._single]))
        if self._single < image.width:
            width, depth = image.width - self._single, image.depth << len(bank)
            held = None if self._single else image.doubled() if bank else image
            m.submodules.ram = ram = Ram(width, depth, held)
            m.d.comb += [ram.read_enable.eq(1), ram.output_enable.eq(1)]
            given.append(self._connected(m, ram, read, write, self.write_data[self._single :]))
        return Cat(given)

    def _connected(self, m: Module, ram: "Ram | SingleRam", read: Value, write: Value, written: Value) -> Value:
        """What a memory of some bits of the words gives."""
        m.d.comb += [
            ram.read_address.eq(read),
            ram.write_enable.eq(self.write_enable),
            ram.write_address.eq(write),
            ram.write_data.eq(written),
        ]
        return ram.read_data


class _Writable(wiring.Component):
    """What memories that can be written have in common.

    Parameters
    ----------
    width, depth : int
    image : Image or None
    members : dict of str to Member
    """

    latency = 2

    def __init__(self, width: int, depth: int, image: Image | None, members: dict[str, Member]) -> None:
        if image is not None and (image.width, image.depth) != (width, depth):
            raise ValueError(
                f"image {image.name}: {image.depth} words of {image.width} bits do not fill a memory of {depth} words "
                f"of {width} bits"
            )
        self._width, self._depth, self._image = width, depth, image
        super().__init__(members)

    @property
    def width(self) -> int:
        return self._width

    @property
    def depth(self) -> int:
        return self._depth

    @property
    def image(self) -> Image | None:
        return self._image

    def _shape(self, module: str) -> MemoryShape:
        return MemoryShape(module, self._width, self._depth, self._image)

    def _memory(self) -> Memory:
        init = self._image.integers() if self._image else []
        return Memory(shape=unsigned(self._width), depth=self._depth, init=init)


class Ram(_Writable):
    """Memory with one write port and one read port with an output register.

    What is read from an address in the cycle that writes it is not defined.

    Parameters
    ----------
    width, depth : int
    image : Image, optional
        What it holds at power-up (a reset does not bring it back); undefined if absent.

    Members
    -------
    write_enable, write_address, write_data : In
    read_enable, output_enable, read_address : In
        The first stage of a read holds while ``read_enable`` is low, the second one while ``output_enable`` is.
    read_data : Out

    Raises
    ------
    ValueError
        If the image is not of this width and depth.
    """

    write_enable: Signal
    write_address: Signal
    write_data: Signal
    read_enable: Signal
    output_enable: Signal
    read_address: Signal
    read_data: Signal

    def __init__(self, width: int, depth: int, image: Image | None = None) -> None:
        address = unsigned(_address_bits(depth))
        super().__init__(
            width,
            depth,
            image,
            {
                "write_enable": In(1),
                "write_address": In(address),
                "write_data": In(width),
                "read_enable": In(1),
                "output_enable": In(1),
                "read_address": In(address),
                "read_data": Out(width),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if isinstance(platform, FileMemories):
            m.submodules.ram = platform.instance(self._shape("darb_ram"), self)
            return m
        m.submodules.ram = ram = self._memory()
        write, read = ram.write_port(), ram.read_port()
        fetched = Signal(self._width)
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_address),
            fetched.eq(read.data),
        ]
        with m.If(self.output_enable):
            m.d.sync += self.read_data.eq(fetched)
        return m


class SharedRam(_Writable):
    """Memory with two read ports with output registers; the first of them writes as well.

    A write takes its address from port A. In that cycle, what port A reads is not defined. What port B reads is not
    defined if it has the same address.

    Parameters
    ----------
    width, depth : int
    image : Image, optional
        What it holds at power-up (a reset does not bring it back); undefined if absent.

    Members
    -------
    write_enable, write_data : In
        Written to ``address_a``.
    address_a, address_b : In
    read_data_a, read_data_b : Out

    Raises
    ------
    ValueError
        If the image is not of this width and depth.
    """

    write_enable: Signal
    write_data: Signal
    address_a: Signal
    read_data_a: Signal
    address_b: Signal
    read_data_b: Signal

    def __init__(self, width: int, depth: int, image: Image | None = None) -> None:
        address = unsigned(_address_bits(depth))
        super().__init__(
            width,
            depth,
            image,
            {
                "write_enable": In(1),
                "write_data": In(width),
                "address_a": In(address),
                "read_data_a": Out(width),
                "address_b": In(address),
                "read_data_b": Out(width),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if isinstance(platform, FileMemories):
            m.submodules.ram = platform.instance(self._shape("darb_shared_ram"), self)
            return m
        m.submodules.ram = ram = self._memory()
        write = ram.write_port()
        m.d.comb += [write.en.eq(self.write_enable), write.addr.eq(self.address_a), write.data.eq(self.write_data)]
        for address, data_out in ((self.address_a, self.read_data_a), (self.address_b, self.read_data_b)):
            port = ram.read_port()
            m.d.comb += port.addr.eq(address)
            m.d.sync += data_out.eq(port.data)
        return m


class PairedRam(_Writable):
    """Single-port memory of two banks side by side, which have one address; with an output register.

    What is read in a cycle of a write is not defined, and neither is what it holds at power-up.

    Parameters
    ----------
    width, depth : int
        Of a bank.

    Members
    -------
    write_enable : In(2)
        Of each bank. With neither, both are read.
    address, write_data : In
        The first bank has the lower half of the data.
    read_data : Out
    """

    write_enable: Signal
    address: Signal
    write_data: Signal
    read_data: Signal

    def __init__(self, width: int, depth: int) -> None:
        members = {
            "write_enable": In(2),
            "address": In(unsigned(_address_bits(depth))),
            "write_data": In(2 * width),
            "read_data": Out(2 * width),
        }
        super().__init__(width, depth, None, members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if isinstance(platform, FileMemories):
            m.submodules.ram = platform.instance(self._shape("darb_paired_ram"), self)
            return m
        m.submodules.ram = ram = Memory(shape=unsigned(2 * self._width), depth=self._depth, init=[])
        write, read = ram.write_port(granularity=self._width), ram.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.address),
            write.data.eq(self.write_data),
            read.en.eq(~self.write_enable.any()),
            read.addr.eq(self.address),
        ]
        m.d.sync += self.read_data.eq(read.data)
        return m


class SingleRam(_Writable):
    """Memory with one port, which a write takes, and an output register.

    What is read in a cycle of a write is not defined, and neither is what it holds at power-up.

    Parameters
    ----------
    width, depth : int

    Members
    -------
    write_enable, write_address, write_data : In
    read_address : In
    read_data : Out
    """

    write_enable: Signal
    write_address: Signal
    write_data: Signal
    read_address: Signal
    read_data: Signal

    def __init__(self, width: int, depth: int) -> None:
        address = unsigned(_address_bits(depth))
        members = {
            "write_enable": In(1),
            "write_address": In(address),
            "write_data": In(width),
            "read_address": In(address),
            "read_data": Out(width),
        }
        super().__init__(width, depth, None, members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if isinstance(platform, FileMemories):
            m.submodules.ram = platform.instance(self._shape("darb_single_ram"), self)
            return m
        m.submodules.ram = ram = self._memory()
        write, read = ram.write_port(), ram.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(~self.write_enable),
            read.addr.eq(self.read_address),
        ]
        m.d.sync += self.read_data.eq(read.data)
        return m
