"""The .darb file and its checks: every message, and no damage that goes unseen."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.container import DarbError, pack_container, read_container, write_atomic, write_files
from darb_prune.encoded import (
    DENSE,
    EMPTY,
    EncodedNetwork,
    Layer,
    Level,
    Segment,
    Tensor,
    TestVectors,
)


def example(**changes) -> EncodedNetwork:
    """in(6) -> a(3) -> b(2, reads in[1:5] and a); ``changes`` replace fields of network, tensors or layers.

    ``a_weight=...`` replaces field ``weight`` of layer ``a``, ``t_in_bits=...`` field ``bits`` of tensor ``in``.
    """
    tensors = {
        "in": Tensor("in", 6, 8, -128, 127, 0.01, np.array([5, 0, 1, 2, 3, 4])),
        "a": Tensor("a", 3, 8, 0, 127, 0.5),
        "b": Tensor("b", 2, 8, -128, 127, 1.0),
    }
    layers = {
        "a": Layer(
            "a", "a", (Segment("in", 0, 6),), 8, (EMPTY, DENSE, Level(2, 2)), np.array([1, 2, 0], np.uint8),
            np.array([0, 0, 0, 0, 0, 0, 1, 3, 0, 1]), np.array([1, 2, 3, 4, 5, 6, -128, 127, 9, 0]),
            np.array([1, 2, 3]), np.array([7, 65535, 0]), np.array([1, 47, 16]),
        ),
        "b": Layer(
            "b", "b", (Segment("in", 1, 4), Segment("a", 0, 3)), 4, (Level(1, 1),), np.array([0, 0]),
            np.array([1, 0, 0, 0, 0, 1, 1, 0]), np.array([7, -8, 1, 2, 3, 4, 5, 6]),
            np.array([0, 0]), np.array([1, 1]), np.array([8, 8]),
        ),
    }  # fmt: skip
    fields = {"name": "example", "input": "in", "output": "b", "provenance": {"seed": 1}}
    for key, value in changes.items():
        head, _, rest = key.partition("_")
        if head == "t":
            name, _, attribute = rest.partition("_")
            tensors[name] = replace(tensors[name], **{attribute: value})
        elif head in layers:
            layers[head] = replace(layers[head], **{rest: value})
        else:
            fields[key] = value
    return EncodedNetwork(**{"tensors": tuple(tensors.values()), "layers": tuple(layers.values()), **fields})


def changed(values, place, value):
    values = np.array(values)
    values[place] = value
    return values


A, B = (example().layers[number] for number in (0, 1))
BAD = [
    ({"layers": ()}, "the network has no layers"),
    ({"t_a_name": "in"}, "two tensors of one name"),
    ({"output": "c"}, "tensor 'c' is not in the network"),
    ({"input": "c"}, "tensor 'c' is not in the network"),
    ({"output": "in"}, "the output of the network is its input"),
    ({"t_in_qmin": -127}, r"tensor 'in': nothing clamps an input, so its range must be all of -128\.\.127"),
    ({"t_in_size": 0}, "tensor 'in': size 0 must be at least 1"),
    ({"t_a_bits": 17}, "tensor 'a': bits 17 must be 2 to 16"),
    ({"t_a_bits": 1}, "tensor 'a': bits 1 must be 2 to 16"),
    ({"t_a_qmax": 128}, r"tensor 'a': range 0\.\.128 must hold 0 and lie in -128\.\.127"),
    ({"t_a_qmin": 1}, r"tensor 'a': range 1\.\.127"),
    ({"t_a_scale": 0.0}, "tensor 'a': scale 0.0 must be positive"),
    ({"t_a_scale": float("nan")}, "tensor 'a': scale nan must be positive"),
    ({"t_in_order": np.array([0, 0, 1, 2, 3, 4])}, "tensor 'in': order is no permutation of its 6 elements"),
    ({"t_in_order": np.arange(5)}, "tensor 'in': order is no permutation"),
    ({"a_output": "c"}, "layer 'a': output tensor 'c' is not in the network"),
    ({"b_output": "a"}, "layer 'b': output tensor 'a' is written twice"),
    ({"a_output": "in"}, "layer 'a': output tensor 'in' is written twice"),
    ({"t_a_size": 4}, "layer 'a': 3 rows, but its output tensor has 4 elements"),
    ({"a_weight_bits": 1}, "layer 'a': weight bits 1 must be 2 to 8"),
    ({"a_weight_bits": 9}, "layer 'a': weight bits 9 must be 2 to 8"),
    ({"a_segments": ()}, "layer 'a': no segments"),
    ({"a_segments": (Segment("b", 0, 2),)}, "layer 'a': reads tensor 'b' before it is written"),
    ({"a_segments": (Segment("in", 1, 6),)}, "layer 'a': segment .* leaves its tensor of 6 elements"),
    ({"a_segments": (Segment("in", -1, 6),)}, "layer 'a': segment .* leaves its tensor of 6 elements"),
    ({"a_segments": (Segment("in", 0, 0),)}, "layer 'a': segment .* leaves its tensor of 6 elements"),
    ({"a_levels": ()}, "layer 'a': no levels"),
    ({"a_bias": np.array([0.5, 1, 2])}, "layer 'a': bias must be a vector of integers"),
    ({"a_mult": np.zeros((3, 1), int)}, "layer 'a': mult must be a vector of integers"),
    ({"a_row_level": np.array([1, 3, 0])}, "layer 'a', row 1: level number is not 0 to 2"),
    ({"a_row_level": np.array([1, -1, 0])}, "layer 'a', row 1: level number is not 0 to 2"),
    ({"a_index": changed(A.index.astype(int), 0, -1)}, "layer 'a', row 0: index -1 outside its block"),
    ({"t_in_size": 6.0}, "tensor 'in': size 6.0 must be an integer"),
    ({"t_a_bits": True}, "tensor 'a': bits True must be an integer"),
    ({"a_segments": (Segment("in", 0, 6.0),)}, "layer 'a', segment .*: length 6.0 must be an integer"),
    ({"provenance": [1]}, "provenance must be a dictionary"),
    ({"name": 5}, "name 5 must be a string"),
    ({"a_bias": np.array([1, 2])}, "layer 'a': 2 values of bias for 3 rows"),
    ({"a_mult": np.array([1, 2, 65536])}, "layer 'a', row 2: mult must be 0 to 65535"),
    ({"a_mult": np.array([1, -2, 0])}, "layer 'a', row 1: mult must be 0 to 65535"),
    ({"a_shift": np.array([0, 1, 1])}, "layer 'a', row 0: shift must be 1 to 47"),
    ({"a_shift": np.array([1, 48, 1])}, "layer 'a', row 1: shift must be 1 to 47"),
    ({"a_bias": np.array([0, 0, 1 << 39])}, "layer 'a', row 2: bias leaves 40 bits"),
    ({"a_bias": np.array([0, (1 << 39) - 1, 0])}, "layer 'a', row 1: accumulator may leave 40 bits"),
    ({"a_bias": np.array([-(1 << 39), 0, 0])}, "layer 'a', row 0: accumulator may leave 40 bits"),
    ({"a_index": A.index[:-1]}, "layer 'a': 9 codes in index, its rows and levels need 10"),
    ({"a_weight": A.weight[:-1]}, "layer 'a': 9 codes in weight, its rows and levels need 10"),
    ({"b_weight": changed(B.weight, 5, 8)}, "layer 'b', row 1: weight 8 leaves 4 bits"),
    ({"b_weight": changed(B.weight, 0, -9)}, "layer 'b', row 0: weight -9 leaves 4 bits"),
    ({"b_index": changed(B.index, 4, 2)}, "layer 'b', row 1: index 2 outside its block of 2 columns"),
    # Row 0 of b: blocks of 2, 2, 2 and, because a has 3 elements, 1 columns.
    ({"b_index": changed(B.index, 3, 1)}, "layer 'b', row 0: index 1 outside its block of 1 columns"),
    ({"a_index": changed(A.index, 0, 1)}, "layer 'a', row 0: index 1 outside its block of 1 columns"),
    ({"a_index": changed(A.index, 6, 3)}, "layer 'a', row 1: indices of a block must rise"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_every_check_names_the_place(changes, message):
    with pytest.raises(DarbError, match=message) as caught:
        example(**changes)
    assert "\n" not in str(caught.value)


def test_tensor_without_a_producer():
    network = example()
    extra = Tensor("c", 1, 8, 0, 1, 1.0)
    with pytest.raises(DarbError, match=r"tensors without a producer: \['c'\]"):
        replace(network, tensors=(*network.tensors, extra))


@pytest.mark.parametrize(
    ("bits", "kept", "message"),
    [
        (16, 1, "block bits must be 0 to 15"),
        (-1, 1, "block bits must be 0 to 15"),
        (2, 0, r"the empty level is written \(0, 0\)"),
        (2, 5, "a block of 4 keeps 1 to 4"),
        (0, 2, "a block of 1 keeps 1 to 1"),
        (0, -1, "a block of 1 keeps 1 to 1"),
    ],
)
def test_levels(bits, kept, message):
    with pytest.raises(DarbError, match=message):
        Level(bits, kept)


@given(st.integers(0, 6), st.integers(1, 64), st.integers(1, 200))
def test_level_arithmetic(bits, kept, length):
    level = Level(bits, min(kept, 1 << bits))
    blocks = [min(level.block, length - start) for start in range(0, length, level.block)]
    assert level.codes(length) == len(blocks) * level.kept
    assert level.weights(length) == sum(min(block, level.kept) for block in blocks)


def test_derived_values():
    network = example()
    a, b = network.layers
    assert (a.columns, b.columns, network.weights, network.kept) == (6, 7, 32, 6 + 4 + 4 + 4)
    assert a.row_offset.tolist() == [0, 6, 10, 10]
    assert b.row_offset.tolist() == [0, 4, 8]
    assert network.tensor("in").position.tolist() == [1, 2, 3, 4, 5, 0]
    low, high = network.accumulator_bounds(b)
    # Row 0: 7 and -8 read the input (-128..127), 1 and 2 read tensor a (0..127).
    assert (low[0], high[0]) == (7 * -128 - 8 * 127, 7 * 127 + 8 * 128 + 3 * 127)


def test_file_round_trip(tmp_path):
    path = tmp_path / "net.darb"
    network = example()
    network.save(path)
    loaded = EncodedNetwork.load(path)
    assert loaded.digest == network.digest
    assert loaded.provenance == {"seed": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["net.darb"]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, 0.5, -1])
def test_truncated_file(tmp_path, length):
    path = tmp_path / "net.darb"
    example().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(length * len(data)) if isinstance(length, float) else length])
    with pytest.raises(DarbError, match=r"net\.darb: .*(truncated|damaged|not a)") as caught:
        EncodedNetwork.load(path)
    assert "\n" not in str(caught.value)


def test_every_altered_byte_is_found(tmp_path):
    path = tmp_path / "net.darb"
    example().save(path)
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        broken = bytearray(data)
        broken[place] ^= 0x41
        path.write_bytes(broken)
        with pytest.raises(DarbError, match=r"net\.darb: "):
            EncodedNetwork.load(path)


def test_a_valid_seal_does_not_excuse_contents(tmp_path):
    path = tmp_path / "net.darb"
    header, arrays = example()._parts()
    arrays["layer.1.index"][4] = 2
    write_atomic(path, pack_container("encoded network", 1, header, arrays))
    with pytest.raises(DarbError, match=r"net\.darb: layer 'b', row 1: index 2 outside its block of 2 columns"):
        EncodedNetwork.load(path)
    del arrays["layer.1.index"]
    write_atomic(path, pack_container("encoded network", 1, header, arrays))
    with pytest.raises(DarbError, match=r"missing or malformed field 'layer\.1\.index'"):
        EncodedNetwork.load(path)
    header["tensors"][0]["colour"] = "red"
    write_atomic(path, pack_container("encoded network", 1, header, arrays))
    with pytest.raises(DarbError, match=r"missing or malformed field .*colour"):
        EncodedNetwork.load(path)


def test_other_files(tmp_path):
    path = tmp_path / "net.darb"
    with pytest.raises(DarbError, match="no such file"):
        EncodedNetwork.load(path)
    path.write_bytes(b"hello, this is no container at all")
    with pytest.raises(DarbError, match="truncated or damaged file"):
        EncodedNetwork.load(path)
    header, arrays = example()._parts()
    write_atomic(path, pack_container("encoded network", 99, header, arrays))
    with pytest.raises(DarbError, match="format version 99, this package reads version 1"):
        EncodedNetwork.load(path)
    TestVectors("x", {"in": np.zeros((1, 6))}).save(path)
    with pytest.raises(DarbError, match="is of kind 'test vectors', a file of kind 'encoded network' is needed"):
        EncodedNetwork.load(path)
    import safetensors.numpy

    path.write_bytes(safetensors.numpy.save({"x": np.zeros(3)}))
    with pytest.raises(DarbError, match="no darb header; a file of kind 'encoded network' is needed"):
        EncodedNetwork.load(path)


def vectors(network, samples=4, **changes):
    tensors = {tensor.name: np.zeros((samples, tensor.size), np.int32) for tensor in network.tensors}
    return TestVectors(network.digest, tensors | changes, np.arange(samples))


def test_vectors_round_trip(tmp_path):
    network = example()
    made = vectors(network, a=np.arange(12, dtype=np.int32).reshape(4, 3))
    made.save(tmp_path / "net.vectors")
    loaded = TestVectors.load(tmp_path / "net.vectors")
    loaded.check(network)
    assert loaded.samples == 4
    assert loaded.labels.tolist() == [0, 1, 2, 3]
    assert loaded.tensors["a"].tolist() == made.tensors["a"].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": np.zeros((4, 2), np.int32)}, "tensor 'a' is missing or of the wrong shape"),
        ({"a": np.zeros((3, 3), np.int32)}, "tensor 'a' is missing or of the wrong shape"),
        ({"a": np.full((4, 3), -1, np.int32)}, r"tensor 'a' leaves its range 0\.\.127"),
        ({"b": np.full((4, 2), 128, np.int32)}, r"tensor 'b' leaves its range -128\.\.127"),
    ],
)
def test_bad_vectors(changes, message):
    network = example()
    with pytest.raises(DarbError, match=message):
        vectors(network, **changes).check(network)


def test_vectors_of_another_network():
    network = example()
    with pytest.raises(DarbError, match="belong to another network"):
        vectors(network).check(example(name="other"))


def test_write_atomic(tmp_path):
    path = tmp_path / "deep" / "file"
    assert write_atomic(path, b"one")
    stamp = path.stat().st_mtime_ns
    assert not write_atomic(path, b"one")
    assert path.stat().st_mtime_ns == stamp
    assert write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    with pytest.raises(TypeError):
        write_atomic(path, "text")
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"two"


def test_files_that_belong_together(tmp_path, monkeypatch):
    """A full disk leaves all files as they were, and the message names the target."""
    files = {tmp_path / name: b"old" for name in ("a", "b")}
    write_files(files)
    real, calls = os.fdopen, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_files(dict.fromkeys(files, b"new"))
    assert caught.value.filename == str(tmp_path / "b")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_container_header_is_json(tmp_path):
    write_atomic(tmp_path / "x", pack_container("thing", 3, {"a": [1, {"b": None}]}, {"v": np.arange(3)}))
    header, arrays = read_container(tmp_path / "x", "thing", 3)
    assert json.loads(json.dumps(header)) == {"kind": "thing", "version": 3, "a": [1, {"b": None}]}
    assert arrays["v"].tolist() == [0, 1, 2]
