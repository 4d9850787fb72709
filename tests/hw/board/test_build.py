"""Bitstreams: made for real for a small network; what stands in their way."""

import json
import os
import shutil
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from darb_hw.board import build as board_build
from darb_hw.board.adopt import adopt_board
from darb_hw.board.boards import BOARDS, board_named
from darb_hw.board.build import divisor_of, info_of, make_board
from darb_hw.board.load import load_bitstream, load_line
from darb_hw.board.pins import clock_mhz_of
from darb_hw.board.report import FOLDER, BoardReport
from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate
from darb_hw.errors import PlanError, ToolError
from darb_hw.jobs.job import JobFailure
from darb_hw.link.info import BoardInfo
from darb_hw.link.network import network_bytes
from darb_hw.link.shape import LinkShape
from darb_hw.synthesis.route import Route, route_of
from darb_prune.encoded import DarbError
from tests.families import member
from tests.hw.host.pretended import pretend
from tests.networks import random_network, twin


@pytest.fixture(scope="module")
def network():
    return random_network(5, sizes=(9, 11, 4)).network


class Refused(Route):
    """A seed that no router gets on with."""

    def run(self, folder):
        raise JobFailure("nextpnr does not get on with this seed: leave it out")


@pytest.mark.synthesis
@pytest.mark.xdist_group("patches of ecp5")  # which are of the same placement
def test_a_bitstream_comes_out(tmp_path, monkeypatch):
    """Small enough for one seed, since the other one fails; the clock is that of the PLL, and one that the placement
    reaches. (Commands make one for an iCE40.)"""

    def route(*arguments, **options):
        job = route_of(*arguments, **options)
        return Refused(*(getattr(job, field.name) for field in fields(job))) if job.seed == 2 else job

    monkeypatch.setattr(board_build, "route_of", route)
    board, said = board_named("orangecrab-25f"), []
    network, vectors = member("chain", 0)
    build = generate(network, EngineConfig(lanes=1, device=board.device), tmp_path, vectors, headroom=0.3)
    report = make_board(build, board, mhz=20, seeds=(1, 2), progress=said.append)
    folder = tmp_path / FOLDER
    assert BoardReport.of(build) == report
    data = (folder / report.bitstream).read_bytes()
    assert len(data) > 50_000
    assert b"\xff\xff\xbd\xb3" in data[:200]  # the preamble of ECP5
    assert report.clock_mhz <= report.fmax_mhz
    assert 18 < report.clock_mhz <= 20
    assert report.request_bytes == 2 + 2 + network.tensor(network.input).size + 6
    assert report.reply_bytes == 2 + 2 + network.tensor(network.output).size + 6
    assert report.link_rate == pytest.approx(board.baud / 10 / report.request_bytes)
    assert said[-1] == "bitstream"
    assert {"top.v", "netlist.v", "yosys.log", "nextpnr.log"} <= {path.name for path in folder.iterdir()}
    # Once more: everything is in the store.
    assert make_board(build, board, mhz=20, seeds=(1, 2)) == report
    with pytest.raises(ToolError, match="no seed can be placed and routed: nextpnr does not get on with this seed: "):
        make_board(build, board, mhz=20, seeds=(2,))
    assert BoardReport.of(build) == report


def test_placements_that_are_too_slow_are_no_clock(monkeypatch):
    """Whatever clock is asked for, they are a MHz slower."""

    def slow(design, seeds, aim):
        return SimpleNamespace(pll=SimpleNamespace(mhz=aim), fmax=aim - 1)
        yield

    monkeypatch.setattr(board_build, "_round", slow)
    design = SimpleNamespace(device=SimpleNamespace(target_mhz=60))
    with pytest.raises(PlanError, match=r"no placement reaches a clock of \d\d\.\d MHz: try more --seeds"):
        list(board_build._flow(design, (1,), None))


def test_a_build_for_another_device_is_refused(network, tmp_path):
    build = generate(network, EngineConfig(lanes=1, device="ice40-hx8k"), tmp_path)
    with pytest.raises(DarbError, match="made for ice40-hx8k, iCEBreaker carries ice40-up5k: make the build with"):
        make_board(build, board_named("icebreaker"))
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize(
    ("mhz", "baud", "nearest"),
    [(12, 7_000_000, 3_000_000), (12, 4_000_000, 3_000_000), (25, 9_000_000, 6_250_000), (12, 1_140_000, 1_090_909)],
)
def test_a_line_too_fast_is_refused(mhz, baud, nearest):
    with pytest.raises(DarbError, match=f"--baud {baud}: not with a clock of {mhz} MHz; choose {nearest}") as refusal:
        divisor_of(mhz, baud)
    assert divisor_of(mhz, int(str(refusal.value).rpartition(" ")[2])) == round(mhz * 1e6 / nearest)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_the_baud_of_a_board_suits_its_clock(board):
    assert divisor_of(clock_mhz_of(board), board.baud) >= 4
    assert board.bauds.get("spi", 0) <= 1e6 * clock_mhz_of(board)


def test_what_a_board_says_of_itself(network, tmp_path):
    build = generate(network, EngineConfig(lanes=1, device="ice40-hx8k"), tmp_path)
    shape = LinkShape.of(build.plan, 100)
    assert info_of(build, shape, 39.75) == BoardInfo(2, 4, 39_750_000, 128, build.digest[:16], build.engine_digest[:16])


