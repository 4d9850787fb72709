"""A synthesis report with round numbers, for tests of what is made from it."""

from darb_hw.synthesis.report import CriticalPath, SynthReport, Usage

REPORT = SynthReport(
    network="n",
    device="ecp5-85k",
    lanes=4,
    weight_bits=8,
    luts=Usage(100, 83640),
    logic_cells=Usage(110, 83640),
    ffs=Usage(200, 83640),
    block_rams=Usage(6, 208),
    dsps=Usage(5, 156),
    fmax_mhz={1: 120.0, 2: 100.0, 3: 150.0},
    target_mhz=160.0,
    latency_cycles=600,
    interval_cycles=500,
    weights=10_000,
    kept=1_000,
    macs=1_000,
    dense_macs=10_000,
    stored_bits_per_weight=13.5,
    index_overhead=1.25,
    utilisation=0.5,
    critical_path=CriticalPath(1, "a", "b", 8.3, 4.0, ("x", "y")),
    tools={"yosys": "1", "nextpnr-ecp5": "2"},
    digest="d",
)
