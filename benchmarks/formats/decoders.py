"""Decoders: codes into addresses of activations, for all lanes; one component a kind of format.

All have the same ports and the same latency. What lanes share (the base of a block, say) is part of the decoder. So a
decoder synthesised alone is all that a format costs beside the memories and multipliers.

Activations of a layer stand at ``region + column``. A decoder is built for one of two memory maps. *Aligned* regions
are powers of two long and begin at multiples of their length: nothing has to be added, and ``region`` is the upper part
of the address alone. Other regions begin anywhere.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from benchmarks.formats.encodings import Encoded

__all__ = ["Decoder", "decoder_of", "group_fields"]

REGIONS = 2
"""Of the activation memory: one is read while the other is filled."""


def _levels(encoded: Encoded) -> tuple[list[int], list[int]]:
    """The distinct block bits and the distinct weights a block."""
    bits, kept = encoded.group_levels.T.tolist()
    return sorted(set(bits)), sorted(set(kept))


def group_fields(encoded: Encoded) -> dict[str, list[int]]:
    """What the program has to tell the decoder of every group: for each field its value in every group.

    The width of a field follows from its largest value. Levels have ``size``, the block size as a one-hot code of the
    sizes in use, and ``kept``, the weights a block minus 1. A field that is the same for all groups is left out: it is
    wired.
    """
    if encoded.kind != "level":
        return {}
    (sizes, kepts), fields = _levels(encoded), {}
    if len(sizes) > 1:
        fields["size"] = [1 << sizes.index(bits) for bits, _ in encoded.group_levels.tolist()]
    if len(kepts) > 1:
        fields["kept"] = [kept - 1 for _, kept in encoded.group_levels.tolist()]
    return fields


class Decoder(wiring.Component):
    """Common to all decoders.

    Parameters
    ----------
    encoded : Encoded
        What is to be decoded: decoders are built for its widths and levels.
    aligned : bool
        The memory map, see above.

    Members
    -------
    A format has those that it needs.

    first : In(1)
        The first step of a group, one cycle ahead of its index.
    place : In(unsigned)
        Number of the step within its index word, in the same cycle as ``first``.
    group : In(StructLayout)
        Fields of the group (:func:`group_fields`), in the same cycle as ``first``.
    region : In(unsigned)
        Where the activations begin, or the upper bits of that; stands still.
    index : In(ArrayLayout(unsigned, copies))
    address : Out(ArrayLayout(unsigned, copies))
        ``latency`` cycles after ``index``.
    """

    first: Signal
    place: Signal
    group: data.View
    region: Signal
    index: data.View
    address: data.View

    latency = 1
    early = 1
    """Cycles by which ``first``, ``place`` and ``group`` come before ``index``."""

    def __init__(self, encoded: Encoded, aligned: bool) -> None:
        self._encoded, self._aligned = encoded, aligned
        self._offset = encoded.offset_bits
        self._width = encoded.offset_bits + (REGIONS - 1).bit_length()
        fields = {name: max(values).bit_length() for name, values in group_fields(encoded).items()}
        members = {"region": In(self._width - self._offset if aligned else self._width)}
        if encoded.kind in ("level", "run"):
            members["first"] = In(1)
        if encoded.span > 1:
            members["place"] = In((encoded.span - 1).bit_length())
        if fields:
            members["group"] = In(data.StructLayout(fields))
        if encoded.index_bits:
            members["index"] = In(data.ArrayLayout(unsigned(encoded.index_bits), encoded.copies))
        super().__init__(members | {"address": Out(data.ArrayLayout(unsigned(self._width), encoded.copies))})

    @property
    def encoded(self) -> Encoded:
        return self._encoded

    @property
    def aligned(self) -> bool:
        return self._aligned

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError

    def _index(self, copy: int) -> Value:
        """The index of a copy; nothing if indices have no bits."""
        return self.index[copy] if self._encoded.index_bits else Const(0, 0)

    def _register(self, m: Module, copy: int, value: Value) -> None:
        """Register an address."""
        address = Signal(self._width, name=f"address_{copy}", reset_less=True)
        m.d.sync += address.eq(value)
        m.d.comb += self.address[copy].eq(address)

    def _at(self, m: Module, copy: int, offset: Value) -> None:
        """Register the address of ``offset`` in the region."""
        if self._aligned:
            self._register(m, copy, Cat(offset, Const(0, self._offset - len(offset)), self.region))
        else:
            self._register(m, copy, self.region + offset)


class LevelDecoder(Decoder):
    """``base | index`` or ``base + index``; all lanes share the base, which moves by a block every ``m`` steps."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes, kepts = _levels(self._encoded)
        low, bits = sizes[0], sizes[-1]
        one_hot = self.group.size if len(sizes) > 1 else Const(1, 1)
        # Base and step in units of the smallest block.
        step = Cat(one_hot[sizes.index(b)] if b in sizes else Const(0, 1) for b in range(low, bits + 1))
        last = self.group.kept if len(kepts) > 1 else Const(kepts[0] - 1, max(1, (kepts[0] - 1).bit_length()))

        top = self._offset - low
        base = Signal(top if self._aligned else self._width, reset_less=True)
        start, step = (0, step) if self._aligned else (self.region, step << low)
        following = base + step
        if kepts[-1] > 1:
            left = Signal(last.shape(), reset_less=True)
            done = left == 0
            m.d.sync += left.eq(Mux(self.first | done, last, left - 1))
            following = Mux(done, following, base)
        m.d.sync += base.eq(Mux(self.first, start, following))

        # Only larger blocks have the upper index planes. In steps of smaller blocks these hold something else.
        present = Signal(max(bits - low, 1), reset_less=True)
        planes = [one_hot[sizes.index(b)] if b in sizes else Const(0, 1) for b in range(low + 1, bits + 1)]
        for plane in range(bits - low):
            m.d.sync += present[plane].eq(Cat(planes[plane:]).any())
        for copy in range(self._encoded.copies):
            index = self._index(copy)
            upper = index[low:] & present
            if self._aligned:
                self._register(m, copy, Cat(index[:low], (base | upper)[:top], self.region))
            else:
                self._register(m, copy, base + Cat(index[:low], upper[: bits - low]))
        return m


