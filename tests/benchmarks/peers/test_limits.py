"""Programs and their limit."""

import sys

import pytest

from benchmarks.peers import limits
from darb_prune.encoded import DarbError


def test_programs_are_stopped(tmp_path):
    with pytest.raises(limits.Stopped, match=r"did not finish in 0\.01 minutes"):
        limits.run([sys.executable, "-c", "while True: pass"], tmp_path, "log", 0.01)
    with pytest.raises(DarbError, match=r"failed: ValueError: an error of seven \(see") as failed:
        limits.run([sys.executable, "-c", "raise ValueError('an error of seven')"], tmp_path, "log", 1)
    assert not isinstance(failed.value, limits.Stopped)
    assert limits.run([sys.executable, "-c", "print(5)"], tmp_path, "log", 1) >= 0
    assert (tmp_path / "log").read_text() == "5\n"


def test_modules_run_in_any_folder(tmp_path):
    limits.run(limits.module("generate", "--help"), tmp_path, "log", 1)
    assert "A .darb file" in (tmp_path / "log").read_text()
