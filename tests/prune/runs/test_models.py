"""Models that are named on the command line."""

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from darb_prune.cli import app
from darb_prune.errors import DarbError
from darb_prune.runs.models import example_of_shape, load_model
from darb_prune.tasks import DataSets

SOURCE = """
import torch
from torch import nn
from beside import SIZE

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, SIZE, 3), nn.Linear(4 * 3 * 5, 3)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1)).softmax(1)

def build():
    return nn.Sequential(nn.Linear(4, 3))

ready = build()
nothing = lambda: 3
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "net.py").write_text(SOURCE)
    (tmp_path / "beside.py").write_text("SIZE = 4\n")
    return tmp_path / "net.py"


@pytest.mark.parametrize("name", ["Net", "build", "ready"])
def test_models_of_python_files(source, name):
    model, example = load_model(f"{source}:{name}", DataSets())
    assert isinstance(model, nn.Module)
    assert example is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("net.py", r"net.py: say which model of the file is meant, as in .*net.py:Net"),
        ("none.py:Net", "none.py: no such file"),
        ("net.py:Nett", "net.py:Nett: AttributeError: .* give a module, or what makes one"),
        ("net.py:nothing", "net.py:nothing: is no torch.nn.Module, and gives none"),
        ("net.py:torch", "net.py:torch: TypeError: .* give a module"),
        ("nowhere", "nowhere: no run.json here"),
    ],
)
def test_names_of_no_model(source, name, message):
    with pytest.raises(DarbError, match=message):
        load_model(str(source.parent / name), DataSets())


def test_shapes():
    assert example_of_shape(nn.Linear(4, 3), "2,4").shape == (1, 2, 4)
    symbols = example_of_shape(nn.Embedding(5, 3), "6")
    assert symbols.dtype == torch.int64
    assert symbols.shape == (1, 6)
    for text in ("", "a", "3,0", "3;4"):
        with pytest.raises(DarbError, match="write sizes without the batch"):
            example_of_shape(nn.Linear(4, 3), text)


def test_the_command_exits_with_1_if_there_are_problems(source):
    result = CliRunner().invoke(app, ["check", f"{source}:Net", f"{source}:build"])
    assert result.exit_code == 1
    assert "net.py:Net: Net: 1 problem, 0 warnings\n  model: no input that it takes was found; give" in result.output
    assert "net.py:build: Sequential: 0 problems, 0 warnings\n" in result.output
    result = CliRunner().invoke(app, ["check", f"{source}:Net", "--shape", "3,5,7"])
    assert result.exit_code == 1
    assert "  model: operator softmax is not supported; leave it out of the model" in result.output
    assert "net.py:12)" in result.output
    result = CliRunner().invoke(app, ["check", f"{source}:Net", "--shape", "3,5,7", "--drop-softmax"])
    assert result.exit_code == 0
    assert "  warning: model: softmax at the end is dropped" in result.output
    result = CliRunner().invoke(app, ["check", f"{source}:ready"])
    assert result.exit_code == 0
