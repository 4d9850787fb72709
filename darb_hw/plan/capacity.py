"""Room for other networks: the numbers that an engine is made with, whatever its first network needs of them.

Two networks of one architecture give the same Verilog if their plans have the same widths, depths and tables. A
capacity says what these are. A plan that is made within a capacity takes its numbers from there, or is refused with the
name of what has no room.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from darb_hw.errors import PlanError
from darb_hw.plan.image import Field, Image, pack, signed_bits, unsigned_bits
from darb_hw.plan.memory_map import MemoryMap
from darb_hw.plan.widths import ValueWidths
from darb_prune.encoded import DarbError, EncodedNetwork

__all__ = ["Capacity", "RomRoom"]

_MOST, _BITS_MOST, _ROM_BITS_MOST = 1 << 20, 62, 1 << 24
"""Greatest number, bits of a signal, and bits of a ROM: a file may be forged, and what it asks for is allocated."""
_REMEDIES = {
    "weights": "prune more, or make the build again",
    "index": "prune at a ratio nearer to that of the build, or make the build again",
}
"""What makes a ROM smaller, by how its name begins."""
_OTHER = "make the build again"


def _refused(what: str, remedy: str = _OTHER) -> PlanError:
    return PlanError(f"{what}: {remedy} with a greater --capacity")


@dataclass(frozen=True)
class RomRoom:
    """What a ROM has room for.

    Parameters
    ----------
    depth : int
        Words.
    fields : tuple of Field
        Of a word, in order.
    """

    depth: int
    fields: tuple[Field, ...]


@dataclass(frozen=True, eq=False)
class Capacity:
    """What an engine has room for.

    Parameters
    ----------
    values : ValueWidths
    clamps, inner_clamps : tuple of (int, int)
        Ranges of results, as in :class:`~darb_hw.plan.plan.Plan`.
    index_ends : tuple of int
        Bits of an index up to the end of each ROM of indices, rising.
    shift_base : int
        Least shift of a row.
    folds, held : int
        See :class:`~darb_hw.plan.latency.Latency`.
    output_banks : int
        Outputs that there is room for.
    queue : int
        Bursts of results that there is room for; 0 without maps in single-port RAMs.
    rooms : mapping of str to int
        Addresses of each tensor in the activation memory.
    roms : mapping of str to RomRoom, optional
        Every ROM that there is; if absent, they are as large as the network needs.
    """

    values: ValueWidths
    clamps: tuple[tuple[int, int], ...]
    inner_clamps: tuple[tuple[int, int], ...]
    index_ends: tuple[int, ...]
    shift_base: int
    folds: int
    held: int
    output_banks: int
    queue: int
    rooms: Mapping[str, int]
    roms: Mapping[str, RomRoom] | None

    def check_memory(self, memory: MemoryMap) -> None:
        """Raise :class:`PlanError` unless each tensor has the room that the capacity gives it."""
        for name, region in memory.regions.items():
            room = self.rooms.get(name)
            if room is None:
                raise _refused(f"{name}: a tensor that the build has not in its memory")
            if region.size > room:
                raise _refused(f"{name}: {region.size:,} elements, the build has room for {room:,}")

    def values_for(self, network: EncodedNetwork, needed: ValueWidths) -> ValueWidths:
        """The widths of values, which are at least those that a network needs.

        Raises
        ------
        PlanError
            If they are not, or a shift is out of range.
        """
        for field, bits, room in zip(fields(ValueWidths), astuple(needed), astuple(self.values), strict=True):
            if field.name != "shift" and bits > room:
                raise _refused(f"{field.name}: {bits} bits, the build has room for {room}")
        shifts = [int(shift) for layer in network.layers for shift in (layer.shift.min(), layer.shift.max())]
        most = self.shift_base + (1 << self.values.shift) - 1
        if min(shifts) < self.shift_base or max(shifts) > most:
            raise _refused(f"shift: {min(shifts)} to {max(shifts)}, the build has room for {self.shift_base} to {most}")
        return self.values

    def ranges_for(
        self, needed: Sequence[tuple[int, int]], inner: Sequence[tuple[int, int]]
    ) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
        """The ranges of results, and those in front of products, which include those that a network needs.

        Raises
        ------
        PlanError
            If they do not.
        """
        for there, ranges in ((self.clamps, needed), (self.inner_clamps, inner)):
            missing = sorted(set(ranges) - set(there))
            if missing:
                low, high = missing[0]
                known = ", ".join(f"{least} to {most}" for least, most in there) or "none"
                raise PlanError(
                    f"results from {low} to {high}: the build has the ranges {known}: quantise as before, with "
                    "the same bits, or make a build of its own for this network"
                )
        return self.clamps, self.inner_clamps

    def index_ends_for(self, needed: Sequence[int]) -> list[int]:
        """Where the ROMs of indices end, which reach the widest index of a network.

        Raises
        ------
        PlanError
            If they do not.
        """
        bits, most = max(needed, default=0), max(self.index_ends, default=0)
        if bits > most:
            raise _refused(f"index: {bits} bits, the build has room for {most}", "prune less, or make the build again")
        return list(self.index_ends)

    def queue_for(self, needed: int) -> int:
        """Bursts of results that there is room for, which are at least those that wait at a time.

        Raises
        ------
        PlanError
            If they are not.
        """
        if needed > self.queue:
            raise _refused(f"results that wait: {needed}, the build has room for {self.queue}")
        return self.queue

    def fitted(self, image: Image) -> Image:
        """The contents of a ROM in words, and in as many of them, as there is room for; words behind are 0.

        Raises
        ------
        PlanError
            If there is no such ROM, or it has no room for them.
        """
        if self.roms is None:
            return image
        name, room = image.name, self.roms.get(image.name)
        if room is None:
            raise PlanError(f"ROM {name}: the build has none: make the build again from a network that needs it")
        if image.depth > room.depth:
            remedy = next((told for start, told in _REMEDIES.items() if name.startswith(start)), _OTHER)
            raise _refused(f"{name}: {image.depth:,} words, the build has room for {room.depth:,}", remedy)
        if room.depth * image.copies * sum(field.width for field in room.fields) > _ROM_BITS_MOST:
            raise PlanError(f"ROM {name}: more than {_ROM_BITS_MOST:,} bits, which no device has: make the build again")
        known = {field.name for field in room.fields}
        columns: dict[Field, np.ndarray] = {}
        for field in (*room.fields, *(field for field in image.fields if field.name not in known)):
            values = np.stack([image.field(field.name, copy) for copy in range(image.copies)], axis=1)
            low, high = int(values.min(initial=0)), int(values.max(initial=0))
            bits = signed_bits(low, high) if field.signed else unsigned_bits(high)
            width = field.width if field.name in known else 0
            if bits > width and values.any():
                raise _refused(
                    f"{name}: {field.name} takes {bits} bit{'s' * (bits > 1)}, the build has room for {width}"
                )
            if width:
                columns[field] = np.pad(values, ((0, room.depth - image.depth), (0, 0)))
        return pack(name, columns, image.copies)

    def fitted_each(self, images: Mapping[str, Image]) -> dict[str, Image]:
        """The same for some ROMs."""
        return {name: self.fitted(image) for name, image in images.items()}

    def fitted_all(self, images: Mapping[str, Image]) -> dict[str, Image]:
        """The same for all ROMs of an engine."""
        for name in self.roms or ():
            if name not in images:
                raise PlanError(f"ROM {name}: the network has none: make a build of its own for it")
        return self.fitted_each(images)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        return {
            **{name: getattr(self, name) for name in _NUMBERS},
            **{name: [list(pair) for pair in getattr(self, name)] for name in _RANGES},
            "index_ends": list(self.index_ends),
            "values": asdict(self.values),
            "rooms": dict(self.rooms),
            "roms": {
                name: {"depth": room.depth, "fields": [[f.name, f.width, int(f.signed)] for f in room.fields]}
                for name, room in (self.roms or {}).items()
            },
        }

    @classmethod
    def from_dict(cls, values: Any) -> "Capacity":
        """From what :meth:`as_dict` gave.

        Raises
        ------
        DarbError
            If it is something else.
        """
        try:
            if values.keys() != {field.name for field in fields(cls)}:
                raise ValueError
            least, folds, held, banks, queue = (_number(values[name], most) for name, most in _NUMBERS.items())
            clamps, inner = (tuple(_pair(pair) for pair in values[name]) for name in _RANGES)
            rooms = {str(name): _number(room) for name, room in values["rooms"].items()}
            roms = {str(name): _rom_room(room) for name, room in values["roms"].items()}
            widths = ValueWidths(**{name: _bits(bits) for name, bits in values["values"].items()})
            ends = tuple(map(_bits, values["index_ends"]))
            if list(ends) != sorted({*ends} - {0}):
                raise ValueError
            return cls(
                widths, clamps, inner, ends, least, folds, held, banks, queue, MappingProxyType(rooms),
                MappingProxyType(roms),
            )  # fmt: skip
        except (AttributeError, KeyError, TypeError, ValueError):
            raise DarbError("its capacity is damaged") from None


_NUMBERS = {"shift_base": 63, "folds": 7, "held": 8, "output_banks": 8, "queue": 1024}
"""Numbers, and what they are at most in any engine."""
_RANGES = ("clamps", "inner_clamps")


def _number(value: Any, most: int = _MOST) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError
    return value


def _bits(value: Any) -> int:
    return _number(value, _BITS_MOST)


def _signed(value: Any) -> int:
    _number(abs(value))
    return value


def _pair(values: Any) -> tuple[int, int]:
    low, high = values
    return _signed(low), _signed(high)


def _rom_room(values: Any) -> RomRoom:
    fields_of = (Field(str(name), _bits(bits), bool(signed)) for name, bits, signed in values["fields"])
    return RomRoom(_number(values["depth"]), tuple(fields_of))
