"""Order of the training samples: complete, new in each pass, repeatable from any pass."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.errors import DarbError
from darb_prune.training.batches import AugmentedBatches, Batches, TextBatches, flip_and_shift

IMAGES = torch.randn(10, 1, 5, 5, generator=torch.Generator().manual_seed(1))


def text(symbols, size, steps, seed=0, batches=None):
    tokens = torch.arange(symbols)
    return TextBatches(tokens, (tokens + 1) % symbols, size, steps, seed, batches)


def loaders(seed):
    labels = torch.arange(10)
    yield Batches(IMAGES, labels, 4, seed)
    yield AugmentedBatches(IMAGES, labels, 4, seed, flip_and_shift)
    yield text(61, 3, 4, seed, batches=2)


def passes(loader, count):
    return [[(inputs.tolist(), labels.tolist()) for inputs, labels in loader] for _ in range(count)]


@pytest.mark.parametrize("kind", range(3))
def test_passes_differ_repeat_and_can_be_resumed(kind):
    first, again, resumed, other = (list(loaders(seed))[kind] for seed in (4, 4, 4, 5))
    wanted = passes(first, 5)
    assert passes(again, 5) == wanted
    assert passes(other, 5) != wanted
    assert len({repr(batches) for batches in wanted}) == 5
    resumed.restore(3)
    assert resumed.state() == 3
    assert passes(resumed, 2) == wanted[3:]
    assert resumed.state() == first.state() == 5
    assert all(len(batches) == len(first) for batches in wanted)


def test_a_pass_holds_every_sample_once():
    loader = Batches(torch.arange(10.0), torch.arange(10), 4, 3)
    labels = [labels for _, labels in loader]
    assert [len(part) for part in labels] == [4, 4, 2]
    assert sorted(torch.cat(labels).tolist()) == list(range(10))


def test_augmenting_keeps_samples_and_labels_together():
    plain, changed = (
        Batches(IMAGES, torch.arange(10), 4, 3),
        AugmentedBatches(IMAGES, torch.arange(10), 4, 3, lambda inputs, random: inputs + 1),
    )
    drawn = AugmentedBatches(IMAGES, torch.arange(10), 10, 3, lambda inputs, random: torch.rand(1, generator=random))
    assert len({next(iter(drawn))[0].item() for _ in range(5)}) == 5
    for (inputs, labels), (others, same) in zip(plain, changed, strict=True):
        assert torch.equal(inputs + 1, others)
        assert torch.equal(labels, same)


def slow_text(symbols, first, size, steps, batch):
    """Batch ``batch`` of a sweep, symbol by symbol."""
    stream = symbols // size
    return [[(first + row * stream + batch * steps + step) % symbols for step in range(steps)] for row in range(size)]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9), st.integers(0, 30), st.none() | st.integers(1, 6))
def test_text_goes_on_from_batch_to_batch_and_pass_to_pass(size, steps, sweep, extra, batches):
    symbols = size * steps * sweep + extra
    loader = text(symbols, size, steps, seed=2, batches=batches)
    count = loader.sweep_passes * len(loader)
    seen_batches = [batch for _ in range(2 * loader.sweep_passes) for batch in loader]
    assert len(seen_batches) == 2 * count
    assert count > symbols // (size * steps) - loader.sweep_passes
    for start in (0, count):
        first = int(seen_batches[start][0][0, 0])
        for batch, (inputs, labels) in enumerate(seen_batches[start : start + count]):
            assert inputs.tolist() == slow_text(symbols, first, size, steps, batch)
            assert torch.equal(labels, (inputs + 1) % symbols)
    if loader.sweep_passes == 1:
        seen = torch.cat([inputs.flatten() for inputs, _ in seen_batches[:count]])
        assert len(set(seen.tolist())) == len(seen) == count * size * steps


def test_text_labels_can_be_probabilities():
    soft = torch.rand(50, 7)
    loader = TextBatches(torch.arange(50), soft, 2, 5)
    inputs, labels = next(iter(loader))
    assert torch.equal(labels, soft[inputs])


def slow_shift(image, top, left, mirrored, reach):
    """One image, pixel by pixel: a window of its padded self."""
    _, height, width = image.shape
    out = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            y, x = row + top - reach, (width - 1 - column if mirrored else column) + left - reach
            if 0 <= y < height and 0 <= x < width:
                out[:, row, column] = image[:, y, x]
    return out


@given(st.integers(0, 1000), st.integers(0, 3))
def test_flip_and_shift_moves_whole_images(seed, reach):
    images = torch.randn(6, 2, 4, 5, generator=torch.Generator().manual_seed(seed)) + 9
    changed = flip_and_shift(images, torch.Generator().manual_seed(seed), reach)
    assert changed.shape == images.shape
    moves = [(t, s, f) for t in range(2 * reach + 1) for s in range(2 * reach + 1) for f in (False, True)]
    for image, other in zip(images, changed, strict=True):
        assert any(torch.equal(slow_shift(image, *move, reach), other) for move in moves)


def test_flip_and_shift_uses_all_moves():
    image = torch.arange(1.0, 10).view(1, 1, 3, 3)
    changed = flip_and_shift(image.expand(2000, -1, -1, -1), torch.Generator().manual_seed(0), 1)
    assert len(changed.unique(dim=0)) == 18


def test_bad_sizes_are_named():
    with pytest.raises(DarbError, match="batch size 0 must be at least 1"):
        Batches(IMAGES, torch.arange(10), 0)
    with pytest.raises(DarbError, match="0 batches a pass: each must be at least 1"):
        text(50, 2, 5, batches=0)
    with pytest.raises(DarbError, match="text of 9 symbols: at least 10 are needed"):
        text(9, 2, 5)
