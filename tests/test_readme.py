"""The examples of README and tutorial run as they stand there."""

import re
from pathlib import Path

import pytest

from darb_hw.emit import Build

ROOT = Path(__file__).resolve().parent.parent
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "models.md"


def test_python_example(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    from torch import nn

    from darb_prune.tasks.digits import load
    from darb_prune.training.batches import Batches
    from darb_prune.training.loop import seeded

    data = load()
    with seeded(0):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 10))
    few = data["train"].inputs[:128], data["train"].labels[:128]
    monkeypatch.chdir(tmp_path)
    names = {
        "model": model,
        "train_loader": Batches(*few),
        "inputs": few[0],
        "test_inputs": data["test"].inputs[:8],
    }
    exec(compile(code.replace("epochs=40", "epochs=2"), str(README), "exec"), names)
    build = Build.load(tmp_path / "build" / "net")
    assert build.plan.network.weights == 64 * 24 + 24 * 10
    assert build.plan.network.weights / build.plan.network.kept >= 8


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "systems").glob("*.md")), ids=lambda page: page.stem)
def test_tutorials_of_systems(page, tmp_path, monkeypatch):
    codes = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "tutorial"}  # of all pieces of a page, which follow each other
    for code in codes:
        assert len([line for line in code.splitlines() if line.strip()]) < 25
        quick = re.sub(r"epochs=\d+", "epochs=1", code)
        exec(compile(quick, str(page), "exec"), names)


@pytest.mark.simulator
def test_tutorial(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) < 30
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "tutorial"}  # classes need the name of their module
    code = code.replace("epochs=20", "epochs=2").replace("epochs=4", "epochs=1")
    exec(compile(code, str(TUTORIAL), "exec"), names)
    build = Build.load(tmp_path / "build" / "net")
    assert build.plan.network.weights / build.plan.network.kept > 7.5  # the pooling layer of its own is not pruned
    assert re.search(r"BatchReport\(frames=360, elements=3600, .*mismatch=None\)", capsys.readouterr().out)
