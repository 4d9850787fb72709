"""What a board says of itself, byte for byte as docs/link.md has it."""

import pytest

from darb_hw.link.info import BoardInfo

INFO = BoardInfo(1, 4, 39_750_000, 128, "0123456789abcdef", "fedcba9876543210")
BYTES = (
    bytes([1, 4])
    + (39_750_000).to_bytes(4, "little")
    + (128).to_bytes(4, "little")
    + bytes.fromhex(INFO.digest + INFO.engine)
)


def test_there_and_back():
    assert INFO.packed() == BYTES
    assert BoardInfo.of(BYTES) == INFO


@pytest.mark.parametrize("payload", [b"", BYTES[:-1], BYTES + b"\x00"])
def test_another_size_is_refused(payload):
    with pytest.raises(ValueError, match=f"{len(payload)} bytes of information, 26 expected"):
        BoardInfo.of(payload)
