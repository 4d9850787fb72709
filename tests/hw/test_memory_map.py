"""Who stands where in the activation memory, and for how long."""

import itertools

import numpy as np
import pytest
from hw.plans import any_network
from hw.small import convolution, layer, lstm, network, tensor
from hypothesis import given
from networks import random_network

from darb_hw.memory_map import STATES, memory_map
from darb_prune.encoded import Cell, Embedding, EncodedNetwork, Operand


def lifetimes(network: EncodedNetwork) -> dict[str, tuple[int, int]]:
    """First layer that writes a tensor and last layer that needs it, by asking every layer about every tensor."""
    found = {}
    for name in (one.name for one in network.tensors):
        writes = [n for n, layer in enumerate(network.layers) if layer.output == name]
        needs = [
            n
            for n, layer in enumerate(network.layers)
            if name in {segment.tensor for segment in layer.segments}
            or (layer.operand and layer.operand.tensor == name)
            or (layer.output == name and (layer.maximum or layer.pool != (1, 1)))
        ]
        found[name] = min(writes, default=-1), max(needs, default=-1)
    return found


@given(any_network())
def test_tensors_that_live_together_are_apart_and_zeros_stay_zero(made):
    net = made.network
    found = memory_map(net)
    expected = lifetimes(net)
    holds = [set() for _ in range(found.depth)]  # elements of whom; zeros of whom
    zeros = [set() for _ in range(found.depth)]
    for name, region in found.regions.items():
        assert region.start >= 0
        if name != STATES:
            assert (region.first, region.last) == expected[name]
            assert region.layout.shape == net.tensor(name).shape
        for at, zero in enumerate(region.layout.border):
            (zeros if zero else holds)[region.start + at].add(name)
    for elements, border in zip(holds, zeros, strict=True):
        assert not (elements and border)
        for one, other in itertools.combinations(elements, 2):
            a, b = found.regions[one], found.regions[other]
            assert a.last < b.first or b.last < a.first
    # Nobody is forgotten: all that is read is there, and the rest is not.
    cells = {cell.output for cell in net.cells}
    never = {net.output} | {cell.gates for cell in net.cells} | ({net.input} if net.embedding else set())
    assert {name for name in expected if name in found} == set(expected) - never
    assert set(found.units) == cells
    assert set(found.regions) == set(expected) - never - cells | ({STATES} if cells else set())


def test_the_place_of_dead_tensors_is_used_again():
    found = memory_map(random_network(6, sizes=(784, 300, 100, 60, 10)).network)
    assert found.depth == 784 + 300
    assert set(found.regions) == {"x", "t1", "t2", "t3"}


def test_a_tensor_stays_until_its_last_reader():
    found = memory_map(random_network(7, sizes=(20, 20, 20, 20), split=True).network)
    assert found.regions["x"].last == 1
    assert len({region.start for region in found.regions.values()}) == len(found.regions)


def test_an_operand_is_a_reader():
    tensors = [tensor("x", 6), tensor("a", 6), tensor("b", 6), tensor("y", 6)]
    layers = [layer(after, after, [(before, 0, 6)], 6) for before, after in ("xa", "ab")]
    layers.append(layer("y", "y", [("b", 0, 6)], 6, operand=Operand("x")))
    found = memory_map(network(tensors, layers)).regions
    assert (found["x"].first, found["x"].last) == (-1, 2)
    assert len({found[name].start for name in "xab"}) == 3


def maps(*shapes):
    return [tensor(name, *shape) for name, shape in zip("xabcdefg", shapes, strict=False)]


def test_maps_of_one_shape_have_the_same_zeros():
    """A chain of convolutions needs two places, with their zeros."""
    tensors = maps(*[(5, 5, 2)] * 5)
    layers = [convolution(after.name, before, after) for before, after in itertools.pairwise(tensors)]
    found = memory_map(network(tensors, layers))
    size = 7 * 12 + 2
    assert [found.start(name) for name in "xabc"] == [0, size, 0, size]
    assert found.depth == 2 * size


