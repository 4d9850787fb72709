"""Where Yosys and nextpnr are found."""

import importlib.metadata
import os
import sys

import pytest

from darb_hw.errors import ToolError
from darb_hw.synthesis import tools


def a_program(path, text="", code=0):
    path.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
    path.chmod(0o755)
    return path


class TestTools:
    """Each look-up runs anew: the functions remember their answer, these tests change what it depends on."""

    find = (
        (tools.yosys.__wrapped__, "yosys", "YOSYS", "Yosys 0.51 (git sha1 abc)", "Yosys 0.51"),
        (
            lambda: tools.nextpnr.__wrapped__("ecp5"), "nextpnr-ecp5", "NEXTPNR_ECP5",
            '"nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.9-12-gabc)', "0.9-12-gabc",
        ),
        (
            lambda: tools.nextpnr.__wrapped__("gowin"), "nextpnr-himbaechel-gowin", "NEXTPNR_HIMBAECHEL_GOWIN",
            '"nextpnr-himbaechel-gowin" -- Next Generation Place and Route (Version nextpnr-0.11)', "0.11",
        ),
        (
            lambda: tools.nextpnr.__wrapped__("nexus"), "nextpnr-nexus", "NEXTPNR_NEXUS",
            '"nextpnr-nexus" -- Next Generation Place and Route (Version nextpnr-0.11.1)', "0.11.1",
        ),
    )  # fmt: skip

    def test_the_packer_of_gowin_is_a_python_program(self, monkeypatch, tmp_path):
        found = tools.packer.__wrapped__("gowin")
        assert found.command == (sys.executable, "-m", "apycula.gowin_pack")
        assert found.version == f"apycula {importlib.metadata.version('Apycula')}"
        chosen = a_program(tmp_path / "mine")
        monkeypatch.setenv("GOWIN_PACK", str(chosen))
        assert tools.packer.__wrapped__("gowin").command == (str(chosen),)
        monkeypatch.delenv("GOWIN_PACK")
        monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ToolError, match=r"gowin_pack is not installed: pip install 'darb\[synth\]'"):
            tools.packer.__wrapped__("gowin")

    @pytest.fixture(autouse=True)
    def only_what_the_test_provides(self, monkeypatch, tmp_path):
        for variable in (
            "YOSYS",
            "NEXTPNR_ECP5",
            "NEXTPNR_ICE40",
            "NEXTPNR_HIMBAECHEL_GOWIN",
            "NEXTPNR_NEXUS",
            "GOWIN_PACK",
        ):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")

    @pytest.mark.parametrize(("find", "name", "variable", "text", "version"), find)
    def test_variable_comes_first(self, find, name, variable, text, version, monkeypatch, tmp_path):
        a_program(tmp_path / name, text)
        chosen = a_program(tmp_path / "mine", text)
        monkeypatch.setenv(variable, str(chosen))
        assert find() == tools.Tool(name, (str(chosen),), version)

    @pytest.mark.parametrize(("find", "name", "variable", "text", "version"), find)
    def test_native_comes_next(self, find, name, variable, text, version, tmp_path):
        assert find() != tools.Tool(name, (str(tmp_path / name),), version)
        native = a_program(tmp_path / name, text)
        assert find() == tools.Tool(name, (str(native),), version)

    @pytest.mark.parametrize("text", ["Yosys 0.9 (git sha1 abc)", "no version"])
    def test_native_that_is_too_old_is_passed_over(self, text, monkeypatch, tmp_path):
        old = a_program(tmp_path / "yosys", text)
        assert tools.yosys.__wrapped__().command[0] == sys.executable
        monkeypatch.setenv("YOSYS", str(old))
        with pytest.raises(ToolError, match=r"yosys 0.40 or newer is needed"):
            tools.yosys.__wrapped__()

    @pytest.mark.parametrize(("find", "name", "variable", "text", "version"), find)
    def test_wrong_variable(self, find, name, variable, text, version, monkeypatch):
        monkeypatch.setenv(variable, "/nowhere/tool")
        with pytest.raises(ToolError, match=rf"{variable}=/nowhere/tool: no such program"):
            find()

    @pytest.mark.parametrize(("find", "name", "variable", "text", "version"), find)
    def test_nothing_installed(self, find, name, variable, text, version, monkeypatch, tmp_path):
        monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ToolError, match=rf"{name} is not installed: pip install 'darb\[synth\]'"):
            find()
