"""Which candidates are verified, and which one wins."""

import pytest

from darb_hw.search.choosing import Correction, correction, promising, varied, winner
from darb_hw.search.trying import Tried
from darb_hw.search.wanted import Wanted
from darb_prune.encoded.metrics import Limit
from tests.hw.search.made import candidate, tries, verifies

SMALL, LARGE, FAST = candidate(lanes=2), candidate(lanes=8), candidate(lanes=16)


def test_nothing_is_corrected_before_something_was_found_out():
    assert correction([tries()], [], []) == Correction()
    assert correction([tries()], [tries(one=LARGE)], [verifies(FAST)]) == Correction()


def test_corrections_are_medians():
    of = [tries(one=one, rate=100_000, luts=2000, lost=0.02) for one in (SMALL, LARGE, FAST)]
    full = [
        tries(one=SMALL, rate=100_000, luts=2000, lost=0.01),
        tries(one=LARGE, rate=100_000, luts=2000, lost=0.0),
        tries(one=FAST, rate=100_000, luts=2000, lost=0.015),
    ]
    placed = [
        verifies(SMALL, rate=90_000, luts=1900),
        verifies(LARGE, rate=110_000, luts=2200),
        verifies(FAST, rate=50_000, luts=9000),
    ]
    found = correction(of, full, placed)
    assert (found.rate, found.luts, found.gained) == (pytest.approx(0.9), pytest.approx(1.1), pytest.approx(0.01))


def test_promising_keep_bounds_first_and_then_follow_the_aim():
    of = [
        tries(one=SMALL, rate=50_000, luts=1000, lost=0.0),
        tries(one=LARGE, rate=150_000, luts=3000, lost=0.01),
        tries(one=FAST, rate=200_000, luts=4000, lost=0.02),
    ]
    assert promising(of, (), Wanted("accuracy", min_rate=100_000), Correction()) == [LARGE, FAST, SMALL]
    assert promising(of, (), Wanted("rate", max_loss=Limit.parse("5%")), Correction()) == [FAST, LARGE, SMALL]
    assert promising(of, (), Wanted("luts", max_loss=Limit.parse("5%")), Correction()) == [SMALL, LARGE, FAST]


def test_what_was_found_out_changes_what_is_promising():
    of = [
        tries(one=SMALL, rate=100_000, lost=0.0),
        tries(one=LARGE, rate=150_000, lost=0.02),
        tries(one=FAST, rate=190_000, lost=0.03),
    ]
    wanted = Wanted("rate", max_loss=Limit.parse("1%"))
    assert promising(of, (), wanted, Correction())[0] == SMALL
    assert promising(of, {SMALL}, wanted, Correction(gained=0.015)) == [LARGE, FAST]
    least = Wanted("luts", min_rate=120_000)
    assert promising(of, (), least, Correction(rate=1.3, luts=2))[0] == SMALL


def test_finalists_are_of_many_networks():
    other = candidate(lanes=4, bits=6)
    assert SMALL.network == LARGE.network != other.network
    assert varied([LARGE, SMALL, other, FAST]) == [LARGE, other, SMALL, FAST]
    assert varied([]) == []


def test_no_engine_is_not_promising():
    assert promising([Tried(SMALL, reason="no plan"), Tried(LARGE, tries().estimate)], (), Wanted(), Correction()) == []


def test_the_winner_keeps_all_bounds():
    wanted = Wanted("rate", min_rate=90_000, max_loss=Limit.parse("1%"))
    slow = verifies(SMALL, rate=80_000, lost=0)
    right = verifies(LARGE, rate=100_000, lost=0.005)
    worse = verifies(FAST, rate=200_000, lost=0.05)
    assert winner([slow, right, worse], wanted) is right
    assert winner([slow, worse], wanted) is None
    assert winner([verifies(LARGE, reason="the simulation differs")], Wanted()) is None
    assert list(slow.missed(wanted)) == ["min-rate"]
    assert list(worse.missed(wanted)) == ["max-loss"]


def test_of_equals_the_winner_is_always_the_same():
    one, two = verifies(SMALL), verifies(LARGE)
    assert winner([one, two], Wanted()) is winner([two, one], Wanted()) is one
