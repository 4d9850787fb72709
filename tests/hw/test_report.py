"""Tables say what plans and reports say."""

import io

import pytest
from hw.samples import REPORT
from networks import random_network
from rich.console import Console

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.plan import Plan
from darb_hw.report import layer_table, plan_table, synth_table
from darb_hw.resources import block_rams_of, estimated_block_rams


def rows(table) -> dict[str, list[str]]:
    """First cell -> the others, of a table as printed."""
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(table)
    cells = [line.strip("│┃ ").replace("┃", "│").split("│") for line in console.export_text().splitlines()]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in cells if rest}


@pytest.fixture(scope="module")
def plan():
    return Plan.make(random_network(5, sizes=(40, 60, 7)).network, EngineConfig(lanes=4, device="ice40-hx8k"))


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


def test_plan_table(plan):
    found = rows(plan_table(plan))
    assert found["device"] == ["ice40-hx8k"]
    assert found["lanes"] == ["4, multipliers in LUTs"]
    assert found["activation memory"] == [f"{plan.memory_depth:,} elements in each lane"]
    for name, image in plan.images.items():
        assert found[f"ROM {name}"] == [f"{image.depth:,} x {image.width} bits"]
    assert found["block RAMs (estimate)"] == [f"{estimated_block_rams(plan)} of 32"]
    assert found["cycles, back to back"] == [f"{plan.interval_cycles:,}"]
    assert found["cycles, one inference"] == [f"{plan.latency_cycles:,}"]
    assert found["utilisation"] == [f"{100 * plan.utilisation:.1f} %"]
    assert found["index overhead"] == [f"{plan.index_overhead:.3f}"]
    assert found["stored bits per weight"] == [f"{plan.stored_bits_per_weight:.2f}"]


def test_layer_table(plan):
    found = rows(layer_table(plan))
    for row in plan.layer_table():
        numbers = [f"{row[name]:,}" for name in ("rows", "columns", "kept", "groups", "steps", "idle")]
        assert found[row["layer"]] == [*numbers, f"{100 * row['utilisation']:.1f} %"]


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
