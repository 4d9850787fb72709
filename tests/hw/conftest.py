"""What tests of the program have in common."""

import pytest

from darb_hw import cli


@pytest.fixture
def darb(capsys):
    """Run the program; gives exit code, stdout, stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        return left.value.code or 0, *capsys.readouterr()

    return run
