# amaranth: UnusedElaboratable=no
import numpy as np
import pytest

from darb_hw.device.multiplier import Multiplier
from darb_hw.plan.styles import MultiplierStyle, limbs_of
from tests.hw.amaranth_sim import simulate

WIDTHS = [(8, 8), (9, 2), (16, 3), (5, 7), (17, 24), (24, 17), (40, 17), (16, 40)]


@pytest.mark.parametrize("dsp", [False, True])
@pytest.mark.parametrize(("a_width", "b_width"), WIDTHS)
def test_product_after_latency(a_width, b_width, dsp):
    style = limbs_of(b_width, dsp, 18)
    multiplier = Multiplier(a_width, b_width, style)
    rng = np.random.default_rng(a_width * 64 + b_width)
    ends = [(a, b) for a in (-(1 << a_width - 1), -1, 0, (1 << a_width - 1) - 1)
            for b in (-(1 << b_width - 1), -1, 0, (1 << b_width - 1) - 1)]  # fmt: skip
    pairs = ends + [
        (
            int(rng.integers(-(1 << a_width - 1), 1 << a_width - 1)),
            int(rng.integers(-(1 << b_width - 1), 1 << b_width - 1)),
        )
        for _ in range(60)
    ]

    async def bench(ctx):
        got = []
        for a, b in pairs + [(0, 0)] * multiplier.latency:
            ctx.set(multiplier.a, a)
            ctx.set(multiplier.b, b)
            await ctx.tick()
            got.append(ctx.get(multiplier.o))
        # The product of operands set before edge n is there after edge n + latency - 1.
        assert got[multiplier.latency - 1 :][: len(pairs)] == [Multiplier.model(a, b) for a, b in pairs]

    simulate(multiplier, bench)


def test_limbs_must_cover_the_operand():
    with pytest.raises(ValueError, match="3 limbs of 2 bits do not make an operand of 8 bits"):
        Multiplier(8, 8, MultiplierStyle(False, 2, 3))
    with pytest.raises(ValueError, match="do not make an operand"):
        Multiplier(8, 8, MultiplierStyle(False, 2, 5))


@pytest.mark.parametrize(("width", "limbs", "latency"), [(2, 1, 2), (8, 4, 4), (17, 9, 6), (18, 9, 6)])
def test_lut_style_halves_its_limbs(width, limbs, latency):
    style = limbs_of(width, False, 18)
    assert (style.limbs, style.latency) == (limbs, latency)


def test_wide_operands_take_several_blocks():
    assert limbs_of(18, True, 18).limbs == 1
    assert limbs_of(19, True, 18).limbs == 2
    assert limbs_of(35, True, 18).limbs == 3
