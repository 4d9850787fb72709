"""The CSV and the JSON file of a sweep."""

import csv
import io
import json
from dataclasses import replace

from darb_hw.sweep.points import PointResult, SweepPoint
from darb_hw.sweep.table import csv_bytes, json_bytes
from tests.hw.sweep.sample_results import a_result


def test_csv():
    text = csv_bytes([a_result(lanes=8), a_result(lanes=16, reason="does not fit, alas")], ["device", "lanes"]).decode()
    good, bad = csv.DictReader(io.StringIO(text))
    assert good["lanes"] == "8"
    assert good["status"] == "ok"
    assert good["luts"] == "1000"
    assert good["accuracy"] == "0.975"
    assert float(good["inferences_per_second"]) == 240_000
    assert good["reason"] == ""
    assert (bad["status"], bad["reason"]) == ("failed", "does not fit, alas")
    assert bad["luts"] == bad["fmax_median_mhz"] == bad["accuracy"] == ""


def test_a_column_for_each_axis():
    point = SweepPoint("8x-w4", None, {"ratio": 8.0, "weight_bits": 4}, {"memory": "shared"}, (1,))
    names = ("ratio", "weight_bits", "memory")
    text = csv_bytes([PointResult(point, reason="no")], names).decode()
    assert text.startswith("network,device,lanes,weight_bits,ratio,memory,accuracy,status,luts,")
    assert text.splitlines()[1].startswith("8x-w4,ecp5-85k,8,4,8,shared,,failed,,")


def test_json():
    manifest = {"layers": [{"cycles": 3}], "memory": {"map": []}, "files": {"secret": "x"}}
    good = a_result(lanes=8)
    results = [replace(good, manifest=manifest), a_result(reason="no")]
    content = json.loads(json_bytes(results, {"lanes": (4, 8)}, "s"))
    first, second = content["points"]
    assert (content["format"], content["axes"]) == (1, {"lanes": [4, 8]})
    assert first["axes"] == {"weight_bits": 8, "lanes": 8, "device": "ecp5-85k"}
    assert first["accuracy"] == {"integer": {"test": 0.975}}
    assert first["report"]["derived"]["inferences_per_second"] == 240_000
    assert first["plan"] == {"layers": [{"cycles": 3}], "memory": {"map": []}}
    assert (second["status"], second["reason"], second["report"], second["plan"]) == ("failed", "no", None, None)
