"""A sweep of twelve points with texts that would be markup if anybody let them."""

import json
from dataclasses import replace

from darb_hw.sweep.points import PointResult, SweepPoint
from darb_hw.sweep.table import json_bytes
from darb_hw.synthesis.report import CriticalPath, Usage
from tests.hw.samples import REPORT

HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1><b>&amp;"
REASON = f"16 DSP blocks needed {HOSTILE}"
AXES = {"ratio": (4.0, 13.0), "weight_bits": (8,), "device": ("ice40-up5k", "ecp5-25k"), "lanes": (2, 8, 16)}


def sample_results(manifest: dict) -> list[PointResult]:
    """Ratios x devices x lanes; the small device has no room for 16 lanes."""
    manifest = json.loads(json.dumps(manifest))
    manifest["layers"][0]["layer"] = manifest["memory"]["map"][0]["tensor"] = HOSTILE
    results = []
    for ratio in AXES["ratio"]:
        for device in AXES["device"]:
            for lanes in AXES["lanes"]:
                name = HOSTILE if ratio == 13 else "4x"
                choice, engine = {"ratio": ratio, "weight_bits": 8}, {"device": device, "lanes": lanes}
                point = SweepPoint(name, None, choice, engine, (1,))
                accuracies = {"integer": {"test": 0.98 - 0.001 * ratio}}
                if (device, lanes) == ("ice40-up5k", 16):
                    results.append(PointResult(point, 8, accuracies=accuracies, reason=REASON))
                    continue
                report = replace(
                    REPORT, device=device, lanes=lanes, digest=HOSTILE,
                    luts=Usage(700 + 50 * lanes + 20 * len(device), 5280),
                    interval_cycles=int(20_000 / ratio / lanes),
                    critical_path=CriticalPath(1, HOSTILE, "b", 8, 4, ("n",)),
                )  # fmt: skip
                results.append(PointResult(point, 8, accuracies=accuracies, report=report, manifest=manifest))
    return results


def sample_json(manifest: dict) -> bytes:
    return json_bytes(sample_results(manifest), AXES, HOSTILE)
