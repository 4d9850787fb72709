"""What every component of the engine has in common: it is made from a plan, and from nothing else."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member

from darb_hw.device.memory import Rom
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import CHECK_BYTES, reloadable, word_bytes

__all__ = ["Planned", "reload_layout"]


def reload_layout(plan: Plan) -> data.StructLayout:
    """What fills the ROMs of an engine with another network: which of the two networks of each ROM is read (the other
    one is written), if there is room for two; which ROM is written, a bit each; address of the word; the word, in the
    topmost bytes."""
    images = [plan.images[name] for name in reloadable(plan)]
    address = max(unsigned_bits(image.depth - 1) for image in images)
    word = max(CHECK_BYTES, *map(word_bytes, images))
    bank = {} if plan.config.overwrites else {"bank": 1}
    return data.StructLayout(bank | {"enable": len(images), "address": max(1, address), "data": 8 * word})


class Planned(wiring.Component):
    """A component whose widths, depths and latencies come from a plan.

    ``members`` alone makes the ports: their widths depend on the plan. Each class also names its ports in annotations
    without values, for readers and type checkers: ``Signal`` for a plain shape, ``data.View`` for a layout,
    ``stream.Interface`` for a stream. Amaranth ignores annotations that are no members.

    Parameters
    ----------
    plan : Plan
    members : dict of str to Member
        Ports. A component that reads ROMs has the port ``reload`` as well, if the plan has a port for another network.
    """

    has_roms = False
    """Whether components of this class, or parts of them, read ROMs."""
    reload: data.View

    def __init__(self, plan: Plan, members: dict[str, Member]) -> None:
        self._plan = plan
        reload = {"reload": In(reload_layout(plan))} if self.has_roms and plan.config.loads else {}
        super().__init__(members | reload)

    @property
    def plan(self) -> Plan:
        return self._plan

    def _rom(self, m: Module, name: str, copies: int = 1, late: bool = False) -> Rom:
        """A ROM of the plan, yet to become a part of ``m``; ``reload`` fills it, if there is such a port."""
        image, names = self._plan.images[name], reloadable(self._plan)
        if name not in names:
            return Rom(image, copies, late)
        # Parts of these have one address.
        filled = "over" if self._plan.config.overwrites else "beside"
        rom = Rom(image, 1, late, filled, self._plan.in_spram(name))
        first = len(self.reload.data) - 8 * word_bytes(image)
        m.d.comb += [
            rom.write_enable.eq(self.reload.enable[names.index(name)]),
            rom.write_address.eq(self.reload.address),
            rom.write_data.eq(self.reload.data[first:]),
        ]
        if self._plan.config.reload:
            m.d.comb += rom.bank.eq(self.reload.bank)
        return rom
