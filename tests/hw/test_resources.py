"""Block RAMs of an engine before synthesis, and what is refused because of them."""

import pytest
from networks import KINDS, random_network

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.emit import generate
from darb_hw.plan import Plan, PlanError
from darb_hw.resources import block_rams_of, check_fit, estimated_block_rams
from darb_prune.encoded import DENSE, Level


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
    ],
)
def test_block_rams_of_a_memory(device, width, depth, blocks):
    assert block_rams_of(DEVICES[device], width, depth) == blocks


@pytest.mark.parametrize("kind", ["chain", *KINDS])
def test_block_rams_of_the_whole_engine(kind):
    """Every memory that the engine has: what it holds, in the shapes of the device."""
    plan = Plan.make(random_network(10, kind).network, EngineConfig(lanes=4, device="ice40-hx8k"))
    memories = [(image.width, image.depth) for name, image in plan.images.items() if name != "activations"]
    memories.append((plan.widths.output, plan.output_size))
    aux = any(layer.operand or layer.maximum or layer.pool != (1, 1) for layer in plan.network.layers)
    memories += [(plan.widths.activation, plan.memory_depth)] * (4 + aux)
    units = sum(plan.network.tensor(cell.output).size for cell in plan.network.cells)
    memories += [(16, units)] * (4 if units else 0)
    expected = sum(block_rams_of(plan.config.target, width, depth) for width, depth in memories)
    assert estimated_block_rams(plan) == expected


def test_what_cannot_fit_is_refused_before_anything_is_written(tmp_path):
    """By how many block RAMs, and what takes them: here the codes."""
    net = random_network(3, sizes=(200, 100), levels=(DENSE,)).network
    config = EngineConfig(lanes=1, device="ice40-up5k")
    needed = estimated_block_rams(Plan.make(net, config))
    assert needed > 40
    message = (
        f"^does not fit ice40-up5k: {needed} block RAMs needed, it has 30, {needed - 30} too many; most are ROM codes"
    )
    with pytest.raises(PlanError, match=message):
        generate(net, config, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    check_fit(Plan.make(net, EngineConfig(lanes=1, device="ecp5-25k")))


def test_copies_of_a_large_tensor_are_named():
    net = random_network(3, sizes=(900, 5), levels=(Level(5, 1),)).network
    plan = Plan.make(net, EngineConfig(lanes=64, device="ice40-hx8k"))
    message = r"most are activation memory, 128 \(64 copies of 900 elements; largest tensor: 'x', 900 elements\)"
    with pytest.raises(PlanError, match=message):
        check_fit(plan)
