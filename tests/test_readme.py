"""The example of the README runs as it stands there."""

import re
from pathlib import Path

from darb_hw.emit import Build

README = Path(__file__).resolve().parent.parent / "README.md"


def test_python_example(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    from torch import nn

    from darb_prune.batches import Batches
    from darb_prune.tasks.digits import load
    from darb_prune.training import seeded

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
