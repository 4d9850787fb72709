"""Other networks: their bytes, from good requests to the engine, each byte once and in its place."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from darb_hw.engine.reloader import reload_byte
from darb_hw.link.info import DIGEST
from darb_hw.link.protocol import IDENTITY_BYTES, OFFSET_BYTES
from darb_hw.link.shape import LinkShape

__all__ = ["Intake", "loaded_layout", "placed_byte"]

placed_byte = data.StructLayout({"data": 8, "last": 1, "offset": 8 * OFFSET_BYTES})
"""A byte that a request brings of another network, whether it is the last one of the request, and where the first one
belongs."""
loaded_layout = data.StructLayout({"count": 8 * OFFSET_BYTES, "refused": 1})
"""How many bytes of another network the board has; whether the engine has refused it."""


class Intake(wiring.Component):
    """Requests may come twice, or miss: their bytes are taken only if they belong behind those that are there, or if
    they are the first ones of a network, which then begins anew.

    In front of a network comes its digest. There are two, one for each network of the engine: that in use is told by
    the engine itself, so that it is always told with the right digest. If the engine has room for one network, there is
    one digest, and zeros are told while there is no network: a network that begins has the engine forget the old one
    before anything is taken.

    Parameters
    ----------
    shape : LinkShape
        Of an engine with a port for other networks.
    info : bytes
        What the board says of itself, with the digest of its first network.

    Members
    -------
    i : In(stream.Signature(placed_byte))
    o : Out(stream.Signature(reload_byte))
        To the engine. A last byte that comes too early ends a network that is begun anew.
    verdict : In(stream.Signature(1))
        For each last byte: whether the engine has taken the network.
    loaded : Out(stream.Signature(loaded_layout))
        After the last byte of each request.
    bank, present : In(1)
        See :class:`~darb_hw.engine.reloader.Reloader`; it is one of the two.
    digest : Out
        That of the network in use.
    """

    i: stream.Interface
    o: stream.Interface
    verdict: stream.Interface
    loaded: stream.Interface
    bank: Signal
    present: Signal
    digest: Signal

    def __init__(self, shape: LinkShape, info: bytes) -> None:
        self._shape, self._first = shape, int.from_bytes(info[DIGEST], "little")
        super().__init__(
            {
                "i": In(stream.Signature(placed_byte)),
                "o": Out(stream.Signature(reload_byte)),
                "verdict": In(stream.Signature(1)),
                "loaded": Out(stream.Signature(loaded_layout)),
                "present" if shape.overwrites else "bank": In(1),
                "digest": Out(8 * IDENTITY_BYTES),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total, offset = self._shape.load_bytes, self.i.payload.offset
        count, refused = Signal(range(total + 1)), Signal()
        # In the engine there is a part of a network, or one that is to go.
        begun: Value = (count > IDENTITY_BYTES) & (count != total)
        if self._shape.overwrites:
            begun = Const(1, 1)
        named, taken = count < IDENTITY_BYTES, Signal()
        m.d.comb += [
            self.o.payload.data.eq(self.i.payload.data),
            self.loaded.payload.count.eq(count),
            self.loaded.payload.refused.eq(refused),
        ]
        with m.FSM():
            with m.State("WAIT"):
                m.d.sync += refused.eq(0)
                with m.If(self.i.valid & (offset == 0) & begun):
                    m.next = "FORGET"
                with m.Elif(self.i.valid & ((offset == 0) | (offset == count))):
                    m.d.sync += count.eq(offset)
                    m.next = "TAKE"
                with m.Elif(self.i.valid):
                    m.next = "SKIP"
            with m.State("FORGET"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.last.eq(1)]
                with m.If(self.o.ready):
                    m.next = "FORGOTTEN"
            with m.State("FORGOTTEN"):
                m.d.comb += self.verdict.ready.eq(1)
                with m.If(self.verdict.valid):
                    m.d.sync += count.eq(0)
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += [
                    self.o.valid.eq(self.i.valid & ~named),
                    self.o.payload.last.eq(count == total - 1),
                    self.i.ready.eq(self.o.ready | named),
                    taken.eq(self.i.valid & self.i.ready),
                ]
                with m.If(taken):
                    m.d.sync += count.eq(count + 1)
                    with m.If(self.i.payload.last):
                        m.next = "TELL"
                    with m.If(self.o.payload.last):
                        m.next = "JUDGE"
            with m.State("SKIP"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid & self.i.payload.last):
                    m.next = "TELL"
            with m.State("JUDGE"):
                m.d.comb += self.verdict.ready.eq(1)
                with m.If(self.verdict.valid):
                    with m.If(~self.verdict.payload):
                        m.d.sync += [count.eq(0), refused.eq(1)]
                    m.next = "TELL"
            with m.State("TELL"):
                m.d.comb += self.loaded.valid.eq(1)
                with m.If(self.loaded.ready):
                    m.next = "WAIT"
        self._keep_digests(m, taken & named)
        return m

    def _keep_digests(self, m: Module, taken: Value) -> None:
        """The digests, which a reset leaves as it leaves the networks. ``taken``: a byte of the other one comes."""
        first = Signal(8 * IDENTITY_BYTES, init=self._first, reset_less=True)
        if self._shape.overwrites:
            m.d.sync += first.eq(Mux(taken, Cat(first, self.i.payload.data)[8:], first))
            m.d.comb += self.digest.eq(Mux(self.present, first, 0))
            return
        second = Signal(8 * IDENTITY_BYTES, reset_less=True)
        for digest, other in ((first, self.bank), (second, ~self.bank)):
            m.d.sync += digest.eq(Mux(taken & other, Cat(digest, self.i.payload.data)[8:], digest))
        m.d.comb += self.digest.eq(Mux(self.bank, second, first))
