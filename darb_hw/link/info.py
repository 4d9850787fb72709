"""What a board says of itself: the payload of a reply, for both ends of the link."""

import struct
from dataclasses import astuple, dataclass

__all__ = ["BoardInfo"]

_LAYOUT = struct.Struct("<BBII8s")


@dataclass(frozen=True)
class BoardInfo:
    """What a board says of itself: *what are you* of ``docs/link.md``.

    Parameters
    ----------
    version : int
        Of the link.
    pending : int
        Requests that may wait for their replies.
    clock_hz : int
        Of the engine.
    buffer : int
        Elements of inputs that can wait for the engine.
    digest : str
        Of the engine: the first 16 hexadecimal digits.
    """

    version: int
    pending: int
    clock_hz: int
    buffer: int
    digest: str

    @classmethod
    def of(cls, payload: bytes) -> "BoardInfo":
        """Read the payload of a reply.

        Raises
        ------
        ValueError
            If it has not the right size.
        """
        if len(payload) != _LAYOUT.size:
            raise ValueError(f"{len(payload)} bytes of information, {_LAYOUT.size} expected")
        version, pending, clock_hz, buffer, digest = _LAYOUT.unpack(payload)
        return cls(version, pending, clock_hz, buffer, digest.hex())

    def packed(self) -> bytes:
        """The payload of a reply."""
        *numbers, digest = astuple(self)
        return _LAYOUT.pack(*numbers, bytes.fromhex(digest))