def test_a_byte_has_eight_bits_on_spi_and_ten_on_a_uart(loaded):
    report = BoardReport.of(Build.load(loaded))
    assert report.link == "uart"
    assert report.link_rate == report.baud / 10
    assert replace(report, link="spi").link_rate == report.baud / 8
    values = json.loads(report.packed())
    del values["link"]  # of before there was SPI
    assert BoardReport.from_values(values) == report
    for link in ("can", ["uart"], None):
        with pytest.raises(ValueError, match=r"report|input"):
            BoardReport.from_values({**values, "link": link})


@pytest.fixture(scope="module")
def ulx3s(network, tmp_path_factory):
    """A folder as if it had a bitstream for an ULX3S; nobody writes into it."""
    build = generate(network, EngineConfig(lanes=1, device="ecp5-85k"), tmp_path_factory.mktemp("ulx3s"))
    pretend(build, 16)
    return build.folder


@pytest.fixture
def loaded(ulx3s, tmp_path):
    return shutil.copytree(ulx3s, tmp_path / "a b")


def test_loading_names_the_board_and_the_file(loaded, tmp_path, monkeypatch):
    program = tmp_path / "openFPGALoader"
    program.write_text(f'#!/bin/sh\nfor a; do echo "$a"; done > {tmp_path}/said\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    load_bitstream(loaded, flash=True)
    expected = ["--board", "ulx3s", "--write-flash", str(loaded / FOLDER / "bitstream.bit")]
    assert (tmp_path / "said").read_text().splitlines() == expected
    report = BoardReport.of(Build.load(loaded))
    assert load_line(Build.load(loaded), report) == f"openFPGALoader --board ulx3s '{loaded}/board/bitstream.bit'"


def test_a_network_for_flash_memory_is_loaded_first(tmp_path, monkeypatch):
    """A file that is missing, or of another network, is no bitstream's; another build for the board has its own."""
    program = tmp_path / "openFPGALoader"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    random = random_network(5, sizes=(9, 24, 4))
    build, other = (
        generate(one.network, EngineConfig(2, "ice40-up5k", roms="spram"), tmp_path / name)
        for name, one in (("a", random), ("b", twin(random)))
    )
    pretend(build, 16, board="icebreaker")
    adopt_board(build, other)
    for one in (build, other):
        (tmp_path / "said").unlink(missing_ok=True)
        load_bitstream(one.folder, flash=False)
        board = one.folder / FOLDER
        assert (tmp_path / "said").read_text().splitlines() == [
            f"--board ice40_generic --write-flash --offset 1048576 {board}/network.bin",
            f"--board ice40_generic {board}/bitstream.bin",
        ]
        assert (board / "network.bin").read_bytes() == network_bytes(one.digest, one.plan)
    assert load_line(build, BoardReport.of(build)).count(" && ") == 1
    network = other.folder / FOLDER / "network.bin"
    network.write_bytes(network.read_bytes()[:-1] + b"x")
    for _ in range(2):
        with pytest.raises(
            DarbError, match=r"network\.bin: missing or altered; make the bitstream again with darb board"
        ):
            load_bitstream(other.folder, flash=False)
        network.unlink(missing_ok=True)


def test_a_board_that_is_not_there(loaded, tmp_path, monkeypatch):
    program = tmp_path / "openFPGALoader"
    program.write_text("#!/bin/sh\necho unable to open ftdi device >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ToolError, match="failed: unable to open ftdi device: is the board plugged in"):
        load_bitstream(loaded, flash=False)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"board": 1}'])
def test_a_damaged_report_is_refused(loaded, text):
    (loaded / FOLDER / "report.json").write_text(text)
    with pytest.raises(DarbError, match=r"report\.json: damaged; make the bitstream again with darb board"):
        load_bitstream(loaded, flash=False)


def test_a_bitstream_of_another_engine(loaded, network):
    generate(network, EngineConfig(lanes=2, device="ecp5-85k"), loaded)
    with pytest.raises(DarbError, match="of another engine than the build; make the bitstream again"):
        load_bitstream(loaded, flash=False)


def test_no_bitstream(loaded):
    (loaded / FOLDER / "bitstream.bit").unlink()
    with pytest.raises(DarbError, match="missing; make the bitstream again"):
        load_bitstream(loaded, flash=False)
    (loaded / FOLDER / "report.json").unlink()
    with pytest.raises(DarbError, match="no such file; make the bitstream with darb board"):
        load_bitstream(loaded, flash=False)


@pytest.mark.parametrize(
    "change",
    [
        {"buffer": "x"}, {"buffer": 1 << 80}, {"buffer": 24}, {"buffer": 0}, {"clock_mhz": 0}, {"clock_mhz": None},
        {"fmax_mhz": -1.0}, {"baud": 0}, {"bitstream": 5}, {"luts": {"used": 1}}, {"tools": []}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_report_that_is_none(loaded, change):
    path = loaded / FOLDER / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DarbError, match=r"report.json: damaged; make the bitstream again with darb board"):
        BoardReport.of(Build.load(loaded))
