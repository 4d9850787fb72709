"""What weights are worth."""

import pytest
import torch

from darb_prune.errors import DarbError
from darb_prune.patterns.saliency import SALIENCIES, Gradients, saliencies

MATRICES = [torch.tensor([[3.0, -1.0], [2.0, 0.0]]), torch.tensor([[4.0, 0.0, 2.0]])]
GRADIENTS = Gradients(
    absolute=[torch.tensor([[1.0, 2.0], [0.5, 9.0]]), torch.ones(1, 3)],
    square=[torch.tensor([[1.0, 8.0], [0.5, 9.0]]), torch.ones(1, 3)],
)


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("magnitude", [[9, 1], [4, 0]], [[16, 0, 4]]),
        ("mean", [[9 / 3.5, 1 / 3.5], [4 / 3.5, 0]], [[2.4, 0, 0.6]]),
        ("frobenius", [[9 / 14, 1 / 14], [4 / 14, 0]], [[0.8, 0, 0.2]]),
        ("row", [[1.8, 0.2], [2, 0]], [[2.4, 0, 0.6]]),
        ("taylor", [[3, 2], [1, 0]], [[4, 0, 2]]),
        ("fisher", [[4.5, 4], [1, 0]], [[8, 0, 2]]),
    ],
)
def test_values(kind, first, second):
    worths = saliencies(MATRICES, kind, GRADIENTS)
    torch.testing.assert_close(worths[0], torch.tensor(first, dtype=torch.float64))
    torch.testing.assert_close(worths[1], torch.tensor(second, dtype=torch.float64))


@pytest.mark.parametrize("kind", SALIENCIES)
def test_weights_of_zero_are_worth_nothing(kind):
    zeros = [torch.zeros(2, 2), torch.zeros(1, 3)]
    for worth in saliencies(zeros, kind, GRADIENTS):
        assert not worth.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: saliencies(MATRICES, "luck"), "saliency 'luck': choose one of mean, frobenius"),
        (lambda: saliencies(MATRICES, "fisher"), "saliency 'fisher' needs gradients"),
        (lambda: saliencies(MATRICES[:1], "taylor", GRADIENTS), "gradients of shapes"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(DarbError, match=message):
        call()
