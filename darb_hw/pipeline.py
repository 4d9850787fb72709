"""Delay lines: a value some cycles later."""

from amaranth.hdl import Module, Signal

__all__ = ["delay"]


def delay(m: Module, value, cycles: int, name: str, *, control: bool = False):
    """``value`` delayed by ``cycles`` registers, added to ``m``.

    Parameters
    ----------
    control : bool
        Registers that say whether something is valid are reset; those of the data path are not.
    """
    for stage in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{stage + 1}", reset_less=not control)
        m.d.sync += register.eq(value)
        value = register
    return value
