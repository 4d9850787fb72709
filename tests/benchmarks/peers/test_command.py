"""The command."""

import json

from typer.testing import CliRunner

from benchmarks.peers import __main__ as main


def test_command(tmp_path, monkeypatch):
    monkeypatch.setattr(main, "measure", lambda subject, *_: {"identity": {}, "fmax_mhz": {"1": 50.0}, "interval": 10})
    monkeypatch.setattr(main.page, "write", lambda results, path: None)
    output = tmp_path / "out.json"
    arguments = ["linear-16", "--tools", "darb,alkaid", "-o", str(output), "--build", str(tmp_path / "build")]
    done = CliRunner().invoke(main.app, arguments)
    assert done.exit_code == 0, done.output
    assert "linear-16: alkaid, sums only: 50.0 MHz, 5,000,000 inferences/s" in done.output
    assert list(json.loads(output.read_text())["networks"]["linear-16"]["rows"]) == [
        "darb, 4 lanes", "alkaid", "alkaid, sums only",
    ]  # fmt: skip
    for wrong, message in ((["linear-x"], "linear-x: neither"), (["--tools", "vivado"], "choose from darb")):
        done = CliRunner().invoke(main.app, [*wrong, "-o", str(output), "--build", str(tmp_path / "build")])
        assert done.exit_code == 2
        assert message in done.output
