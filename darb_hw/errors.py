"""What the hardware side raises. The base of both errors is :class:`darb_prune.encoded.DarbError`."""

from darb_prune.encoded import DarbError

__all__ = ["PlanError", "ToolError"]


class PlanError(DarbError):
    """A network that cannot run with a configuration, or does not fit its device."""


class ToolError(DarbError):
    """An external tool (Yosys, nextpnr, a simulator) that is missing or failed."""
