"""Whole boards in simulators: bits at their pins in, bits out, whatever goes wrong in between."""

import os
from dataclasses import replace

import numpy as np
import pytest

from darb_hw.board.boards import board_named
from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.host import Device
from darb_hw.host.self_test import self_test
from darb_prune.encoded import DarbError
from sim.board import BoardModel, simulate_board, virtual_board
from sim.packets import ReferencePacket, pack
from tests.families import member
from tests.hw.host.pretended import pretend
from tests.networks import random_inputs, random_lengths, random_network, twin

pytestmark = pytest.mark.simulator

# Each kind of loop and of clock; networks with frames, with sequences, with outputs at every step.
BOARDS = {
    "ulx3s-85f": (4, {"sizes": (9, 11, 4)}, "verilator"),
    "icebreaker": (2, {"kind": "gru"}, "icarus"),
    "orangecrab-25f": (3, {"kind": "lstm"}, "icarus"),
}
RELOADED = ("ulx3s-85f", "icebreaker")
"""Boards whose engines take other networks."""
# What is compiled for one test serves another.
_ONE_WORKER = pytest.mark.xdist_group("ulx3s-85f")
_TROUBLE = {"damaged bytes", "lost bytes", "wrong lengths", "wrong sizes", "unknown requests", "resets"}


def model_of(
    make_build, name: str, options, lanes: int, mhz: float = 50, wrong: bool = False, other: bool = False
) -> BoardModel:
    """A board with an engine for a random network, and room for 64 elements or more; with ``wrong`` some of its vectors
    have outputs that are none. ``other``: with another network for the same engine."""
    random, board = random_network(5, **options), board_named(name)
    random = twin(random) if other else random
    lengths = random_lengths(5, random.network, 30)
    inputs = random_inputs(5, random.network, 100 if lengths is None else int(lengths.sum()))
    vectors = random.vectors(inputs, lengths)
    if wrong:
        vectors.tensors[random.network.output][20:, 0] ^= 1
    config = EngineConfig(lanes, board.device, reload=name in RELOADED)
    build = make_build(f"board-{name}-{lanes}-{other}", random.network, vectors, config)
    return BoardModel(build, board, mhz, buffer=64 if lengths is None else None)


@pytest.mark.parametrize(
    ("name", "requests", "seed"),
    [
        pytest.param("ulx3s-85f", 50, 7, marks=_ONE_WORKER),
        pytest.param("ulx3s-85f", 200, 1, marks=[_ONE_WORKER, pytest.mark.long]),
        ("icebreaker", 3, 1),
        ("orangecrab-25f", 6, 1),
    ],
)
def test_every_answer_is_right(name, requests, seed, make_build):
    """Good requests are exact, bad ones are answered as what they are, and the next one is done."""
    lanes, options, simulator = BOARDS[name]
    model = model_of(make_build, name, options, lanes)
    other = model_of(make_build, name, options, lanes, other=True).build if name in RELOADED else None
    done = simulate_board(model, simulator, requests, trouble=True, other=other, seed=seed)
    assert done.pop("inferences") >= requests
    assert sum(done.values()) >= 1
    if name == "ulx3s-85f":
        assert done.pop("networks") >= requests // 50
        assert done.pop("networks that a reset has ended") >= 1
        assert set(done) == _TROUBLE | {"bytes without a stop bit"}


def test_spi_as_fast_as_the_oscillator(make_build):
    """The same over SPI, with chip select raised within packets and bytes, and an engine that takes its time."""
    model = model_of(make_build, "ulx3s-85f", {"sizes": (9, 11, 4)}, 4)
    done = simulate_board(replace(model, link="spi", cycles=1), "icarus", 30, trouble=True)
    assert done.pop("inferences") == 30
    assert done.pop("pauses") > 50
    assert done.pop("fillers") > 50
    assert (
        {"damaged bytes", "lost bytes", "bytes that were cut off"}
        <= done.keys()
        <= _TROUBLE | {"bytes that were cut off"}
    )


