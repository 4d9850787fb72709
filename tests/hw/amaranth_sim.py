"""Runs an Amaranth component against a test bench, with a limit on simulated time."""

from amaranth.sim import Simulator

PERIOD = 1e-8


def simulate(component, bench, cycles: int = 20_000) -> None:
    """Run ``bench`` (an async function of the simulation context) to its end, and no further.

    Fails if it has not ended after ``cycles`` clock cycles.
    """
    ended = []

    async def watched(ctx):
        await bench(ctx)
        ended.append(True)

    simulator = Simulator(component)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(watched)
    for _ in range(2 * cycles):  # edges of the clock
        if not simulator.advance():
            break
    assert ended, f"the bench did not end within {cycles} cycles"
