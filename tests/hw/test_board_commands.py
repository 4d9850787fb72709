"""Commands for boards: what they print, and what they refuse."""

import os

import numpy as np
import pytest
from typer.testing import CliRunner

from darb_hw import cli
from darb_hw.board.report import FOLDER
from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from tests.families import member
from tests.hw.host.pretended import PretendedLine, pretend
from tests.networks import random_inputs, random_network, twin


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    random = random_network(5, sizes=(9, 11, 4))
    path = tmp_path_factory.mktemp("network") / "net.darb"
    random.network.save(path)
    random.vectors(random_inputs(5, random.network, 12), None).save(path.with_suffix(".vectors"))
    return path


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and output of the program."""
    done = CliRunner(env={"COLUMNS": "120"}).invoke(cli.build_app(), [str(argument) for argument in arguments])
    return done.exit_code, done.output if done.exception is None or done.exit_code == 0 else str(done.exception)


@pytest.mark.synthesis
@pytest.mark.xdist_group("patches of ice40")  # which are of the same bitstream
def test_a_bitstream_from_a_network_and_from_a_build(tmp_path):
    """Both come to the same; what was placed before is not placed again."""
    network, vectors = member("chain", 0)
    network.save(tmp_path / "net.darb")
    vectors.save(tmp_path / "net.vectors")
    network, made = tmp_path / "net.darb", ("--lanes", 1, "--capacity", "30%")
    options = "--board", "icesugar", "--seeds", 1, "--mhz", 20
    code, output = run("board", network, *options, *made, "-o", tmp_path / "a")
    assert code == 0, output
    assert "inferences/s" in output
    assert "load it with: cp" in " ".join(output.split())
    code, output = run("verilog", network, *made, "--device", "ice40-up5k", "-o", tmp_path / "b")
    assert code == 0, output
    code, output = run("board", tmp_path / "b", *options)
    assert code == 0, output
    bits = [(tmp_path / name / FOLDER / "bitstream.bin").read_bytes() for name in "ab"]
    assert bits[0] == bits[1]
    assert b"\x7e\xaa\x99\x7e" in bits[0][:200]  # the preamble of iCE40


def test_all_boards_are_listed():
    code, output = run("boards")
    assert code == 0
    assert all(name in output for name in ("icebreaker", "ulx3s-85f", "colorlight-i5"))
    assert all(len(line.rstrip()) <= 80 for line in output.splitlines())
    assert [line.split()[-1] for line in output.splitlines() if "iCE" in line] == ["spi", "uart", "uart"]


def test_what_a_bitstream_needs_is_said_at_once(network, tmp_path):
    for arguments, message in (
        ((network, "--board", "arty", "-o", tmp_path / "a"), "unknown board 'arty': choose one of"),
        ((network, "--board", "icebreaker"), "add --output FOLDER"),
        ((tmp_path, "--board", "icebreaker", "-o", tmp_path / "a"), "leave out --output"),
        ((tmp_path, "--board", "icebreaker"), "make the build with darb verilog"),
        ((network, "--board", "icebreaker", "-o", tmp_path / "a", "--baud", 9_000_000), "choose 3000000"),
        ((tmp_path / "a", "--board", "icebreaker", "--link", "spi", "--baud", 13_000_000), "choose up to 12000000"),
        ((tmp_path / "a", "--board", "icebreaker", "--link", "i2c"), "--link i2c: not on this board"),
    ):
        code, output = run("board", *arguments)
        assert code != 0
        assert message in output, arguments
    assert not (tmp_path / "a" / FOLDER).exists()


def test_room_for_other_networks(network, tmp_path):
    """What is made with room, what is not, and what is asked of either."""
    code, output = run("verilog", network, "--lanes", 1, "--capacity", "20%", "-o", tmp_path / "roomy")
    assert code == 0, output
    code, output = run("verilog", network, "--like", tmp_path / "roomy", "-o", tmp_path / "alike")
    assert code == 0, output
    texts = [(tmp_path / name / "engine.v").read_bytes() for name in ("roomy", "alike")]
    assert texts[0] == texts[1]
    code, output = run("verilog", network, "--lanes", 1, "-o", tmp_path / "plain")
    assert code == 0, output
    for arguments, message in (
        (
            ("patch", tmp_path / "plain", network),
            "made without room for other networks; make the build with --capacity",
        ),
        (("patch", tmp_path / "roomy", network), "report.json: no such file; make the bitstream with darb board"),
        (("patch", tmp_path, network), "make the build with darb verilog"),
        (("verilog", network, "--like", tmp_path / "plain", "-o", tmp_path / "a"), "made without room for other"),
        (
            ("verilog", network, "--like", tmp_path / "roomy", "--lanes", 4, "-o", tmp_path / "a"),
            "--lanes: the engine is that of",
        ),
        (
            ("verilog", network, "--like", tmp_path / "roomy", "--capacity", "9%", "-o", tmp_path / "a"),
            "with all of its options: leave it out",
        ),
        (("verilog", network, "--capacity", "20", "-o", tmp_path / "a"), "--capacity 20: choose a percentage from 0%"),
        (("board", tmp_path / "roomy", "--board", "ulx3s-85f", "--capacity", "9%"), "give --capacity to darb verilog"),
    ):
        code, output = run(*arguments)
        assert code != 0
        assert message in output, arguments
    assert not (tmp_path / "a").exists()


def test_nothing_to_load(network, tmp_path):
    code, output = run("load", tmp_path)
    assert code != 0
    assert "make the build with darb verilog" in output


@pytest.fixture
def asked(network, tmp_path, monkeypatch):
    """A build with a board behind a line that knows the answers to its vectors."""
    build = generate(network, EngineConfig(lanes=1), tmp_path / "build")
    vectors, names = build.load_vectors(), build.plan.network
    pairs = zip(vectors.tensors[names.input], vectors.tensors[names.output], strict=True)
    answers = {bytes(int(v) & 255 for v in x): bytes(int(v) & 255 for v in y) for x, y in pairs}
    line = PretendedLine(build, pretend(build, 64), lambda payload: answers.get(payload, bytes(4)))
    monkeypatch.setattr("darb_hw.host.device.opened_line", lambda port, link, baud: line)
    return build, vectors


def test_another_network_for_a_board(network, tmp_path, monkeypatch):
    """It is sent, and its build becomes that of the board; an engine that is another one is refused, and left alone."""
    random = random_network(5, sizes=(9, 11, 4))
    first = generate(network, EngineConfig(lanes=1, reload=True), tmp_path / "first")
    second = generate(twin(random).network, EngineConfig(lanes=1, reload=True), tmp_path / "second")
    third = generate(network, EngineConfig(lanes=2, reload=True), tmp_path / "third")
    line = PretendedLine(first, pretend(first, 64), None)
    monkeypatch.setattr("darb_hw.host.device.opened_line", lambda port, link, baud: line)
    code, output = run("host", "reload", first.folder, second.folder, "--port", "x")
    assert code == 0, output
    assert line.info["digest"][:16] == second.digest[:16]
    assert {path.name for path in (second.folder / FOLDER).iterdir()} == {"report.json", "bitstream.bit"}
    assert run("host", "info", second.folder, "--port", "x")[0] == 0
    code, output = run("host", "info", first.folder, "--port", "x")
    assert code != 0
    assert "darb host reload" in output
    code, output = run("host", "reload", second.folder, third.folder, "--port", "x")
    assert code != 0
    assert f"make it with darb verilog --like {second.folder}" in output
    assert not (third.folder / FOLDER).exists()
    code, output = run("host", "reload", second.folder, first.folder, "--port", "x")
    assert (code, " ".join(output.split())) == (0, f"x: has the network of {first.folder} now")


def test_asking_a_board(asked, tmp_path):
    build, vectors = asked
    code, output = run("host", "self-test", build.folder, "--port", "x")
    assert (code, " ".join(output.split())) == (0, "x: 12 outputs, all exact")
    code, output = run("host", "info", build.folder, "--port", "x")
    assert "100.00 MHz, room for 64 elements" in " ".join(output.split())
    code, output = run("host", "measure", build.folder, "--port", "x", "--samples", 5)
    assert "inferences a second" in output
    names = build.plan.network
    inputs, outputs = tmp_path / "inputs.npy", tmp_path / "outputs.npy"
    np.save(inputs, vectors.tensors[names.input][:7])
    code, output = run("host", "predict", build.folder, inputs, "--port", "x", "-o", outputs)
    assert code == 0, output
    assert np.array_equal(np.load(outputs), vectors.tensors[names.output][:7])


@pytest.mark.parametrize("content", [b"", b"no array", None, "pickle"])
def test_inputs_that_are_none(asked, tmp_path, content):
    build, _ = asked
    path = tmp_path / "inputs.npy"
    if content == "pickle":
        np.save(path, np.array([{}], object), allow_pickle=True)
    elif content is None:
        np.save(path, np.zeros(9))
    else:
        path.write_bytes(content)
    code, output = run("host", "predict", build.folder, path, "--port", "x", "-o", tmp_path / "o.npy")
    assert code != 0
    assert "inputs.npy" in output
    assert not os.path.exists(tmp_path / "o.npy")
