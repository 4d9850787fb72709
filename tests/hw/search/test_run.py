"""Whole searches over an invented space: the answer is found, a search goes on, and it is the same whoever works."""

import json
import re
from itertools import product

import pytest

from darb_hw.estimate.model import shipped
from darb_hw.jobs.threads import ThreadPool
from darb_hw.search import run as run_module
from darb_hw.search.answer import unanswered
from darb_hw.search.choosing import winner
from darb_hw.search.plot import plot
from darb_hw.search.question import Question
from darb_hw.search.run import run_search
from darb_hw.search.space import Space
from darb_hw.search.study import Study, check_storage
from darb_hw.search.table import expected, files_of, reasons, search_table, tally, verdict
from darb_hw.search.trying import Tried
from darb_hw.search.wanted import Wanted
from darb_hw.store.store import Store
from darb_prune.encoded import DarbError
from darb_prune.encoded.metrics import Limit
from tests.hw.search.made import tries, verifies

SPACE = Space(("ice40-up5k",), lanes=(1, 2, 4, 8, 16, 32))
LIMIT = Limit.parse("1%")


def _figures(candidate):
    """Rates and LUTs rise with lanes; the loss rises with the ratio and falls with the bits."""
    rate = 10_000 * candidate.lanes * candidate.ratio
    luts = 400 + 100 * candidate.lanes * candidate.weight_bits
    lost = 0.0004 * candidate.ratio + 0.05 * 2.0**-candidate.weight_bits
    return {"rate": rate, "luts": luts, "lost": lost}


def _best(wanted):
    """The answer by trying everything."""
    sizes = [range(len(values)) for values in SPACE.axes().values()]
    every = [SPACE.candidate(dict(zip(SPACE.axes(), steps, strict=True))) for steps in product(*sizes)]
    every = [verifies(one, **_figures(one)) for one in every if _figures(one)["luts"] <= 5280]
    return winner(every, wanted)


@pytest.fixture
def invented(monkeypatch):
    """Flows without jobs; gives the candidates that were tried and verified."""
    seen = {"tried": [], "finetuned": [], "verified": []}

    def _tried(candidate, question, model):
        seen["tried"].append(candidate)
        made = tries(one=candidate, **_figures(candidate))
        if made.estimate.luts.low > 5280:
            return Tried(candidate, reason="does not fit")
        return made
        yield

    def _finetuned(candidate, question, model):
        seen["finetuned"].append(candidate)
        return tries(one=candidate, **_figures(candidate))
        yield

    def _verified(candidate, question, store):
        seen["verified"].append(candidate)
        return verifies(candidate, **_figures(candidate))
        yield

    def _dense_files(question):
        return {}
        yield

    monkeypatch.setattr(run_module, "dense_files", _dense_files)
    monkeypatch.setattr(run_module, "tried", _tried)
    monkeypatch.setattr(run_module, "finetuned", _finetuned)
    monkeypatch.setattr(run_module, "verified", _verified)
    return seen


def _question(**wanted):
    return Question("digits", None, SPACE, Wanted(**wanted), (1,))


def _search(question, folder, trials=40, name="study", seed=0):
    store = Store(folder / "store")
    study = Study(question, str(folder / name), seed)
    with ThreadPool(1, store) as pool:
        return run_search(question, study, trials, 3, shipped(), pool, store)


@pytest.mark.parametrize(
    "wanted",
    [
        {"aim": "rate", "max_loss": LIMIT},
        {"aim": "accuracy", "min_rate": 300_000},
        {"aim": "luts", "min_rate": 300_000, "max_loss": LIMIT},
    ],
)
def test_the_answer_is_close_to_the_best(wanted, invented, tmp_path):
    found = _search(_question(**wanted), tmp_path).winner
    best = _best(Wanted(**wanted))
    of = {
        "rate": found.figures.rate / best.figures.rate,
        "luts": best.figures.luts / found.figures.luts,
        "accuracy": 1 - (found.loss.share - best.loss.share) / 0.01,
    }
    assert of[wanted["aim"]] >= 0.75
    assert len(invented["tried"]) == len(set(invented["tried"])) == 40  # of 462
    assert len(invented["finetuned"]) == 3
    assert invented["verified"] == invented["finetuned"][:1]


