"""Packets of the host link: ``docs/link.md``."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from darb_hw.link.protocol import END, ESC, ESC_END, ESC_ESC, ESC_NOTHING, HEAD, LENGTHS, TAIL

__all__ = ["Packet", "PacketReader"]

_STUFFED = {END: bytes([ESC, ESC_END]), ESC: bytes([ESC, ESC_ESC])}
_PLAIN = {ESC_END: bytes([END]), ESC_ESC: bytes([ESC]), ESC_NOTHING: b""}


@dataclass(frozen=True)
class Packet:
    """A request or a reply.

    Parameters
    ----------
    kind : int
        One of :class:`~darb_hw.link.protocol.PacketKind`.
    sequence : int
        Number of the request, 0 to 255; the reply has the same.
    payload : bytes
    """

    kind: int
    sequence: int
    payload: bytes = b""

    def on_line(self) -> bytes:
        """All bytes that are sent."""
        summed = bytes([self.kind, self.sequence]) + self.payload
        summed += (len(self.payload) % LENGTHS).to_bytes(2, "little")
        body = summed + zlib.crc32(summed).to_bytes(4, "little")
        stuffed = b"".join(_STUFFED.get(byte, bytes([byte])) for byte in body)
        return bytes([END]) + stuffed + bytes([END])

    @classmethod
    def of(cls, body: bytes) -> "Packet | None":
        """What is between two marks, escapes undone; None if that is no packet."""
        payload, length = body[HEAD:-TAIL], body[-TAIL : 2 - TAIL]
        # The check sum of bytes and their check sum is always the same.
        if len(body) < HEAD + TAIL or zlib.crc32(body) != 0x2144DF1C:
            return None
        if len(payload) % LENGTHS != int.from_bytes(length, "little"):
            return None
        return cls(body[0], body[1], payload)


class PacketReader:
    """Takes what comes from a line, piece by piece."""

    def __init__(self) -> None:
        self._body, self._escaped, self._bad = bytearray(), False, False

    def take(self, received: bytes) -> Iterator[Packet | None]:
        """The packets that end within ``received``; None for what is between marks and is none."""
        for byte in received:
            if byte == END:
                if self._body or self._bad:
                    yield None if self._bad or self._escaped else Packet.of(bytes(self._body))
                self._body, self._escaped, self._bad = bytearray(), False, False
            elif self._escaped:
                self._bad |= byte not in _PLAIN
                self._body += _PLAIN.get(byte, b"")
                self._escaped = False
            elif byte == ESC:
                self._escaped = True
            else:
                self._body.append(byte)
