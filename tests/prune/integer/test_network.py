"""The oracle against a reading of docs/arithmetic.md in plain Python integers."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darb_prune.errors import DarbError
from darb_prune.integer.arithmetic import IntegerCell, IntegerMatrix, IntegerTensor, function_table, requantize
from darb_prune.integer.network import IntegerNetwork
from tests.prune import integer_reference as reference
from tests.prune.integer_networks import Maker, convolutional, inputs, multilayer, recurrent, sectioned, transposed

accumulators = st.integers(-(2**38), 2**38 - 1)
seeds = st.integers(0, 2**31)


@given(accumulators, accumulators, st.integers(0, 2**16 - 1), st.integers(1, 47))
def test_requantise_is_the_formula(acc, bias, mult, shift):
    found = requantize(torch.tensor([acc]), torch.tensor([bias]), torch.tensor([mult]), shift)
    assert found.dtype == torch.int64
    assert found.tolist() == [((acc + bias) * mult + 2 ** (shift - 1)) // 2**shift]


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_tables(name):
    assert function_table(name).tolist() == reference.table(name)
    short = function_table(name, 2.0**-3, 0, 7)
    assert (int(short.min()), int(short.max())) == (0, 7)


def check(network, x, lengths=None):
    """The trace of every sample is that of the reference; and forward is its output."""
    trace = network.trace(x, lengths)
    assert set(trace) == set(network.tensors)
    lengths = [x.shape[1]] * len(x) if lengths is None and network.recurrent else lengths
    frames = []
    for number, sample in enumerate(x.tolist()):
        frames += reference.run(network, sample[: lengths[number]] if network.recurrent else [sample])
    for name, values in trace.items():
        assert values.dtype == torch.int64
        assert values.tolist() == [frame[name] for frame in frames], name
        tensor = network.tensors[name]
        assert tensor.qmin <= int(values.min())
        assert int(values.max()) <= tensor.qmax
    return trace


@settings(max_examples=15, deadline=None)
@given(seeds, st.lists(st.integers(1, 9), min_size=2, max_size=4), st.integers(2, 8), st.integers(2, 16))
def test_layers_of_vectors(seed, sizes, weight_bits, bits):
    network = multilayer(seed, sizes, weight_bits, bits)
    x = inputs(network, 3)
    trace = check(network, x)
    assert torch.equal(network(x), trace[network.output])


@settings(max_examples=8, deadline=None)
@given(seeds, st.sampled_from([convolutional, transposed]))
def test_feature_maps(seed, kind):
    network = kind(seed)
    x = inputs(network, 2)
    trace = check(network, x)
    assert torch.equal(network(x), trace["out"])


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from(["lstm", "gru", "projection", "rnn"]), st.sampled_from([4, 8, 13, 16]), st.booleans())
def test_cells(seed, kind, bits, embedded):
    network = recurrent(seed, kind, bits, "last" if seed % 2 else "step", embedded)
    x = inputs(network, 3, 4)
    lengths = torch.tensor([4, 1, 3])
    trace = check(network, x, lengths)
    whole = network.trace(x)["out"].view(3, 4, -1)
    if network.emit == "step":
        assert torch.equal(network(x), whole)
    else:
        assert torch.equal(network(x, lengths), trace["out"][torch.tensor([3, 4, 7])])


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from(["lstm", "gru", "projection", "rnn"]), st.sampled_from([4, 8, 16]), st.booleans())
def test_sections(seed, kind, bits, embedded):
    network = sectioned(seed, kind, bits, embedded)
    x = inputs(network, 3)
    trace = check(network, x)
    assert torch.equal(network(x), trace["out"])


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from(["lstm", "gru"]), st.integers(2, 16))
def test_one_update_of_many_units(seed, kind, bits):
    """Gates and states of any value, many at the ends of their range."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randint(-40000, 40000, (5, 1, 400), generator=random).clamp(-32768, 32767)
    if kind == "gru":
        values[1] = values[1].abs().clamp(max=32767)  # z is never negative
    gates, state = values[:4].reshape(1, -1), values[4]
    top = 1 << (bits - 1)
    tensor = IntegerTensor("h", (400, 1, 1), bits, -top, top - 1, 1.0)
    output, after = IntegerCell("cell", kind, "gates", "h").run(gates, state, tensor)
    update = reference.lstm if kind == "lstm" else reference.gru
    expected = update(gates[0].tolist(), state[0].tolist(), bits, -top, top - 1)
    assert (output[0].tolist(), after[0].tolist()) == expected


