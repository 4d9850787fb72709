"""Block RAMs of memories as Yosys maps them."""

from dataclasses import replace

import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.errors import PlanError
from darb_hw.estimate.memories import inferred_blocks, mapped
from darb_hw.estimate.sample import planned, sample_of_build
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import estimated_block_rams
from darb_hw.store.store import Store
from darb_hw.synthesis.synth import netlist
from tests.networks import random_network
from tests.random_engines import draw_network


@pytest.mark.parametrize(
    ("width", "depth", "written", "blocks"),
    [
        (6, 104, False, 0),  # 624 / 16 < 64
        (24, 104, False, 2),  # 2 x 64 < 156
        (31, 100, False, 2),
        (37, 100, False, 3),
        (32, 26, False, 0),
        (8, 8, True, 0),  # as cheap as a block
        (8, 9, True, 1),
        (8, 88, True, 1),
        (4, 1291, True, 2),  # two columns of 2 x 2048
        (8, 600, True, 2),  # two columns of 4 x 1024
        (10, 500, True, 2),  # two rows of 16 x 256 would have to be chosen from
    ],
)
def test_what_yosys_takes_on_ice40(width, depth, written, blocks):
    """From its logs of real designs."""
    assert inferred_blocks(width, depth, written)[0] == blocks


def plan_of(kind="chain", seed=10, **options):
    return Plan.make(random_network(seed, kind).network, EngineConfig(**options))


def test_ecp5_is_what_the_plan_says():
    plan = plan_of("lstm", lanes=4, device="ecp5-25k")
    assert planned(plan)[0] == estimated_block_rams(plan)


def test_bits_of_a_rom_that_never_change_take_no_block():
    plan = plan_of(lanes=2, device="ice40-hx8k")
    image = plan.images["program"]
    constant = replace(image, words=image.words * 0)
    made = mapped(replace(plan, images={**plan.images, "program": constant}))
    index = list(plan.images).index("program")
    assert mapped(plan)[index].width > 0 == made[index].width
    assert made[index].block_rams == 0


def test_lanes_that_share_a_memory_have_copies_on_ice40():
    """There a block has one port that reads."""
    for lanes, copies in ((4, 4), (5, 5)):
        plan = plan_of(lanes=lanes, device="ice40-hx8k", memory="shared", input="alone")
        depths = [memory.depth for memory in mapped(plan) if memory.width == plan.widths.activation]
        assert depths.count(plan.memory_depth) == copies + plan.latency.reads_back


def test_each_stream_looks_up_its_taps():
    number = next(number for number in range(200) if banked_plan(number))
    plan = banked_plan(number)
    sizes = [(memory.width, memory.depth) for memory in mapped(plan)]
    taps = plan.images["taps"]
    assert sizes.count((taps.width, taps.depth)) >= plan.config.streams > 1


def banked_plan(number):
    """A plan of lanes over positions whose codes say which tap they read; nothing if network ``number`` has none."""
    network = draw_network("verilator", number)[0].network
    if network.recurrent or network.sections or network.embedding:
        return None
    try:
        plan = Plan.make(network, EngineConfig(lanes=8, positions=4, device="ecp5-85k"))
    except PlanError:
        return None
    return plan if "columns" in plan.images else None


@pytest.mark.synthesis
@pytest.mark.parametrize(
    ("kind", "device", "options"),
    [
        ("chain", "ice40-up5k", {"memory": "shared", "input": "alone"}),
        ("chain", "ice40-hx8k", {}),
        ("gru", "ecp5-25k", {}),
    ],
)
def test_against_yosys(kind, device, options, tmp_path):
    """Block RAMs and DSP blocks, exactly."""
    network = random_network(5, **({"sizes": (40, 30, 12)} if kind == "chain" else {"kind": kind})).network
    build = generate(network, EngineConfig(lanes=3, device=device, **options), tmp_path)
    store = Store(tmp_path / "store")
    netlist(build, store)
    sample = sample_of_build(tmp_path, store)
    assert (sample.block_rams, sample.dsps) == (sample.planned_block_rams, sample.planned_dsps)
    assert sample.luts > 100
    assert sample.fmax_mhz == ()
    assert sample.digest == build.digest
