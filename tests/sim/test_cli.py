"""``darb sim`` through the program itself: exit codes and messages."""

import re

import pytest

from darb_hw.cli import main
from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_prune.encoded import DarbError, TestVectors
from sim.launch import simulate
from sim.scenario import Scenario
from tests.altered import altered
from tests.networks import random_inputs, random_network

pytestmark = pytest.mark.simulator


@pytest.fixture
def random():
    return random_network(91, sizes=(7, 9, 4))


@pytest.fixture
def build(random, make_build):
    return make_build("cli", random.network, random.vectors(random_inputs(0, random.network, 5)), EngineConfig(lanes=2))


def test_exact(build, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["sim", str(build.folder), "--simulator", "icarus", "--samples", "3", "--stall", "0.2"])
    assert not stopped.value.code
    out = capsys.readouterr().out
    assert re.search(r"icarus +│ +3 │ +39 │", out)
    assert "exact" in out


def test_a_mismatch_is_exit_code_1(random, make_build, capsys):
    vectors = random.vectors(random_inputs(0, random.network, 5))
    vectors.tensors["t2"][1, 2] ^= 1
    build = make_build("cli-wrong", random.network, vectors, EngineConfig(lanes=2))
    with pytest.raises(SystemExit) as stopped:
        main(["sim", str(build.folder), "--simulator", "icarus"])
    assert stopped.value.code == 1
    assert re.search(r"layer 'layer2', row 2, element 2, sample 1", capsys.readouterr().out)


def test_a_wrong_batch_is_replayed_to_where_it_began(random, tmp_path, capsys):
    """Every index is off by one: outputs are wrong, and the report says where that began."""
    vectors = random.vectors(random_inputs(0, random.network, 5))
    build = generate(random.network, EngineConfig(lanes=2), tmp_path / "b", vectors)
    altered(build.folder, "= base + index;", "= base + (index ^ 1'h1);")
    with pytest.raises(SystemExit) as stopped:
        main(["sim", str(build.folder), "--all"])
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert re.search(r"sample \d: tensor 't2', element \d: engine -?\d+, oracle", out)
    assert re.search(r"began at cycle \d+: layer 'layer1', row \d+, element \d+, sample \d: engine -?\d+, oracle", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--simulator", "modelsim"], "unknown simulator 'modelsim': choose one of icarus, verilator"),
        (["--idle", "1"], "--idle 1.0: choose a probability from 0 to 0.9"),
        (["--samples", "0"], "--samples 0: choose at least 1"),
    ],
)
def test_bad_options(build, arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["sim", str(build.folder), *arguments])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.strip() == f"darb: error: {message}"


def test_no_build_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["sim", str(tmp_path)])
    assert stopped.value.code == 2
    assert "no manifest.json there; make the build with darb verilog" in capsys.readouterr().err


def test_a_design_is_compiled_once(build):
    mark = build.folder / "sim" / "icarus" / "sim.vvp"
    simulate(build, "icarus", [Scenario((0,))])
    before = mark.stat().st_mtime_ns
    simulate(build, "icarus", [Scenario((1, 2))])
    assert mark.stat().st_mtime_ns == before


def test_verilog_that_does_not_compile(random, tmp_path):
    vectors = random.vectors(random_inputs(0, random.network, 2))
    build = generate(random.network, EngineConfig(), tmp_path / "b", vectors)
    build.verilog.write_text("module engine(; endmodule\n")
    with pytest.raises(DarbError, match=r"icarus could not compile .*engine\.v; see .*build\.log"):
        simulate(build, "icarus", [Scenario((0,))])


def test_a_sample_that_is_not_there(build):
    assert TestVectors.load(build.vectors).samples == 5
    with pytest.raises(DarbError, match="sample 5 of a scenario: the build has vectors 0 to 4"):
        simulate(build, "icarus", [Scenario((0, 5))])
