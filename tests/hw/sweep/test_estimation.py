"""Estimates as jobs: what they say of a point that may be built."""

from dataclasses import replace

import pytest

from darb_hw.config import EngineConfig
from darb_hw.estimate.estimate import estimate
from darb_hw.estimate.model import shipped
from darb_hw.plan.resources import fitting_plan
from darb_hw.sweep.estimation import Estimation, read_choice
from tests.networks import random_network

NETWORK = random_network(5, sizes=(9, 11, 4)).network
CONFIG = EngineConfig(lanes=2)
VALUES = {"integer": {"validation": 0.9, "test": 0.8}}


def _estimation(**provenance):
    inputs = {"network.darb": replace(NETWORK, provenance=provenance).pack(), "model.json": shipped().packed()}
    return Estimation(inputs, CONFIG)


def test_what_a_choice_says():
    entry = _estimation(task="digits", accuracy=VALUES).done()
    choice = read_choice(entry.files, "a point")
    assert (choice.label, choice.task, choice.accuracy) == ("a point", "digits", 0.9)
    assert choice.network == replace(NETWORK, provenance={"task": "digits", "accuracy": VALUES}).digest
    assert choice.estimate == estimate(fitting_plan(NETWORK, CONFIG), shipped())


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        {"accuracy": {"integer": {"test": 0.8}}},
        {"accuracy": 7},
        {"accuracy": VALUES, "metric": "perplexity"},
        {"accuracy": VALUES, "metric": "x"},
    ],
)
def test_accuracies_that_are_not_known(provenance):
    assert read_choice(_estimation(**provenance).done().files, "x").accuracy is None


def test_the_key_has_the_model():
    first, other = _estimation(), _estimation()
    assert first.key == other.key
    other = replace(first, inputs={**first.inputs, "model.json": b"{}"})
    assert first.key != other.key


def test_no_plan_is_a_result():
    large = random_network(5, sizes=(900, 900, 10)).network
    inputs = {"network.darb": large.pack(), "model.json": shipped().packed()}
    entry = Estimation(inputs, EngineConfig(lanes=2, device="ice40-up5k")).done()
    assert entry.failure.startswith("does not fit ice40-up5k")
