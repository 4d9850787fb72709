"""ROMs in single-port RAMs: which slices, which bits of indices are together, what is refused."""

import numpy as np
import pytest

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan.blocks import block_rams_of
from darb_hw.plan.image import Field, Image, pack
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import by_memory, estimated_block_rams, fitting_plan
from darb_hw.plan.spram_roms import merged_ends, slices_of
from tests.networks import random_network

UP5K = DEVICES["ice40-up5k"]


def images(**sizes: tuple[int, int]) -> dict[str, Image]:
    """Images of so many bits and words."""
    return {
        name: pack(name, {Field("a", min(width, 31)): np.zeros(depth, int)}, copies=-(-width // 31))
        for name, (width, depth) in sizes.items()
    }


@pytest.mark.parametrize(
    ("sizes", "slices"),
    [
        ({"weights": (31, 8000)}, {"weights": 2}),
        ({"weights": (62, 4000), "index_0": (16, 4000)}, {"weights": 3, "index_0": 1}),
        # Two behind each other for each slice.
        ({"weights": (31, 20_000)}, {"weights": 2}),
        ({"weights": (31, 40_000)}, {"weights": 1}),
        ({"weights": (16, 70_000)}, {}),
        # What is read by more than one part, or before there is a network, stays where it is.
        ({"weights": (16, 8000), "functions": (16, 9000), "program": (31, 9000)}, {"weights": 1}),
        ({"weights": (8, 3000), "index_0": (4, 3000), "rows": (31, 2000)}, {"weights": 1, "index_0": 1, "rows": 2}),
        ({"weights": (2, 20)}, {}),
    ],
)
def test_slices_that_save_most_block_rams(sizes, slices):
    made = images(**sizes)
    assert slices_of(made, UP5K) == slices
    rams = sum(count * -(-made[name].depth // 16384) for name, count in slices.items())
    assert rams <= 4


def test_no_choice_saves_more():
    """Against all choices, of sizes by chance."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        made = images(**{
            name: (int(rng.integers(1, 31)), int(rng.integers(40, 20_000))) for name in ("weights", "index_0", "rows")
        })  # fmt: skip

        def saved(counts, made=made) -> int:
            return sum(
                block_rams_of(UP5K, image.width, image.depth, False)
                - block_rams_of(UP5K, max(0, image.width - 16 * count), image.depth, False)
                for image, count in zip(made.values(), counts, strict=True)
            )

        rows = [-(-image.depth // 16384) for image in made.values()]
        choices = [
            counts for counts in np.ndindex(3, 3, 3)
            if sum(count * row for count, row in zip(counts, rows, strict=True)) <= 4
        ]  # fmt: skip
        best = slices_of(made, UP5K)
        assert saved([best.get(name, 0) for name in made]) == max(map(saved, choices))


@pytest.mark.parametrize(
    ("ends", "lanes", "merged"),
    [([], 4, []), ([2, 3, 4, 5, 7], 4, [4, 5, 7]), ([2, 3, 4, 5, 7], 2, [7]), ([2, 3], 8, [2, 3]), ([9, 12], 2, [12])],
)
def test_the_first_rom_of_indices_fills_its_slices(ends, lanes, merged):
    assert merged_ends(ends, lanes) == merged


def test_an_engine_whose_network_does_not_fit_block_rams():
    network = random_network(5, sizes=(60, 400, 40)).network
    with pytest.raises(
        PlanError, match=r"does not fit ice40-up5k: .* choose darb verilog --roms spram, prune more, quantise"
    ):
        fitting_plan(network, EngineConfig(4, "ice40-up5k"))
    plan = fitting_plan(network, EngineConfig(4, "ice40-up5k", roms="spram"))
    assert estimated_block_rams(plan) <= 30
    assert plan.sprams == 4
    assert by_memory(plan)["ROM weights"] == 0
    assert plan.in_spram("weights") == plan.images["weights"].width
    assert plan.index_widths[0] * 4 in range(13, 17)


def test_networks_that_gain_nothing_or_are_too_deep():
    with pytest.raises(PlanError, match="saves no block RAM of such a small network: choose roms = 'blocks'"):
        Plan.make(random_network(5, sizes=(3, 2)).network, EngineConfig(1, "ice40-up5k", roms="spram"))