def test_a_search_goes_on(invented, tmp_path):
    question = _question(aim="rate", max_loss=LIMIT)
    first = _search(question, tmp_path, trials=16)
    assert len(invented["tried"]) == 16
    second = _search(question, tmp_path, trials=24)
    assert len(invented["tried"]) == 24
    assert second.tried[:16] == first.tried
    _search(_question(aim="luts", max_loss=LIMIT), tmp_path, trials=8)
    assert len(invented["tried"]) == 32  # another question begins anew, in the same file


def test_machines_share_a_database(invented, tmp_path):
    question, storage = _question(), f"sqlite:///{tmp_path / 'study.db'}"
    one, other = Study(question, storage, 0), Study(question, storage, 0)
    trial, candidate = one.ask([])
    one.tell(trial, tries(one=candidate))
    assert [found.candidate for found in other.tried()] == [candidate]


def test_the_same_seed_gives_the_same(invented, tmp_path):
    question = _question(aim="rate", max_loss=LIMIT)
    one, other = (_search(question, tmp_path, trials=32, name=name) for name in ("a", "b"))
    assert (one.tried, one.finalists, one.verified) == (other.tried, other.finalists, other.verified)


def test_a_small_space_is_tried_whole(invented, tmp_path):
    space = Space(("ice40-up5k",), ratios=(4.0, 8.0), weight_bits=(4,), lanes=(2, 4))
    found = _search(Question("digits", None, space, Wanted(), (1,)), tmp_path, trials=99)
    assert len(found.tried) == space.count == 4
    assert (len(found.finalists), len(found.verified)) == (3, 1)


def test_what_was_asked_for_is_given_back_when_a_search_is_stopped(invented, tmp_path, monkeypatch):
    def _stopped(candidate, question, model):
        raise KeyboardInterrupt
        yield

    question = _question()
    monkeypatch.setattr(run_module, "tried", _stopped)
    with pytest.raises(KeyboardInterrupt):
        _search(question, tmp_path)
    study = Study(question, str(tmp_path / "study"), 0)
    assert {trial.state.name for trial in study._study.trials} == {"FAIL"}


def test_no_answer(invented, tmp_path):
    found = _search(_question(min_rate=1e9, max_loss=LIMIT), tmp_path, trials=16)
    assert found.winner is None
    assert (len(found.finalists), len(found.verified)) == (9, 9)
    assert "no candidate keeps all bounds: the nearest, darb-" in unanswered(found)
    assert "misses --min-rate by" in unanswered(found)
    assert "misses --min-rate" in verdict(found.verified[0], found)


def test_what_is_said_and_written(invented, tmp_path):
    found = _search(_question(aim="rate", max_loss=LIMIT), tmp_path, trials=24)
    assert tally(found).startswith("24 tried: ")
    assert search_table(found).row_count == 3
    words = [verdict(one, found) for one in found.verified]
    assert words.count("the answer") == 1
    left = [one for one in found.finalists if one.candidate not in found.known(found.verified)]
    assert len(left) == len(reasons(found)) == 2
    for one in left:
        assert re.fullmatch("not placed: (.* the answer .*|misses --.*|as good as the answer)", expected(one, found))
    files = files_of(found, "x")
    lines = files["search.csv"].decode().splitlines()
    assert len(lines) == 25
    assert lines[0].startswith("device,size,method,ratio,weight_bits,activation_bits,lanes,inferences_per_second,")
    said = json.loads(files["search.json"])
    assert said["answer"] == found.winner.candidate.as_dict()
    assert [Tried.from_dict(one) for one in said["tried"]] == found.tried
    assert len(json.loads(files["sweep.json"])["points"]) == 1
    assert len(said["finalists"]) == 3
    plot(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("storage", ["/proc/no/such.log", "sqlite:////proc/no/such.db", "x://y"])
def test_databases_that_cannot_be_opened(storage):
    with pytest.raises(DarbError, match=r"--storage .*; give a file, or a URL such as sqlite:///search.db"):
        check_storage(storage)
