"""ROM contents: named fields packed into words, as bits, as integers and as ``$readmemh`` text."""

from dataclasses import dataclass

import numpy as np

from darb_prune.encoded import DarbError

__all__ = ["Field", "Image", "pack", "signed_bits", "unsigned_bits"]


def unsigned_bits(greatest: int) -> int:
    """Bits that hold 0 .. ``greatest``; 0 bits if there is nothing but 0."""
    return int(greatest).bit_length()


def signed_bits(low: int, high: int) -> int:
    """Bits that hold ``low`` .. ``high`` in two's complement, at least 1."""
    return 1 + max(int(high).bit_length() if high >= 0 else 0, (-1 - int(low)).bit_length() if low < 0 else 0)


@dataclass(frozen=True)
class Field:
    """One field of a ROM word."""

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
        From the least significant bit up.
    copies : int
        How many times the fields stand side by side in a word (one copy a lane in the code ROM).
    words : numpy.ndarray of uint8, shape (depth, bytes)
        The words, least significant byte first.
    """

    name: str
    fields: tuple[Field, ...]
    copies: int
    words: np.ndarray

    @property
    def width(self) -> int:
        return self.copies * sum(field.width for field in self.fields)

    @property
    def depth(self) -> int:
        return len(self.words)

    @property
    def bits(self) -> int:
        return self.width * self.depth

    def integers(self) -> list[int]:
        return [int.from_bytes(word.tobytes(), "little") for word in self.words]

    def field(self, name: str) -> np.ndarray:
        """Values of a field of the first copy, int64, shape (depth,); zeros if it takes no place in the word."""
        at = 0
        for field in self.fields:
            if field.name == name:
                bits = np.unpackbits(self.words, axis=1, bitorder="little")[:, at : at + field.width].astype(np.int64)
                place = 1 << np.arange(field.width, dtype=np.int64)
                return bits @ (place * np.where((np.arange(field.width) == field.width - 1) & field.signed, -1, 1))
            at += field.width
        return np.zeros(self.depth, np.int64)

    def hex(self) -> str:
        """One word a line, as ``$readmemh`` reads it."""
        digits = -(-self.width // 4)
        text = self.words[:, ::-1].tobytes().hex()
        wide = 2 * self.words.shape[1]
        return "".join(text[start + wide - digits : start + wide] + "\n" for start in range(0, len(text), wide))


def pack(name: str, fields: dict[Field, np.ndarray], copies: int = 1) -> Image:
    """Pack integer arrays into ROM words.

    Parameters
    ----------
    fields : dict of Field to numpy.ndarray of integers, shape (depth,) or (depth, copies)
        Fields of width 0 hold nothing but 0 and take no place in the word.

    Raises
    ------
    DarbError
        If a value does not fit its field: a wrong width would otherwise wrap silently.
    """
    columns = []
    for field, values in fields.items():
        values = np.asarray(values, np.int64).reshape(-1, copies)
        count = 1 << field.width
        low, high = (-(count >> 1), (count >> 1) - 1) if field.signed else (0, count - 1)
        if values.size and (values.min() < low or values.max() > high):
            raise DarbError(f"ROM {name}: {field.name} {values.min()}..{values.max()} does not fit {field.width} bits")
        columns.append(((values[:, :, None] >> np.arange(field.width)) & 1).astype(np.uint8))
    bits = np.concatenate(columns, axis=2)
    words = np.packbits(bits.reshape(len(bits), -1), axis=1, bitorder="little")
    return Image(name, tuple(field for field in fields if field.width), copies, words)
