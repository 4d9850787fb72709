"""The parts of an encoded network as the fields of a file: arrays, and what JSON takes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from darb_prune.encoded.parts import Cell, Embedding, Layer, Level, Operand, Segment, Tensor

__all__ = ["pack_parts", "unpack_parts"]

_Entry = Tensor | Layer | Cell | Embedding

_OPTIONAL = {"order", "initial", "function", "state"}
_KINDS = {"tensor": Tensor, "layer": Layer, "cell": Cell, "embedding": Embedding}
_ARRAYS = {
    "tensor": {"order": np.int32, "initial": np.int32},
    "layer": {
        "row_level": np.uint8,
        "index": np.uint16,
        "weight": np.int8,
        "bias": np.int64,
        "mult": np.int32,
        "shift": np.uint8,
        "function": np.uint8,
    },
    "cell": {"state": np.int32},
    "embedding": {"table": np.int16},
}


def _plain(entry: _Entry, arrays: dict) -> dict:
    """Fields of a dataclass that are no arrays, as JSON takes them.

    Without groups, products, zero points and transposed layers a file is what it was before there were any.
    """
    fields = asdict(replace(entry, **dict.fromkeys(arrays)))
    if fields.get("operand") and not fields["operand"]["product"]:
        del fields["operand"]["product"]
    usual = {"groups": 1, "zero": 0, "spread": (1, 1), "origin": (0, 0), "transposed": False}
    return {name: value for name, value in fields.items() if name not in arrays and (name, value) not in usual.items()}


def _take(arrays: dict, kind: str, entry_number: int) -> dict:
    """Arrays of an entry, out of those of the file; the optional ones may be absent."""
    taken: dict[str, np.ndarray | None] = {}
    for name, dtype in _ARRAYS[kind].items():
        key = f"{kind}.{entry_number}.{name}"
        array = arrays.pop(key, None) if name in _OPTIONAL else arrays.pop(key)
        if array is not None and array.dtype != dtype:
            raise TypeError(f"{key} of type {array.dtype}")
        taken[name] = array
    return taken


def _frozen(entry: dict) -> dict:
    """The inverse of :func:`_plain`: lists become tuples, dictionaries their classes."""
    made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    if "segments" in made:
        made["segments"] = tuple(Segment(**segment) for segment in made["segments"])
        made["levels"] = tuple(Level(**level) for level in made["levels"])
    if made.get("operand") is not None:
        operand = made["operand"]
        made["operand"] = Operand(**operand | {"stride": tuple(operand["stride"])})
    return made


def pack_parts(parts: Mapping[str, Sequence[_Entry]]) -> tuple[dict, dict[str, np.ndarray]]:
    """Tensors, layers, cells and embeddings as the fields of a file.

    Parameters
    ----------
    parts : dict of str to sequence
        The entries of each kind: ``"tensor"``, ``"layer"``, ``"cell"``, ``"embedding"``.

    Returns
    -------
    What JSON takes, a list a kind, and the arrays ``kind.number.field``.
    """
    header, arrays = {}, {}
    for kind, entries in parts.items():
        header[kind] = [_plain(entry, _ARRAYS[kind]) for entry in entries]
        for entry_number, entry in enumerate(entries):
            for name, dtype in _ARRAYS[kind].items():
                if getattr(entry, name) is not None:
                    arrays[f"{kind}.{entry_number}.{name}"] = getattr(entry, name).astype(dtype)
    return header, arrays


def unpack_parts(header: dict, arrays: dict[str, np.ndarray]) -> dict[str, tuple]:
    """The inverse of :func:`pack_parts`; takes what it uses out of ``arrays``."""
    return {
        kind: tuple(of(**_frozen(entry), **_take(arrays, kind, n)) for n, entry in enumerate(header[kind]))
        for kind, of in _KINDS.items()
    }
