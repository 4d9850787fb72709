"""What is wanted of an engine: bounds that it has to keep, and what shall be best."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from darb_hw.estimate.estimate import Estimate
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import DarbError
from darb_prune.encoded.metrics import Limit, get

__all__ = ["AIMS", "Figures", "Loss", "Wanted", "missed", "misses"]

AIMS = ("accuracy", "rate", "luts")
_SLACK = 1e-12


@dataclass(frozen=True)
class Figures:
    """What an engine does and takes, estimated or measured.

    Parameters
    ----------
    rate : float
        Inferences/s, back to back.
    latency : float
        Of one inference, µs.
    luts : float
    block_rams : int
    fits : bool
    """

    rate: float
    latency: float
    luts: float
    block_rams: int
    fits: bool = True

    @classmethod
    def likely(cls, made: Estimate, rate: float = 1.0, luts: float = 1.0) -> "Figures":
        """The most likely figures of an estimate, times what estimates were found to be wrong by."""
        mhz = made.fmax_mhz.value * rate
        return cls(
            made.inferences_per_second.value * rate, made.latency_cycles / mhz, made.luts.value * luts,
            made.block_rams, made.fits != "no",
        )  # fmt: skip

    @classmethod
    def at_best(cls, made: Estimate) -> "Figures":
        """The better end of every interval."""
        return cls(
            made.inferences_per_second.high, made.latency_cycles / made.fmax_mhz.high, made.luts.low,
            made.block_rams, made.fits != "no",
        )  # fmt: skip

    @classmethod
    def measured(cls, report: SynthReport) -> "Figures":
        return cls(report.inferences_per_second, report.latency_us, report.luts.used, report.block_rams.used)


@dataclass(frozen=True)
class Loss:
    """What a network loses on validation data.

    Parameters
    ----------
    metric : str
    value, dense : float
        Of the network as integers, and of the dense model.
    """

    metric: str
    value: float
    dense: float

    @property
    def share(self) -> float:
        """What is lost, in the unit of the metric; below 0 if the network is better than the dense model."""
        return get(self.metric).lost(self.value, self.dense)

    def gained(self, share: float) -> "Loss":
        """The same, had it lost ``share`` less."""
        return Loss(self.metric, self.value + (share if get(self.metric).higher else -share), self.dense)


@dataclass(frozen=True)
class Wanted:
    """Bounds and an aim.

    Parameters
    ----------
    aim : str
        What shall be best: the accuracy, the rate, or the number of LUTs.
    min_rate : float, optional
        Inferences/s.
    max_latency : float, optional
        µs.
    max_loss : Limit, optional
        Of the metric, to the dense model, on validation data.
    max_luts, max_block_rams : int, optional

    Raises
    ------
    DarbError
        If a bound is not positive, or there is no such aim.
    """

    aim: str = "accuracy"
    min_rate: float | None = None
    max_latency: float | None = None
    max_loss: Limit | None = None
    max_luts: int | None = None
    max_block_rams: int | None = None

    def __post_init__(self) -> None:
        if self.aim not in AIMS:
            raise DarbError(f"aim {self.aim!r}: choose one of {', '.join(AIMS)}")
        for name in ("min_rate", "max_latency", "max_luts", "max_block_rams"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise DarbError(f"--{name.replace('_', '-')} {value}: give a number above 0")

    def of_engine(self, figures: Figures) -> dict[str, float]:
        """Bound -> by what share an engine misses it; 0 or less if it keeps it."""
        bounds = {
            "min-rate": self.min_rate and self.min_rate / figures.rate,
            "max-latency": self.max_latency and figures.latency / self.max_latency,
            "max-luts": self.max_luts and figures.luts / self.max_luts,
            "max-block-rams": self.max_block_rams and figures.block_rams / self.max_block_rams,
        }
        return {"device": float(not figures.fits)} | {name: over - 1 for name, over in bounds.items() if over}

    def of_network(self, loss: Loss) -> dict[str, float]:
        """The same of a network."""
        if self.max_loss is None:
            return {}
        excess = self.max_loss.excess(loss.metric, loss.value, loss.dense)
        return {"max-loss": excess / (abs(loss.dense) or 1)}

    def missed(self, figures: Figures, loss: Loss) -> dict[str, float]:
        """Bound that is missed by one or the other -> by what share."""
        return missed(self.of_engine(figures) | self.of_network(loss))

    def order(self, figures: Figures, loss: Loss) -> tuple[float, float]:
        """What to sort by, the best first: the aim; of equals the more accurate, or the smaller one."""
        if self.aim == "accuracy":
            return (loss.share, figures.luts)
        return (-figures.rate, loss.share) if self.aim == "rate" else (figures.luts, loss.share)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"max_loss": None if self.max_loss is None else str(self.max_loss)}


def missed(shares: Mapping[str, float]) -> dict[str, float]:
    """Those bounds of :meth:`Wanted.of_engine` and the like that are missed."""
    return {name: share for name, share in shares.items() if share > _SLACK}


def misses(beyond: Mapping[str, float]) -> str:
    """Bounds that are missed, in words."""
    return "misses " + ", ".join(f"--{name} by {100 * share:.2g} %" for name, share in beyond.items())
