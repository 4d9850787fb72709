"""The helpers of the benchmark of real networks."""

import math

import numpy as np
import torch
from torch import nn

from benchmarks import builds
from benchmarks.networks.measure import score
from darb_prune.encoded import EncodedNetwork, TestVectors
from darb_prune.pruning.methods import Darb


def made():
    torch.manual_seed(0)
    inputs = {"one": torch.randn(3, 5, 4), "two": torch.randn(2, 5, 4)}
    return nn.LSTM(4, 16, batch_first=True), torch.randn(6, 5, 4), inputs


def test_one_shot(tmp_path):
    path = tmp_path / "new" / "small.darb"
    builds.one_shot(path, made, 13, method=Darb(lanes=2))
    network, vectors = EncodedNetwork.load(path), TestVectors.load(path.with_suffix(".vectors"))
    vectors.check(network)
    assert (network.name, vectors.samples, vectors.frames) == ("small", 5, 25)
    assert network.weights / network.kept > 2
    assert [seen["samples"] for seen in network.provenance["distances"].values()] == [3, 2]
    assert all(0 < seen["off"] < seen["output"] for seen in network.provenance["distances"].values())
    # What is there is not made again.
    builds.one_shot(path, None, 13)


def test_score(tmp_path):
    path = tmp_path / "small.darb"
    builds.one_shot(path, made, 13, method=Darb(lanes=2))
    network = EncodedNetwork.load(path)
    outputs = np.zeros((4, 16), np.int16)
    outputs[range(4), [3, 1, 2, 0]] = 5
    labels = np.array([3, 1, 2, 2], np.int32)
    vectors = TestVectors(network.digest, {}, labels)
    network.provenance["metric"] = "accuracy"
    assert score(network, vectors, outputs) == 0.75
    network.provenance["metric"] = "bits per character"
    top, unit = 5 * network.tensor(network.output).scale, math.log(2)
    whole = math.log(15 + math.exp(top))
    assert math.isclose(score(network, vectors, outputs), (whole - 0.75 * top) / unit, rel_tol=1e-6)
    assert score(network, TestVectors(network.digest, {}), outputs) is None
