"""Two processes and one folder."""

import subprocess
import sys
import time

import pytest

from darb_hw.locks import exclusive, is_in_use

HOLD = (
    "import sys, time; from pathlib import Path; from darb_hw.locks import exclusive\n"
    "with exclusive(Path(sys.argv[1])):\n    print('in', flush=True); time.sleep(float(sys.argv[2]))"
)


@pytest.fixture
def hold(tmp_path):
    """Start a process that has the lock of the folder for some seconds."""
    running = []

    def start(seconds):
        command = [sys.executable, "-c", HOLD, str(tmp_path), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_the_second_waits_and_says_so(tmp_path, hold, capsys):
    first = hold(1)
    assert first.stdout.readline() == "in\n"
    assert is_in_use(tmp_path)
    begun = time.monotonic()
    with exclusive(tmp_path):
        assert time.monotonic() - begun > 0.2
        assert is_in_use(tmp_path)
    assert not is_in_use(tmp_path)
    assert capsys.readouterr().err == f"{tmp_path}: another darb command works there; waiting until it ends\n"
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_process(tmp_path, hold, capsys):
    killed = hold(600)
    assert killed.stdout.readline() == "in\n"
    killed.kill()
    killed.wait()
    with exclusive(tmp_path):
        pass
    assert capsys.readouterr().err == ""


def test_an_error_inside_gives_it_back(tmp_path):
    with pytest.raises(RuntimeError, match="inside"), exclusive(tmp_path):
        raise RuntimeError("inside")
    assert not is_in_use(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with exclusive(tmp_path / "no"):
        assert not is_in_use(tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("no locks here")

    monkeypatch.setattr("darb_hw.locks.lock_descriptor", fail)
    monkeypatch.setattr("darb_hw.locks.unlock_descriptor", fail)
    with exclusive(tmp_path):
        assert not is_in_use(tmp_path)
    assert capsys.readouterr().err == ""
