"""Tables say what plans and reports say."""

import io

import pytest
from rich.console import Console

from darb_hw.config import EngineConfig
from darb_hw.plan import metrics
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import estimated_block_rams
from darb_hw.report import layer_table, memory_table, plan_table, subset_table, synth_table
from tests.draws import SeedDraw
from tests.hw.plans import tile_plan
from tests.hw.samples import REPORT
from tests.networks import KINDS, random_network
from tests.task_networks import with_tasks


def rows(table) -> dict[str, list[str]]:
    """First cell -> the others, of a table as printed."""
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(table)
    cells = [line.strip("│┃ ").replace("┃", "│").split("│") for line in console.export_text().splitlines()]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in cells if rest}


@pytest.fixture(scope="module", params=["chain", *KINDS, "banks"])
def plan(request):
    if request.param == "banks":
        return tile_plan(2, 4, 2, 2, device="ice40-hx8k")
    options = {"sizes": (40, 60, 7)} if request.param == "chain" else {}
    net = random_network(10, request.param, **options).network
    return Plan.make(net, EngineConfig(lanes=4, device="ice40-hx8k"))


def test_too_many_block_rams_are_red():
    net = random_network(5, sizes=(40, 60, 7)).network
    few, many = (Plan.make(net, EngineConfig(lanes=lanes, device="ice40-hx8k")) for lanes in (1, 64))
    for plan, style in ((few, ""), (many, "red")):
        table = plan_table(plan)
        number = list(table.columns[0].cells).index("block RAMs (estimate)")
        assert (table.rows[number].style == "red") == (estimated_block_rams(plan) > 32)
        assert table.rows[number].style == style


def test_plan_table(plan):
    found = rows(plan_table(plan))
    assert found["device"] == ["ice40-hx8k"]
    assert found["lanes"] == [f"{8 if plan.banked else 4}, multipliers in LUTs"]
    assert found.get("at once") == (["4 positions x 2 rows, 2 results"] if plan.banked else None)
    copies = 4 + any(one.operand or one.maximum or one.pool != (1, 1) for one in plan.network.layers)
    kind = f"{plan.copies} banks" if plan.banked else f"{copies} copies"
    memory = f"{plan.memory_depth:,} elements, {kind}; input {plan.input_mode}"
    assert found["activation memory"] == [memory]
    for name, image in plan.images.items():
        assert found[f"ROM {name}"] == [f"{image.depth:,} x {image.width} bits"]
    assert found["block RAMs (estimate)"] == [f"{estimated_block_rams(plan)} of 32"]
    interval = plan.timing.interval_of(1)
    waits = ", bound by the input" if interval > plan.schedule.period else ""
    assert found["cycles, back to back"] == [f"{interval:,}{waits}"]
    assert found["cycles, one inference"] == [f"{plan.timing.latency_of(1):,}"]
    assert found["utilisation"] == [f"{100 * metrics.utilisation(plan):.1f} %"]
    assert found["index overhead"] == [f"{metrics.index_overhead(plan):.3f}"]
    assert found["stored bits per weight"] == [f"{metrics.stored_bits_per_weight(plan):.2f}"]


def test_subset_table():
    net = with_tasks(random_network(3, sizes=(9, 7, 4)), SeedDraw(3)).network
    plan = Plan.make(net, EngineConfig(lanes=4))
    found = rows(subset_table(plan))
    assert [found[name][0] for name in ("a", "b", "a + b")] == ["1", "2", "3"]
    for subset, name in ((1, "a"), (2, "b"), (3, "a + b")):
        timing = plan.timings[subset]
        assert found[name][2:] == [f"{timing.outputs}", f"{timing.latency_of(1):,}", f"{timing.interval_of(1):,}"]
    assert metrics.subset_table(Plan.make(random_network(3).network, EngineConfig(lanes=4))) == []


def test_layer_table(plan):
    found = rows(layer_table(plan))
    assert found["layer"] == ["rows", "positions", "P x Q", "codes", "cycles", "bound by", "used"]
    for row in metrics.layer_table(plan):
        rows_, positions, codes, cycles = (f"{row[name]:,}" for name in ("rows", "positions", "steps", "cycles"))
        at_once = f"{row['at once']} x {row['at once rows']}"
        used = f"{100 * row['utilisation']:.1f} %"
        assert found[row["layer"]] == [rows_, positions, at_once, codes, cycles, row["bound"], used]
        if plan.banked:
            assert row["at once"] == min(4, row["positions"])


def test_memory_table(plan):
    """Where every tensor stands, from the memory map."""
    found = rows(memory_table(plan))
    regions, layers = plan.memory.regions, plan.network.layers
    assert len(found) == 1 + len(regions)
    for name, region in regions.items():
        height, width, channels = region.layout.shape
        first, last, size, shape, zeros, lives = found[name]
        assert [first, last, size] == [f"{n:,}" for n in (region.start, region.end - 1, region.size)]
        assert shape == f"{height}x{width}x{channels}"
        if plan.banked:
            assert zeros == f"{region.layout.phases[0]}x{region.layout.phases[1]}, {region.layout.tiles}"
        else:
            assert zeros == "x".join(map(str, region.layout.padding))
        written, read = lives.split(" .. ")
        assert written == ("loaded" if region.first < 0 else layers[region.first].name)
        assert read == layers[min(region.last, len(layers) - 1)].name


def test_synth_table():
    found = rows(synth_table([REPORT, REPORT]))
    expected = {
        "device": "ecp5-85k",
        "LUTs": "100 / 83640",
        "block RAMs": "6 / 208",
        "DSP blocks": "5 / 156",
        "Fmax, median": "120.0 MHz",
        "Fmax, range": "100.0 .. 150.0, 3 seeds",
        "inferences per second": "240,000",
        "throughput, actual": "0.48 GOP/s",
        "throughput, dense equivalent": "4.80 GOP/s",
        "utilisation": "50.0 %",
        "stored bits per weight": "13.50",
        "index overhead": "1.250",
        "slowest path": "8.30 ns, wires 4.00 ns",
    }
    assert {name: found[name] for name in expected} == {name: [text, text] for name, text in expected.items()}
