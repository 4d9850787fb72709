"""Flows of candidates: what is asked for, and when nothing is trained."""

import itertools
import json

import pytest

from darb_hw.estimate.model import shipped
from darb_hw.search.question import Question
from darb_hw.search.space import Space
from darb_hw.search.trying import Tried, dense_files, loss_of, tried
from darb_hw.search.wanted import Loss, Wanted
from darb_hw.store.entry import Entry
from darb_hw.sweep.estimation import Estimation
from darb_prune.encoded import DarbError
from darb_prune.encoded.metrics import Limit
from tests.hw.search.made import candidate
from tests.networks import random_network

NETWORK = random_network(5, sizes=(9, 11, 4)).network
ACCURACIES = {"integer": {"validation": 0.9, "test": 0.1}, "dense": {"validation": 0.95, "test": 0.2}}


def _question(**wanted):
    return Question("digits", None, Space(("ice40-up5k",), methods=("darb", "neurons")), Wanted(**wanted), (1,))


def _entry(job):
    """What a job would give: any run folder, this network, its estimate."""
    if isinstance(job, Estimation):
        made = job.done()
        said = {"weight_bits": 4, "metric": "accuracy", "accuracies": ACCURACIES}
        return Entry(made.key, made.kind, "", {**made.files, "network.json": json.dumps(said).encode()}, made.failure)
    return Entry(job.key, "command", "", {"run.json": b"{}", "model.safetensors": b"", "network.darb": NETWORK.pack()})


def _run(flow, entry=_entry):
    """What a flow returns, and the arguments of its commands."""
    asked, jobs = [], next(flow)
    while True:
        asked += [job.arguments for job in jobs if not isinstance(job, Estimation)]
        try:
            jobs = flow.send([entry(job) for job in jobs])
        except StopIteration as end:
            return end.value, asked


def _options(arguments):
    return dict(itertools.pairwise(arguments))


def test_estimates_come_before_training():
    found, asked = _run(tried(candidate(), _question(), shipped().packed()))
    commands = [(arguments[0], _options(arguments).get("--effort")) for arguments in asked]
    assert commands == [
        ("train", None), ("prune", "none"), ("compile", "none"),
        ("train", None), ("prune", "quick"), ("compile", "quick"),
    ]  # fmt: skip
    assert _options(asked[1])["--ratio"] == "8.0"
    assert _options(asked[2])["--weight-bits"] == "4"
    assert found.loss == Loss("accuracy", 0.9, 0.95)
    assert Tried.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_nothing_is_trained_for_an_engine_out_of_the_question():
    found, asked = _run(tried(candidate(), _question(min_rate=1e12), shipped().packed()))
    assert [arguments[0] for arguments in asked] == ["train", "prune", "compile"]
    assert found.estimate is not None
    assert found.loss is None


def test_units_are_chosen_without_gates_where_nothing_is_trained():
    _, asked = _run(tried(candidate(method="neurons"), _question(), shipped().packed()))
    assert [_options(arguments).get("--criterion") for arguments in asked] == [None, "uniform", None, None, None, None]


def test_no_engine_and_no_network_are_results():
    def no_plan(job):
        return Entry(job.key, "estimate", "", {}, "does not fit") if isinstance(job, Estimation) else _entry(job)

    found, _ = _run(tried(candidate(), _question(), shipped().packed()), no_plan)
    assert (found.estimate, found.reason) == (None, "does not fit")
    flow = tried(candidate(), _question(), shipped().packed())
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.throw(DarbError("ratio 8 cannot be reached"))
    assert end.value.value.reason == "ratio 8 cannot be reached"


def test_the_dense_network_is_tried_first():
    _, asked = _run(dense_files(_question()))
    assert [arguments[0] for arguments in asked] == ["train", "compile"]


@pytest.mark.parametrize("said", [{}, {"metric": "accuracy", "accuracies": {"integer": {}}}])
def test_networks_that_do_not_say_what_they_lose(said):
    with pytest.raises(DarbError, match="the network does not say what it loses"):
        loss_of(said)


def test_what_was_taught_loses_over_its_teacher():
    said = {"metric": "accuracy", "accuracies": {"integer": {"validation": 0.9}, "dense": {"validation": 0.91}}}
    assert loss_of(said).dense == 0.91
    said["accuracies"]["teacher"] = {"validation": 0.95}
    assert loss_of(said).share == pytest.approx(0.05)


def test_questions_have_digests():
    one, same = _question(min_rate=5, max_loss=Limit.parse("1%")), _question(min_rate=5, max_loss=Limit.parse("1%"))
    assert one.digest == same.digest
    assert one.digest != _question(min_rate=6, max_loss=Limit.parse("1%")).digest
    assert one.digest != _question(min_rate=5, max_loss=Limit.parse("1")).digest


def test_whether_a_model_has_other_sizes_is_found_out_untrained():
    resizable, (asked,) = _run(_question().networks("none").resizable())
    assert resizable is True
    assert _options(asked)["--epochs"] == "0"
    flow = _question().networks("none").resizable()
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.throw(DarbError("size 0.5: the model of task cifar10 is given, and has one size; leave it out"))
    assert end.value.value is False
