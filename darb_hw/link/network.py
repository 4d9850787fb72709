"""A network as a board takes it: for requests of a host, and for its flash memory."""

from darb_hw.link.protocol import IDENTITY_BYTES
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import reload_bytes

__all__ = ["network_bytes"]


def network_bytes(digest: str, plan: Plan) -> bytes:
    """The digest of the build of a network, and the network as its engine takes it."""
    return bytes.fromhex(digest)[:IDENTITY_BYTES] + reload_bytes(plan)
