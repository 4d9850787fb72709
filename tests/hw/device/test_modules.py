"""The table of modules against the Verilog files."""

import re
from pathlib import Path

import pytest
from amaranth.hdl import Signal

import darb_hw.device
from darb_hw.device.memory import FileMemories, Ram
from darb_hw.device.modules import MODULES, Port, verilog_modules
from darb_hw.device.verilog import verilog_of

FOLDER = Path(darb_hw.device.__file__).parent


def modules_of(text: str) -> dict[str, str]:
    """Each module of a Verilog text by name."""
    matches = re.finditer(r"^module (\w+).*?^endmodule\n", text, flags=re.DOTALL | re.MULTILINE)
    return {match[1]: match[0] for match in matches}


def parameters_of(module: str) -> dict[str, int | str]:
    """Parameters and their defaults."""
    matches = re.findall(r"^    parameter (\w+) = (.*?),?$", module, flags=re.MULTILINE)
    return {name: value.strip('"') if '"' in value else int(value) for name, value in matches}


def ports_of(module: str) -> tuple[Port, ...]:
    line = r"^    (input|output) +(?:wire|reg) +(signed)? *(?:\[(\S+)-1:0\])? *(\w+),?$"
    matches = re.findall(line, module.partition("\n);")[0], flags=re.MULTILINE)
    return tuple(Port(name, direction, width, bool(sign)) for direction, sign, width, name in matches)


def test_the_table_is_what_memory_v_says():
    texts = modules_of(verilog_modules())
    assert list(texts) == list(MODULES)
    for name, module in MODULES.items():
        assert module.name == name
        assert module.plain == texts[name]
        assert list(module.parameters.items()) == list(parameters_of(texts[name]).items())
        assert (Port("clk", "input"), *module.ports) == ports_of(texts[name])


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("ecp5", "darb_multiply"),
        ("ice40", "darb_multiply"),
        ("gowin", "darb_multiply"),
        ("nexus", "darb_multiply"),
        ("two_port_ram", "darb_shared_ram"),
        ("ice40_paired_ram", "darb_paired_ram"),
        ("ice40_single_ram", "darb_single_ram"),
    ],
)
def test_primitives_have_the_ports_of_the_table(file, module):
    texts = modules_of((FOLDER / f"{file}.v").read_text())
    same = MODULES.keys() & texts.keys()
    assert module in same
    for name in same:
        assert list(parameters_of(texts[name])) == list(MODULES[name].parameters)
        assert ports_of(texts[name]) == (Port("clk", "input"), *MODULES[name].ports)


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_declarations_are_written_as_memory_v_has_them(module):
    """Every output is a wire; columns and all else are the same."""
    head = module.plain.partition(");\n")[0].replace("output reg ", "output wire")
    assert f"module {module.name} #(\n{module.parameter_lines}\n) (\n{module.port_lines()}\n" == head


def test_ports_of_given_bits():
    lines = MODULES["darb_rom"].port_lines({"WIDTH": 12, "COPIES*ADDRESS": 20})
    assert [line.split() for line in lines.split(",\n")] == [
        ["input", "wire", "clk"],
        ["input", "wire", "[19:0]", "address"],
        ["output", "wire", "[11:0]", "data"],
    ]


def test_fallbacks_have_names_of_their_own():
    text = MODULES["darb_shared_ram"].fallback
    assert text.startswith("module darb_shared_ram_plain #(")
    assert text.count("darb_ram_plain #(") == 2
    assert "darb_ram #(" not in text


@pytest.mark.parametrize(
    ("parameters", "ports", "message"),
    [
        ({"DEPTH": 2}, ("i", "o"), r"darb_copy has the parameters \['WIDTH'\], not \['DEPTH'\]"),
        ({"WIDTH": 2}, ("i",), r"darb_copy has the ports \['i', 'o'\], not \['i'\]"),
        ({"WIDTH": 2}, ("i", "o", "x"), r"darb_copy has the ports \['i', 'o'\], not \['i', 'o', 'x'\]"),
    ],
)
def test_instances_have_the_ports_of_the_table(parameters, ports, message):
    with pytest.raises(TypeError, match=message):
        MODULES["darb_copy"].instance(parameters, **{port: Signal() for port in ports})


def test_memories_are_noted():
    platform = FileMemories()
    verilog_of(Ram(4, 5), "ram", platform)
    (shape,) = platform.shapes.values()
    assert (shape.module, shape.parameters) == ("darb_ram", {"WIDTH": 4, "DEPTH": 5, "ADDRESS": 3})
