"""Requests and their replies: some on their way at a time, and once more what was damaged or lost."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import monotonic

from darb_hw.host.line import ByteLine
from darb_hw.host.packets import Packet, PacketReader
from darb_hw.link.protocol import PENDING, REPLY, Fault, PacketKind
from darb_prune.encoded import DarbError

__all__ = ["Exchange"]

_AGAIN = (Fault.LINE, Fault.SHORT, Fault.CRC, Fault.LENGTH, Fault.ROOM)
"""Faults of the way there: the same request may be good when it is sent again."""
_WORDS = {
    Fault.KIND: "does not know this request: make bitstream and build with the same version of darb",
    Fault.SIZE: "wants another size of input: load the bitstream of this build",
    Fault.VALUE: "has refused a value: load the bitstream of this build",
    Fault.NETWORK: "has refused the network: load the bitstream of this build",
}
_ABSENT = "has no network: send it one with darb host reload"


@dataclass
class _Sent:
    """A request on its way."""

    number: int
    kind: PacketKind
    payload: bytes
    elements: int


class Exchange:
    """The end of a line that asks.

    Parameters
    ----------
    line : ByteLine
    name : str
        Of the line, for messages.
    seconds : float
        How long to wait for the next reply before what has none is sent again.
    attempts : int
        How often a request is sent before that is an error.
    """

    def __init__(self, line: ByteLine, name: str, seconds: float, attempts: int) -> None:
        self._line, self._name, self._seconds, self._attempts = line, name, seconds, attempts
        self._reader, self._sequence = PacketReader(), 0
        self._came: list[Packet | None] = []
        self.repeated, self._busy = 0, False

    def one(self, kind: PacketKind, payload: bytes = b"") -> bytes:
        """The payload of the reply to one request.

        Raises
        ------
        DarbError
            If there is none, or the device has refused the request.
        """
        (reply,) = self.many(kind, [(payload, 0)])
        return reply

    def many(self, kind: PacketKind, requests: Iterable[tuple[bytes, int]], room: int = 0) -> Iterator[bytes]:
        """The payloads of the replies to requests, in their order.

        Parameters
        ----------
        kind : PacketKind
        requests : iterable of (bytes, int)
            Payload, and the elements that it takes in the buffer of the device.
        room : int
            Elements that the buffer holds.

        Raises
        ------
        DarbError
            If one has no reply, or the device has refused it.
        """
        if self._busy:
            raise DarbError(f"{self._name}: other outputs are still on their way: take them all, or close their stream")
        self._busy = True
        sent: dict[int, _Sent] = {}
        try:
            yield from self._answered(kind, requests, room, sent)
        finally:
            self._forget(sent)

    def _answered(
        self, kind: PacketKind, requests: Iterable[tuple[bytes, int]], room: int, sent: dict[int, _Sent]
    ) -> Iterator[bytes]:
        """What :meth:`many` gives; ``sent`` has what is on its way."""
        waiting, ready = enumerate(requests), {}
        following, held = 0, None
        while True:
            while len(sent) < PENDING:
                held = held or next(waiting, None)
                if held is None or (sent and sum(one.elements for one in sent.values()) + held[1][1] > room):
                    break
                number, (payload, elements) = held
                self._send(sent, _Sent(number, kind, payload, elements))
                held = None
            if not sent:
                return
            ready |= dict(self._replies(sent))
            while following in ready:
                yield ready.pop(following)
                following += 1

    def _send(self, sent: dict[int, _Sent], one: _Sent) -> None:
        """Send a request under a number that no reply on its way has."""
        self._sequence = (self._sequence + 1) % 256
        sent[self._sequence] = one
        self._line.write(Packet(one.kind, self._sequence, one.payload).on_line())

    def _replies(self, sent: dict[int, _Sent]) -> Iterator[tuple[int, bytes]]:
        """At least one reply. Once something is wrong: all replies, with what was damaged or lost sent again."""
        faults, attempts, got = 0, 1, False
        while sent and not (got and not faults):
            try:
                packet = self._next()
            except TimeoutError:
                faults, packet = len(sent), None
            else:
                faults += packet is None
            if packet is not None and packet.kind == PacketKind.FAULT:
                fault = packet.payload[0] if packet.payload else 0
                if fault not in _AGAIN:
                    if packet.sequence not in sent:
                        continue  # to a request that was given up
                    self._refuse(sent.pop(packet.sequence), fault)
                faults += 1
            elif packet is not None:
                one = sent.get(packet.sequence)
                if one is None or packet.kind != one.kind | REPLY:
                    continue  # to a request that was sent again since
                del sent[packet.sequence]
                got = True
                yield one.number, packet.payload
            # Each request on its way has one answer. If the rest were bad, nothing more comes of them.
            if sent and faults >= len(sent):
                attempts, faults = attempts + 1, 0
                if attempts > self._attempts:
                    raise DarbError(
                        f"{self._name}: no answer after {self._attempts} attempts: is the board loaded (darb load), is "
                        "this its port, and has it the --baud of the bitstream?"
                    )
                again = list(sent.values())
                sent.clear()
                self.repeated += len(again)
                for one in again:
                    self._send(sent, one)
                got = False

    def _refuse(self, one: _Sent, fault: int) -> None:
        """Raise :class:`DarbError`: it makes no sense to ask again."""
        words = _WORDS.get(Fault(fault)) if fault in list(Fault) else f"has answered with fault {fault}"
        if fault == Fault.NETWORK and one.kind == PacketKind.INFER:
            words = _ABSENT
        raise DarbError(f"{self._name}, request {one.number}: the board {words}")

    def _forget(self, sent: dict[int, _Sent]) -> None:
        """Wait for the replies to what is still on its way, or as long as they may take: the board has room again."""
        with contextlib.suppress(TimeoutError):
            for _ in range(len(sent)):
                self._next()
        sent.clear()
        self._busy = False

    def _next(self) -> Packet | None:
        """The next packet; nothing if it is damaged.

        Raises
        ------
        TimeoutError
            If none comes in time.
        """
        end = monotonic() + self._seconds
        while not self._came:
            left = end - monotonic()
            if left <= 0:
                raise TimeoutError
            self._line.timeout = left
            self._came += self._reader.take(bytes(self._line.read(max(1, self._line.in_waiting))))
        return self._came.pop(0)
