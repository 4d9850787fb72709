"""Tasks that are two at once, and each of the two alone."""

import numpy as np
import pytest
import torch

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.tasks import Split, digits, fsdd
from darb_prune.tasks.pairs import halves
from darb_prune.training import metrics
from darb_prune.training.heads import IGNORED, HeadLoss


def test_halves_have_a_label_of_one_of_two_tasks():
    split = halves({"test": Split(torch.zeros(4, 2), torch.tensor([0, 4, 5, 9]))})["test"]
    assert split.sizes == (5, 5)
    assert split.labels.tolist() == [[0, IGNORED], [4, IGNORED], [IGNORED, 0], [IGNORED, 4]]


def test_halves_alone_are_the_samples_of_both():
    both, parts = tasks.get("digits-both"), [tasks.get(f"digits-{half}") for half in ("low", "high")]
    for name, split in both.load().items():
        whole = digits.load()[name]
        assert torch.equal(split.inputs, whole.inputs)
        for column, part in enumerate(parts):
            mine = split.labels[:, column] != IGNORED
            alone = part.load()[name]
            assert torch.equal(alone.inputs, split.inputs[mine])
            assert torch.equal(alone.labels, split.labels[mine, column])
    assert sum(len(part.load()["test"]) for part in parts) == len(whole)
    assert [part.build()[-1].out_features for part in parts] == [5, 5]
    assert both.build()[-1].out_features == 10


@pytest.mark.parametrize(
    "parts", [("digits-low", "digits-high"), ("fashion-mnist-low", "fashion-mnist-high"), ("fsdd", "fsdd-speaker")]
)
def test_a_task_is_found_by_its_parts(parts):
    both = tasks.joint(parts)
    assert both.parts == parts
    assert len(both.heads) == 2
    assert both.metric == "accuracy of tasks"
    assert both.loss == HeadLoss(tuple(both.heads.values()))
    assert not both.distillation
    model = both.build()
    last = model.output if isinstance(model, fsdd.Speech) else model[-1]
    assert last.out_features == sum(both.heads.values())


def test_parts_that_are_no_task_are_named():
    with pytest.raises(DarbError, match=r"no task is made of digits and mnist; there are: .*fsdd and fsdd-speaker"):
        tasks.joint(["digits", "mnist"])


def test_digits_and_speakers_are_in_the_names_of_files(tmp_path, monkeypatch):
    (tmp_path / "recordings").mkdir()
    for index in (0, 5, 10):
        (tmp_path / "recordings" / f"7_lucas_{index}.wav").touch()
    monkeypatch.setattr(fsdd, "read_wav", lambda path, rate: np.random.default_rng(0).normal(size=1000))
    splits = fsdd._read(tmp_path)
    assert [split.labels.tolist() for split in splits.values()] == [[[7, 2]]] * 3
    assert splits["train"].sizes == (10, 6)


def test_the_metric_is_the_mean_over_tasks():
    split = tasks.get("digits-both").load()["test"]
    model = torch.nn.Linear(64, 10)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([1.0, 0, 0, 0, 0, 0, 1.0, 0, 0, 0]))
    low, high = split.labels.unbind(1)
    share = ((low == 0).sum() / (low != IGNORED).sum() + (high == 1).sum() / (high != IGNORED).sum()) / 2
    assert metrics.measure("accuracy of tasks", model, split) == pytest.approx(float(share))
