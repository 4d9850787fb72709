"""Other networks in a placed layout: what the bitstream holds then, and what is refused."""

import json
import shutil
from dataclasses import replace

import pytest

from darb_hw.board.boards import board_named
from darb_hw.board.build import info_of, make_board, patchable
from darb_hw.board.patch import patch_board
from darb_hw.board.report import FOLDER, BoardReport
from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate
from darb_hw.errors import PlanError
from darb_hw.link.info import BoardInfo
from darb_hw.link.shape import LinkShape
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DarbError
from sim.launch import simulate
from sim.scenario import Scenario
from tests.families import member
from tests.hw.board.bitstreams import roms_of
from tests.networks import random_network

pytestmark = pytest.mark.synthesis

BOARDS = {"ice40": "icesugar", "ecp5": "orangecrab-25f"}


@pytest.fixture(
    scope="module",
    params=[pytest.param(family, marks=pytest.mark.xdist_group(f"patches of {family}")) for family in BOARDS],
)
def placed(request, tmp_path_factory):
    """A small engine with room, placed once a family; nobody writes into its folder."""
    board = board_named(BOARDS[request.param])
    folder = tmp_path_factory.mktemp(request.param) / "build"
    network, vectors = member("chain", 0)
    build = generate(network, EngineConfig(lanes=1, device=board.device), folder, vectors, headroom=0.3)
    make_board(build, board, mhz=20, seeds=(1,))
    return build


def holds_its_roms(folder, scratch) -> None:
    """The bitstream of a build has the words of ``rom/*.hex`` in its block RAMs, and says which engine it is."""
    build, scratch = Build.load(folder), scratch / "unpacked"
    scratch.mkdir(exist_ok=True)
    found = roms_of(folder, scratch)
    assert found.keys() == {*build.plan.images, "info"}
    for name in build.plan.images:
        lines = (folder / "rom" / f"{name}.hex").read_text().split()
        assert found[name] == [int(line, 16) for line in lines], name
    report = BoardReport.of(build)
    info = info_of(build, LinkShape.of(build.plan, report.buffer), report.clock_mhz).packed()
    assert bytes(found["info"][: len(info)]) == info
    assert BoardInfo.of(info).digest == build.digest[:16]


@pytest.mark.parametrize("others", [2, pytest.param(10, marks=pytest.mark.long)])
def test_other_networks_in_one_layout(others, placed, tmp_path):
    holds_its_roms(placed.folder, tmp_path)
    before = (placed.folder / FOLDER / BoardReport.of(placed).bitstream).read_bytes()
    for seed in range(1, others + 1):
        network, vectors = member("chain", seed, 3.7 + seed / 12)
        network.save(tmp_path / "other.darb")
        vectors.save(tmp_path / "other.vectors")
        report = patch_board(placed.folder, tmp_path / "other.darb", tmp_path / "patched")
        holds_its_roms(tmp_path / "patched", tmp_path)
        build = Build.load(tmp_path / "patched")
        assert BoardReport.of(build) == report
        assert build.plan.source.digest == network.digest
        assert report.interval_cycles == build.plan.timing.interval_of(1)
        assert (build.folder / FOLDER / report.bitstream).read_bytes() != before
    assert {path.name for path in (tmp_path / "patched" / FOLDER).iterdir()} == {
        path.name for path in (placed.folder / FOLDER).iterdir()
    } - {"netlist.v"}
    reports = simulate(build, "icarus", [Scenario(tuple(range(4)))])
    assert [(report.mismatch, report.frames) for report in reports] == [(None, 4)]


@pytest.mark.parametrize(
    ("board", "config"),
    [
        ("orangecrab-25f", EngineConfig(4, "ecp5-25k", positions=4, results=2)),
        pytest.param(
            "icesugar",
            EngineConfig(2, "ice40-up5k", positions=2, results=1, memory="spram", input="alone"),
            marks=pytest.mark.long,
        ),
    ],
    ids=["ecp5", "spram"],
)
def test_lanes_over_positions(board, config, tmp_path):
    """Their tables differ from network to network as well."""
    build = generate(member("5 channels", 0)[0], config, tmp_path / "build", headroom=0.3)
    make_board(build, board_named(board), mhz=20, seeds=(1,))
    for seed in (1, 2):
        network, vectors = member("5 channels", seed, 3.7 + seed / 3)
        network.save(tmp_path / "other.darb")
        vectors.save(tmp_path / "other.vectors")
        patch_board(build.folder, tmp_path / "other.darb", tmp_path / "patched")
        holds_its_roms(tmp_path / "patched", tmp_path)
    patched = Build.load(tmp_path / "patched")
    assert (patched.plan.images["taps"].words != build.plan.images["taps"].words).any()
    reports = simulate(patched, "icarus", [Scenario(tuple(range(4)))])
    assert [(report.mismatch, report.frames) for report in reports] == [(None, 4)]


def test_there_and_back_in_place(placed, tmp_path):
    """The first network once more gives the first bitstream; vectors that are no more are removed."""
    folder = tmp_path / "build"
    shutil.copytree(placed.folder, folder)
    patch_board(folder, member("chain", 1)[0])
    assert "vectors/all.vectors" not in Build.load(folder).manifest["files"]
    assert not (folder / "vectors" / "all.vectors").exists()
    assert not (folder / FOLDER / "netlist.v").exists()
    report = patch_board(folder, placed.plan.source)
    for name in ("report.json", report.bitstream, "top.v", "blocks.json"):
        assert (folder / FOLDER / name).read_bytes() == (placed.folder / FOLDER / name).read_bytes(), name


