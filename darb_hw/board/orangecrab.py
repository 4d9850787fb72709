"""The OrangeCrab with its serial line at the pins that say so: it has no USB bridge of its own."""

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform
from amaranth_boards.resources import UARTResource

__all__ = ["OrangeCrab25FPlatform"]


class OrangeCrab25FPlatform(OrangeCrabR0_2_25FPlatform):
    """OrangeCrab r0.2 with an LFE5U-25F. Pin 0 of the connector is RX, pin 1 is TX."""

    resources = [  # noqa: RUF012
        *OrangeCrabR0_2_25FPlatform.resources,
        UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33")),
    ]
