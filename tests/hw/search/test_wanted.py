"""Bounds and aims."""

import pytest

from darb_hw.search.wanted import Figures, Loss, Wanted, missed
from darb_prune.encoded import DarbError
from darb_prune.encoded.metrics import Limit
from tests.hw.samples import REPORT
from tests.hw.search.made import estimate


def test_figures_of_an_estimate():
    made = estimate(rate=100_000, luts=2000, interval=200)
    likely, best = Figures.likely(made), Figures.at_best(made)
    assert (likely.rate, likely.luts, likely.block_rams, likely.fits) == (pytest.approx(100_000), 2000, 10, True)
    assert likely.latency == pytest.approx(400 / 20)
    assert (best.rate, best.luts, best.latency) == (pytest.approx(110_000), 1800, pytest.approx(400 / 22))
    corrected = Figures.likely(made, rate=0.5, luts=2)
    assert (corrected.rate, corrected.luts, corrected.latency) == (pytest.approx(50_000), 4000, pytest.approx(40))
    assert not Figures.at_best(estimate(fits="no")).fits


def test_measured_figures():
    assert Figures.measured(REPORT) == Figures(240_000, 5, 100, 6)


def test_bounds_are_missed_by_shares():
    wanted = Wanted(min_rate=150_000, max_latency=20, max_luts=1000, max_block_rams=10)
    figures = Figures(rate=100_000, latency=22, luts=900, block_rams=10)
    shares = wanted.of_engine(figures)
    assert shares == {
        "device": 0, "min-rate": pytest.approx(0.5), "max-latency": pytest.approx(0.1),
        "max-luts": pytest.approx(-0.1), "max-block-rams": 0,
    }  # fmt: skip
    assert list(missed(shares)) == ["min-rate", "max-latency"]
    assert missed(Wanted().of_engine(Figures(1, 1, 1, 1, fits=False))) == {"device": 1}


@pytest.mark.parametrize(
    ("limit", "metric", "value", "dense", "share"),
    [
        ("1%", "accuracy", 0.98, 1.0, 0.01),
        ("1", "accuracy", 0.98, 1.0, 0.01),
        ("10%", "bits per character", 2.4, 2.0, 0.1),
        ("0.5", "perplexity", 90.0, 100.0, -0.105),
    ],
)
def test_loss_of_a_network(limit, metric, value, dense, share):
    loss = Loss(metric, value, dense)
    assert Wanted(max_loss=Limit.parse(limit)).of_network(loss) == {"max-loss": pytest.approx(share)}
    assert Wanted().of_network(loss) == {}


def test_gains_have_the_direction_of_the_metric():
    assert Loss("accuracy", 0.9, 1.0).share == pytest.approx(0.1)
    assert Loss("accuracy", 0.9, 1.0).gained(0.04).value == pytest.approx(0.94)
    assert Loss("perplexity", 120, 100).share == pytest.approx(20)
    assert Loss("perplexity", 120, 100).gained(5).value == pytest.approx(115)


def test_aims_sort():
    slow, fast = Figures(10, 1, 50, 1), Figures(20, 1, 90, 1)
    good, bad = Loss("accuracy", 0.98, 1), Loss("accuracy", 0.9, 1)
    assert Wanted("accuracy").order(slow, good) < Wanted("accuracy").order(fast, bad)
    assert Wanted("accuracy").order(slow, good) < Wanted("accuracy").order(fast, good)
    assert Wanted("rate").order(fast, bad) < Wanted("rate").order(slow, good)
    assert Wanted("luts").order(slow, bad) < Wanted("luts").order(fast, good)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aim": "speed"}, "aim 'speed': choose one of accuracy, rate, luts"),
        ({"min_rate": 0}, "--min-rate 0: give a number above 0"),
        ({"max_latency": float("nan")}, "--max-latency nan: give a number above 0"),
        ({"max_block_rams": -1}, "--max-block-rams -1: give a number above 0"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(DarbError, match=message):
        Wanted(**options)
