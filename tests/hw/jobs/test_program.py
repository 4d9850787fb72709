"""Programs that jobs run: facts, crashes, and that none outlives who started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darb_hw.errors import ToolError
from darb_hw.jobs.job import JobFailure
from darb_hw.jobs.program import error_line, raise_failure, run_program


def python(code):
    return [sys.executable, "-c", code]


def test_output_and_exit_code(tmp_path):
    log = tmp_path / "log"
    code = "import os, sys; print(os.getcwd(), sys.stdin.read()); sys.stderr.write('oh'); sys.exit(3)"
    assert run_program(python(code), tmp_path, log) == 3
    assert log.read_text() == f"{tmp_path} \noh" or log.read_text() == f"oh{tmp_path} \n"
    assert run_program(python("import os; os.kill(os.getpid(), 9)"), tmp_path, log) == -9


def test_hopeless(tmp_path):
    asked = iter([False, True])
    start = time.monotonic()
    assert (
        run_program(python("import time; time.sleep(60)"), tmp_path, tmp_path / "log", 0.2, lambda: next(asked)) is None
    )
    assert time.monotonic() - start < 30


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_it_ends_with_who_started_it(tmp_path):
    code = (
        "import sys; from pathlib import Path; from darb_hw.jobs.program import run_program\n"
        "body = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "run_program([sys.executable, '-c', body], Path(sys.argv[1]), Path(sys.argv[1]) / 'log')"
    )
    with subprocess.Popen(python(code) + [str(tmp_path)]) as parent:
        log = tmp_path / "log"
        while not (log.is_file() and log.read_text().strip()):
            time.sleep(0.05)
        child = int(log.read_text())
        parent.kill()
    for _ in range(200):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":  # nobody waits for it here
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the program is still there")


def test_what_came_of_a_failure():
    with pytest.raises(JobFailure) as failure:
        raise_failure("yosys", 1, "Info\nERROR: no such module\nERROR: stop\n", {"log": b"x"})
    assert (failure.value.message, failure.value.files) == ("yosys failed: no such module", {"log": b"x"})
    with pytest.raises(ToolError, match=r"^nextpnr was ended by signal 9: give it more memory"):
        raise_failure("nextpnr", -9, "ERROR: something", {})
    with pytest.raises(ToolError, match=r"^nextpnr crashed with exit code 134 \(wasm trap\): install it again"):
        raise_failure("nextpnr", 134, "Info: x\nwasm trap\n", {})
    with pytest.raises(OSError, match="No space left on device") as error:
        raise_failure("yosys", 1, "ERROR: write: No space left on device", {})
    assert "$TMPDIR" in str(error.value.filename)


def test_the_first_error_counts():
    assert error_line("a\nERROR: b\nERROR: c") == "b"
    assert error_line("a\nlast\n") == "last"
    assert error_line("") == "no message"
