"""Packets of the host link, as ``docs/link.md`` says it: a second implementation, for tests of the first one."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["ReferencePacket", "Unpacker", "pack"]

_MARK = 192
_ESCAPES = {192: b"\xdb\xdc", 219: b"\xdb\xdd"}


@dataclass(frozen=True)
class ReferencePacket:
    """What a packet carries.

    Parameters
    ----------
    kind, sequence : int
    payload : bytes
    """

    kind: int
    sequence: int
    payload: bytes = b""

    @property
    def body(self) -> bytes:
        """All bytes that the check sum is over, and itself."""
        told = bytes([self.kind, self.sequence]) + self.payload + (len(self.payload) % 65536).to_bytes(2, "little")
        return told + zlib.crc32(told).to_bytes(4, "little")


def pack(body: bytes) -> bytes:
    """A body with marks around it, as it goes over the line."""
    return bytes([_MARK]) + b"".join(_ESCAPES.get(byte, bytes([byte])) for byte in body) + bytes([_MARK])


class Unpacker:
    """Takes bytes of a line, and gives the packets that end with them; each must be whole."""

    def __init__(self) -> None:
        self._stuffed = b""

    def take(self, received: bytes) -> Iterator[ReferencePacket]:
        """Packets that end within ``received``.

        Raises
        ------
        AssertionError
            If there is anything else between two marks.
        """
        self._stuffed += received
        *ended, self._stuffed = self._stuffed.split(bytes([_MARK]))
        for stuffed in filter(None, ended):
            stuffed = stuffed.replace(b"\xdb\xde", b"")
            assert stuffed.count(219) == stuffed.count(b"\xdb\xdc") + stuffed.count(b"\xdb\xdd"), (
                f"bad escape: {stuffed.hex()}"
            )
            body = stuffed.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
            packet = ReferencePacket(body[0], body[1], body[2:-6])
            assert body == packet.body, f"no packet: {body.hex()}"
            yield packet
