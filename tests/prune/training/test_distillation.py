"""Distillation, batch by batch and all at once, and states that travel from batch to batch."""

import torch
from torch import nn

from darb_prune.modules.recurrence import Carried
from darb_prune.tasks.language import LanguageModel
from darb_prune.training.batches import AugmentedBatches, Batches, TextBatches
from darb_prune.training.distillation import Distilled, distilled, soften

TEXT = torch.randint(0, 7, (200,), generator=torch.Generator().manual_seed(0))


def test_images_are_softened_once_and_changed_images_each_time():
    teacher = nn.Linear(4, 3)
    inputs, labels = torch.rand(10, 4), torch.arange(10) % 3
    once = distilled(Batches(inputs, labels, 4, 1), teacher, share=0.5)
    assert type(once) is Batches
    assert torch.equal(once.labels, soften(teacher, inputs, labels, share=0.5))
    changing = AugmentedBatches(inputs, labels, 4, 1, lambda batch, random: batch + 1)
    loader = distilled(changing, teacher, share=0.5)
    assert type(loader) is Distilled
    assert len(loader) == 3
    plain = AugmentedBatches(inputs, labels, 4, 1, lambda batch, random: batch + 1)
    for (seen, soft), (wanted, hard) in zip(loader, plain, strict=True):
        assert torch.equal(seen, wanted)
        assert torch.equal(soft, soften(teacher, wanted, hard, share=0.5))
        assert torch.allclose(soft.sum(dim=1), torch.ones(len(soft)))


def test_the_teacher_of_a_language_model_carries_its_state():
    teacher = LanguageModel(7, 4, 5).eval()
    loader = Distilled(TextBatches(TEXT[:-1], TEXT[1:], 2, 5, 0), teacher, share=1.0, temperature=1.0)
    seen = [(inputs, soft) for inputs, soft in loader]
    inputs = torch.cat([piece for piece, _ in seen], dim=1)
    expected = teacher(inputs)[0].softmax(dim=-1)
    assert torch.allclose(torch.cat([soft for _, soft in seen], dim=1), expected, atol=1e-6)
    assert loader.state() == 1
    loader.restore(0)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(loader, seen, strict=True))


def test_carried_gives_the_state_back_detached_until_it_is_reset():
    model = LanguageModel(7, 4, 5)
    forward = Carried(model)
    tokens = TEXT[:20].view(2, 10)
    parts = [forward(tokens[:, :4]), forward(tokens[:, 4:])]
    assert torch.allclose(torch.cat(parts, dim=1), model(tokens)[0], atol=1e-6)
    assert not forward.state[0].requires_grad
    forward.reset()
    assert torch.equal(forward(tokens[:, 4:]), model(tokens[:, 4:])[0])
    assert torch.equal(Carried(nn.ReLU())(torch.tensor([-1.0])), torch.zeros(1))
