"""Estimates, reports and candidates of tests."""

from dataclasses import replace

from darb_hw.estimate.estimate import Estimate
from darb_hw.estimate.model import Between
from darb_hw.search.space import Candidate
from darb_hw.search.trying import Tried
from darb_hw.search.verifying import Verified
from darb_hw.search.wanted import Loss
from darb_hw.sweep.points import PointResult
from darb_hw.synthesis.report import Usage
from tests.hw.samples import REPORT

__all__ = ["candidate", "estimate", "tries", "verifies"]


def candidate(ratio=8.0, bits=4, lanes=4, device="ice40-up5k", method="darb"):
    return Candidate(method, ratio, bits, 8, device, lanes)


def _between(value, spread=0.1):
    return Between(value * (1 - spread), value, value * (1 + spread))


def estimate(rate=100_000, luts=2000, block_rams=10, fits="yes", lanes=4, device="ice40-up5k", interval=200):
    clock = _between(rate * interval / 1e6)
    return Estimate(
        "net", device, lanes, 2 * interval, interval, block_rams, lanes, _between(luts), _between(luts / 2),
        _between(luts), clock, fits,
    )  # fmt: skip


def tries(lost=0.01, metric="accuracy", dense=0.98, one=None, **figures):
    """A candidate that was tried; ``lost`` in the unit of the metric."""
    one = one or candidate()
    value = dense - lost if metric.startswith("accuracy") else dense + lost
    return Tried(one, estimate(lanes=one.lanes, device=one.device, **figures), Loss(metric, value, dense))


def verifies(one=None, lost=0.01, dense=0.98, rate=100_000, luts=2000, reason=""):
    """A candidate that was verified."""
    one = one or candidate()
    clock = rate * REPORT.interval_cycles / 1e6
    report = replace(REPORT, device=one.device, lanes=one.lanes, luts=Usage(luts, 5280), fmax_mhz={1: clock})
    return Verified(one, PointResult(one.point((1,)), report=report), Loss("accuracy", dense - lost, dense), reason)
