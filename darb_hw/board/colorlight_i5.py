"""The Colorlight i5 on its extension board: ``amaranth-boards`` does not have it.

Pins: https://github.com/wuxx/Colorlight-FPGA-Projects (i5 v7.0, extension board).
"""

from amaranth.build import Attrs, Clock, Pins, PinsN, Resource
from amaranth.vendor import LatticeECP5Platform
from amaranth_boards.resources import LEDResources, UARTResource

__all__ = ["ColorlightI5Platform"]

_STANDARD = Attrs(IO_TYPE="LVCMOS33")


class ColorlightI5Platform(LatticeECP5Platform):
    """Colorlight i5 v7.0."""

    device = "LFE5U-25F"
    package = "BG381"
    speed = "6"
    default_clk = "clk25"
    resources = [  # noqa: RUF012
        Resource("clk25", 0, Pins("P3", dir="i"), Clock(25e6), _STANDARD),
        *LEDResources(pins="U16", invert=True, attrs=_STANDARD),
        Resource("button", 0, PinsN("K18", dir="i"), _STANDARD),
        UARTResource(0, rx="H18", tx="J17", attrs=_STANDARD),
    ]
    connectors = []  # noqa: RUF012
