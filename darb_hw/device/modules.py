"""The Verilog modules of a device, as data: names, parameters and ports.

Their plain text is ``memory.v``, ``paired_ram.v`` and ``single_ram.v``. Instances and the modules of
``primitives.py`` are written from the table here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amaranth.hdl import ClockSignal, Instance, ValueLike

__all__ = ["MODULES", "SINGLE_PORT", "Port", "VerilogModule", "verilog_modules"]


@dataclass(frozen=True)
class Port:
    """A port of a module.

    Parameters
    ----------
    name : str
    direction : str
        ``"input"`` or ``"output"``.
    width : str
        Its bits, as an expression of the parameters; empty for a port that is no vector.
    signed : bool
    """

    name: str
    direction: str
    width: str = ""
    signed: bool = False


@dataclass(frozen=True)
class VerilogModule:
    """A module with a clock ``clk``.

    Parameters
    ----------
    name : str
    parameters : dict of str to int or str
        The value that each has by default, in the order of the Verilog text.
    ports : tuple of Port
        All but the clock, in the order of the Verilog text.
    """

    name: str
    parameters: dict[str, int | str]
    ports: tuple[Port, ...]

    @property
    def plain(self) -> str:
        """The text of the module in its file."""
        text, end = verilog_modules(), "endmodule\n"
        start = text.index(f"module {self.name} #(")
        return text[start : text.index(end, start) + len(end)]

    @property
    def fallback(self) -> str:
        """The text of the module in its file, in which all modules have names that end in ``_plain``."""
        text = self.plain
        for name in MODULES:
            text = text.replace(f"{name} #(", f"{name}_plain #(")
        return text

    @property
    def parameter_lines(self) -> str:
        """Declarations of the parameters."""
        values = {name: f'"{value}"' if isinstance(value, str) else value for name, value in self.parameters.items()}
        return ",\n".join(f"    parameter {name} = {value}" for name, value in values.items())

    def port_lines(self, bits: Mapping[str, int] | None = None) -> str:
        """Declarations of the ports, in columns; all are wires.

        Parameters
        ----------
        bits : mapping of str to int, optional
            The value of each expression that is the width of a port; without, ports are as wide as the parameters say.
        """
        ports = (Port("clk", "input"), *self.ports)
        signs = " signed" if any(port.signed for port in ports) else ""
        ranges = [f"[{port.width}-1:0]" if port.width else "" for port in ports]
        column = max(map(len, ranges))
        lines = []
        for port, symbolic in zip(ports, ranges, strict=True):
            shown = f"[{bits[port.width] - 1}:0]" if bits and port.width else symbolic
            sign = " signed" if port.signed else " " * len(signs)
            # The columns are those of the symbolic ranges.
            lines.append(f"    {port.direction:<6} wire{sign} {shown}{' ' * (column - len(symbolic))} {port.name}")
        return ",\n".join(lines)

    def instance(self, parameters: Mapping[str, int | str], **signals: ValueLike) -> Instance:
        """An instance in the clock domain ``sync``.

        Parameters
        ----------
        parameters : mapping of str to int or str
            Those that differ from their default.
        signals : value-like
            What is connected to each port but the clock.

        Raises
        ------
        TypeError
            If the module has no such parameter, or a port is not connected, or not there.
        """
        if not parameters.keys() <= self.parameters.keys():
            raise TypeError(f"{self.name} has the parameters {list(self.parameters)}, not {list(parameters)}")
        names = [port.name for port in self.ports]
        if signals.keys() != set(names):
            raise TypeError(f"{self.name} has the ports {names}, not {list(signals)}")
        values = {f"p_{name}": value for name, value in parameters.items()}
        connections = {f"{port.direction[0]}_{port.name}": signals[port.name] for port in self.ports}
        return Instance(self.name, **values, i_clk=ClockSignal(), **connections)


_MEMORY: dict[str, int | str] = {"WIDTH": 8, "DEPTH": 2, "ADDRESS": 1}

MODULES = {
    module.name: module
    for module in (
        VerilogModule("darb_copy", {"WIDTH": 1}, (Port("i", "input", "WIDTH"), Port("o", "output", "WIDTH"))),
        VerilogModule(
            "darb_rom",
            {**_MEMORY, "COPIES": 1, "LATE": 0, "FILE": ""},
            (Port("address", "input", "COPIES*ADDRESS"), Port("data", "output", "WIDTH")),
        ),
        VerilogModule(
            "darb_ram",
            {**_MEMORY, "FILE": ""},
            (
                Port("write_enable", "input"),
                Port("write_address", "input", "ADDRESS"),
                Port("write_data", "input", "WIDTH"),
                Port("read_enable", "input"),
                Port("output_enable", "input"),
                Port("read_address", "input", "ADDRESS"),
                Port("read_data", "output", "WIDTH"),
            ),
        ),
        VerilogModule(
            "darb_shared_ram",
            {**_MEMORY, "FILE": ""},
            (
                Port("write_enable", "input"),
                Port("write_data", "input", "WIDTH"),
                Port("address_a", "input", "ADDRESS"),
                Port("read_data_a", "output", "WIDTH"),
                Port("address_b", "input", "ADDRESS"),
                Port("read_data_b", "output", "WIDTH"),
            ),
        ),
        VerilogModule(
            "darb_multiply",
            {"A_WIDTH": 18, "B_WIDTH": 18},
            (
                Port("a", "input", "A_WIDTH", signed=True),
                Port("b", "input", "B_WIDTH", signed=True),
                Port("o", "output", "A_WIDTH+B_WIDTH", signed=True),
            ),
        ),
        VerilogModule(
            "darb_accumulate",
            {"WIDTH": 24, "P_WIDTH": 16},
            (
                Port("enable", "input"),
                Port("clear", "input"),
                Port("p", "input", "P_WIDTH", signed=True),
                Port("o", "output", "WIDTH", signed=True),
            ),
        ),
        VerilogModule(
            "darb_paired_ram",
            _MEMORY,
            (
                Port("write_enable", "input", "2"),
                Port("address", "input", "ADDRESS"),
                Port("write_data", "input", "2*WIDTH"),
                Port("read_data", "output", "2*WIDTH"),
            ),
        ),
        VerilogModule(
            "darb_single_ram",
            _MEMORY,
            (
                Port("write_enable", "input"),
                Port("write_address", "input", "ADDRESS"),
                Port("write_data", "input", "WIDTH"),
                Port("read_address", "input", "ADDRESS"),
                Port("read_data", "output", "WIDTH"),
            ),
        ),
    )
}
"""The modules of ``memory.v`` and of the files of :data:`SINGLE_PORT` by name."""

SINGLE_PORT = {"darb_paired_ram": "paired_ram.v", "darb_single_ram": "single_ram.v"}
"""Files of the modules that are single-port RAMs. A design without has no use for their text."""


@cache
def verilog_modules(single_port: tuple[str, ...] = tuple(SINGLE_PORT)) -> str:
    """The modules as any tool takes them: the text of ``memory.v``, and that of the single-port RAMs that are used."""
    names = ("memory.v", *(SINGLE_PORT[name] for name in single_port))
    return "".join(Path(__file__).with_name(name).read_text() for name in names)
