"""What every component of the engine has in common: it is made from a plan, and from nothing else."""

from amaranth.lib import wiring
from amaranth.lib.wiring import Member

from darb_hw.plan.plan import Plan

__all__ = ["Planned"]


class Planned(wiring.Component):
    """A component whose widths, depths and latencies come from a plan.

    ``members`` alone makes the ports: their widths depend on the plan. Each class also names its ports in annotations
    without values, for readers and type checkers: ``Signal`` for a plain shape, ``data.View`` for a layout,
    ``stream.Interface`` for a stream. Amaranth ignores annotations that are no members.

    Parameters
    ----------
    plan : Plan
    members : dict of str to Member
        Ports.
    """

    def __init__(self, plan: Plan, members: dict[str, Member]) -> None:
        self._plan = plan
        super().__init__(members)

    @property
    def plan(self) -> Plan:
        return self._plan
