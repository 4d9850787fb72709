"""Tang Nano boards: ``amaranth-boards`` has no 20K, and no voltage of the pins of lights and buttons on the 9K.

Pins and voltages: ``sipeed_tang_nano_9k.py`` and ``sipeed_tang_nano_20k.py`` of https://github.com/litex-hub/litex-boards,
``examples/*.cst`` of https://github.com/YosysHQ/apicula.
"""

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import ButtonResources, LEDResources, UARTResource
from amaranth_boards.tang_nano_9k import TangNano9kPlatform

__all__ = ["TangNano9KPlatform", "TangNano20KPlatform"]

_STANDARD = Attrs(IO_TYPE="LVCMOS33")
_LOW = Attrs(IO_TYPE="LVCMOS18")
"""Of a bank at 1.8 V."""


class TangNano9KPlatform(TangNano9kPlatform):
    """Tang Nano 9K. Buttons pull their pins, which are high else, low."""

    resources = [  # noqa: RUF012
        *(one for one in TangNano9kPlatform.resources if one.name not in ("led", "button")),
        *LEDResources(pins="10 11 13 14 15 16", invert=True, attrs=_LOW),
        *ButtonResources(pins="4 3", invert=True, attrs=Attrs(IO_TYPE="LVCMOS18", PULL_MODE="UP")),
    ]


class TangNano20KPlatform(GowinPlatform):
    """Tang Nano 20K. Buttons are high while pressed."""

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources = [  # noqa: RUF012
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), _STANDARD),
        *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=_STANDARD),
        *ButtonResources(pins="88 87", attrs=Attrs(IO_TYPE="LVCMOS33", PULL_MODE="DOWN")),
        UARTResource(0, rx="70", tx="69", attrs=Attrs(PULL_MODE="UP", IO_TYPE="LVCMOS33")),
    ]
    connectors = []  # noqa: RUF012
