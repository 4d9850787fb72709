"""The package as it is installed: a wheel, unpacked elsewhere, runs every command."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from darb_hw.config import DEVICES
from darb_hw.sweep.points import PointResult, SweepPoint
from darb_hw.sweep.table import json_bytes
from darb_hw.synthesis.boards import BOARDS
from tests.networks import random_inputs, random_network

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
DARB = "import sys; from darb_hw.cli import main; main(sys.argv[1:])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the files of the wheel; nothing is written into the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("darb_hw", "darb_prune", "sim", "constraints"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-c", BUILD, str(folder)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    shutil.rmtree(source)
    return folder / "site"


@pytest.fixture
def darb(installed, tmp_path):
    """Run the program of the wheel in another folder; gives exit code, stdout, stderr."""

    def run(*arguments, code=DARB, **environment):
        command = [sys.executable, "-P", "-c", code, *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(installed), "COLUMNS": "120"} | environment
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def network(tmp_path) -> Path:
    random = random_network(5, sizes=(9, 11, 4))
    random.network.save(tmp_path / "net.darb")
    random.vectors(random_inputs(0, random.network, 3)).save(tmp_path / "net.vectors")
    return tmp_path / "net.darb"


def test_files_of_boards_and_devices(darb, installed):
    code = (
        "from darb_hw.config import DEVICES; from darb_hw.synthesis.boards import BOARDS, constraints_file\n"
        "for name, device in DEVICES.items(): print(constraints_file(device))\n"
        "for name, device in BOARDS.items(): print(constraints_file(DEVICES[device], name))"
    )
    status, out, err = darb(code=code)
    assert (status, err) == (0, "")
    files = [Path(line) for line in out.splitlines()]
    assert [file.stem for file in files] == [*DEVICES, *BOARDS]
    for file in files:
        assert file.is_relative_to(installed)
        assert file.read_bytes() == (ROOT / "constraints" / file.name).read_bytes()


def test_help_of_every_command(darb):
    """All in one process: loading the program takes longest."""
    names = "train", "prune", "compile", "info", "analyze", "evaluate", "experiment", "estimate", "verilog", "sim"
    names += "synth", "sweep", "report", "store", "refit"
    code = (
        "import sys; from darb_hw.cli import main\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        main([name, '--help'])\n"
        "    except SystemExit as left:\n        assert not left.code, name"
    )
    status, out, err = darb(*names, code=code)
    assert (status, err) == (0, "")
    for name in names:
        assert f"darb {name} " in out


def test_page_of_a_sweep(darb, tmp_path):
    points = [PointResult(SweepPoint("n", None, {}, {"lanes": 4}, (1,)), 8, reason="no")]
    (tmp_path / "sweep.json").write_bytes(json_bytes(points, {"lanes": (4,)}, "s"))
    assert darb("report", tmp_path)[0] == 0
    page = (tmp_path / "report.html").read_text()
    for name in ("plots.js", "page.css"):
        assert (ROOT / "darb_hw" / "sweep" / "page" / name).read_text() in page


@pytest.mark.simulator
def test_verilog_sim_and_pins_of_a_board(darb, network, tmp_path):
    build = tmp_path / "b"
    assert darb("info", network)[0] == 0
    status, _, err = darb("verilog", network, "-o", build, "--lanes", 1, "--device", "ice40-up5k")
    assert (status, err) == (0, "")
    status, out, err = darb("sim", build, "--simulator", "icarus")
    assert (status, err) == (0, "")
    assert "exact" in out
    # Tools that refuse everything: the pins stand beside their logs.
    for name, text in (("yosys", "Yosys 0.60"), ("nextpnr", "(Version nextpnr-0.9)")):
        (tmp_path / name).write_text(
            f'#!/bin/sh\ncase "$1" in -V|--version) echo "{text}";; *) echo ERROR; exit 1;; esac\n'
        )
        (tmp_path / name).chmod(0o755)
    tools = {"YOSYS": str(tmp_path / "yosys"), "NEXTPNR_ICE40": str(tmp_path / "nextpnr")}
    status, _, err = darb("synth", build, "--board", "icebreaker", **tools)
    assert (status, err.splitlines()[0][:26]) == (2, "darb: error: yosys failed:")
    pins = (build / "synth" / "constraints.pcf").read_bytes()
    assert pins == (ROOT / "constraints" / "icebreaker.pcf").read_bytes()
