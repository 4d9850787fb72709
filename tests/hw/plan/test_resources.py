"""Block RAMs of an engine before synthesis, and what is refused because of them."""

from dataclasses import replace

import pytest

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.emit import generate
from darb_hw.errors import PlanError
from darb_hw.plan.blocks import block_rams_of
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import (
    _remedy,
    by_memory,
    check_fit,
    estimated_block_rams,
    estimated_dsps,
    fitting_plan,
    least_block_rams,
)
from darb_prune.encoded import DENSE, Level
from tests.legal import map_network
from tests.networks import KINDS, random_network
from tests.random_engines import draw_engine, draw_network


@pytest.mark.parametrize(
    ("device", "width", "depth", "blocks"),
    [
        ("ice40-hx8k", 16, 256, 1),
        ("ice40-hx8k", 16, 257, 2),
        ("ice40-hx8k", 8, 512, 1),
        ("ice40-hx8k", 2, 2048, 1),
        ("ice40-hx8k", 96, 208, 6),
        ("ice40-hx8k", 8, 32, 0),
        ("ecp5-25k", 36, 512, 1),
        ("ecp5-25k", 37, 512, 2),
        ("ecp5-25k", 9, 2048, 1),
        ("ecp5-25k", 8, 2049, 2),
        ("ecp5-25k", 1, 16384, 1),
        ("ecp5-25k", 4, 4097, 2),
        ("ecp5-25k", 192, 116, 6),
        ("gw2a-18", 36, 512, 1),
        ("gw2a-18", 9, 2048, 1),
        ("gw2a-18", 8, 2049, 2),
        ("gw1nr-9", 64, 275, 2),
        ("lifcl-40", 36, 512, 1),
        ("lifcl-40", 8, 2049, 2),
    ],
)
def test_block_rams_of_a_memory(device, width, depth, blocks):
    assert block_rams_of(DEVICES[device], width, depth) == blocks


@pytest.mark.parametrize("kind", ["chain", *KINDS])
def test_block_rams_of_the_whole_engine(kind):
    """Every memory that the engine has: what it holds, in the shapes of the device."""
    plan = Plan.make(random_network(10, kind).network, EngineConfig(lanes=4, device="ice40-hx8k"))
    memories = [(image.width, image.depth) for name, image in plan.images.items() if name != "activations"]
    # Outputs stand a power of two apart, so that a place is a bank and an element.
    apart = 1
    while apart < max(2, plan.output_size):
        apart *= 2
    memories.append((plan.widths.output, (plan.output_banks - 1) * apart + plan.output_size))
    aux = any(layer.operand or layer.maximum or layer.pool != (1, 1) for layer in plan.network.layers)
    memories += [(plan.widths.activation, plan.memory_depth)] * (4 + aux)
    units = sum(plan.network.tensor(cell.output).size for cell in plan.network.cells)
    memories += [(16, units)] * (4 if units else 0)
    expected = sum(block_rams_of(plan.config.target, width, depth) for width, depth in memories)
    assert estimated_block_rams(plan) == expected


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("chain", {"lane_multiplier": "dsp", "requant_multiplier": "lut"}, 4),
        ("chain", {"lane_multiplier": "lut", "requant_multiplier": "lut"}, 0),
        ("lstm", {"lane_multiplier": "lut", "requant_multiplier": "lut"}, 3),
        ("gru", {"lane_multiplier": "dsp", "requant_multiplier": "lut"}, 4 + 2),
    ],
)
def test_dsps_of_the_whole_engine(kind, options, expected):
    """One a lane; an LSTM unit has three multipliers, a GRU unit two."""
    plan = Plan.make(random_network(10, kind).network, EngineConfig(lanes=4, **options))
    assert not plan.latency.product
    assert estimated_dsps(plan) == expected
    with_requantiser = replace(plan.config, requant_multiplier="dsp")
    plan = Plan.make(plan.source, with_requantiser)
    assert estimated_dsps(plan) == expected + plan.requant_style.limbs