def test_what_is_not_whole_is_refused(placed, tmp_path):
    """A line says what to do, and nothing is written."""
    network, board = member("chain", 1)[0], FOLDER
    layout = {"ecp5": "design.config", "ice40": "design.asc"}[placed.plan.config.target.family]
    bitstream = BoardReport.of(placed).bitstream
    record = json.loads((placed.folder / board / "blocks.json").read_text())
    some = next(cell for cell in record["blocks"] if "holds_weights" in cell)
    fewer = {cell: called for cell, called in record["blocks"].items() if cell != some}
    again = "make the bitstream again with darb board"
    data = {name: (placed.folder / board / name).read_bytes() for name in (layout, bitstream)}
    cases = [
        ({layout: data[layout][:-400]}, f"{layout}: altered since it was made; {again}"),
        ({bitstream: data[bitstream][:-1]}, f"{bitstream}: altered since it was made; {again}"),
        ({layout: None}, f"{layout}: missing; {again}"),
        ({"blocks.json": None}, f"blocks.json: no such file; {again}"),
        ({"blocks.json": b"[]"}, f"blocks.json: damaged; {again}"),
        ({"blocks.json": b'{"layout": 1, "bitstream": 2, "blocks": {}}'}, f"blocks.json: damaged; {again}"),
        ({"blocks.json": record | {"blocks": fewer}}, f"blocks.json: not all blocks of weights; {again}"),
        (
            {"blocks.json": record | {"blocks": {**record["blocks"], "x.holds_y.memory.block_0_0.block": "0"}}},
            f"blocks.json: not the blocks of this build; {again}",
        ),
        (
            {"blocks.json": record | {"blocks": {**record["blocks"], some: "99999"}}},
            f"the layout has no whole block 99999: {again}",
        ),
    ]  # fmt: skip
    for number, (changes, message) in enumerate(cases):
        folder = tmp_path / str(number)
        shutil.copytree(placed.folder, folder)
        for name, contents in changes.items():
            path = folder / board / name
            path.unlink()
            if contents is not None:
                path.write_bytes(contents if isinstance(contents, bytes) else json.dumps(contents).encode())
        state = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(DarbError) as refusal:
            patch_board(folder, network)
        assert message in str(refusal.value)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == state


def test_networks_and_builds_that_do_not_go_together(placed, tmp_path):
    network = member("chain", 1)[0]
    with pytest.raises(PlanError, match=r"elements of an output|a tensor that the build has not|results from"):
        patch_board(placed.folder, random_network(5, sizes=(9, 11, 4)).network, tmp_path / "a")
    with pytest.raises(PlanError, match=r"weights: .* words, the build has room for .*: prune more, or make the build"):
        patch_board(placed.folder, member("chain", 1, 1.0)[0], tmp_path / "a")
    build = generate(network, EngineConfig(lanes=1, device=placed.plan.config.device), tmp_path / "plain")
    with pytest.raises(DarbError, match="made without room for other networks; make the build with --capacity 20%"):
        patch_board(build.folder, network, tmp_path / "a")
    roomy = generate(network, placed.plan.config, tmp_path / "roomy", headroom=0.3)
    with pytest.raises(DarbError, match=r"report\.json: no such file; make the bitstream with darb board"):
        patch_board(roomy.folder, network, tmp_path / "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(DarbError, match="is a file; name a folder for the build"):
        patch_board(placed.folder, network, tmp_path / "file")
    assert not (tmp_path / "a").exists()


def test_another_engine_is_no_patch(placed, tmp_path, monkeypatch):
    """What the plans do not show, the Verilog does."""

    def other(plan, network):
        capacity = replace(plan.capacity, output_banks=5 - plan.output_banks)
        return Plan.make(network, plan.config, capacity)

    monkeypatch.setattr("darb_hw.board.patch.plan_within", other)
    with pytest.raises(PlanError, match=r"engine\.v: not that of the build: .*; make a build of its own"):
        patch_board(placed.folder, member("chain", 1)[0], tmp_path / "a")


def test_a_family_whose_blocks_are_not_known(tmp_path):
    """It has room for other networks all the same."""
    build = generate(member("chain", 0)[0], EngineConfig(lanes=1, device="gw2a-18"), tmp_path / "a", headroom=0.3)
    with pytest.raises(DarbError, match=r"whose layouts have no known blocks; make a bitstream .* darb verilog --like"):
        patch_board(build.folder, member("chain", 1)[0])
    other = generate(member("chain", 1)[0], None, tmp_path / "b", like=build)
    assert other.verilog.read_bytes() == build.verilog.read_bytes()


def test_a_build_for_networks_over_the_line(placed, tmp_path):
    """Its ROMs are written: they come by another way."""
    config = EngineConfig(lanes=1, device=placed.plan.config.device, reload=True)
    build = generate(member("chain", 0)[0], config, tmp_path, headroom=0.3)
    assert not patchable(build)
    with pytest.raises(
        DarbError, match="its engine takes networks over the line; send it others with darb host reload"
    ):
        patch_board(build.folder, member("chain", 1)[0])
