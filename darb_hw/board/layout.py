"""The text of a layout: other contents for its block RAMs.

Project Trellis calls the contents ``.bram_init NUMBER``: 2,048 words of 9 bits, eight a line. Project IceStorm calls
them ``.ram_data X Y``: 16 lines of 16 words of 16 bits, the last one first.
"""

import re
from collections.abc import Mapping

import numpy as np

from darb_prune.encoded import DarbError

__all__ = ["exchanged"]

_SECTIONS = {
    "ecp5": re.compile(rb"^\.bram_init (\d+)\n((?:[0-9a-f]{3}(?: [0-9a-f]{3}){7} ?\n){256})", re.MULTILINE),
    "ice40": re.compile(rb"^\.ram_data (\d+ \d+)\n((?:[0-9a-f]{64}\n){16})", re.MULTILINE),
}


def exchanged(family: str, layout: bytes, contents: Mapping[str, np.ndarray]) -> bytes:
    """A layout with other contents in some of its blocks.

    Parameters
    ----------
    family : str
    layout : bytes
    contents : mapping of str to uint8 array
        By what the layout calls a block; bits of shape (2048, 9) on ECP5, (256, 16) on iCE40.

    Raises
    ------
    DarbError
        If the layout has no such block, or one that is not whole.
    """
    left = {called.encode(): bits for called, bits in contents.items()}

    def other(section: re.Match[bytes]) -> bytes:
        bits = left.pop(section[1], None)
        if bits is None:
            return section[0]
        head, _, _ = section[0].partition(b"\n")
        return head + b"\n" + _lines(family, bits).encode()

    made = _SECTIONS[family].sub(other, layout)
    if left:
        called = next(iter(left)).decode()
        raise DarbError(f"the layout has no whole block {called}: make the bitstream again with darb board")
    return made


def _lines(family: str, bits: np.ndarray) -> str:
    words = bits.astype(np.int64) @ (1 << np.arange(bits.shape[1]))
    if family == "ecp5":
        return "".join(" ".join(f"{word:03x}" for word in line) + "\n" for line in words.reshape(-1, 8))
    return "".join("".join(f"{word:04x}" for word in line[::-1]) + "\n" for line in words.reshape(-1, 16))
