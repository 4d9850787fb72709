"""What a board says of itself: the payload of a reply, for both ends of the link."""

import struct
from dataclasses import astuple, dataclass

__all__ = ["DIGEST", "BoardInfo"]

_LAYOUT = struct.Struct("<BBII8s8s")
DIGEST = slice(10, 18)
"""The bytes of the payload that another network changes."""


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
        Of engine and network: the first 16 hexadecimal digits.
    engine : str
        Of the engine alone, whatever its network is.
    """

    version: int
    pending: int
    clock_hz: int
    buffer: int
    digest: str
    engine: str

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
        version, pending, clock_hz, buffer, digest, engine = _LAYOUT.unpack(payload)
        return cls(version, pending, clock_hz, buffer, digest.hex(), engine.hex())

    def packed(self) -> bytes:
        """The payload of a reply."""
        *numbers, digest, engine = astuple(self)
        return _LAYOUT.pack(*numbers, bytes.fromhex(digest), bytes.fromhex(engine))
