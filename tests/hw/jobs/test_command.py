"""Command lines as jobs."""

import importlib.metadata
from dataclasses import replace

import pytest

from darb_hw.errors import ToolError
from darb_hw.jobs import command
from darb_hw.jobs.command import Command, sources_digest
from darb_prune.encoded import DarbError


def test_results_are_the_files_of_the_output(tmp_path):
    """``darb store export`` writes a folder, and needs neither torch nor a tool."""
    job = Command({"in/version": b"1\n"}, ("store", "export", "output/a", "--store", "in"), "x")
    with pytest.raises(DarbError) as error:
        replace(job, inputs={"in/version": b"2\n"}).done()
    assert str(error.value).startswith("darb store export output/a --store in: ")
    assert str(error.value).endswith("name another folder with --store or $DARB_STORE")
    assert job.done().files == {}


def test_a_command_that_was_killed(monkeypatch):
    job = Command({}, ("train", "--task", "x"))
    monkeypatch.setattr(command, "run_program", lambda *_: -9)
    monkeypatch.setattr(command.Path, "read_text", lambda *_, **__: "")
    with pytest.raises(ToolError, match=r"^darb train --task x: ended by signal 9$"):
        job.done()


def test_versions_are_part_of_the_key():
    job = Command({}, ("train", "--task", "digits"))
    assert {"darb", "torch", "numpy", "python", "darb_prune"} <= command.versions().keys()
    assert command.versions()["torch"] == importlib.metadata.version("torch")
    key = job.key
    other = replace(job, versions=job.versions | {"torch": "0"})
    assert other.key != key
    with pytest.raises(ToolError, match=r"^a worker has torch .*, this sweep 0: install the same on all machines"):
        other.done()


def test_sources_change_with_a_file(tmp_path, monkeypatch):
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    before = sources_digest("some_package")
    assert sources_digest("some_package") == before
    (package / "more.py").write_text("a = 1")
    assert sources_digest("some_package") != before
