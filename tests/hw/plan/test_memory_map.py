"""Who stands where in the activation memory, and for how long."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.plan.banks import banked_layouts
from darb_hw.plan.columns import sweeps_of
from darb_hw.plan.memory_map import SECOND, STATES, MemoryMap, can_overlap, loaded_tensor, memory_map
from darb_prune.encoded import DENSE, Cell, Embedding, EncodedNetwork, Level, Operand
from tests.hw.plans import any_network
from tests.hw.small import convolution, layer, lstm, network, tensor
from tests.networks import random_network


def lifetimes(network: EncodedNetwork) -> dict[str, tuple[int, int]]:
    """First layer that writes a tensor and last layer that needs it, by asking every layer about every tensor."""
    found = {}
    gates = {cell.output: cell.gates for cell in network.cells} if network.sections else {}
    for one in network.tensors:
        name = one.name
        writes = [n for n, layer in enumerate(network.layers) if layer.output == gates.get(name, name)]
        needs = [
            n
            for n, layer in enumerate(network.layers)
            if name in {segment.tensor for segment in layer.segments}
            or (layer.operand and layer.operand.tensor == name)
            or (layer.output == name and (layer.maximum or layer.pool != (1, 1)))
        ]
        for sweep in sweeps_of(network):  # in each step again
            writes += [sweep.first] * any(n in sweep for n in writes)
            needs += [sweep.stop - 1] * any(n in sweep for n in needs)
        found[name] = min(writes, default=-1), max(needs, default=-1)
        if one.initial is not None and network.sections:
            found[name] = -1, len(network.layers)
    return found


def overwrites(net: EncodedNetwork, found: MemoryMap, output: str, operand: str, layer_number: int) -> bool:
    """Whether a layer writes each element of its output where the operand of this element was, which nobody else needs:
    by asking for the address of every element."""
    layer, tensors = net.layers[layer_number], [net.tensor(name) for name in (output, operand)]
    height, width, channels = tensors[0].shape
    if not layer.operand or layer.operand.tensor != operand or any(s.tensor == operand for s in layer.segments):
        return False
    written, read = (found.start(one.name) + found.layouts[one.name].elements(one) for one in tensors)
    return layer.positions == (height, width) and all(
        written[((layer.first + row) * height + y) * width + x]
        == read[
            ((row - layer.operand.first) * height + y * layer.operand.stride[0]) * width + x * layer.operand.stride[1]
        ]
        for row, y, x in itertools.product(range(channels), range(height), range(width))
    )


@given(any_network(), st.integers(1, 40), st.booleans())
def test_tensors_that_live_together_are_apart_and_zeros_stay_zero(made, lanes, twice):
    net = made.network
    twice = twice and can_overlap(net)
    found = memory_map(net, lanes, twice)
    expected = lifetimes(net)
    loaded = loaded_tensor(net)
    if twice:  # the next input comes in at any time
        expected[loaded] = expected[SECOND] = -1, len(net.layers)
    holds = [set() for _ in range(found.depth)]  # elements of whom; zeros of whom
    zeros = [set() for _ in range(found.depth)]
    for name, region in found.regions.items():
        assert region.start >= 0
        if name != STATES:
            assert (region.first, region.last) == expected[name]
            assert region.layout.shape == net.tensor(loaded if name == SECOND else name).shape
        for at, zero in enumerate(region.layout.border):
            (zeros if zero else holds)[region.start + at].add(name)
    for elements, border in zip(holds, zeros, strict=True):
        assert not (elements and border)
        for pair in itertools.combinations(elements, 2):
            a, b = sorted((found.regions[name] for name in pair), key=lambda region: region.first)
            assert a.last < b.first or (a.last == b.first and overwrites(net, found, b.tensor, a.tensor, b.first))
    # Nobody is forgotten: all that is read is there, and the rest is not.
    cells = {cell.output for cell in net.cells}
    never = {net.output} | {cell.gates for cell in net.cells} | ({net.input} if net.embedding else set())
    assert {name for name in expected if name in found} == set(expected) - never
    assert set(found.cells) == cells
    streamed = cells if net.recurrent else set()
    assert set(found.units) == streamed
    assert set(found.regions) == set(expected) - never - streamed | ({STATES} if streamed else set())
    # The two inputs are one layout, and as far apart as the steps of the program are told.
    assert (found.second != 0) == twice
    if twice:
        one, other = found.regions[loaded], found.regions[SECOND]
        assert one.layout == other.layout
        assert found.second == other.start - one.start


def test_the_place_of_dead_tensors_is_used_again():
    """In the place of the input, or behind it at the next multiple of the largest block, which is 32."""
    found = memory_map(random_network(6, sizes=(784, 300, 100, 60, 10)).network)
    assert 784 < 800 == 25 * 32
    assert found.depth == 800 + 300
    assert set(found.regions) == {"x", "t1", "t2", "t3"}
    assert [found.start(name) for name in ("x", "t1", "t2", "t3")] == [0, 800, 0, 128]


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


# Alignment.


def chain(columns: tuple[int, ...], *levels: Level):
    tensors = [tensor(name, size) for name, size in zip("xabcy", columns, strict=False)]
    return network(
        tensors,
        [
            layer(after.name, after.name, [(before.name, 0, before.size)], after.size, levels)
            for before, after in itertools.pairwise(tensors)
        ],
    )


@pytest.mark.parametrize(
    ("lanes", "level", "start"),
    [
        (1, DENSE, 101),
        (1, Level(1, 1), 102),
        (1, Level(3, 2), 104),
        (2, Level(3, 2), 112),  # a row over two lanes: 16 columns a step
        (4, Level(3, 2), 128),
        (7, Level(3, 2), 128),  # no row has more than four lanes
        (16, Level(3, 2), 128),
        (64, Level(3, 2), 128),  # 512 are not needed: the tensor has 100 elements, within 128
    ],
)
def test_a_tensor_begins_where_blocks_of_its_readers_do(lanes, level, start):
    found = memory_map(chain((101, 100, 4), level), lanes)
    assert [found.start(name) for name in "xa"] == [0, start]
    assert found.depth == start + 100


def test_levels_without_rows_or_of_other_tensors_align_nothing():
    tensors = [tensor("x", 7), tensor("a", 30), tensor("y", 3)]
    layers = [layer("a", "a", [("x", 0, 7)], 30, (Level(2, 1),)), layer("y", "y", [("a", 0, 30)], 3)]
    assert memory_map(network(tensors, layers)).start("a") == 7


def test_maps_that_a_window_moves_over_begin_anywhere():
    x, a, y = maps((3, 3, 1), (3, 3, 2), (3, 3, 2))
    layers = [convolution("a", x, a, (1, 1), (0, 0)), convolution("y", a, y, (1, 1), (0, 0), levels=(Level(1, 1),))]
    assert memory_map(network([x, a, y], layers), 8).start("a") == 9


@given(any_network(), st.integers(1, 40), st.booleans())
def test_no_block_crosses_a_multiple_of_what_it_is_aligned_to(made, lanes, twice):
    net = made.network
    found = memory_map(net, lanes, twice and can_overlap(net))
    most = 1
    while most * 2 <= lanes:
        most *= 2
    for name, region in found.regions.items():
        if name == STATES:
            continue
        stored = found.loaded if name == SECOND else name
        readers = [one for one in net.layers if stored in {segment.tensor for segment in one.segments}]
        if not readers or any(one.position_count > 1 or one.output in net.sectioned for one in readers):
            continue
        for block in {level.block * most for one in readers for level in one.levels}:
            # It is a multiple, or the whole tensor is between two multiples of a power of two.
            around = 1
            while around < net.tensor(stored).size:
                around *= 2
            assert region.start % min(block, around) == 0


# The second input.


def test_two_inputs_change_places_and_nobody_else_has_them():
    net = chain((20, 30, 20, 10, 4), DENSE)
    once, twice = memory_map(net, 4), memory_map(net, 4, True)
    assert once.second == 0
    assert SECOND not in once.regions
    assert twice.second == twice.regions[SECOND].start == 20
    assert once.start("b") == once.start("x") == 0  # the input is dead by then
    inputs = set(range(40))
    for name in "abc":
        region = twice.regions[name]
        assert not inputs & set(range(region.start, region.end))


@pytest.mark.parametrize(
    ("net", "can"),
    [
        (chain((20, 30, 4), DENSE), True),
        (lstm(3), True),
        (lstm(3, emit="last"), True),
        (
            network(
                [tensor("x", 5), tensor("a", 5), tensor("y", 5)],
                [layer("a", "a", [("x", 0, 5)], 5), layer("y", "y", [("a", 0, 5)], 5, operand=Operand("x"))],
            ),
            False,
        ),
    ],
)
def test_only_what_lanes_read_can_come_in_meanwhile(net, can):
    """An operand is read by the write-back, which knows of one place."""
    assert can_overlap(net) == can


def test_a_tail_that_reads_the_input_holds_it():
    """Steps that are not the last of their sequence end before the tail, and would release what they have not read."""
    net = lstm(3, emit="last")
    tensors, (gate, first, second) = net.tensors, net.layers
    reading = layer("tail0", first.output, [("h", 0, 3), ("x", 0, 4)], 5)
    assert not can_overlap(network(tensors, [gate, reading, second], cells=net.cells, emit="last"))
    assert can_overlap(network(tensors, [gate, reading, second], cells=net.cells))


@pytest.mark.parametrize("units", [1, 3])
def test_the_input_is_released_before_the_tail(units):
    """Also where its addresses would be needed no more, and less memory taken, behind a layer of the tail."""
    net = lstm(units, emit="last", tail=3)
    assert memory_map(net, reused=True).release == net.tail - 1 == 0
    every = network(net.tensors, net.layers, cells=net.cells)
    assert memory_map(every, reused=True).release > 0


# Sums in the place of their operand.


def residual(**fields) -> EncodedNetwork:
    """x -> a -> b -> sum + a -> y, all of one layout. ``fields`` of the operand, or ``reads`` or ``order``."""
    order, reads, pixel = fields.pop("order", None), fields.pop("reads", "b"), {"kernel": (1, 1), "padding": (0, 0)}
    x, a, b, s, y = maps(*[(4, 4, 3)] * 5)
    s = tensor(s.name, 4, 4, 3, order=order)
    layers = [
        convolution("a", x, a, **pixel),
        convolution("b", a, b, **pixel),
        convolution("sum", {"a": a, "b": b}[reads], s, operand=Operand("a", **fields), **pixel),
        convolution("y", s, y, **pixel, operand=Operand("b") if reads == "a" else None),
    ]
    return network([x, a, b, s, y], layers)


@pytest.mark.parametrize("banks", [1, 4])
def test_a_sum_has_the_place_of_its_operand(banks):
    net = residual()
    found = memory_map(net, banked=banked_layouts(net, banks, 1))
    assert found.start("c") == found.start("a")
    assert found.depth == 2 * found.regions["a"].size


@pytest.mark.parametrize(
    "fields",
    [
        {"order": np.array([1, 0, 2])},
        {"order": np.array([1, 0, 2]), "product": True},
        {"reads": "a"},
        {"reads": "a", "product": True},
        {"stride": (0, 0), "product": True},
        {"first": 1},
    ],
    ids=str,
)
def test_a_sum_is_apart_from_an_operand_that_is_needed_for_other_elements(fields):
    """Channels in another order; lanes that read neighbouring pixels; one element for many; channels beside."""
    net = residual(**fields)
    one, other = (memory_map(net).regions[name] for name in "ac")
    assert one.end <= other.start or other.end <= one.start