def test_what_cannot_fit_is_refused_before_anything_is_written(tmp_path):
    """By how many block RAMs, and what takes them: here the weights."""
    net = random_network(3, sizes=(200, 100), levels=(DENSE,)).network
    config = EngineConfig(lanes=1, device="ice40-up5k")
    needed = estimated_block_rams(Plan.make(net, config))
    assert needed > 40
    message = (
        f"^does not fit ice40-up5k: {needed} block RAMs needed, it has 30, {needed - 30} too many; most are "
        r"ROM weights, \d+: choose darb verilog --roms spram, prune more, quantise to fewer bits, or choose a larger "
        "device$"
    )
    with pytest.raises(PlanError, match=message):
        generate(net, config, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    check_fit(Plan.make(net, EngineConfig(lanes=1, device="ecp5-25k")))


def test_copies_of_a_large_tensor_are_named():
    net = random_network(3, sizes=(900, 5), levels=(Level(5, 1),)).network
    for options, message in (
        ({"input": "alone"}, r"128 \(64 copies of 900 elements; largest tensor: 'x', 900 elements\)"),
        ({"memory": "shared"}, r"64 \(32 copies of 900 elements; largest tensor: 'x', 900 elements\)"),
        # The second input begins where no block of the first one ends.
        ({"input": "overlapped"}, r"256 \(64 copies of 1,924 elements; largest tensor: 'x', 900 elements\)"),
    ):
        plan = Plan.make(net, EngineConfig(lanes=64, device="ice40-hx8k", **options))
        with pytest.raises(PlanError, match=f"most are activation memory, {message}"):
            check_fit(plan)


def test_a_tensor_that_never_fits_is_refused_without_a_plan(monkeypatch):
    monkeypatch.setattr(Plan, "make", lambda *_: pytest.fail("a plan was made"))
    network = map_network(t_x_shape=(1024, 1024, 2))
    message = (
        "^does not fit ecp5-85k: tensor 'x' alone has 16,777,216 bits, all block RAMs 3,833,856: choose a "
        "larger device, or smaller feature maps$"
    )
    with pytest.raises(PlanError, match=message):
        fitting_plan(network, EngineConfig(lanes=4, device="ecp5-85k"))


def refusal(network, device="ice40-up5k", **options):
    plan = Plan.make(network, EngineConfig(device=device, **options))
    with pytest.raises(PlanError, match=" too many; most are ") as caught:
        check_fit(plan)
    return str(caught.value).partition(" most are ")[2]


def test_what_does_not_fit_gets_a_remedy_that_helps():
    """Pruning more makes codes fewer, and nothing else."""
    vector = random_network(3, sizes=(900, 5), levels=(Level(5, 1),)).network
    text = refusal(vector, lanes=64, input="overlapped", memory="private")
    assert text.endswith(
        ": choose fewer lanes, --input alone, --memory shared, smaller feature maps, or a larger device"
    )
    text = refusal(vector, lanes=64, memory="shared", input="alone")
    assert text.endswith(": choose fewer lanes, smaller feature maps, or a larger device")
    maps = map_network(t_x_shape=(90, 90, 2), conv_positions=(4, 4))
    text = refusal(maps, lanes=32, positions=1, memory="shared", input="alone")
    assert text.endswith(
        "fewer lanes, more --positions, so that lanes share a map, smaller feature maps, or a larger device"
    )
    plan = Plan.make(maps, EngineConfig(lanes=32, device="ice40-up5k", positions=1, memory="shared", input="alone"))
    with pytest.raises(PlanError, match="choose fewer lanes, smaller feature maps, or a larger device"):
        check_fit(plan, asked=False)  # more positions are tried as well


def test_the_order_of_the_input_is_a_remedy_where_it_is_one():
    """With zeros around the map its addresses are not in a row, whatever the order."""
    network = random_network(3, sizes=(1500, 5), levels=(Level(5, 1),)).network
    for changes, remedy in ({}, "--input-order storage"), ({"input_order": "storage"}, "smaller inputs"):
        plan = Plan.make(network, EngineConfig(lanes=1, device="ice40-up5k", **changes))
        assert _remedy(plan, "ROM input_order", True) == f"choose {remedy}, or choose a larger device"
    plan = Plan.make(map_network(), EngineConfig(lanes=1, device="ice40-up5k"))
    assert _remedy(plan, "ROM input_order", True) == "choose smaller inputs, or choose a larger device"


@pytest.mark.parametrize("kind", ["chain", *KINDS])
def test_every_memory_has_a_remedy(kind):
    """The rest, whose size hardly anything changes, need a smaller network."""
    plan = Plan.make(random_network(10, kind).network, EngineConfig(lanes=4, device="ice40-hx8k"))
    for memory in by_memory(plan):
        remedy = _remedy(plan, memory, True)
        assert remedy.endswith("a larger device")
        codes = memory.startswith(("ROM weights", "ROM index", "ROM columns"))
        assert ("prune more" in remedy) == codes


@pytest.mark.parametrize(
    ("lanes", "device", "options", "chosen"),
    [
        (4, "ecp5-85k", {}, ("overlapped", "private")),
        (4, "ecp5-85k", {"input": "alone"}, ("alone", "private")),
        (4, "ecp5-85k", {"memory": "shared"}, ("alone", "shared")),
        (11, "ice40-hx8k", {}, ("reused", "private")),
        (11, "ice40-hx8k", {"input": "alone"}, ("alone", "private")),
        (11, "ice40-hx8k", {"memory": "shared"}, ("alone", "shared")),
        (16, "ice40-hx8k", {}, ("alone", "shared")),
    ],
)
def test_input_and_memory_are_what_fits(lanes, device, options, chosen):
    """Overlapped and private if the device has room, else one input over the other, else memories for two lanes."""
    net = random_network(3, sizes=(700, 5), levels=(Level(6, 1),)).network
    plan = fitting_plan(net, EngineConfig(lanes=lanes, device=device, **options))
    assert (plan.config.input, plan.config.memory) == chosen
    assert estimated_block_rams(plan) <= plan.config.target.block_rams
    assert estimated_block_rams(plan) == sum(by_memory(plan).values())
    larger = {("reused", "private"): ("overlapped", "private"), ("alone", "shared"): ("alone", "private")}.get(chosen)
    if larger and not options:
        refused = Plan.make(net, replace(plan.config, input=larger[0], memory=larger[1]))
        assert estimated_block_rams(refused) > plan.config.target.block_rams


def test_maps_that_do_not_fit_block_rams_stand_in_single_port_rams():
    """If the device has them; else they are refused. The fastest positions that fit are taken."""
    maps = map_network(t_x_shape=(80, 96, 2), conv_positions=(4, 4))
    plan = fitting_plan(maps, EngineConfig(lanes=8, device="ice40-up5k"))
    assert (plan.config.memory, plan.config.input, plan.config.ways, plan.sprams) == ("spram", "alone", 1, 4)
    assert by_memory(plan)["activation memory"] == 0
    others = [
        fitting_plan(maps, EngineConfig(8, "ice40-up5k", memory="spram", positions=positions))
        for positions in (2, 4, 8)
    ]
    assert plan.timing.interval_of(1) == min(other.timing.interval_of(1) for other in others)
    with pytest.raises(PlanError, match=r"most are activation memory, .*--memory spram"):
        check_fit(
            Plan.make(maps, EngineConfig(8, "ice40-up5k", positions=8, results=1, memory="private", input="alone"))
        )
    with pytest.raises(PlanError, match="most are activation memory"):
        fitting_plan(maps, EngineConfig(lanes=8, device="ice40-hx8k"))
    small = fitting_plan(map_network(), EngineConfig(lanes=8, device="ice40-up5k"))
    assert (small.config.memory, small.sprams) == ("private", 0)


def test_what_single_port_rams_cannot_hold_is_refused():
    config = EngineConfig(8, "ice40-up5k", memory="spram", positions=2, results=1, input="alone")
    large = map_network(t_x_shape=(130, 130, 2), conv_positions=(4, 4))
    with pytest.raises(PlanError, match=r"a bank takes 16,9.*, there is room for 16,384: choose more positions, or"):
        Plan.make(large, config)
    assert Plan.make(large, replace(config, positions=4)).memory_depth <= 16384
    with pytest.raises(PlanError, match="has elements of 8 bits, the activations have 9: quantise them to fewer bits"):
        Plan.make(map_network(t_x_bits=9, t_x_qmin=-256, t_x_qmax=255), config)
    with pytest.raises(PlanError, match="two banks in a RAM: choose positions 2 or more"):
        Plan.make(map_network(), replace(config, positions=None))
    never = map_network(t_x_shape=(1024, 1024, 2))
    with pytest.raises(PlanError, match="'x' alone has 16,777,216 bits, all RAMs 1,171,456: choose a larger device"):
        fitting_plan(never, EngineConfig(8, "ice40-up5k"))


def test_what_was_asked_for_is_not_replaced_by_what_fits():
    net = random_network(3, sizes=(700, 5), levels=(Level(6, 1),)).network
    with pytest.raises(PlanError, match="too many; most are activation memory"):
        fitting_plan(net, EngineConfig(lanes=16, device="ice40-hx8k", memory="private"))


@pytest.mark.parametrize("number", range(24))
def test_no_plan_takes_less_than_the_least(number):
    random, draw = draw_network("verilator", number)
    random, _, config = draw_engine(draw, random)
    plan = Plan.make(random.network, config)
    assert least_block_rams(random.network, config) <= estimated_block_rams(plan)


@pytest.mark.parametrize("memory", ["private", "shared"])
def test_the_least_is_activations_and_weights(memory):
    """1024 weights of 8 bits on 4 lanes are 256 words of 32 bits. 512 activations of 8 bits fill a block of a copy."""
    net = random_network(3, sizes=(512, 4), levels=(Level(1, 1),)).network
    config = EngineConfig(lanes=4, device="ice40-hx8k", input="alone", memory=memory)
    assert net.layers[0].weight_bits == 8
    assert least_block_rams(net, config) == (4 if memory == "private" else 2) + 2


def test_what_needs_more_block_rams_in_any_case_is_not_planned(monkeypatch):
    """The smallest is planned all the same: it says what it lacks."""
    net = random_network(3, sizes=(900, 5), levels=(Level(5, 1),)).network
    planned = []
    make = Plan.make
    monkeypatch.setattr(Plan, "make", lambda net, config: planned.append(config) or make(net, config))
    with pytest.raises(PlanError, match="most are activation memory"):
        fitting_plan(net, EngineConfig(lanes=64, device="ice40-hx8k"))
    assert [(config.input, config.memory) for config in planned] == [("alone", "shared")]


@pytest.mark.parametrize("kind", ["lstm", "convolution"])
def test_maps_that_cannot_be_in_banks_cannot_be_in_single_port_rams(kind):
    """The remedy is one that works."""
    network = random_network(5, kind).network
    with pytest.raises(PlanError, match="choose memory private"):
        fitting_plan(network, EngineConfig(4, "ice40-up5k", memory="spram"))
