"""Keys, and what jobs leave in a store."""

from dataclasses import replace

import pytest

from darb_hw.errors import ToolError
from darb_hw.jobs import job as jobs
from darb_hw.jobs.job import finished
from darb_hw.store.store import Store
from darb_hw.synthesis.route import Route
from darb_hw.synthesis.yosys import Synthesis
from tests.hw.jobs.standins import Square


def test_a_key_has_all_that_matters(monkeypatch):
    synthesis = Synthesis({"engine.v": b"module", "rom/codes.hex": b"00"}, "synth", "1")
    route = Route({"design.json": b"{}"}, "ecp5", ("--25k",), 1, "1")
    others = [
        replace(synthesis, script="other"), replace(synthesis, version="2"),
        replace(synthesis, inputs={"engine.v": b"module", "rom/codes.hex": b"01"}),
        replace(synthesis, inputs={"engine.v": b"module", "rom/other.hex": b"00"}),
        route, replace(route, options=("--85k",)), replace(route, seed=2), replace(route, version="2"),
        replace(route, inputs={"design.json": b"{ }"}), replace(route, inputs={**route.inputs, "constraints.lpf": b""}),
    ]  # fmt: skip
    keys = {synthesis.key, *(job.key for job in others)}
    assert len(keys) == 1 + len(others)
    assert all(len(key) == 64 for key in keys)
    # What it is called matters to nobody, nor in which order files were given.
    assert replace(synthesis, title="other").key == synthesis.key
    assert replace(synthesis, inputs=dict(reversed(list(synthesis.inputs.items())))).key == synthesis.key
    monkeypatch.setattr(jobs, "FORMAT", 2)
    assert replace(synthesis).key != synthesis.key


def test_done_once(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    job = Square(3, log=str(log), inputs={"a": b"1"})
    assert finished(job, store).files == {"square": b"9"}
    assert finished(job, store).files == {"square": b"9"}
    assert log.read_text() == "3\n"


def test_a_refusal_is_a_result_and_a_crash_is_none(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    for _ in range(2):
        entry = finished(Square(3, log=str(log), mood="refuse"), store)
        assert (entry.failure, entry.files) == ("3 has no square", {"log": b"ERROR"})
    assert log.read_text() == "3\n"
    for _ in range(2):
        with pytest.raises(ToolError, match="no tool for 3"):
            finished(Square(3, log=str(log), mood="fail"), store)
    assert log.read_text() == "3\n" * 3
