"""The program as a process: Ctrl-C, full disks, terminals without letters."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys

import pytest

from darb_prune.text import MESSAGE_LENGTH
from tests.legal import vector_network

NAME = "\x1b[31m[/] [bold]\ud800 größe"
SHOWN = "\\x1b[31m[/] [bold]\\ud800 größe"


def run(*arguments, path=(), **options):
    """The program in a process of its own, with the standard output of a file that is not a terminal."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"PYTHONPATH": os.pathsep.join([*map(str, path), *sys.path]), "COLUMNS": "200"}
    environment |= options.pop("env", {})
    command = [sys.executable, "-m", "darb_hw.program", *map(str, arguments)]
    return subprocess.run(
        command, env=environment, stderr=subprocess.PIPE, timeout=60, check=False,
        **{"stdout": subprocess.PIPE} | options,
    )  # fmt: skip


def only_line(done):
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("darb: error: ")
    return line.removeprefix("darb: error: ")


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.darb"
    vector_network(name=NAME, t_in_name=NAME, input=NAME, a_segments=_renamed(0), b_segments=_renamed(1)).save(path)
    return path


def _renamed(layer_number):
    from dataclasses import replace

    segments = vector_network().layers[layer_number].segments
    return tuple(replace(segment, tensor=NAME) if segment.tensor == "in" else segment for segment in segments)


@pytest.mark.parametrize("module", ["typer", "pydantic"])
def test_an_interrupt_while_modules_are_loaded(tmp_path, module):
    """The first is loaded with the program, the second with the commands."""
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt\n")
    done = run("--help", path=[tmp_path])
    assert done.returncode == 130
    assert only_line(done) == "interrupted"


def test_an_interrupt_of_a_command(tmp_path, network):
    (tmp_path / "safetensors.py").write_text(
        f"import os, signal\nsignal.signal({signal.SIGINT}, signal.default_int_handler)\n"
        f"os.kill(os.getpid(), {signal.SIGINT})\n"
    )
    done = run("info", network, path=[tmp_path])
    assert done.returncode == 130
    assert only_line(done) == "interrupted"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    ("command", "unbuffered"), [("--help", {}), ("--version", {"PYTHONUNBUFFERED": "1"}), ("info", {})]
)
def test_an_output_that_is_full(network, command, unbuffered):
    with open("/dev/full", "wb") as full:
        done = run(command, *([network] if command == "info" else []), stdout=full, env=unbuffered)
    assert done.returncode == 2
    assert ": no space left on device; make room on that disk, or choose another" in only_line(done)
    assert only_line(done).startswith("the output")


def test_an_output_that_nobody_reads(network):
    reader, writer = os.pipe()
    os.close(reader)
    done = run("info", network, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_limit_on_the_size_of_files(tmp_path, network):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))

    with open(tmp_path / "out", "wb") as output:
        done = run("info", network, stdout=output, preexec_fn=limit)
    assert done.returncode == 2
    assert only_line(done) == "the output: file too large; raise the limit on the size of files (ulimit -f)"


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
@pytest.mark.parametrize("arguments", [["verilog", "--help"], ["info"]])
def test_terminals_without_letters(network, env, arguments):
    done = run(*arguments, *([network] if arguments == ["info"] else []), env=env | {"PYTHONCOERCECLOCALE": "0"})
    assert (done.returncode, done.stderr) == (0, b"")
    if "PYTHONIOENCODING" in env:
        done.stdout.decode("ascii")


def test_names_of_files_are_shown_and_not_obeyed(darb, network, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    for command in (["info", network], ["verilog", network, "--lanes", 2, "-o", tmp_path / "[bold]b[/]"]):
        code, out, err = darb(*command)
        assert (code, err) == (0, "")
        assert SHOWN in out
        assert "\x1b" not in out
    assert f"wrote {tmp_path}/[bold]b[/]" in out
    code, out, err = darb("info", tmp_path / "\x1b[2Jno[/].darb")
    assert (code, out) == (2, "")
    assert err == f"darb: error: {tmp_path}/\\x1b[2Jno[/].darb: no such file\n"
    code, _, err = darb("info", "x" * 9000)
    assert (code, len(err)) == (2, len("darb: error: \n") + MESSAGE_LENGTH) or "file name too long" in err


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "no space left on device; make room on that disk, or choose another"),
        (errno.EFBIG, r"file too large; raise the limit on the size of files \(ulimit -f\)"),
        (errno.EROFS, "read-only file system; choose a folder that can be written"),
        (errno.EACCES, "permission denied; check the path and its permissions"),
    ],
)
def test_remedies_of_the_operating_system(darb, monkeypatch, network, tmp_path, code, remedy):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code), str(tmp_path / "b"))

    monkeypatch.setattr("darb_hw.emit.generate", fail)
    left, _, err = darb("verilog", network, "-o", tmp_path / "b")
    assert left == 2
    assert re.fullmatch(rf"darb: error: .*b: {remedy}\n", err)
