"""SPI as a line: outputs come back over a master that has to ask for each byte; which package opens which port."""

import sys
from types import ModuleType

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.errors import ToolError
from darb_hw.host import Device
from darb_hw.host.line import opened_line
from darb_hw.host.spi import SpiLine
from darb_prune.encoded import DarbError
from sim.packets import ReferencePacket
from tests.hw.host.pretended import PretendedLine, pretend
from tests.networks import random_inputs, random_network


class PretendedMaster:
    """A board at bytes: what it says comes late, with marks between packets and pairs that mean nothing within."""

    def __init__(self, board: PretendedLine, damage: float = 0.0) -> None:
        self.board, self.damage, self.rng = board, damage, np.random.default_rng(3)
        self.heard, self.says, self.longest, self.within, self.fillers = bytearray(), bytearray(), 0, False, 0
        self.closed = False

    def exchange(self, data: bytes) -> bytes:
        self.longest = max(self.longest, len(data))
        return bytes(self._byte(byte) for byte in data)

    def _byte(self, byte: int) -> int:
        back = self._next()
        if self.rng.random() < self.damage:
            byte ^= 16
        if byte != 0xC0:
            self.heard.append(byte)
        elif self.heard:
            whole, self.heard = b"\xc0" + bytes(self.heard) + b"\xc0", bytearray()
            try:
                self.board.write(whole)
            except (AssertionError, IndexError):  # no packet
                self.board._reply(ReferencePacket(255, 0, b"\x03"))
        return back ^ 4 if self.rng.random() < self.damage else back

    def _next(self) -> int:
        if self.says:
            return self.says.pop(0)
        if self.board.out and self.rng.random() < 0.2:
            escape = self.board.out[0] == 0xDB
            self.says += self.board.read(2 if escape else 1)
            self.within = self.says[-1] != 0xC0
        elif self.within:
            self.says += b"\xdb\xde"
            self.fillers += 1
        else:
            return 0xC0
        return self.says.pop(0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    random = random_network(5, sizes=(9, 11, 4))
    vectors = random.vectors(random_inputs(5, random.network, 60), None)
    return generate(random.network, EngineConfig(lanes=2), tmp_path_factory.mktemp("spi"), vectors)


def asked(build, damage: float = 0.0):
    """A line with a pretended board, its master, inputs and the right outputs."""
    vectors, network = build.load_vectors(), build.plan.network
    inputs, outputs = vectors.tensors[network.input], vectors.tensors[network.output]
    pairs = zip(inputs[:, build.plan.stream_order], outputs, strict=True)
    answers = {bytes(int(v) & 255 for v in x): bytes(int(v) & 255 for v in y) for x, y in pairs}
    board = PretendedLine(build, pretend(build, 64, "spi"), answers.__getitem__)
    master = PretendedMaster(board, damage)
    return SpiLine(master, "spi"), master, inputs, outputs


def test_outputs_come_back(build):
    line, master, inputs, outputs = asked(build)
    with Device(line, build) as device:
        assert np.array_equal(device.predict(inputs), outputs)
        assert device.repeated == 0
    assert master.fillers > 100
    assert master.longest <= 512
    assert master.closed


def test_damage_costs_time_and_nothing_else(build):
    line, master, inputs, outputs = asked(build)
    device = Device(line, build, baud=10**9, seconds=0.01, attempts=30)
    master.damage = 0.002
    assert np.array_equal(device.predict(inputs), outputs)
    assert device.repeated


class Loop:
    """A master whose input is its output."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def exchange(self, data: bytes) -> bytes:
        self.sent.append(len(data))
        return data

    def close(self) -> None: ...


def test_marks_are_sent_until_the_time_is_over():
    """Nothing but marks is nothing; more and more of them are sent at once, and no more than masters take."""
    master = Loop()
    line = SpiLine(master, "loop")
    line.timeout = 0.01
    assert line.read() == b""
    assert master.sent[:4] == [16, 32, 64, 128]
    assert max(master.sent) == 512


def test_marks_in_a_row_are_one():
    line = SpiLine(Loop(), "loop")
    assert line.write(b"\xc0\xc0a\xc0") == 4
    line.write(b"\xc0\xc0\xc0")
    line.write(b"\xc0bc")
    assert line.in_waiting == 4
    assert (line.read(3), line.read(9)) == (b"a\xc0b", b"c")
    line.write(bytes(1300))
    assert line._master.sent[-3:] == [512, 512, 276]


def test_a_master_that_is_gone():
    master = Loop()
    master.exchange = lambda data: (_ for _ in ()).throw(OSError(19, "No such device"))
    with pytest.raises(DarbError, match=r"usb: the master does not work any more \(.*No such device\): is it plugged"):
        SpiLine(master, "usb").write(b"a")


def test_spi_of_linux(monkeypatch):
    class SPI:
        def __init__(self, path, mode, speed) -> None:
            assert (path, mode, speed) == ("/dev/spidev0.1", 0, 5_000_000)

        def transfer(self, data):
            return data[::-1]

        def close(self):
            raise OSError("closed")

    module = ModuleType("periphery")
    module.SPI = SPI
    monkeypatch.setitem(sys.modules, "periphery", module)
    line = opened_line("spi:///dev/spidev0.1", "spi", 5_000_000)
    line.write(b"ab")
    assert line.read(9) == b"ba"
    with pytest.raises(OSError, match="closed"):
        line.close()


def test_an_ftdi_adapter(monkeypatch):
    from pyftdi import spi

    class Port:
        def exchange(self, out, readlen, duplex):
            assert (readlen, duplex) == (len(out), True)
            return bytearray(out[::-1])

    class Controller:
        def configure(self, url):
            assert url == "ftdi://ftdi:232h/1"

        def get_port(self, cs, freq, mode):
            assert (cs, freq, mode) == (0, 5_000_000, 0)
            return Port()

        def close(self):
            raise OSError("closed")

    monkeypatch.setattr(spi, "SpiController", Controller)
    line = opened_line("ftdi://ftdi:232h/1", "spi", 5_000_000)
    line.write(b"ab")
    assert line.read(9) == b"ba"
    with pytest.raises(OSError, match="closed"):
        line.close()


@pytest.mark.parametrize(
    ("port", "link", "message"),
    [
        ("spi:///dev/no-spi", "spi", r"spi:///dev/no-spi: cannot be opened .*No such file.*; ports here:"),
        ("spi:///dev/null", "spi", r"spi:///dev/null: cannot be opened .*; ports here:"),
        ("ftdi://nonsense", "spi", r"ftdi://nonsense: cannot be opened \(.*\): is the adapter plugged in"),
        ("/dev/ttyUSB0", "spi", "/dev/ttyUSB0: the link of this bitstream is spi: give --port spi:///dev/spidev0.0 or"),
        ("spi:///dev/spidev0.0", "uart", "the link of this bitstream is uart: give --port the name of a serial port"),
    ],
)
def test_ports_that_are_none(port, link, message):
    with pytest.raises(DarbError, match=message):
        opened_line(port, link, 10**6)


@pytest.mark.parametrize(
    ("port", "module"), [("spi:///dev/spidev0.0", "periphery"), ("ftdi://ftdi:232h/1", "pyftdi.spi")]
)
def test_what_is_not_installed(monkeypatch, port, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ToolError, match=r"is not installed: pip install 'darb\[spi\]'"):
        opened_line(port, "spi", 10**6)
