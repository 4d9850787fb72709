"""The tests' own networks: legal, varied, and a reference that agrees with torch where torch has the operator."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darb_hw.plan.columns import sweeps_of
from darb_prune.encoded import EMPTY, EncodedNetwork, Layer, Level, Segment, Tensor, TestVectors
from tests.networks import (
    KINDS,
    RandomNetwork,
    bound_inputs,
    networks,
    random_inputs,
    random_lengths,
    random_network,
    reaches_bounds,
    with_bound_state,
)
from tests.random_rows import draw_codes, make_layer, matrix_of
from tests.reference import gru, lstm

CHECKED = settings(max_examples=40)


@CHECKED
@given(networks(), st.integers(0, 100))
def test_networks_survive_a_file(tmp_path_factory, random, seed):
    path = tmp_path_factory.mktemp("net") / "net.darb"
    network = random.network
    network.save(path)
    assert EncodedNetwork.load(path).digest == network.digest
    lengths = random_lengths(seed, network, 3)
    frames = 3 if lengths is None else int(lengths.sum())
    vectors = random.vectors(random_inputs(seed, network, frames), lengths)
    vectors.check(network)
    vectors.save(path)
    TestVectors.load(path).check(network)


@CHECKED
@given(networks())
def test_accumulator_bounds(random):
    for layer, matrix in zip(random.network.layers, random.matrices, strict=True):
        low, high = random.network.accumulator_bounds(layer)
        read = [(random.network.tensor(part.tensor), len(part.dx)) for part in matrix.columns]
        ends = np.concatenate([np.tile([[tensor.qmin], [tensor.qmax]], count) for tensor, count in read], axis=1)
        for row in range(layer.rows):
            products = matrix.weight[row] * ends
            assert low[row] == products.min(axis=0).sum() + layer.bias[row]
            assert high[row] == products.max(axis=0).sum() + layer.bias[row]


@CHECKED
@given(networks(), st.data())
def test_bounds_are_reached(random, data):
    network = random.network
    if network.embedding or network.section_of(0):
        return  # not its range, but a table, or the steps of a section, limit what the first layer reads
    low, high = network.accumulator_bounds(network.layers[0])
    row = data.draw(st.integers(0, network.layers[0].rows - 1))
    for up, bound in ((True, high[row]), (False, low[row])):
        driven = with_bound_state(random, row, up)
        sums = driven.sums(bound_inputs(random, row))[0 if up else 1, :, :, row]
        reached = sums.max() if up else sums.min()
        assert reached == bound if reaches_bounds(random, row) else low[row] <= reached <= high[row]


def test_one_seed_one_network():
    for kind in ("chain", *KINDS):
        assert random_network(3, kind).network.digest == random_network(3, kind).network.digest
        assert random_network(3, kind).network.digest != random_network(4, kind).network.digest


def _taps(network: EncodedNetwork, layer: Layer) -> set[int]:
    """Columns of the window that a convolution reads."""
    taps = set()
    for segment in layer.segments:
        channels = network.tensor(segment.tensor).channels
        taps |= set(range(segment.start // channels, -(-(segment.start + segment.length) // channels)))
    return taps


def _gaps(numbers: set[int]) -> bool:
    """Whether some are left out."""
    return len(numbers) < max(numbers) - min(numbers) + 1


FEATURES = {
    "pool": lambda n: any(layer.pool != (1, 1) for layer in n.layers),
    "pool 2x2": lambda n: any(layer.pool == (2, 2) for layer in n.layers),
    "maximum": lambda n: any(layer.maximum for layer in n.layers),
    "stride": lambda n: any(max(layer.stride) > 1 and layer.position_count > 1 for layer in n.layers),
    "depthwise": lambda n: any(layer.depthwise and layer.rows > 1 for layer in n.layers),
    "depthwise, several taps": lambda n: any(layer.depthwise and len(layer.segments) > 1 for layer in n.layers),
    "depthwise maximum": lambda n: any(layer.depthwise and layer.maximum for layer in n.layers),
    "padding": lambda n: any(any(layer.padding) for layer in n.layers),
    "more zeros above": lambda n: any(layer.padding[0] > layer.padding[2] for layer in n.layers),
    "more zeros below": lambda n: any(layer.padding[0] < layer.padding[2] for layer in n.layers),
    "more zeros to the left": lambda n: any(layer.padding[1] > layer.padding[3] for layer in n.layers),
    "more zeros to the right": lambda n: any(layer.padding[1] < layer.padding[3] for layer in n.layers),
    "zeros on one side only": lambda n: any(0 in layer.padding and any(layer.padding) for layer in n.layers),
    "stride 4": lambda n: any(max(layer.stride) == 4 and min(layer.positions) > 1 for layer in n.layers),
    "a kernel of 7 lines": lambda n: any(len({s.line for s in layer.segments}) >= 7 for layer in n.layers),
    "a kernel of 7 columns": lambda n: any(len(_taps(n, o)) >= 7 and o.position_count > 1 for o in n.layers),
    "lines with a dilation": lambda n: any(_gaps({s.line for s in layer.segments}) for layer in n.layers),
    "columns with a dilation": lambda n: any(_gaps(_taps(n, layer)) for layer in n.layers if not layer.depthwise),
    "depthwise with a dilation": lambda n: any(_gaps(_taps(n, layer)) for layer in n.layers if layer.depthwise),
    "operand": lambda n: any(layer.operand for layer in n.layers),
    "operand with stride": lambda n: any(
        layer.operand and max(layer.operand.stride) > 1 and layer.position_count > 1 for layer in n.layers
    ),
    "operand from a row on": lambda n: any(layer.operand and layer.operand.first > 0 for layer in n.layers),
    "operand of the step before": lambda n: any(o.operand and o.operand.tensor in n.delayed for o in n.layers),
    "concatenation": lambda n: not n.cells and any(layer.first > 0 for layer in n.layers),
    "clamp": lambda n: any(layer.clamp for layer in n.layers),
    "own function": lambda n: any(layer.row_function.max() > 2 for layer in n.layers),
    "empty rows": lambda n: any(EMPTY in [o.levels[i] for i in o.row_level] for o in n.layers),
    "several kept": lambda n: any(level.kept > 1 for layer in n.layers for level in layer.levels),
    "Conv1d": lambda n: any(o.positions[0] == 1 < o.positions[1] for o in n.layers),
    "Linear behind a map": lambda n: any(
        s.length > 3 * n.tensor(s.tensor).channels for o in n.layers for s in o.segments
    ),
    "a map as output": lambda n: n.tensor(n.output).shape[:2] != (1, 1),
    "narrow and wide": lambda n: {2, 16} <= {tensor.bits for tensor in n.tensors},
    "embedding of several symbols": lambda n: n.embedding and n.tensor(n.input).channels > 1,
    "three cells": lambda n: len(n.cells) == 3,
    "initial values": lambda n: any(tensor.initial is not None for tensor in n.tensors),
    "initial state": lambda n: any(cell.state is not None for cell in n.cells),
    "a layer in front of the cells": lambda n: n.cells and n.layers[0].output != n.cells[0].gates,
    "a map in front of the cells": lambda n: n.cells and n.layers[0].position_count > 1,
    "a tail of several layers": lambda n: n.cells and len(n.layers) - n.tail > 1,
    "last": lambda n: n.emit == "last",
    "every step": lambda n: n.recurrent and n.emit == "step",
    "sections of both directions": lambda n: len({section.backward for section in n.sections}) == 2,
    "three sections": lambda n: len(n.sections) == 3,
    "sections that run together": lambda n: len(sweeps_of(n)) < len(n.sections),
    "three cells that run together": lambda n: any(len(sweep.sections) == 3 for sweep in sweeps_of(n)),
    "a section in front of all": lambda n: n.section_of(0),
    "a section that several lines go into": lambda n: any(
        n.tensor(s.tensor).shape[0] > 1 for number, o in enumerate(n.layers) if n.section_of(number) for s in o.segments
    ),
    "a section without a cell": lambda n: len(n.cells) < len(n.sections),
    "sections of different steps": lambda n: len({n.times(section.first) for section in n.sections}) > 1,
    "an operand in a section": lambda n: any(o.operand and n.section_of(number) for number, o in enumerate(n.layers)),
    "an operand of the column before": lambda n: any(
        o.operand and n.section_of(number) and o.operand.tensor in n.delayed for number, o in enumerate(n.layers)
    ),
    "initial values of a column": lambda n: n.sections and any(t.initial is not None for t in n.tensors),
}


def test_everything_occurs():
    missing = dict(FEATURES)
    for seed, kind in itertools.product(range(40), KINDS):
        network = random_network(seed, kind).network
        missing = {name: present for name, present in missing.items() if not present(network)}
        if not missing:
            break
    assert list(missing) == []


@pytest.mark.parametrize(("kernel", "stride", "padding"), [((3, 3), (1, 1), (1, 1)), ((2, 3), (2, 1), (0, 2))])
def test_reference_of_a_convolution(kernel, stride, padding):
    """Pooled, with a permuted order: against torch."""
    rng = np.random.default_rng(1)
    order = rng.permutation(3).astype(np.int32)
    x, y = Tensor("x", (7, 6, 3), 8, -128, 127, 1.0, order), Tensor("y", (1, 1, 4), 16, -32768, 32767, 1.0)
    segments = tuple(Segment("x", 0, kernel[1] * 3, line) for line in range(kernel[0]))
    dense, index, weight = draw_codes(rng, segments, (Level(1, 1),), [0] * 4, 8)
    limits = [(size + 2 * pad - k) // move for size, pad, k, move in zip((7, 6), padding, kernel, stride, strict=True)]
    positions = tuple(limit // 2 * 2 for limit in limits)
    ones = np.ones(4, np.int64)
    pooled = Layer(
        "conv", "m", segments, 8, (Level(1, 1),), np.zeros(4, np.uint8), index, weight, 0 * ones, ones, ones,
        positions=positions, stride=stride, padding=padding * 2, pool=(2, 2),
    )  # fmt: skip
    m = Tensor("m", (positions[0] // 2, positions[1] // 2, 4), 16, -32768, 32767, 1.0)
    copy = make_layer("copy", "y", (Segment("m", 0, 4),), 8, (EMPTY,), [0] * 4, index[:0], weight[:0],
                      bias=ones, mult=ones, shift=ones)  # fmt: skip
    tensors = {tensor.name: tensor for tensor in (x, m, y)}
    matrices = [matrix_of(dense, segments, tensors), matrix_of(np.zeros((4, 4), np.int64), copy.segments, tensors)]
    network = EncodedNetwork("n", "x", "y", (x, m, y), (pooled, copy))
    inputs = random_inputs(0, network, 5)
    image = torch.as_tensor(inputs).reshape(5, 3, 7, 6).double()
    torch_weight = np.zeros((4, 3, *kernel))
    torch_weight[:, order] = np.moveaxis(dense.reshape(4, *kernel, 3), -1, 1)
    convolved = torch.nn.functional.conv2d(image, torch.as_tensor(torch_weight), stride=stride, padding=padding)
    half = torch.floor((convolved[:, :, : positions[0], : positions[1]] + 1) / 2)
    expected = torch.nn.functional.max_pool2d(half, 2).reshape(5, -1)
    values = RandomNetwork(network, matrices).trace(inputs)
    assert np.array_equal(values["m"], expected.numpy().astype(np.int32))
    assert (values["y"] == 1).all()


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_reference_of_cells(kind):
    """Within the resolution of tables and state of what floats give."""
    rng = np.random.default_rng(2)
    gates = np.stack([rng.integers(0, 32768, (9, 30)) for _ in range(4)], axis=1)
    gates[:, 2] = rng.integers(-16384, 16384, (9, 30))
    state = rng.integers(-4000, 4000, (9, 30))
    if kind == "lstm":
        h, c = lstm(gates, state, 8)
        i, f, g, o = np.moveaxis(gates / 2**15, 1, 0)
        expected = f * state / 2**11 + i * g
        assert np.abs(c / 2**11 - expected).max() < 2**-11
        assert np.abs(h / 2**7 - o * np.tanh(expected)).max() < 2**-5
    else:
        gates[:, 3] = rng.integers(-4000, 4000, (9, 30))
        gates[:, 2] //= 8
        h, s = gru(gates, state, 8)
        (r, z), (n_x, n_h) = np.moveaxis(gates[:, :2] / 2**15, 1, 0), np.moveaxis(gates[:, 2:] / 2**11, 1, 0)
        n = np.tanh(n_x + r * n_h)
        expected = (1 - z) * n + z * state / 2**15
        assert np.abs(s / 2**15 - expected).max() < 2**-5
        assert np.abs(h / 2**7 - expected).max() < 2**-5
        assert np.array_equal(gru(gates, state, 16)[0], s)


def test_a_sequence_remembers():
    """A network with a cell gives other outputs in the middle of a sequence than at its start."""
    different = 0
    for seed, kind in itertools.product(range(5), ("lstm", "gru")):
        random = random_network(seed, kind)
        inputs = random_inputs(seed, random.network, 6)
        whole, parts = random.trace(inputs, [6]), random.trace(inputs, [1] * 6)
        assert all(np.array_equal(whole[name][0], parts[name][0]) for name in whole)
        assert all(np.array_equal(random.trace(inputs[:4], [4])[name], whole[name][:4]) for name in whole)
        different += any(not np.array_equal(whole[name], parts[name]) for name in whole)
    assert different > 6
