"""What is said of searches and grids."""

import pytest

from benchmarks import searches
from benchmarks.searches import CONTESTS, goals
from tests.hw.search.made import candidate, verifies

ANSWER = searches._answer(verifies(candidate(lanes=8), lost=0.01, rate=200_000, luts=1500)) | {"test": 0.97}
SLOWER = ANSWER | {"rate": 160_000, "validation": 0.968}


def _result(search, grid, seconds=1200):
    return {"trials": 64, "finalists": 20, "seconds": seconds, "points": 7, "left": 25, "search": search, "grid": grid}


def test_grids_have_all_combinations_and_an_order_of_their_seed():
    for contest in CONTESTS.values():
        points = contest.grid(0)
        sizes = len(contest.ratios) * len(contest.weight_bits) * len(contest.lanes)
        assert len(set(points)) == len(points) == sizes
        assert points == contest.grid(0) != contest.grid(1)


def test_goals_follow_the_aim():
    results = {"digits": _result(ANSWER, SLOWER), "fashion-mnist-lenet5": _result(SLOWER, ANSWER, 7200)}
    figures = {goal.name: goal for goal in goals(results)}
    assert figures["digits: accuracy of the search / of the grid"].value == pytest.approx(0.97 / 0.968)
    assert figures["digits: minutes of two processors"].value == 10
    assert figures["fashion-mnist-lenet5: rate of the search / of the grid"].value == pytest.approx(0.8)
    assert [goal.holds for goal in goals(results)] == [True, True, False, False]
    assert not any(goal.measured for goal in goals({}))


def test_the_page_says_who_has_no_answer():
    page = searches._page({"digits": _result(ANSWER, {"candidate": None})})
    assert "darb search --task digits --size 1 --device ice40-up5k" in page
    assert "the grid got to 7 of its 32 points" in page
    assert "| search | darb-8x-w4 | 8 | 200,000 | 1,500 | 6 | 97.00 % | 98.00 % | 97.00 % |" in page
    assert "| grid | none |" in page
