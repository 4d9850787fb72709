"""Builds in folders with names that compilers do not take, and what killed simulations leave."""

import os
import signal
import subprocess
import sys
import time

import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.locks import exclusive
from darb_prune.encoded import DarbError
from sim.batch import batch
from sim.folders import workshop
from sim.launch import simulate
from sim.scenario import Scenario
from tests.networks import random_inputs, random_network

pytestmark = pytest.mark.simulator

ODD = "a  b c q\"$(touch x)`';#&%=:\\* é\u00a0日 a\nb"


def make(folder):
    random = random_network(5, sizes=(9, 11, 4))
    return generate(random.network, EngineConfig(lanes=1), folder, random.vectors(random_inputs(0, random.network, 3)))


def run(build, simulator):
    if simulator == "batch":
        return batch(build)
    (report,) = simulate(build, simulator, [Scenario((0, 1, 2))])
    return report


@pytest.mark.parametrize("simulator", ["icarus", "batch", "verilator"])
def test_a_folder_with_an_odd_name(simulator, tmp_path, monkeypatch):
    """Blanks, signs of shells and of Make, letters, the end of a line."""
    monkeypatch.chdir(tmp_path)
    build = make(tmp_path / ODD / "b")
    for _ in range(2):  # compiled, then used again
        report = run(build, simulator)
        assert (report.mismatch, report.frames) == (None, 3)
    assert [path.name for path in tmp_path.iterdir()] == [ODD]


def test_no_folder_that_compilers_take(tmp_path, monkeypatch):
    build = make(tmp_path / "a b")
    (tmp_path / "c d").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "c d"))
    with pytest.raises(DarbError, match=r"a b/sim/icarus: compilers take paths of .*c d is none either: set TMPDIR"):
        run(build, "icarus")


def test_a_plain_folder_is_where_compilers_work(tmp_path):
    with workshop(tmp_path, [tmp_path / "engine.v"]) as (folder, sources):
        assert (folder, sources) == (tmp_path, [tmp_path / "engine.v"])


def test_runs_that_were_killed_are_removed(tmp_path):
    """A run that another process is at stays."""
    build = make(tmp_path / "b")
    folder = build.folder / "sim" / "icarus"
    run(build, "icarus")
    code = (
        "import sys; from darb_hw.emit import Build\n"
        "from sim.launch import simulate; from sim.scenario import Scenario\n"
        "simulate(Build.load(sys.argv[1]), 'icarus', [Scenario(tuple(range(3)) * 9999)])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(build.folder)], start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not list(folder.glob("run-*/reports.json")) and not list(folder.glob("run-*/progress")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert len(list(folder.glob("run-*"))) == 1
    (folder / "run-at-work").mkdir()
    with exclusive(folder / "run-at-work"):
        assert run(build, "icarus").mismatch is None
        assert list(folder.glob("run-*")) == [folder / "run-at-work"]
    assert (build.folder / "rom" / "weights.hex").is_file()  # what a run links to