@pytest.mark.parametrize("padded", [True, False])
def test_zeros_never_have_the_place_of_an_element_that_is_dead(padded):
    """x is dead when b is written, and b would fit there: but the zeros around b would not be zeros."""
    x, a, b, y = maps((2, 10, 3), (2, 5, 2), (2, 2, 2), (2, 2, 1))
    layers = [
        convolution("a", x, a, (1, 1), (0, 0), (1, 2)),
        convolution("b", a, b, (1, 2), (0, 0), (1, 2)),
        convolution("y", b, y) if padded else convolution("y", b, y, (1, 1), (0, 0)),
    ]
    regions = memory_map(network([x, a, b, y], layers)).regions
    assert not regions["x"].lives_with(regions["b"])
    assert regions["b"].size <= regions["x"].size
    assert regions["b"].start == (regions["a"].end if padded else regions["x"].start)


def test_a_tensor_of_several_writers_is_there_from_the_first_on():
    tensors = [tensor("x", 6), tensor("a", 6), tensor("both", 8), tensor("y", 3)]
    layers = [
        layer("left", "both", [("x", 0, 6)], 4),
        layer("a", "a", [("x", 0, 6)], 6),
        layer("right", "both", [("a", 0, 6)], 4, first=4),
        layer("y", "y", [("both", 0, 8)], 3),
    ]
    region = memory_map(network(tensors, layers)).regions["both"]
    assert (region.first, region.last) == (0, 3)


def test_what_is_pooled_is_read_by_its_own_layer():
    x, a, y = tensor("x", 4, 4, 2), tensor("a", 2, 2, 3), tensor("y", 2)
    found = memory_map(network([x, a, y], [convolution("a", x, a, pool=(2, 2)), layer("y", "y", [("a", 0, 12)], 2)]))
    assert (found.regions["a"].first, found.regions["a"].last) == (0, 1)
    assert found.regions["x"].end <= found.regions["a"].start


def test_states_of_all_cells_are_three_banks():
    kinds = [(2, "h"), (5, "k")]
    tensors, layers, cells, before = [tensor("x", 3)], [], [], "x"
    for units, name in kinds:
        gates = f"gates {name}"
        tensors += [
            tensor(gates, 4 * units, bits=16, qmin=-32768, qmax=32767),
            tensor(name, units, scale=2.0**-7),
        ]
        size = next(one.size for one in tensors if one.name == before)
        layers.append(layer(gates, gates, [(before, 0, size), (name, 0, units)], 4 * units))
        cells.append(Cell(f"cell {name}", "lstm", gates, name))
        before = name
    tensors.append(tensor("y", 2))
    layers.append(layer("y", "y", [("k", 0, 5)], 2))
    found = memory_map(network(tensors, layers, cells=tuple(cells)))
    assert found.units == {"h": 0, "k": 2}
    assert found.bank == 7
    region = found.regions[STATES]
    assert (region.start, region.size, region.first, region.last) == (0, 21, -1, 3)
    assert [found.start(name) for name in "hkx"] == [0, 2, 21]
    assert "h" in found
    assert "gates h" not in found
    assert "y" not in found


def test_no_states_without_cells():
    found = memory_map(random_network(3).network)
    assert found.bank == 0
    assert found.units == {}
    assert STATES not in found.regions
    assert memory_map(lstm(3)).bank == 3


def test_symbols_are_not_stored_but_what_they_become():
    net = lstm(2)
    tensors = (tensor("s", 2, qmin=0, qmax=6), *net.tensors)
    table = np.arange(14).reshape(7, 2).astype(np.int16)
    embedding = Embedding("embedding", "x", table)
    found = memory_map(EncodedNetwork("n", "s", net.output, tensors, net.layers, cells=net.cells, embedding=embedding))
    assert "s" not in found
    assert found.regions["x"].first == -1


@pytest.mark.parametrize("taps", [1, 3])
def test_a_maximum_keeps_what_it_is_taken_with(taps):
    x, a, y = tensor("x", 3, 3, 2), tensor("a", 2, 2, 2), tensor("y", 2)
    layers = [convolution("first", x, a, (2, 2), (0, 0))]
    layers += [convolution(f"tap{n}", x, a, (1, 1), (0, 0), maximum=True) for n in range(taps)]
    layers.append(layer("y", "y", [("a", 0, 8)], 2))
    found = memory_map(network([x, a, y], layers)).regions
    assert (found["a"].first, found["a"].last) == (0, taps + 1)
    assert found["x"].last == taps
