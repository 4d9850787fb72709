"""Damaged and forged files are accepted or refused, and nothing else."""

import os
import time
from collections import Counter
from random import Random

import numpy as np
import pytest

from benchmarks.hostile.kinds import KINDS, Kind, hostile_files
from benchmarks.hostile.limits import outcomes, read
from benchmarks.hostile.mutations import altered, altered_array, damaged
from darb_prune.errors import DarbError

FILES = {"darb": 60, "vectors": 60, "onnx": 60, "tflite": 60, "toml": 60, "run": 60, "build": 60}


@pytest.mark.parametrize("name", FILES)
def test_hostile_files_are_accepted_or_refused(name):
    made = [read(KINDS[name], file_number) for file_number in range(FILES[name])]
    assert [reading for reading in made if reading.end not in ("accepted", "refused")] == []
    ends = Counter(reading.end for reading in made)
    assert ends["refused"] > FILES[name] / 3
    assert ends["accepted"] or name == "build"  # almost nothing that differs belongs to its network


@pytest.mark.parametrize("name", FILES)
def test_legal_files_are_accepted(name, tmp_path):
    kind = KINDS[name]
    for number, files in enumerate(kind.legal()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file, contents in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(contents)
        kind.read(folder)


def test_a_number_is_always_the_same_file():
    assert hostile_files(KINDS["toml"], 7) == hostile_files(KINDS["toml"], 7)
    assert len({str(hostile_files(KINDS["toml"], number)) for number in range(50)}) > 40


def test_mutations_leave_the_original_alone():
    value, array = {"a": [1, {"b": 2}], "c": "d"}, np.arange(6).reshape(2, 3)
    text, changed = repr((value, array)), 0
    for seed in range(200):
        changed += altered(value, Random(seed)) != value
        altered_array(array, Random(seed))
        damaged(b"", Random(seed))
    assert repr((value, array)) == text
    assert changed > 150


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is limited on Linux only")
def test_limits():
    """A hang, an excess, a crash and a traceback are told apart, and reading goes on behind each."""

    def behave(folder):
        number = int((folder / "number").read_text())
        if number == 1:
            time.sleep(60)
        elif number == 2:
            np.ones(1 << 28).sum()
        elif number == 3:
            os._exit(9)
        elif number == 4:
            raise KeyError("a bug")
        elif number == 5:
            raise DarbError("refused")

    made = []
    for number in range(7):
        kind = Kind(lambda number=number: [{"number": str(number).encode()}], lambda files, random: files, behave)
        made += outcomes(kind, [file_of_no_damage()], seconds=3)
    assert [reading.end for reading in made] == [
        "accepted", "hang", "excess", "crash", "traceback", "refused", "accepted",
    ]  # fmt: skip
    assert "KeyError: 'a bug' (test_hostile.py, line " in made[4].message


def file_of_no_damage():
    """The number of a file that is forged, which changes nothing here."""
    kind = Kind(lambda: [{"number": b"1"}], lambda files, random: files, lambda folder: None)
    return next(number for number in range(100) if hostile_files(kind, number) == {"number": b"1"})
