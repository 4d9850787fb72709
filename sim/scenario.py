"""What a simulation is asked to do and what it reports: plain values that cross the process border as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Frame", "Report", "Scenario"]


@dataclass
class Frame:
    """Elements to send.

    Parameters
    ----------
    values : list of int
    sample : int
        The test vector that they are, or -1 for a frame that is wrong.
    rows : list of int
        Rows of the vectors that the engine computes, one a time step: all of the sample, or the whole time steps in
        front of what is wrong.
    subset : int
        The tasks that it asks for, if the network has any; 0 is all.
    """

    values: list[int]
    sample: int
    rows: list[int]
    subset: int = 0


@dataclass(frozen=True)
class Scenario:
    """One run from a reset on.

    Parameters
    ----------
    samples : tuple of int
        Test vectors to send, in this order, one frame each; of a recurrent network a vector is a sequence.
    idle, stall : float
        Probability that a cycle passes without an element offered, without an element taken.
    burst : int
        Mean length of such pauses, cycles.
    resets : int
        How many times the engine is reset, at a random cycle each; after a reset all frames are sent again.
    bad_frames : bool
        Send wrong frames in between: too short, too long, with unknown symbols, sequences that end within a time step.
        The engine must drop and report them.
    seed : int
    subsets : tuple of int
        Tasks that the frame of each sample asks for; of a network of several tasks they are drawn if absent.
    """

    samples: tuple[int, ...]
    idle: float = 0.0
    stall: float = 0.0
    burst: int = 1
    resets: int = 0
    bad_frames: bool = False
    seed: int = 0
    subsets: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Scenario":
        """From what :meth:`as_dict` gave."""
        return cls(**{**values, "samples": tuple(values["samples"]), "subsets": tuple(values["subsets"])})


@dataclass
class Report:
    """What a scenario showed.

    Parameters
    ----------
    frames : int
        Inferences whose every output matched.
    rows : int
        Rows whose requantised value matched inside the engine.
    cycles : int
        Cycles simulated.
    compute : list of int
        Distinct numbers of cycles from start to first output, where no output before it was in the way.
    layers : list of int
        Cycles from start to the last result of each layer.
    latency, interval : int or None
        Cycles of the first frame, and from the end of the last but one to the end of the last. ``None`` if there were
        pauses or wrong frames, or too few frames.
    resets, bad_frames : int
        How many there were.
    mismatch : str or None
        The first thing that was wrong.
    """

    frames: int = 0
    rows: int = 0
    cycles: int = 0
    compute: list[int] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    latency: int | None = None
    interval: int | None = None
    resets: int = 0
    bad_frames: int = 0
    mismatch: str | None = None
