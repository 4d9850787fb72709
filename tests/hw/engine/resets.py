"""A reset while a group is on its way through a shadow row: for the tests of its two kinds."""

from collections.abc import Callable

from amaranth.hdl import ResetInserter, Signal

from tests.hw.amaranth_sim import simulate


def groups_behind_resets(drain, lanes: int, context: dict, quiet: int, taken: Callable) -> list[list]:
    """What leaves of a group behind a reset, with the reset in each of 8 cycles behind the group before.

    Nothing of that may leave in the ``quiet`` cycles behind the reset. ``taken(ctx)`` gives what is handed out.
    """
    reset, groups = Signal(), []

    async def bench(ctx):
        for wait in range(8):
            ctx.set(drain.capture, 1)
            ctx.set(drain.context, context)
            await ctx.tick()
            ctx.set(drain.capture, 0)
            for lane in range(lanes):
                ctx.set(drain.accumulators[lane], 10 + lane)
            for _ in range(wait):
                await ctx.tick()
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            for _ in range(quiet):
                assert not ctx.get(drain.valid)
                await ctx.tick()
            ctx.set(drain.capture, 1)
            await ctx.tick()
            ctx.set(drain.capture, 0)
            got = []
            for _ in range(quiet + 3):
                await ctx.tick()
                if ctx.get(drain.valid):
                    got.append(taken(ctx))
            groups.append(got)

    simulate(ResetInserter(reset)(drain), bench)
    return groups
