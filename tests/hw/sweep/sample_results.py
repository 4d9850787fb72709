"""Results of points with round numbers."""

from dataclasses import replace

from darb_hw.sweep.points import PointResult, SweepPoint
from darb_hw.synthesis.report import Usage
from tests.hw.samples import REPORT


def a_result(lanes=4, device="ecp5-85k", bits=8, luts=1000, cycles=500, reason=""):
    point = SweepPoint(f"w{bits}", None, {"weight_bits": bits}, {"lanes": lanes, "device": device}, (1,))
    if reason:
        return PointResult(point, bits, reason=reason)
    report = replace(
        REPORT, lanes=lanes, device=device, weight_bits=bits, luts=Usage(luts, 83640), interval_cycles=cycles
    )
    return PointResult(point, bits, accuracies={"integer": {"test": 0.975}}, report=report)
