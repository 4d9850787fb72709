"""What every component of the engine has in common: a plan, and nothing else to be told."""

from amaranth.lib import wiring

from darb_hw.plan.plan import Plan

__all__ = ["Planned"]


class Planned(wiring.Component):
    """A component whose widths, depths and latencies come from a plan.

    Parameters
    ----------
    plan : Plan
    members : dict
        Ports.
    """

    def __init__(self, plan: Plan, members: dict):
        self._plan = plan
        super().__init__(members)

    @property
    def plan(self) -> Plan:
        return self._plan
