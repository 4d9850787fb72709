"""Damage to files, and forgeries: the same contents with something in it that nobody expects."""

import copy
from random import Random
from typing import Any

import numpy as np

__all__ = ["HOSTILE", "altered", "altered_array", "damaged"]

_DEEP: Any = []
for _ in range(200):
    _DEEP = [_DEEP]
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 255, 256, 1 << 15, 1 << 24, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64,
    10**30, -(10**30), 0.0, 0.5, -1.5, 1e308, 1e-320, float("nan"), float("inf"), "", "x", "..", "/", "../../x", "[/]",
    "\x1b[31m", "\ud800", "\0", "x" * 5000, "training", "__class__", [], {}, [0], [[]], [1, 1], [1 << 31, 1], {"": 0},
    _DEEP,
)  # fmt: skip
"""Values that a file may have anywhere."""


def damaged(data: bytes, random: Random) -> bytes:
    """``data`` with bytes changed, cut out, put in or doubled."""
    made = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        start = random.randrange(len(made) + 1)
        end = min(len(made), start + random.choice((1, 1, 4, 64, len(made))))
        kind = random.randrange(4)
        if kind == 0:
            made[start:end] = random.randbytes(min(end - start, 64))
        elif kind == 1:
            del made[start:end]
        elif kind == 2:
            made[start:start] = random.randbytes(random.choice((1, 4, 100)))
        else:
            made[start:start] = made[start:end]
    return bytes(made)


def altered(value: Any, random: Random) -> Any:
    """A copy of what JSON takes, with one to three of its parts replaced, removed, doubled or exchanged."""
    made = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        holders = [holder for holder in _holders(made) if holder]
        if not holders:
            return made
        holder = random.choice(holders)
        key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
        other = random.choice(holders)
        kind = random.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            if isinstance(holder, dict):
                holder[random.choice(("x", "", "name", "bits"))] = holder[key]
            else:
                holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 2:
            holder[key] = copy.deepcopy(random.choice(list(other.values()) if isinstance(other, dict) else other))
        elif kind == 3 and isinstance(holder[key], int) and not isinstance(holder[key], bool):
            holder[key] += random.choice((-1, 1, 1 << 8, 1 << 20))
        else:
            holder[key] = copy.deepcopy(random.choice(HOSTILE))
    return made


def _holders(value: Any) -> list[Any]:
    """All lists and dictionaries in ``value``, itself included."""
    found, rest = [], [value]
    while rest:
        part = rest.pop()
        if isinstance(part, (list, dict)):
            found.append(part)
            rest += part.values() if isinstance(part, dict) else part
    return found


def altered_array(array: np.ndarray, random: Random) -> np.ndarray:
    """An array like ``array``: other values, another type, another shape."""
    kind = random.randrange(6)
    if kind == 0 and array.size:
        made = array.copy()
        limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else np.finfo(array.dtype)
        made.flat[random.randrange(array.size)] = random.choice((limits.min, limits.max, 0, 1))
        return made
    if kind == 1:
        return array.astype(random.choice((np.int8, np.uint8, np.int64, np.uint64, np.float32, np.float64, bool)))
    if kind == 2:
        return array[: random.randrange(len(array) + 1)] if array.ndim else array.reshape(1)
    if kind == 3:
        return np.concatenate([array, array]) if array.ndim else np.stack([array, array])
    return array[None] if kind == 4 else array.reshape(-1)
