"""The write ports of the activation memories."""

from amaranth.hdl import signed
from amaranth.lib import data

from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan

__all__ = ["write_layout"]


def write_layout(plan: Plan) -> data.StructLayout:
    """What a write port carries in a cycle; the rest counts with ``enable``.

    Where lanes compute neighbouring positions, there is a port for each of ``plan.config.ways`` results. It serves the
    banks whose number is that of the port, modulo the number of ports. ``bank`` is the bank among these. To
    single-port RAMs, ``ends`` says that what came since the last such write is written in one cycle. Where lanes
    are in clusters, ``cluster`` says whose memories are written (:mod:`darb_hw.plan.clusters`).
    """
    fields = {"enable": 1, "address": plan.widths.address, "data": signed(plan.widths.activation)}
    if plan.banked:
        fields["bank"] = max(1, unsigned_bits(plan.config.banks // plan.config.ways - 1))
    if plan.latency.paired:
        fields["ends"] = 1
    if plan.clustered:
        fields["cluster"] = unsigned_bits(plan.config.clusters)
    return data.StructLayout(fields)
