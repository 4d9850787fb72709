"""What the peers are given computes what the reference does."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers import dense
from darb_prune.encoded import DarbError
from tests.benchmarks.peers.chains import chain
from tests.networks import random_inputs


@pytest.mark.parametrize("seed", range(4))
def test_layers_compute_what_the_reference_does(seed):
    random = chain(seed, 13, 24, 9)
    inputs = random_inputs(seed, random.network, 20)
    layers = dense.layers_of(random.network)
    assert np.array_equal(dense.evaluate(layers, inputs), random.trace(inputs)[random.network.output])
    sums = dense.evaluate(layers[:1], inputs, requantise=False)
    assert np.array_equal(sums + layers[0].bias, random.sums(inputs).reshape(20, -1))


def test_bits_of_the_accumulator():
    layers = dense.layers_of(chain(1, 13, 24).network)
    worst = max(abs(row).sum() * 128 + abs(bias) for row, bias in zip(layers[0].weight, layers[0].bias, strict=True))
    assert 2 ** (dense.accumulator_bits(layers[0]) - 2) <= worst < 2 ** (dense.accumulator_bits(layers[0]) - 1)


@pytest.mark.parametrize("seed", range(4))
def test_one_shift_for_all_rows_changes_nothing(seed):
    random = chain(seed, 13, 24)
    (layer,) = dense.layers_of(random.network)
    inputs = random_inputs(seed, random.network, 20)
    shifts = 20 + np.arange(24) % 5
    layer = replace(layer, shift=shifts, mult=layer.mult % 256)
    same = dense.one_shift(layer)
    assert len(np.unique(same.shift)) == 1
    assert np.array_equal(dense.evaluate([same], inputs), dense.evaluate([layer], inputs))
    assert np.array_equal(same.mult, layer.mult * 2.0 ** (24 - shifts))


def test_identity_sees_every_number():
    (made,) = dense.layers_of(chain(1, 5, 4).network)
    found = {dense.digest([made])}
    for name in ("weight", "bias", "mult", "shift"):
        values = getattr(made, name).copy()
        values.flat[0] += 1
        found.add(dense.digest([replace(made, **{name: values})]))
    found |= {dense.digest([replace(made, qmin=made.qmin + 1)]), dense.digest([replace(made, qmax=made.qmax - 1)])}
    assert len(found) == 7


def test_only_chains_of_linear_layers():
    with pytest.raises(DarbError, match="'layer1': the peers are compared on chains"):
        dense.layers_of(chain(3, 9, 4, split=True).network)
    with pytest.raises(DarbError, match="'layer1': the peers are compared with 8-bit"):
        dense.layers_of(chain(1, 9, 4, activation_bits=9).network)
