"""Boards: the device, and which of the resources that their definitions name are used."""

from dataclasses import dataclass

from darb_hw.config import EngineConfig
from darb_prune.encoded import DarbError

__all__ = ["BOARDS", "Board", "SpiPins", "board_named"]


@dataclass(frozen=True)
class SpiPins:
    """Where a board is a slave of SPI.

    Parameters
    ----------
    connector : tuple of str and int
        Connector of its definition.
    cs, copi, cipo, sck : str
        Pins of that connector; ``cs`` is low while the board is selected.
    attributes : tuple of (str, value)
        Of their buffers.
    baud : int
        Bits a second that short wires carry without trouble.
    """

    connector: tuple[str, int]
    cs: str
    copi: str
    cipo: str
    sck: str
    attributes: tuple[tuple[str, str | int], ...]
    baud: int


@dataclass(frozen=True)
class Board:
    """A board.

    Parameters
    ----------
    name : str
        The name used on the command line.
    title : str
        What people call it.
    device : str
        A key of :data:`darb_hw.config.DEVICES`.
    definition : str
        Module and class with its resources, in the way of ``amaranth-boards``.
    clock : str
        Resource of the oscillator.
    leds : tuple of str
        Resources of the lights for *ready*, *working* and *failed*: as many as the board has.
    button : str or None
        Resource of the button that resets.
    baud : int
        Bits a second of its USB bridge that work without trouble.
    loader : tuple of str
        What openFPGALoader must know of it.
    package : tuple of str
        Options of nextpnr for its package and speed grade, where they are not those of ``device``.
    pll : str
        Primitive that makes the clock.
    uart : str
        Resource of the serial line.
    spi : SpiPins or None
        If it has SPI too.
    packing : tuple of str
        Options of the packer that make pins of its configuration usable.
    flash : str
        Resource of its flash memory, if a network can come from there.
    """

    name: str
    title: str
    device: str
    definition: str
    clock: str
    leds: tuple[str, ...]
    button: str | None
    baud: int
    loader: tuple[str, ...]
    package: tuple[str, ...] = ()
    pll: str = "EHXPLLL"
    uart: str = "uart:0"
    spi: SpiPins | None = None
    packing: tuple[str, ...] = ()
    flash: str = ""

    def reads_flash(self, config: EngineConfig) -> bool:
        """Whether an engine has no network at power-up, and the board one in its flash memory."""
        return config.overwrites and bool(self.flash)

    @property
    def bauds(self) -> dict[str, int]:
        """The links that the board can have, and the bits a second of each that work without trouble."""
        return {"uart": self.baud} | ({"spi": self.spi.baud} if self.spi else {})


def _ulx3s(size: str, device: str) -> Board:
    return Board(
        f"ulx3s-{size}f".lower(),
        f"ULX3S with an LFE5U-{size}F",
        device,
        f"amaranth_boards.ulx3s:ULX3S_{size}F_Platform",
        clock="clk25",
        leds=("led:0", "led:1", "led:2"),
        button="button_fire:0",
        baud=1_000_000,
        loader=("--board", "ulx3s"),
        spi=SpiPins(
            ("gpio", 0), cs="0+", copi="1+", cipo="2+", sck="3+",
            attributes=(("IO_TYPE", "LVCMOS33"), ("PULLMODE", "UP")), baud=10_000_000,
        ),
    )  # fmt: skip


BOARDS = {
    board.name: board
    for board in (
        Board(
            "icebreaker", "iCEBreaker", "ice40-up5k", "amaranth_boards.icebreaker:ICEBreakerPlatform", clock="clk12",
            leds=("led_g:0", "led_r:0"), button="button:0", baud=1_000_000, loader=("--board", "ice40_generic"),
            pll="SB_PLL40_2_PAD",
            spi=SpiPins(("pmod", 0), "1", "2", "3", "4", (("IO_STANDARD", "SB_LVCMOS"), ("PULLUP", 1)), 6_000_000),
            flash="spi_flash_1x:0",
        ),
        Board(
            "icesugar", "iCESugar", "ice40-up5k", "amaranth_boards.icesugar:ICESugarPlatform", clock="clk12",
            leds=("led_g:0", "led_b:0", "led_r:0"), button=None, baud=115_200, loader=(), pll="SB_PLL40_2_PAD",
        ),
        Board(
            "ice40-hx8k-b-evn", "iCE40-HX8K breakout board", "ice40-hx8k",
            "amaranth_boards.ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform", clock="clk12", leds=("led:0", "led:1", "led:2"),
            button=None, baud=1_000_000, loader=("--board", "ice40_generic"), pll="SB_PLL40_CORE",
        ),
        _ulx3s("12", "ecp5-12k"),
        _ulx3s("25", "ecp5-25k"),
        _ulx3s("45", "ecp5-45k"),
        _ulx3s("85", "ecp5-85k"),
        Board(
            "orangecrab-25f", "OrangeCrab r0.2 with an LFE5U-25F", "ecp5-25k",
            "darb_hw.board.orangecrab:OrangeCrab25FPlatform", clock="clk",
            leds=("rgb_led:0.g", "rgb_led:0.b", "rgb_led:0.r"), button="button:0", baud=115_200,
            loader=("--board", "orangeCrab"), package=("--25k", "--package", "CSFBGA285", "--speed", "8"),
        ),
        Board(
            "colorlight-i5", "Colorlight i5 on its extension board", "ecp5-25k",
            "darb_hw.board.colorlight_i5:ColorlightI5Platform", clock="clk25", leds=("led:0",), button="button:0",
            baud=115_200, loader=("--board", "colorlight-i5"),
        ),
        Board(
            "tang-nano-9k", "Tang Nano 9K", "gw1nr-9", "darb_hw.board.tang:TangNano9KPlatform", clock="clk27",
            leds=("led:0", "led:1", "led:2"), button="button:0", baud=115_200, loader=("--board", "tangnano9k"),
            pll="rPLL", packing=("--sspi_as_gpio", "--mspi_as_gpio"),
        ),
        Board(
            "tang-nano-20k", "Tang Nano 20K", "gw2a-18", "darb_hw.board.tang:TangNano20KPlatform", clock="clk27",
            leds=("led:0", "led:1", "led:2"), button="button:0", baud=115_200, loader=("--board", "tangnano20k"),
            package=("--device", "GW2AR-LV18QN88C8/I7", "--vopt", "family=GW2A-18C"), pll="rPLL",
            packing=("--sspi_as_gpio", "--mspi_as_gpio"),
        ),
        Board(
            "tang-primer-20k", "Tang Primer 20K on its dock", "gw2a-18",
            "amaranth_boards.tang_primer_20k:TangPrimer20kDockPlatform", clock="clk27",
            leds=("led:0", "led:1", "led:2"), button="button:0", baud=115_200, loader=("--board", "tangprimer20k"),
            pll="rPLL", packing=("--mspi_as_gpio", "--sspi_as_gpio", "--ready_as_gpio", "--done_as_gpio"),
        ),
    )
}  # fmt: skip
"""All boards, by name."""


def board_named(name: str) -> Board:
    """A board.

    Raises
    ------
    DarbError
        If there is none of that name.
    """
    if name not in BOARDS:
        raise DarbError(f"unknown board {name!r}: choose one of {', '.join(BOARDS)}")
    return BOARDS[name]
