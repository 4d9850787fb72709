"""What tests of the program have in common."""

import pytest

from darb_hw import cli
from darb_hw.synthesis import tools
from tests.hw.sweep.standin_tools import standin_tools


@pytest.fixture
def darb(capsys):
    """Run the program; gives exit code, stdout, stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        return left.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def log(tmp_path, monkeypatch):
    """The runs of stand-ins that take the place of the tools."""
    log = tmp_path / "log"
    log.touch()
    for name, value in standin_tools(tmp_path / "bin", log).items():
        monkeypatch.setenv(name, value)
    finders = tools.yosys, tools.nextpnr
    for find in finders:
        find.cache_clear()
    yield log
    for find in finders:
        find.cache_clear()
