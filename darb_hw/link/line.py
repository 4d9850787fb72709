"""A byte from a line, as the transports give it to the receiver of packets."""

from amaranth.lib import data

__all__ = ["received_byte"]

received_byte = data.StructLayout({"data": 8, "bad": 1, "valid": 1})
"""``data`` holds while ``valid`` is high, for one cycle a byte. ``bad``: it was damaged on its way."""
