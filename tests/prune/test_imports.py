"""What importing the package loads, seen from a fresh interpreter."""

import subprocess
import sys

import pytest


def loaded(code: str, *modules: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*[m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_encoded_loads_no_torch():
    code = "import darb_prune, darb_prune.encoded\nfrom darb_prune import EncodedNetwork, Level"
    assert loaded(code, "torch", "amaranth", "sklearn", "numpy") == {"numpy"}


def test_command_line_loads_no_torch():
    assert loaded("import darb_prune.cli", "torch", "amaranth", "sklearn", "typer") == {"typer"}


@pytest.mark.parametrize("first", ["integer.encoder", "pruning.one_shot", "integer.quantization"])
def test_names_are_functions_whatever_was_imported_before(first):
    check = "assert all(map(callable, (prune, encode, quantize, finetune)))"
    code = f"import darb_prune.{first}\nfrom darb_prune import *\n{check}"
    assert loaded(code, "torch") == {"torch"}


def test_unknown_name():
    import darb_prune

    with pytest.raises(AttributeError, match="nonsense"):
        _ = darb_prune.nonsense
    assert "prune" in dir(darb_prune)
