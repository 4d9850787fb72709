"""Numbers of the host link, for both of its ends. What they mean stands in ``docs/link.md``."""

from enum import IntEnum

__all__ = [
    "END",
    "ESC",
    "ESC_END",
    "ESC_ESC",
    "ESC_NOTHING",
    "HEAD",
    "IDENTITY_BYTES",
    "LENGTHS",
    "OFFSET_BYTES",
    "PENDING",
    "REPLY",
    "TAIL",
    "VERSION",
    "Fault",
    "PacketKind",
]

VERSION = 2
END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD
"""Framing of RFC 1055 (SLIP)."""
ESC_NOTHING = 0xDE
"""Behind ``ESC`` nothing at all: what a line sends within a packet while it has to send something."""
HEAD, TAIL = 2, 6
"""Bytes of a packet before and behind its payload."""
LENGTHS = 1 << 16
"""The length of a payload is told modulo this."""
PENDING = 4
"""Requests that may wait for their replies."""
OFFSET_BYTES = 4
"""Of the place of the bytes of a network, in front of them; as many tell how many the board has."""
IDENTITY_BYTES = 8
"""Of a digest, in front of the bytes of a network."""
REPLY = 0x80
"""Of a request, in the kind of its reply."""


class PacketKind(IntEnum):
    """The first byte of a packet."""

    INFO = 0x01
    INFER = 0x02
    LOAD = 0x03
    INFORMED = 0x81
    INFERRED = 0x82
    LOADED = 0x83
    FAULT = 0xFF


class Fault(IntEnum):
    """Why a request was not done. The payload of a reply of the kind ``FAULT``."""

    LINE = 1
    """A byte was damaged on the line: no stop bit, or an escape that means nothing."""
    SHORT = 2
    """Less than the shortest packet."""
    CRC = 3
    LENGTH = 4
    """The payload has not the length that the packet tells."""
    KIND = 5
    """No such request."""
    SIZE = 6
    """The payload is no whole input."""
    VALUE = 7
    """An element is outside of the range of its type, or no symbol of the embedding."""
    ROOM = 8
    """There is no room for this request: too long, or too many wait for their replies."""
    NETWORK = 9
    """The network whose last byte came with this request is damaged, or not for this engine; or there is no network to
    infer with."""
