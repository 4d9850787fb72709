"""Loss and accuracies of several tasks, whose labels may be missing."""

import pytest
import torch
import torch.nn.functional as F

from darb_prune.errors import DataError
from darb_prune.training import metrics
from darb_prune.training.heads import IGNORED, HeadLoss, HeadSplit, accuracies

OUTPUTS = torch.tensor([[2.0, 0.0, 1.0, 0.0, 3.0], [0.0, 1.0, 0.0, 5.0, 0.0]])


def test_the_loss_is_the_mean_of_those_of_the_tasks():
    labels = torch.tensor([[0, 2], [1, IGNORED]])
    first = F.cross_entropy(OUTPUTS[:, :2], torch.tensor([0, 1]))
    second = F.cross_entropy(OUTPUTS[:1, 2:], torch.tensor([2]))
    torch.testing.assert_close(HeadLoss((2, 3))(OUTPUTS, labels), (first + second) / 2)


def test_a_task_without_labels_has_no_part_in_the_loss():
    labels = torch.tensor([[0, IGNORED], [1, IGNORED]])
    loss = HeadLoss((2, 3))(OUTPUTS.requires_grad_(), labels)
    torch.testing.assert_close(loss, F.cross_entropy(OUTPUTS[:, :2], torch.tensor([0, 1])))
    loss.backward()
    assert not OUTPUTS.grad[:, 2:].any()
    OUTPUTS.requires_grad_(False)


def test_the_loss_of_a_task_alone():
    labels = torch.tensor([[0, IGNORED], [1, IGNORED]])
    first, second = HeadLoss((2, 3)).alone()
    torch.testing.assert_close(first(OUTPUTS, labels), F.cross_entropy(OUTPUTS[:, :2], torch.tensor([0, 1])))
    outputs = OUTPUTS.clone().requires_grad_()
    loss = second(outputs, labels)
    loss.backward()
    assert loss == 0
    assert not outputs.grad.any()


def test_accuracies_count_the_samples_of_each_task():
    labels = torch.tensor([[0, 2], [0, IGNORED]])
    assert accuracies(torch.nn.Identity(), HeadSplit(OUTPUTS, labels, (2, 3))) == [0.5, 1.0]


def test_mistakes_are_named():
    with pytest.raises(DataError, match="no sample of a batch has a label of any task"):
        HeadLoss((2, 3))(OUTPUTS, torch.full((2, 2), IGNORED))
    with pytest.raises(DataError, match=r"labels of shape \(2,\) and outputs of shape \(2, 5\) are not those"):
        HeadLoss((2, 3))(OUTPUTS, torch.tensor([0, 1]))
    with pytest.raises(DataError, match="a task has no samples"):
        accuracies(torch.nn.Identity(), HeadSplit(OUTPUTS, torch.tensor([[0, IGNORED]] * 2), (2, 3)))
    with pytest.raises(DataError, match="a split of one task; use 'accuracy'"):
        metrics.measure("accuracy of tasks", torch.nn.Identity(), metrics.Split(OUTPUTS, torch.tensor([0, 1])))
    with pytest.raises(DataError, match=r"labels of shape \(2, 2\) for outputs of shape \(2, 5\): give one label"):
        metrics.loss(OUTPUTS, torch.zeros(2, 2, dtype=torch.int64))
