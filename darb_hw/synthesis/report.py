"""What synthesis measured of a design: plain values, to JSON and back, and the figures that follow from them."""

import json
import statistics
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from darb_prune.encoded import DarbError, write_atomic

__all__ = ["CriticalPath", "SynthReport", "Usage"]


@dataclass(frozen=True)
class Usage:
    """How many of a resource are used, and how many the device has."""

    used: int
    available: int

    def __str__(self) -> str:
        return f"{self.used} / {self.available}"


@dataclass(frozen=True)
class CriticalPath:
    """The slowest path from register to register.

    Parameters
    ----------
    seed : int
        The place-and-route run it is from.
    start, end : str
        Cells, as Yosys names them after the register.
    delay_ns, routing_ns : float
        Of the whole path, clock-to-output and setup included; the part of it that is wires.
    nets : tuple of str
        Wires on the way.
    """

    seed: int
    start: str
    end: str
    delay_ns: float
    routing_ns: float
    nets: tuple[str, ...]


@dataclass(frozen=True)
class SynthReport:
    """What a design needs, how fast it is, and what that means for its network.

    Parameters
    ----------
    network : str
        Name of the network.
    device : str
    lanes, weight_bits : int
        ``weight_bits`` is that of the widest layer.
    luts : Usage
        4-input LUTs after synthesis: logic, adders (two LUTs a CCU2C) and, on ECP5, LUTs used as memory (six a
        TRELLIS_DPR16X4, its write port included).
    logic_cells : Usage
        What placement occupies: iCE40 logic cells (LUT, carry and flip-flop together, one of them is enough to
        take the cell), ECP5 TRELLIS_COMB (LUTs, carries and those that only feed a carry chain).
    ffs : Usage
        Flip-flops after synthesis.
    block_rams : Usage
        iCE40: 4 kbit blocks (SB_RAM40_4K); ECP5: 18 kbit blocks (DP16KD).
    dsps : Usage
        iCE40: SB_MAC16; ECP5: MULT18X18D.
    fmax_mhz : dict of int to float
        Highest clock of the domain ``clk``, MHz, for each seed.
    target_mhz : float
        What place and route aimed for.
    latency_cycles, interval_cycles : int
        Of one inference, and from one to the next (see :class:`darb_hw.plan.plan.Plan`).
    weights, kept : int
        Weights of the dense layers; kept by pruning.
    macs, dense_macs : int
        Multiply-accumulates of one inference with the kept weights, with all weights: each counts at every output
        position of its layer.
    stored_bits_per_weight, index_overhead, utilisation : float
        See :class:`darb_hw.plan.plan.Plan`.
    critical_path : CriticalPath
        Of the seed whose Fmax is the median (the lower of the two in the middle).
    tools : dict of str to str
        Version of each tool.
    digest : str
        Identity of the design (:attr:`darb_hw.emit.Build.digest`).
    """

    network: str
    device: str
    lanes: int
    weight_bits: int
    luts: Usage
    logic_cells: Usage
    ffs: Usage
    block_rams: Usage
    dsps: Usage
    fmax_mhz: dict[int, float]
    target_mhz: float
    latency_cycles: int
    interval_cycles: int
    weights: int
    kept: int
    macs: int
    dense_macs: int
    stored_bits_per_weight: float
    index_overhead: float
    utilisation: float
    critical_path: CriticalPath
    tools: dict[str, str]
    digest: str

    @property
    def fmax_median(self) -> float:
        """MHz."""
        return statistics.median(self.fmax_mhz.values())

    @property
    def fmax_min(self) -> float:
        return min(self.fmax_mhz.values())

    @property
    def fmax_max(self) -> float:
        return max(self.fmax_mhz.values())

    @property
    def inferences_per_second(self) -> float:
        """At the median Fmax, back to back."""
        return self.fmax_median * 1e6 / self.interval_cycles

    @property
    def latency_us(self) -> float:
        """First input element to last output element at the median Fmax, microseconds."""
        return self.latency_cycles / self.fmax_median

    @property
    def actual_gops(self) -> float:
        """2 x multiply-accumulates with kept weights / time, in 10**9 operations per second."""
        return 2 * self.macs * self.inferences_per_second / 1e9

    @property
    def dense_equivalent_gops(self) -> float:
        """2 x multiply-accumulates with all weights / time, in 10**9 operations per second.

        Quote it beside :attr:`actual_gops`.
        """
        return 2 * self.dense_macs * self.inferences_per_second / 1e9

    @property
    def pruning_ratio(self) -> float:
        return self.weights / max(self.kept, 1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the fields, and under ``"derived"`` what follows from them."""
        derived = (
            "fmax_median", "fmax_min", "fmax_max", "inferences_per_second", "latency_us", "actual_gops",
            "dense_equivalent_gops", "pruning_ratio",
        )  # fmt: skip
        return asdict(self) | {"derived": {name: getattr(self, name) for name in derived}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SynthReport":
        """The inverse of :meth:`as_dict`, also after a trip through JSON."""
        values = {field.name: values[field.name] for field in fields(cls)}
        for name in ("luts", "logic_cells", "ffs", "block_rams", "dsps"):
            values[name] = Usage(**values[name])
        path = values["critical_path"]
        values["critical_path"] = CriticalPath(**path | {"nets": tuple(path["nets"])})
        values["fmax_mhz"] = {int(seed): mhz for seed, mhz in values["fmax_mhz"].items()}
        return cls(**values)

    def packed(self) -> bytes:
        """The text of ``report.json``."""
        return (json.dumps(self.as_dict(), indent=2) + "\n").encode()

    def save(self, path: str | Path) -> None:
        write_atomic(Path(path), self.packed())

    @classmethod
    def load(cls, path: str | Path) -> "SynthReport":
        """Read ``report.json``.

        Raises
        ------
        DarbError
            If the file is not such a report.
        """
        return cls.from_json(Path(path).read_bytes(), str(path))

    @classmethod
    def from_json(cls, data: bytes, name: str) -> "SynthReport":
        """The inverse of :meth:`packed`.

        Parameters
        ----------
        data : bytes
        name : str
            Where they are from, for the message.

        Raises
        ------
        DarbError
            If that is no report.
        """
        try:
            return cls.from_dict(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DarbError(f"{name}: damaged report; make it again with darb synth") from None
