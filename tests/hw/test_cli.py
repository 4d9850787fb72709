"""The program ``darb``: commands gathered, mistakes in one line, exit codes."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from darb_hw import cli, locks
from darb_hw.cli import assembly
from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate
from darb_hw.store.store import Store
from tests.networks import random_network

COMMANDS = ["estimate", "verilog", "synth", "boards", "board", "patch", "load", "sweep", "search", "report", "refit"]


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.darb"
    random_network(5, sizes=(9, 11, 4)).network.save(path)
    return path


def test_commands_in_order_of_use(darb):
    names = [assembly._command_name(info) for info in assembly.build_app().registered_commands]
    known = [name for name in assembly._ORDER if name in names]
    assert names[: len(known)] == known
    assert {"verilog", "synth", "sweep"} <= set(names)
    code, out, _ = darb("--help")
    assert code == 0
    assert out.index("verilog") < out.index("synth") < out.index("sweep")


def test_version(darb):
    code, out, _ = darb("--version")
    assert (code, out) == (0, "darb 0.1.0\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command, darb):
    code, out, _ = darb(command, "--help")
    assert code == 0
    assert f"darb {command} " in out
    assert "Example" in out


def test_help_loads_nothing_heavy():
    script = (
        "import sys; from darb_hw.cli import build_app; build_app(); "
        "print([name for name in ('torch', 'amaranth', 'matplotlib', 'plotly', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_commands_that_cannot_be_loaded_are_reported(capsys):
    entries = [
        EntryPoint("broken", "no_such_module:app", "darb.commands"),
        EntryPoint("hardware", "darb_hw.cli:app", "darb.commands"),
    ]
    names = [assembly._command_name(info) for info in assembly.build_app(entries).registered_commands]
    assert names == COMMANDS
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "darb: error: the commands of 'broken' (no_such_module:app) cannot be loaded: No module named 'no_such_module'"
    ]


def test_unknown_commands_come_last(monkeypatch):
    import typer

    extra = typer.Typer()
    extra.command()(lambda: None)
    extra.registered_commands[0].name = "another"
    monkeypatch.setitem(sys.modules, "extra_commands", extra)
    extra.app = extra
    entries = [
        EntryPoint("extra", "extra_commands:app", "darb.commands"),
        EntryPoint("hardware", "darb_hw.cli:app", "darb.commands"),
    ]
    names = [assembly._command_name(info) for info in assembly.build_app(entries).registered_commands]
    assert names == [*COMMANDS, "another"]


def test_verilog(darb, network, tmp_path):
    folder = tmp_path / "b"
    code, out, err = darb(
        "verilog", network, "--lanes", 2, "--device", "ice40-hx8k", "--lane-multiplier", "lut",
        "--requant-multiplier", "lut", "--input-order", "storage", "--input", "alone",
        "--memory", "private", "-o", folder,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "utilisation" in out
    config = Build.load(folder).plan.config
    assert (config.lanes, config.device, config.input_order) == (2, "ice40-hx8k", "storage")
    assert (config.lane_multiplier, config.requant_multiplier) == ("lut", "lut")
    assert (config.input, config.memory) == ("alone", "private")


@pytest.mark.parametrize(("lanes", "more"), [(1, False), (128, True)])
def test_more_lanes_than_pay(lanes, more, darb, network, tmp_path):
    code, out, err = darb("verilog", network, "--lanes", lanes, "-o", tmp_path / "b")
    assert (code, err) == (0, "")
    assert (f"{lanes} lanes are more than pay: " in out) == more


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verilog", "NO.darb", "-o", "OUT"], "NO.darb: no such file"),
        (["verilog", "NET", "-o", "OUT", "--lanes", "0"], "lanes = 0: choose a whole number from 1 to 128"),
        (["verilog", "NET", "-o", "OUT", "--device", "x"], "unknown device 'x': choose one of ice40-up5k"),
        (["verilog", "NET", "-o", "OUT", "--lane-multiplier", "x"], "lane_multiplier = 'x': choose one of auto"),
        (["verilog", "NET", "-o", "OUT", "--input", "x"], "input = 'x': choose one of auto, overlapped, reused, alone"),
        (["verilog", "NET", "-o", "OUT", "--memory", "x"], "memory = 'x': choose one of auto, private, shared, spram"),
        (["verilog", "NET", "-o", "NET"], "is a file; name a folder for the build"),
        (["verilog", "CUT", "-o", "OUT"], "truncated or damaged file"),
        (["verilog", "NET", "-o", "/proc/no/such"], "/proc/no"),
        (["synth", "OUT"], "no manifest.json there; make the build with darb verilog"),
        (["sweep", "NET", "-o", "OUT", "--lanes", "x"], '--lanes "x": write numbers'),
        (["sweep", "NET", "-o", "OUT", "--lanes", "0"], "axes.lanes: lanes = 0: choose a whole number"),
        (["sweep", "NET", "-o", "OUT", "--device", "x"], "unknown device 'x'"),
        (["sweep", "NET", "-o", "OUT", "--weight-bits", "4"], "give the run folder"),
        (["sweep", "NO.darb", "-o", "OUT"], "NO.darb: no such file"),
        (["sweep", "NO.toml", "-o", "OUT"], "NO.toml: no such file"),
        (["sweep", "SPEC.toml", "-o", "OUT"], "axes.lens: unknown; remove it"),
        (["sweep", "SPEC.toml", "-o", "OUT", "--lanes", "4"], "the file declares the sweep; set --lanes there"),
        (["sweep", "SPEC.toml", "-o", "OUT", "--prune-dominated"], "declares the sweep; set --prune-dominated there"),
        (["sweep", "NET", "-o", "OUT", "--lanes", ","], '--lanes ",": write numbers'),
        (["sweep", "NET", "-o", "OUT", "--ratio", "4"], "axes.ratio: .darb files are finished"),
        (["sweep", "NET", "-o", "OUT", "--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers there"),
        (["sweep", "NET", "-o", "OUT", "--store", "OLD"], "a store of version 0, this package has version 1"),
        (["synth", "OUT", "--store", "OLD"], "a store of version 0, this package has version 1"),
        (["search"], "give a run folder, or --task NAME"),
        (["search", "OUT", "--task", "digits"], "give a run folder, or --task NAME; not both"),
        (["search", "OUT", "-o", "OUT"], "no model.safetensors here; give a run folder"),
        (["search", "--task", "digits", "-o", "OUT", "--aim", "speed"], "aim 'speed': choose one of accuracy, rate"),
        (["search", "--task", "digits", "-o", "OUT", "--aim", "rate"], "--aim rate alone would take the worst network"),
        (["search", "--task", "digits", "-o", "OUT", "--max-loss", "x"], "max-loss 'x': give points of the metric"),
        (["search", "--task", "digits", "-o", "OUT", "--min-rate", "0"], "--min-rate 0.0: give a number above 0"),
        (["search", "--task", "digits", "-o", "OUT", "--device", "x"], "unknown device 'x'"),
        (["search", "--task", "digits", "-o", "OUT", "--lanes", "0"], "lanes = 0: choose a whole number"),
        (["search", "--task", "digits", "-o", "OUT", "--ratio", "0.1"], "--ratio 0.1: give numbers from 1 up"),
        (["search", "--task", "digits", "-o", "OUT", "--storage", "x://y"], "--storage x://y: Can't load plugin"),
        (["estimate", "NO.darb"], "NO.darb: no such file"),
        (["estimate", "CUT"], "truncated or damaged file"),
        (["estimate", "NET", "--device", "x"], "unknown device 'x': choose one of ice40-up5k"),
        (["estimate", "NET", "--device", ","], '--device ",": name at least one device, or all'),
        (["estimate", "NET", "--lanes", "x"], '--lanes "x": write numbers'),
        (["estimate", "NET", "--lanes", "0"], "lanes = 0: choose a whole number from 1 to 128"),
        (["estimate", "NET", "--model", "CUT"], "no fitted model, or a damaged one; make it again with darb refit"),
        (["estimate", "NET", "--model", "NO.darb"], "NO.darb: no such file"),
        (["refit", "OUT", "-o", "FIT"], "no manifest.json there; make the build with darb verilog"),
        (["refit", "-o", "FIT"], "store: no design to fit on; run darb synth or darb sweep, or give build folders"),
        (["refit", "BUILD", "-o", "FIT"], "not synthesised as it is now: run darb synth on it first"),
    ],
)
def test_mistakes(arguments, message, darb, network, tmp_path, monkeypatch):
    monkeypatch.setenv("DARB_STORE", str(tmp_path / "store"))  # other tests synthesise the same designs
    cut = tmp_path / "cut.darb"
    cut.write_bytes(network.read_bytes()[:-7])
    (tmp_path / "SPEC.toml").write_text('task = "digits"\naxes.lens = 3\n')
    (tmp_path / "OLD").mkdir()
    (tmp_path / "OLD" / "version").write_text("0\n")
    names = {name: tmp_path / name for name in ("NO.darb", "NO.toml", "SPEC.toml", "OLD")}
    names |= {"NET": network, "CUT": cut, "OUT": tmp_path / "out"}
    names |= {"FIT": tmp_path / "fit", "BUILD": tmp_path / "build"}
    if "--scheduler" in arguments:
        monkeypatch.setattr("darb_hw.jobs.cluster._ANSWER_SECONDS", 1)
    if "BUILD" in arguments:
        generate(network, EngineConfig(lanes=1), names["BUILD"])
    code, out, err = darb(*(names.get(argument, argument) for argument in arguments))
    assert code == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("darb: error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [["verilog"], ["nonsense"], ["verilog", "x", "-o", "y", "--lanes", "many"], ["synth", "x", "--seeds", 0]],
)
def test_usage_errors(arguments, darb):
    code, out, err = darb(*arguments)
    assert (code, out) == (2, "")
    assert "Usage" in err


def test_our_own_faults_are_not_hidden(monkeypatch, network, tmp_path):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("darb_hw.emit.generate", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["verilog", str(network), "-o", str(tmp_path / "b")])


def test_interrupt(monkeypatch, darb, network, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("darb_hw.emit.generate", interrupt)
    code, _, err = darb("verilog", network, "-o", tmp_path / "b")
    assert code == 130
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["verilog", "sim", "synth"])
def test_a_build_folder_in_use_is_waited_for(command, darb, network, tmp_path, monkeypatch):
    """The other process leaves the folder when this one waits for it."""
    folder, waits, ended = (tmp_path / name for name in ("b", "waits", "ended"))
    folder.mkdir()
    code = (
        "import sys, time; from pathlib import Path; from darb_hw.locks import exclusive\n"
        "folder, waits, ended = map(Path, sys.argv[1:])\n"
        "with exclusive(folder):\n"
        "    print(flush=True)\n"
        "    while not waits.exists():\n        time.sleep(0.05)\n"
        "    ended.touch()"
    )
    real = locks._lock

    def noted(descriptor, wait):
        if wait:
            waits.touch()
        return real(descriptor, wait)

    monkeypatch.setattr(locks, "_lock", noted)
    with subprocess.Popen([sys.executable, "-c", code, folder, waits, ended], stdout=subprocess.PIPE) as other:
        try:
            other.stdout.readline()
            arguments = ["verilog", network, "-o", folder, "--lanes", 1] if command == "verilog" else [command, folder]
            _, _, err = darb(*arguments)
            assert ended.exists()
        finally:
            waits.touch()
    assert err.splitlines()[0] == f"{folder}: another darb command works there; waiting until it ends"


@pytest.mark.synthesis
def test_synth_and_sweep(darb, network, tmp_path):
    """What a sweep has measured is there for a build of the same design, wherever it is."""
    output, store = tmp_path / "sweep", tmp_path / "store"
    arguments = ["sweep", network, "--lanes", "1,2", "--device", "ice40-up5k", "--seeds", 1, "-o", output]
    arguments += ["--store", store, "--jobs", 1]
    code, out, _ = darb(*arguments)
    assert code == 0
    assert out.count("ice40-up5k") >= 2
    lines = (output / "sweep.csv").read_text().splitlines()
    assert len(lines) == 3
    assert (output / "sweep.png").stat().st_size > 10_000
    assert "6 jobs done" in out

    darb("verilog", network, "--lanes", 1, "--device", "ice40-up5k", "-o", tmp_path / "b")
    known = len(list(Store(store).keys()))
    code, out, _ = darb("synth", tmp_path / "b", "--seeds", 1, "--json", "--store", store)
    assert code == 0
    assert json.loads(out)["fmax_mhz"]["1"] == pytest.approx(float(lines[1].split(",")[11]), abs=0.01)
    jobs = [record for record in Store(store).records() if record.kind != "measurement"]
    assert len(jobs) == 6
    assert len(list(Store(store).keys())) <= known + 1
    code, out, _ = darb("synth", tmp_path / "b", "--seeds", 1, "--store", store)
    assert "Fmax, median" in out
    code, out, _ = darb(*arguments)
    assert code == 0
    assert "0 jobs done, results of 6 were in" in out
    assert (output / "sweep.csv").read_text().splitlines() == lines
