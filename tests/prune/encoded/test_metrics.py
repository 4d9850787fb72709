"""Metrics as they are shown and compared; limits of what may be lost."""

import math

import pytest

from darb_prune.encoded import DarbError
from darb_prune.encoded.metrics import METRICS, Limit, loss_over
from darb_prune.training.metrics import _COMPUTED


def test_every_metric_is_computed():
    assert _COMPUTED.keys() == METRICS.keys()


def test_worse_is_positive_whatever_the_direction():
    assert loss_over("accuracy", 0.882, 0.98) == pytest.approx(0.1)
    assert loss_over("accuracy", 0.99, 0.98) < 0
    assert loss_over("perplexity", 110, 100) == pytest.approx(0.1)
    assert loss_over("bits per character", 1.8, 2.0) == pytest.approx(-0.1)
    assert loss_over("accuracy", 0.99, 1.0) == pytest.approx(0.01)
    assert loss_over("accuracy", 0.9899, 1.0) > 0.01
    assert loss_over("perplexity", 101.0, 100.0) == pytest.approx(0.01)
    assert loss_over("perplexity", 101.1, 100.0) > 0.01
    assert loss_over("distance", 0.1, 0) == math.inf
    assert loss_over("distance", 0, 0) == 0


def test_values_are_shown_with_their_unit():
    assert METRICS["accuracy"].text(0.98234) == "98.23 %"
    assert METRICS["bits per character"].text(2.16789) == "2.168 bits"
    assert METRICS["perplexity"].text(123.46) == "123.5"
    assert METRICS["distance"].text(0.01234) == "1.23 %"


def test_limits():
    assert Limit.parse("1%").holds("accuracy", 0.9702, 0.98)
    assert not Limit.parse("1%").holds("accuracy", 0.9701, 0.98)
    assert Limit.parse("0.5").holds("accuracy", 0.9751, 0.98)
    assert not Limit.parse("0.5").holds("accuracy", 0.9749, 0.98)
    assert Limit.parse("1 %").holds("perplexity", 100.9, 100)
    assert not Limit.parse("0.5").holds("bits per character", 2.6, 2.0)
    assert Limit.parse("0").holds("bits per character", 1.9, 2.0)
    for text in ("", "-1", "x%", "nan", "inf"):
        with pytest.raises(DarbError, match=r'give points of the metric \("0.5"\) or percent'):
            Limit.parse(text)
    with pytest.raises(DarbError, match="max-loss 'much': give points"):
        Limit.parse("much", "max-loss")


def test_excess_of_a_limit():
    assert Limit.parse("1%").excess("accuracy", 0.95, 1.0) == pytest.approx(0.04)
    assert Limit.parse("0.5").excess("accuracy", 0.999, 1.0) == pytest.approx(-0.004)
    assert Limit.parse("10%").excess("perplexity", 130, 100) == pytest.approx(20)
    assert (str(Limit.parse("1%")), str(Limit.parse("0.5"))) == ("1%", "0.5")


def test_unknown_metric():
    with pytest.raises(DarbError, match="metric 'f1': choose one of accuracy, accuracy of tasks, bits per character"):
        loss_over("f1", 1, 1)
