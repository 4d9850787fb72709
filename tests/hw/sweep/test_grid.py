"""Points, Pareto front, CSV, plot; and that one bad point does not end a sweep."""

import csv
import os
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.sweep.grid import (
    PointResult,
    SweepPoint,
    encoded_networks,
    grid,
    numbers,
    run_point,
    run_sweep,
    write_csv,
)
from darb_hw.sweep.plot import pareto, plot
from darb_hw.synthesis.report import Usage
from darb_prune.encoded import DarbError
from tests.hw.samples import REPORT
from tests.networks import random_network


def a_result(lanes=4, device="ecp5-85k", bits=8, luts=1000, cycles=500, reason=""):
    point = SweepPoint(Path(f"w{bits}.darb"), EngineConfig(lanes=lanes, device=device), (1,), Path("build"))
    if reason:
        return PointResult(point, bits, None, None, reason)
    report = replace(
        REPORT, lanes=lanes, device=device, weight_bits=bits, luts=Usage(luts, 83640), interval_cycles=cycles
    )
    return PointResult(point, bits, 0.975, report)


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.darb"
    random_network(5, sizes=(9, 11, 4)).network.save(path)
    return path


def test_numbers():
    assert numbers("lanes", "4, 8,4") == (4, 8)
    for text in ("", "4,", "a", "4.5"):
        with pytest.raises(DarbError, match=f'--lanes "{text}": write whole numbers with commas between'):
            numbers("lanes", text)


def test_grid(tmp_path):
    points = grid([Path("a.darb"), Path("b.darb")], (8, 4), ("ecp5-25k", "ice40-up5k"), (1, 2), tmp_path)
    assert len({point.folder for point in points}) == len(points) == 8
    assert [point.config.lanes for point in points[:2]] == [4, 8]
    assert all(point.seeds == (1, 2) for point in points)


@pytest.mark.parametrize(
    ("lanes", "devices", "message"),
    [((0,), ("ecp5-25k",), "lanes = 0"), ((4,), ("ecp6",), "unknown device 'ecp6'"), ((4,), (), "nothing to sweep")],
)
def test_grid_of_nonsense(lanes, devices, message, tmp_path):
    with pytest.raises(DarbError, match=message):
        grid([], lanes, devices, (1,), tmp_path)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8))))
def test_pareto(points):
    front = pareto(points)
    places = [points[n] for n in front]
    assert places == sorted(places)
    for cost, gain in points:
        # Each point is on the front, or something on the front beats it.
        assert any(c <= cost and g >= gain for c, g in places)
    for n, (cost, gain) in zip(front, places, strict=True):
        others = [place for place in places if place != points[n]]
        assert not any(c <= cost and g >= gain for c, g in others)
    assert len(set(places)) == len(places)


def test_files_are_taken_as_they_are(network, tmp_path):
    assert encoded_networks([network], None, tmp_path / "out") == [network]
    assert encoded_networks([network], (8,), tmp_path / "out") == [network]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bits", [(4,), (4, 8)])
def test_other_weight_bits_need_a_run_folder(network, tmp_path, bits):
    with pytest.raises(DarbError, match="give the run folder"):
        encoded_networks([network], bits, tmp_path / "out")


def test_names_of_networks_are_distinct(network, tmp_path):
    other = tmp_path / "other" / "net.darb"
    other.parent.mkdir()
    other.write_bytes(network.read_bytes())
    with pytest.raises(DarbError, match="two networks are named net"):
        encoded_networks([network, other], None, tmp_path / "out")
    with pytest.raises(DarbError, match=r"give one run folder, or .darb files, not both"):
        encoded_networks([network, tmp_path], None, tmp_path / "out")


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A stand-in for ``darb compile`` beside the interpreter; writes its arguments into its result."""
    program = tmp_path / "bin" / "darb"
    program.parent.mkdir()
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))

    def write(body: str) -> None:
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)

    write('for last; do :; done; echo "$@" >> "$6"')
    return write


def test_run_folder_is_compiled_for_each_width_once(compiler, tmp_path):
    run, output = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    (run / "model.pt").write_text("1")
    os.utime(run / "model.pt", (1, 1))
    expected = [output / "w4.darb", output / "w8.darb"]
    assert encoded_networks([run], (4, 8), output) == expected
    assert expected[0].read_text() == f"compile {run} --weight-bits 4 -o {expected[0]} --quiet\n"
    encoded_networks([run], (4, 8), output)
    assert len(expected[0].read_text().splitlines()) == 1
    os.utime(run / "model.pt", (2**32, 2**32))
    encoded_networks([run], (4,), output)
    assert len(expected[0].read_text().splitlines()) == 2
    assert encoded_networks([run], None, output) == expected[1:]


def test_compiling_fails(compiler, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(DarbError, match="an empty folder"):
        encoded_networks([run], (4,), tmp_path / "out")
    (run / "model.pt").write_text("1")
    compiler("echo 'darb: error: no such task' >&2; exit 2")
    with pytest.raises(DarbError, match=rf"^darb compile {run} --weight-bits 4: no such task$"):
        encoded_networks([run], (4,), tmp_path / "out")


def test_point_that_cannot_be_built(network, tmp_path):
    config = EngineConfig(lanes=16, device="ice40-up5k", lane_multiplier="dsp")
    result = run_point(SweepPoint(network, config, (1,), tmp_path / "p"))
    assert result.report is None
    assert "16 DSP blocks needed, ice40-up5k has 8" in result.reason
    assert result.weight_bits == 8
    missing = run_point(SweepPoint(tmp_path / "no.darb", config, (1,), tmp_path / "p"))
    assert missing.reason.endswith("no.darb: no such file")


@pytest.mark.synthesis
def test_sweep_goes_on_after_a_point_that_failed(network, tmp_path):
    bad = SweepPoint(
        network, EngineConfig(lanes=16, device="ice40-up5k", lane_multiplier="dsp"), (1,), tmp_path / "bad"
    )
    good = SweepPoint(network, EngineConfig(lanes=1, device="ice40-hx8k"), (1,), tmp_path / "good")
    first, second = run_sweep([bad, good], jobs=1)
    assert first.reason
    assert first.report is None
    assert second.report.lanes == 1
    assert not second.reason
    assert (tmp_path / "good" / "synth" / "report.json").is_file()


def test_csv(tmp_path):
    path = tmp_path / "sweep.csv"
    write_csv([a_result(lanes=8), a_result(lanes=16, reason="does not fit, alas")], path)
    with path.open(newline="") as file:
        good, bad = csv.DictReader(file)
    assert good["lanes"] == "8"
    assert good["status"] == "ok"
    assert good["luts"] == "1000"
    assert good["accuracy"] == "0.975"
    assert float(good["inferences_per_second"]) == 240_000
    assert good["reason"] == ""
    assert (bad["status"], bad["reason"]) == ("failed", "does not fit, alas")
    assert bad["luts"] == bad["fmax_median_mhz"] == bad["accuracy"] == ""


@pytest.mark.parametrize("count", [0, 1, 24])
def test_plot(tmp_path, count):
    path = tmp_path / "sweep.png"
    results = [
        a_result(lanes=lanes, device=device, bits=bits, luts=600 + 70 * lanes * bits // 8, cycles=200 + 4000 // lanes)
        for device in ("ecp5-25k", "ecp5-85k", "ice40-hx8k", "ice40-up5k")
        for bits in (4, 8)
        for lanes in (4, 8, 16)
    ]
    plot(results[:count] + [a_result(reason="no")], path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 1000
    assert height >= 600
