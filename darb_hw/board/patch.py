"""New weights on a board without synthesis and place and route: other contents for the block RAMs of its layout."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np

from darb_hw.board.boards import board_named
from darb_hw.board.build import TOP, blocks_record, info_of, patchable
from darb_hw.board.layout import exchanged
from darb_hw.board.pack import BITSTREAM, Pack
from darb_hw.board.report import FOLDER, BoardReport
from darb_hw.device.contents import contents_of
from darb_hw.device.primitives import BLOCK_NAME
from darb_hw.emit import Build, build_files, check_verilog, loaded
from darb_hw.errors import PlanError, ToolError
from darb_hw.jobs.job import finished
from darb_hw.link.info_memory import info_image, with_info
from darb_hw.link.shape import LinkShape
from darb_hw.locks import exclusive
from darb_hw.plan.headroom import plan_within
from darb_hw.plan.image import Image
from darb_hw.plan.plan import Plan
from darb_hw.store.store import Store
from darb_hw.synthesis.blocks import BLOCKS
from darb_hw.synthesis.boards import SUFFIX
from darb_hw.synthesis.route import LAYOUT
from darb_prune.encoded import DarbError, EncodedNetwork, write_files

__all__ = ["patch_board"]

_REMEDY = "make the bitstream again with darb board"


def patch_board(
    folder: str | Path, network: EncodedNetwork | str | Path, output: str | Path | None = None,
    store: Store | None = None,
) -> BoardReport:  # fmt: skip
    """Make the bitstream of another network of the same architecture, in the placed layout of a build.

    Parameters
    ----------
    folder : path
        Build folder of ``darb board``, with room for other networks.
    network : EncodedNetwork or path of a ``.darb`` file
        Vectors beside the file come with it.
    output : path, optional
        Build folder to write; if absent, the build becomes that of the new network.
    store : Store, optional
        ``$DARB_STORE``, or that of the user, if absent.

    Returns
    -------
    BoardReport
        Of the new bitstream.

    Raises
    ------
    PlanError
        If the network has no room in the engine, or another engine.
    DarbError
        If the build has no room for other networks, or its bitstream or layout is missing or not what was placed.
    ToolError
        If a tool is missing or fails.
    """
    folder = Path(folder)
    target = folder if output is None else Path(output)
    if target.exists() and not target.is_dir():
        raise DarbError(f"{target}: is a file; name a folder for the build")
    with exclusive(folder):
        build = Build.load(folder)
        files, stale, report = _patched(build, network, store or Store())
        if target.resolve() != folder.resolve():
            target.mkdir(parents=True, exist_ok=True)
            with exclusive(target):
                write_files({target / name: data for name, data in files.items()})
            return report
        write_files({folder / name: data for name, data in files.items()})
        for name in stale:
            (folder / name).unlink(missing_ok=True)
    return report


def _patched(
    build: Build, network: EncodedNetwork | str | Path, store: Store
) -> tuple[dict[str, bytes], list[str], BoardReport]:
    """All files of the patched build, those that it has no more, and its report."""
    if build.plan.config.loads:
        raise DarbError(
            f"{build.folder}: its engine takes networks over the line; send it others with darb host reload"
        )
    if build.plan.capacity is None:
        raise DarbError(f"{build.folder}: made without room for other networks; make the build with --capacity 20%")
    if not patchable(build):
        raise DarbError(
            f"{build.folder}: made for {build.plan.config.device}, whose layouts have no known blocks; make a "
            "bitstream for the network with darb verilog --like and darb board"
        )
    before, family, board = BoardReport.of(build), build.plan.config.target.family, build.folder / FOLDER
    layout, blocks = _layout_of(board, family)
    new_network, vectors = loaded(network, None)
    plan = plan_within(build.plan, new_network)
    files, manifest = build_files(plan, vectors)
    check_verilog(build, files)
    made = Build(build.folder, plan, manifest)
    info = info_of(made, LinkShape.of(plan, before.buffer), before.clock_mhz).packed()
    layout = exchanged(family, layout, _contents(build.plan, plan, info_image(info), blocks, board / BLOCKS))
    title = f"{plan.source.name} on {before.board}"
    packed = finished(Pack.of(layout, plan.config.target, board_named(before.board), title), store)
    if packed.failure:
        raise ToolError(packed.failure)
    bitstream = packed.files[BITSTREAM[family]]
    report = before.of_network(made)
    kept = (f"constraints{SUFFIX[family]}", "yosys.log", "nextpnr.log")
    top = with_info((board / f"{TOP}.v").read_text(errors="replace"), family, info)
    of_board = {name: (board / name).read_bytes() for name in kept} | {
        f"{TOP}.v": top.encode(),
        LAYOUT[family]: layout,
        BLOCKS: blocks_record(blocks, layout, bitstream),
        BITSTREAM[family]: bitstream,
        "report.json": report.packed(),
    }
    # What Yosys made has the contents of the first network inside.
    stale = [f"{FOLDER}/netlist.v", *(name for name in build.manifest["files"] if name not in files)]
    return files | {f"{FOLDER}/{name}": data for name, data in of_board.items()}, stale, report


def _layout_of(board: Path, family: str) -> tuple[bytes, dict[str, str]]:
    """The layout of a bitstream, and where its block RAMs are."""
    path = board / BLOCKS
    try:
        record = json.loads(path.read_bytes())
        digests, blocks = (record["layout"], record["bitstream"]), dict(record["blocks"])
        if not all(isinstance(value, str) for value in (*digests, *blocks, *blocks.values())):
            raise ValueError
    except FileNotFoundError:
        raise DarbError(f"{path}: no such file; {_REMEDY}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DarbError(f"{path}: damaged; {_REMEDY}") from None
    contents = []
    for name, digest in zip((LAYOUT[family], BITSTREAM[family]), digests, strict=True):
        if not (board / name).is_file():
            raise DarbError(f"{board / name}: missing; {_REMEDY}")
        contents.append((board / name).read_bytes())
        if sha256(contents[-1]).hexdigest() != digest:
            raise DarbError(f"{board / name}: altered since it was made; {_REMEDY}")
    return contents[0], blocks


def _contents(before: Plan, plan: Plan, info: Image, blocks: Mapping[str, str], path: Path) -> dict[str, np.ndarray]:
    """Contents of all blocks whose contents may be exchanged, by what the layout calls them."""
    family = plan.config.target.family
    places: dict[str, dict[tuple[int, int], list[str]]] = {}
    for cell, called in blocks.items():
        match = BLOCK_NAME.search(cell)
        if match:
            places.setdefault(match[1], {}).setdefault((int(match[2]), int(match[3])), []).append(called)
    made: dict[str, np.ndarray] = {}
    for image in (*plan.images.values(), info):
        contents, here = contents_of(family, image), places.pop(image.name, {})
        if here.keys() != contents.keys():
            raise DarbError(f"{path}: not all blocks of {image.name}; {_REMEDY}")
        if not contents and not np.array_equal(image.words, before.images[image.name].words):
            raise PlanError(
                f"{image.name}: differs, and is in logic, which stays as it is: make a build of its own for the network"
            )
        made |= {called: contents[position] for position, names in here.items() for called in names}
    if places or len(made) != sum(1 for cell in blocks if BLOCK_NAME.search(cell)):
        raise DarbError(f"{path}: not the blocks of this build; {_REMEDY}")
    return made