class RunDecoder(Decoder):
    """``address += run + 1``; every lane has its own address, which begins before the first column."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first = Signal(reset_less=True)
        m.d.sync += first.eq(self.first)
        before = Signal(self._width, reset_less=True)
        if not self._aligned:
            m.d.sync += before.eq(self.region - 1)
        for copy in range(self._encoded.copies):
            width = self._offset if self._aligned else self._width
            at = Signal(width, name=f"at_{copy}", reset_less=True)
            if self._aligned:
                before_this = at | first.replicate(width)
                m.d.comb += self.address[copy].eq(Cat(at, self.region))
            else:
                before_this = Mux(first, before, at)
                m.d.comb += self.address[copy].eq(at)
            # The + 1 is a carry into the lowest bit: no third operand for the carry chain.
            m.d.sync += at.eq((Cat(1, before_this) + Cat(1, self.index[copy])) >> 1)
        return m


class CoordinateDecoder(Decoder):
    """The index is the column."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for copy in range(self._encoded.copies):
            self._at(m, copy, self._index(copy))
        return m


class BlockDecoder(Decoder):
    """The index is the number of the block in its strip; the step within it is the column there."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place = Signal.like(self.place, reset_less=True)
        m.d.sync += place.eq(self.place)
        for copy in range(self._encoded.copies):
            self._at(m, copy, Cat(place, self._index(copy)))
        return m


def decoder_of(encoded: Encoded, aligned: bool = True) -> Decoder:
    """The decoder of a format."""
    kinds = {"level": LevelDecoder, "run": RunDecoder, "coordinate": CoordinateDecoder, "block": BlockDecoder}
    return kinds[encoded.kind](encoded, aligned)
