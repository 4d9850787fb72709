"""Where a wrong output began: the samples of a batch again, with every result inside the engine compared."""

from collections.abc import Sequence

from darb_hw.emit import Build
from sim.launch import simulate
from sim.scenario import Scenario

__all__ = ["locate"]


def locate(build: Build, samples: Sequence[int], *, seed: int = 1) -> str | None:
    """The first result or cell output that is wrong: cycle, layer, row, element, sample and step.

    Parameters
    ----------
    build : Build
    samples : sequence of int
        Test vectors up to the one whose output is wrong. The last one is simulated alone first. If nothing is wrong
        then, what came before it matters, and all are simulated.
    seed : int
        Of what registers and memories hold at power-up.

    Returns
    -------
    str, or ``None`` if everything is right now.
    """
    for chosen in dict.fromkeys([tuple(samples[-1:]), tuple(samples)]):
        (report,) = simulate(build, "verilator", [Scenario(chosen)], seed=seed)
        if report.mismatch:
            return report.mismatch
    return None