@pytest.mark.parametrize("kind", ["lstm", "projection", "rnn"])
def test_a_sequence_in_two_parts(kind):
    network = recurrent(5, kind)
    x = inputs(network, 2, 6)
    first, state = network.run(x[:, :2])
    second, _ = network.run(x[:, 2:], state)
    assert torch.equal(torch.cat([first, second], 1), network(x))
    again, _ = network.run(x[:, 2:], state)  # the state is not changed by those who go on from it
    assert torch.equal(again, second)


@pytest.mark.parametrize("network", [convolutional(1), recurrent(2), multilayer(3), sectioned(4)])
def test_chunks_change_nothing(network, monkeypatch):
    x = inputs(network, 7, *([3] if network.recurrent else []))
    whole, output = network.trace(x), network(x)
    monkeypatch.setattr("darb_prune.integer.network.CHUNK", 1)
    assert all(torch.equal(values, whole[name]) for name, values in network.trace(x).items())
    assert torch.equal(network(x), output)


def test_mistakes():
    network, deep = multilayer(0, (4, 2)), recurrent(0)
    for x in (torch.zeros(1, 4), torch.zeros(1, 3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)):
        with pytest.raises(DarbError, match=r"shape \(samples, 4\)"):
            network(x)
    with pytest.raises(DarbError, match=r"shape \(samples, steps, 5\)"):
        deep.trace(torch.zeros(1, 5, dtype=torch.int64))
    with pytest.raises(DarbError, match=r"range -128\.\.127"):
        network(torch.full((1, 4), 128))
    with pytest.raises(DarbError, match="lengths must be 2 numbers from 1 to 3"):
        deep(inputs(deep, 2, 3), [1, 4])


def test_sums_that_floats_cannot_hold_are_refused():
    one = torch.ones(1, dtype=torch.int64)
    big = IntegerMatrix("fc", "out", ("input",), (torch.full((1, 4), 1 << 44),), one, one, one, 8, (-128, 127))
    tensors = [IntegerTensor("input", (4, 1, 1), 8, -128, 127, 1.0), IntegerTensor("out", (1, 1, 1), 8, -128, 127, 1.0)]
    with pytest.raises(DarbError, match="layer 'fc': a sum may reach"):
        IntegerNetwork("big", "input", "out", tensors, [big])


def test_wide_sums_are_exact():
    """Sums beyond the 24 bits of a float32 keep every unit."""
    x = torch.full((1, 3000), 32767)
    x[0, 0] = 32766
    one = torch.ones(1, dtype=torch.int64)
    matrix = IntegerMatrix("fc", "out", ("input",), (torch.full((1, 3000), 127),), one, one, one, 8, (-(2**40), 2**40))
    tensors = [
        IntegerTensor("input", (3000, 1, 1), 16, -32768, 32767, 1.0),
        IntegerTensor("out", (1, 1, 1), 8, 0, 1, 1),
    ]
    assert int(IntegerNetwork("wide", "input", "out", tensors, [matrix])(x)) == (127 * 3000 * 32767 - 127 + 1 + 1) // 2


def test_speed():
    """An LSTM of 2 x 200 units: 20 of the 1000 steps of 64 sequences that shall take less than a minute."""
    make = Maker(0, (200, 1, 1))
    for number, source in enumerate(("input", "l0.out")):
        make.tensor(f"l{number}.gates", (800, 1, 1), 16)
        make.tensor(f"l{number}.out", (200, 1, 1))
        make.matrix(f"l{number}", f"l{number}.gates", [source, f"l{number}.out"], 800)
        make.stages.append(IntegerCell(f"l{number}", "lstm", f"l{number}.gates", f"l{number}.out"))
    network = make.network("l1.out", recurrent=True, emit="last")
    x = inputs(network, 64, 20)
    start = time.perf_counter()
    network(x)
    assert time.perf_counter() - start < 2
