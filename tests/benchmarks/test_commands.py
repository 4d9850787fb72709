"""Every measurement is a command with help and an example."""

import importlib
import json

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.command import command, measured
from darb_prune.encoded import DarbError

FILES = ("boards", "bytes", "generator", "partitions", "peers.generate", "recipes", "results", "scale", "searches")
PACKAGES = ("engine", "formats", "hostile", "imports", "mlperf", "models", "networks", "peers", "pruning", "systems")
COMMANDS = {name: name for name in FILES} | {name: f"{name}.__main__" for name in PACKAGES}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name):
    module = importlib.import_module(f"benchmarks.{COMMANDS[name]}")
    done = CliRunner().invoke(module.app, ["--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert f"python -m benchmarks.{name}" in done.output.partition("Example")[2]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("boards", ["none"]),
        ("engine", ["lanes-0"]),
        ("engine", ["--seeds", "0"]),
        ("formats", ["--layer", "none"]),
        ("hostile", ["none"]),
        ("imports", ["none"]),
        ("mlperf", ["none"]),
        ("mlperf", ["--seeds", "0"]),
        ("models", ["none"]),
        ("networks", ["none"]),
        ("peers", ["none"]),
        ("recipes", ["none"]),
        ("systems", ["none"]),
    ],
)
def test_what_does_not_exist_is_refused(name, arguments):
    module = importlib.import_module(f"benchmarks.{COMMANDS[name]}")
    done = CliRunner().invoke(module.app, arguments)
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert arguments[-1] in done.output


def test_results_are_saved_one_by_one(tmp_path):
    file = tmp_path / "results.json"
    file.write_text('{"old": 1, "again": 2}')

    def measure(name: str) -> int:
        if name == "last":
            assert json.loads(file.read_text()) == {"old": 1, "again": 3}
        return 3

    assert measured(file, ["again", "last"], measure) == {"old": 1, "again": 3, "last": 3}
    assert json.loads(file.read_text()) == {"old": 1, "again": 3, "last": 3}
    assert measured(tmp_path / "none.json", [], measure) == {}


def test_errors_of_the_user_are_one_line():
    def main(path: str) -> None:
        """Open a file."""
        raise DarbError(f"{path}: not there")

    done = CliRunner().invoke(command(main), ["a.darb"])
    assert (done.exit_code, done.output) == (2, "error: a.darb: not there\n")


def test_the_exit_code_of_a_command_is_passed_on():
    def main() -> None:
        """Run a program."""
        raise typer.Exit(3)

    assert CliRunner().invoke(command(main)).exit_code == 3
