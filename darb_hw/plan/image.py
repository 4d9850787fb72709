"""ROM contents: named fields packed into words, as bits, as integers and as ``$readmemh`` text."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from darb_prune.encoded import DarbError

__all__ = ["Field", "Image", "hex_lines", "pack", "signed_bits", "unsigned_bits"]


def unsigned_bits(greatest: int) -> int:
    """Bits that hold 0 .. ``greatest``. The value 0 alone takes 0 bits."""
    return int(greatest).bit_length()


def signed_bits(low: int, high: int) -> int:
    """Bits that hold ``low`` .. ``high`` in two's complement, at least 1."""
    return 1 + max(int(high).bit_length() if high >= 0 else 0, (-1 - int(low)).bit_length() if low < 0 else 0)


@dataclass(frozen=True)
class Field:
    """One field of a ROM word: its name, its bits, and whether its values are in two's complement."""

    name: str
    width: int
    signed: bool = False


@dataclass(frozen=True, eq=False)
class Image:
    """Contents of a ROM.

    Parameters
    ----------
    name : str
    fields : tuple of Field
        The fields of a word. The first one starts at bit 0.
    copies : int
        A word holds all fields this many times. The ROM of weights has one copy a lane.
    words : numpy.ndarray of uint8, shape (depth, bytes)
        One row a word, least significant byte first. Read-only.
    """

    name: str
    fields: tuple[Field, ...]
    copies: int
    words: np.ndarray

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.copies * sum(field.width for field in self.fields)

    @property
    def depth(self) -> int:
        """Number of words."""
        return len(self.words)

    @property
    def bits(self) -> int:
        """Bits of all words."""
        return self.width * self.depth

    def integers(self) -> list[int]:
        """Each word as an unsigned integer."""
        return [int.from_bytes(word.tobytes(), "little") for word in self.words]

    def field_width(self, name: str) -> int:
        """Bits of a field. A field that the word does not have takes 0 bits."""
        return sum(field.width for field in self.fields if field.name == name)

    def field(self, name: str, copy: int = 0) -> np.ndarray:
        """Values of a field in a copy.

        Returns
        -------
        numpy.ndarray of int64, shape (depth,)
            Zeros if the word does not have the field: :func:`pack` leaves out fields of width 0.
        """
        low = copy * (self.width // self.copies)  # the field's first bit in the word
        for field in self.fields:
            if field.name == name:
                bits = np.unpackbits(self.words, axis=1, bitorder="little")[:, low : low + field.width]
                weights = 1 << np.arange(field.width, dtype=np.int64)
                if field.signed:
                    weights[-1] *= -1  # the top bit of two's complement
                return bits.astype(np.int64) @ weights
            low += field.width
        return np.zeros(self.depth, np.int64)

    def doubled(self) -> "Image":
        """With room for as many words more: the words at even addresses, zeros at odd ones."""
        words = np.zeros((2 * self.depth, self.words.shape[1]), np.uint8)
        words[::2] = self.words
        words.flags.writeable = False
        return Image(self.name, self.fields, self.copies, words)

    def hex(self) -> str:
        """One word a line, as ``$readmemh`` reads it."""
        return hex_lines(self.words[:, ::-1], -(-self.width // 4))


def hex_lines(words: np.ndarray, digits: int) -> str:
    """One word a line, as ``$readmemh`` reads it.

    Parameters
    ----------
    words : numpy.ndarray of uint8, shape (depth, bytes)
        One row a word, most significant byte first.
    digits : int
        Hexadecimal digits of a word; those above are left out.
    """
    text = np.frombuffer(words.tobytes().hex().encode(), np.uint8).reshape(len(words), 2 * words.shape[1])
    return np.pad(text[:, -digits:], ((0, 0), (0, 1)), constant_values=ord("\n")).tobytes().decode()


def pack(name: str, fields: Mapping[Field, np.ndarray], copies: int = 1) -> Image:
    """Pack integer arrays into ROM words.

    Parameters
    ----------
    name : str
        Name of the image.
    fields : mapping of Field to numpy.ndarray of integers, shape (depth,) or (depth, copies)
        Values of each field. A field of width 0 may hold zeros only; the words do not have it.
    copies : int
        How many times a word holds the fields.

    Raises
    ------
    DarbError
        If a value does not fit its field: a wrong width would otherwise wrap silently.
    """
    columns = []
    for field, numbers in fields.items():
        values = np.asarray(numbers, np.int64).reshape(-1, copies)
        count = 1 << field.width
        low, high = (-(count >> 1), (count >> 1) - 1) if field.signed else (0, count - 1)
        if values.size and (values.min() < low or values.max() > high):
            raise DarbError(f"ROM {name}: {field.name} {values.min()}..{values.max()} does not fit {field.width} bits")
        columns.append(((values[:, :, None] >> np.arange(field.width)) & 1).astype(np.uint8))
    bits = np.concatenate(columns, axis=2)
    words = np.packbits(bits.reshape(len(bits), bits.shape[1] * bits.shape[2]), axis=1, bitorder="little")
    words.flags.writeable = False
    return Image(name, tuple(field for field in fields if field.width), copies, words)
