"""What a simulation is asked to do and what it reports: plain values that cross the process border as JSON."""

from dataclasses import asdict, dataclass, field

__all__ = ["Report", "Scenario"]


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
        So many times, reset the engine at a random cycle; after each, all frames are sent again.
    bad_frames : bool
        Send wrong frames in between (too short, too long, with unknown symbols, sequences that end within a step);
        they must be dropped and reported.
    seed : int
    """

    samples: tuple[int, ...]
    idle: float = 0.0
    stall: float = 0.0
    burst: int = 1
    resets: int = 0
    bad_frames: bool = False
    seed: int = 0

    def as_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, values: dict) -> "Scenario":
        return cls(**{**values, "samples": tuple(values["samples"])})


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
        Cycles from start to first output, where nothing stood before it.
    layers : list of int
        Cycles from start to the last result of each layer, as the plan says they are.
    latency, interval : int or None
        Cycles of the first frame, and from the last but one to the last, if nothing paused; all frames were compared
        with what the plan says.
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
