"""Checkpoints: round trip, damage, and that a training that was stopped ends as if it had not been."""

import copy
import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from darb_prune.errors import DarbError
from darb_prune.pruning.gradual import gradual
from darb_prune.pruning.methods import Darb, Irregular
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.training.batches import Batches
from darb_prune.training.checkpoint import Checkpoint
from darb_prune.training.loop import train

plain = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.floats(allow_nan=False), max_size=2)
trees = st.recursive(plain, lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6)


@given(st.dictionaries(st.text(max_size=3), trees, max_size=3))
def test_state_survives(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "survives.partial"
    path.unlink(missing_ok=True)
    Checkpoint(path, {"a": 1}).update(force=True, tree=state, tensor=torch.arange(3), deep={"x": torch.eye(2)})
    loaded = Checkpoint(path, {"a": 1}).state
    assert loaded["tree"] == state
    assert torch.equal(loaded["tensor"], torch.arange(3))
    assert torch.equal(loaded["deep"]["x"], torch.eye(2))


def test_refusals(tmp_path):
    path = tmp_path / "run.partial"
    Checkpoint(path, {"ratio": 8}).update(force=True, step=1, weight=torch.ones(3))
    with pytest.raises(DarbError, match="checkpoint: of a training with other settings"):
        Checkpoint(path, {"ratio": 9})
    data = path.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    for damaged in (data[:-1], data[:20], b"", data.replace(b'"tree"', b'"tref"'), flipped):
        path.write_bytes(damaged)
        with pytest.raises(DarbError, match=r"checkpoint: damaged .* delete it to start afresh"):
            Checkpoint(path, {"ratio": 8})


def test_nothing_is_written_before_it_is_time(tmp_path):
    checkpoint = Checkpoint(tmp_path / "run.partial", {}, every=1000)
    checkpoint.update(step=1)
    assert not checkpoint.path.exists()
    checkpoint.update(force=True)
    checkpoint.remove()
    assert not checkpoint.path.exists()
    assert checkpoint.state == {}


class Stopped(Exception):
    pass


class Stopping(Batches):
    """A loader that fails in one of its passes."""

    def __init__(self, *options, stop=None):
        super().__init__(*options)
        self.left = stop

    def __iter__(self):
        if self.left == 0:
            raise Stopped
        self.left = None if self.left is None else self.left - 1
        return super().__iter__()


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 4))


def samples(stop=None):
    random = torch.Generator().manual_seed(0)
    inputs = torch.rand(100, 16, generator=random)
    return Stopping(inputs, (inputs[:, :4]).argmax(dim=1), 32, 3, stop=stop)


def test_training_goes_on_where_it_stopped(tmp_path):
    whole = net()
    losses = train(whole, samples(), 6, progress=False)
    path = tmp_path / "run.partial"
    with pytest.raises(Stopped):
        train(net(), samples(4), 6, progress=False, checkpoint=Checkpoint(path, {}, every=0))
    again = net()
    assert train(again, samples(), 6, progress=False, checkpoint=Checkpoint(path, {}, every=0)) == losses
    assert all(torch.equal(first, second) for first, second in zip(whole.parameters(), again.parameters(), strict=True))


SCHEDULE = PruningSchedule(steps=3, epochs=2, final_epochs=4)
WAYS = {
    "masks": (Darb(), {}),
    "regrow": (Darb(), {"regrow": 0.01}),
    "admm": (Darb(), {"admm": 0.01}),
    "irregular, no rewinding": (Irregular(), {"rewind": False}),
}


def arguments(way):
    method, options = WAYS[way]
    return {"ratio": 5, "method": method, "schedule": SCHEDULE.updated(options), "progress": False}


@functools.cache
def pruned_without_stop(way):
    """State of the model, what pruning left, history. Made once for all stops."""
    whole = net()
    left, history = gradual(whole, samples(), **arguments(way))
    return whole.state_dict(), left, history


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stop", range(1, 8))
def test_pruning_goes_on_where_it_stopped(tmp_path, way, stop):
    settings = arguments(way)
    expected, left, history = pruned_without_stop(way)
    path = tmp_path / "run.partial"
    stopped = samples(stop)
    with pytest.raises(Stopped):
        gradual(net(), stopped, **settings, checkpoint=Checkpoint(path, {}, every=0))
    again = net()
    result = gradual(again, samples(), **settings, checkpoint=Checkpoint(path, {}, every=0))
    assert result == (left, history)
    state = again.state_dict()
    assert expected.keys() == state.keys()
    assert all(torch.equal(expected[name], state[name]) for name in expected)
    copy.deepcopy(again)
