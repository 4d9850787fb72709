"""The write port that all copies of the activation memory share."""

from amaranth.hdl import signed
from amaranth.lib import data

from darb_hw.plan.plan import Plan

__all__ = ["write_layout"]


def write_layout(plan: Plan) -> data.StructLayout:
    """What the write port carries in a cycle; ``address`` and ``data`` count with ``enable``."""
    return data.StructLayout({"enable": 1, "address": plan.widths.address, "data": signed(plan.widths.activation)})