def test_spi_is_no_terminal(make_build):
    model = replace(model_of(make_build, "ulx3s-85f", {"sizes": (9, 11, 4)}, 4), link="spi")
    with (
        pytest.raises(DarbError, match=r"its link is spi, and a pseudo-terminal .* darb board --link uart"),
        virtual_board(model),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "flash", "link"),
    [
        ("icebreaker", "whole", "uart"),
        pytest.param("icebreaker", "damaged", "spi", marks=pytest.mark.long),
        ("icesugar", "blank", "uart"),
    ],
)
def test_boards_without_a_network_at_power_up(name, flash, link, make_build):
    """The network comes from the flash memory if the board reads one and it has a good one, else from the host."""
    builds, random = [], random_network(5, sizes=(9, 24, 4))
    for number, one in enumerate((random, twin(random))):
        vectors = one.vectors(random_inputs(5, random.network, 20))
        config = EngineConfig(2, "ice40-up5k", roms="spram")
        builds.append(make_build(f"board-spram-{number}", one.network, vectors, config))
    model = BoardModel(builds[0], board_named(name), 20, cycles=5 if link == "uart" else 2, link=link, flash=flash)
    done = simulate_board(model, "verilator", 10, trouble=flash == "damaged", other=builds[1])
    assert done["inferences"] == 10
    assert done["requests without a network"] >= 1
    assert (done.get("networks", 0) >= 1) >= (flash != "whole")


@pytest.mark.synthesis
@pytest.mark.parametrize(
    ("name", "link", "cycles", "requests"),
    [
        ("ulx3s-25f", "uart", 5, 5),
        ("icebreaker", "spi", 1, 2),
        pytest.param("icebreaker", "spi", 1, 5, marks=pytest.mark.long),
        ("tang-nano-9k", "uart", 5, 2),
    ],
)
def test_the_netlist_answers(name, link, cycles, requests, make_build):
    """What Yosys makes of a whole board, with models of its cells."""
    model = replace(model_of(make_build, name, {"sizes": (4, 5, 3)}, 1, mhz=17), link=link, cycles=cycles)
    # Icarus is slow on netlists of iCE40, which are of smaller cells.
    assert simulate_board(model, "netlist", requests, trouble=name == "ulx3s-25f")["inferences"] == requests


@pytest.mark.synthesis
@pytest.mark.parametrize("name", ["ulx3s-25f", pytest.param("icesugar", marks=pytest.mark.long)])
def test_the_netlist_with_room_for_other_networks_answers(name, tmp_path):
    """All ROMs are blocks there, and so is what the board says of itself."""
    board = board_named(name)
    network, vectors = member("chain", 0)
    build = generate(network, EngineConfig(1, board.device), tmp_path, vectors, headroom=0.2)
    assert simulate_board(BoardModel(build, board, mhz=17), "netlist", 2, trouble=False)["inferences"] == 2


def test_a_wrong_answer_is_seen(make_build):
    """The bench itself: some vectors have outputs that the engine does not give."""
    model = model_of(make_build, "ulx3s-25f", {"sizes": (9, 11, 4)}, 2, wrong=True)
    with pytest.raises(DarbError, match=r"ulx3s-25f in icarus: .*ReferencePacket\(kind=130"):
        simulate_board(model, "icarus", 60, trouble=False)


@_ONE_WORKER
def test_the_host_asks_a_board_behind_a_terminal(make_build):
    """``predict`` of 100 inputs; what is damaged on the way is sent again."""
    lanes, options, _ = BOARDS["ulx3s-85f"]
    model = model_of(make_build, "ulx3s-85f", options, lanes)
    build, network = model.build, model.build.plan.network
    pretend(build, model.buffer)
    vectors = build.load_vectors()
    inputs, outputs = vectors.tensors[network.input], vectors.tensors[network.output]
    with virtual_board(model) as port:
        with Device(port, build, seconds=60) as device:
            assert np.array_equal(device.predict(inputs), outputs)
            source, target = network.tensor(network.input), network.tensor(network.output)
            real = (inputs[:5] - source.zero) * source.scale
            assert np.allclose(device.predict(real), outputs[:5] * target.scale, rtol=0, atol=0)
            assert device.info.buffer == 64
            # What others have left on the line.
            os.write(device._line.fileno(), b"\xc0ab\x00" + pack(ReferencePacket(2, 9, b"x" * 9).body)[:-3] + b"\xc0")
            assert np.array_equal(device.predict(inputs[:3]), outputs[:3])
        with Device(port, build, seconds=60) as device:
            assert self_test(device, build, 20).samples == 20
            other = model_of(make_build, "ulx3s-85f", options, lanes, other=True).build
            pretend(other, model.buffer)
            device.reload(other)
            assert self_test(device, other, 20).samples == 20
        with pytest.raises(DarbError, match="another bitstream or network"):
            Device(port, build, seconds=60)
        with Device(port, build, seconds=60, other=True) as device:
            device.reload(build)
            assert self_test(device, build, 5).samples == 5
