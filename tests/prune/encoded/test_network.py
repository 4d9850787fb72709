"""The .darb file: what is derived from it, and no damage that goes unseen."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.encoded import EncodedNetwork, Level, TestVectors
from darb_prune.encoded.container import pack_container, read_container
from darb_prune.encoded.decoder import decode
from darb_prune.encoded.network import FORMAT_VERSION
from darb_prune.errors import DarbError, NetworkError
from darb_prune.files import check_file, write_atomic, write_files
from tests.legal import map_network, recurrent_network, vector_network
from tests.map_networks import residual_network

NETWORKS = (vector_network, map_network, recurrent_network)


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


def test_one_code_a_row_is_that_of_all_segments(tmp_path):
    """An average over the pixels of a map: the file, the decoder and what follows from it."""
    network = residual_network().network
    network.save(tmp_path / "network.darb")
    loaded = EncodedNetwork.load(tmp_path / "network.darb")
    assert loaded.digest == network.digest
    layer = loaded.layers[4]
    pixels = len(layer.segments)
    assert layer.uniform
    assert pixels > 1
    index, weight = layer.codes_of(np.arange(layer.rows))
    assert index.shape == weight.shape == (layer.rows, pixels)
    each = replace(layer, index=index.reshape(-1), weight=weight.reshape(-1))
    assert not each.uniform
    assert (layer.kept, layer.dense_weights, each.kept) == (layer.rows, layer.rows, layer.rows * pixels)
    assert (layer.macs, layer.dense_macs) == (each.macs, each.dense_macs) == (each.kept, each.kept)
    expanded = replace(network, layers=(*network.layers[:4], each, *network.layers[5:]))
    assert np.array_equal(decode(loaded)[layer.name], decode(expanded)[layer.name])
    for some, others in zip(loaded.accumulator_bounds(layer), expanded.accumulator_bounds(each), strict=True):
        assert np.array_equal(some, others)


def test_derived_values():
    network = vector_network()
    a, b = network.layers
    assert (a.columns, b.columns, network.weights, network.kept) == (6, 7, 32, 6 + 4 + 4 + 4)
    assert a.row_offset.tolist() == [0, 6, 10, 10]
    assert b.row_offset.tolist() == [0, 4, 8]
    assert network.tensor("in").position.tolist() == [1, 2, 3, 4, 5, 0]
    low, high = network.accumulator_bounds(b)
    # Row 0: 7 and -8 read the input (-128..127), 1 and 2 read tensor a (0..127).
    assert (low[0], high[0]) == (7 * -128 - 8 * 127, 7 * 127 + 8 * 128 + 3 * 127)
    assert (network.recurrent, network.delayed, network.tail) == (False, (), 0)


def test_derived_values_of_maps():
    network = map_network()
    x, m = network.tensor("x"), network.tensor("m")
    assert (x.size, x.channels, m.size) == (32, 2, 12)
    assert x.channel_position.tolist() == [1, 0]
    assert x.position.tolist() == [*range(1, 32, 2), *range(0, 32, 2)]
    conv, left = network.layers[:2]
    assert (conv.position_count, conv.kept, conv.macs) == (16, 54, 16 * 54)
    assert network.macs == 16 * 54 + 4 * (9 + 6 + 4) + 40
    assert [layer.row_function.tolist() for layer in (conv, left)] == [[0, 0, 0], [0, 0, 0]]
    low, high = network.accumulator_bounds(conv)
    assert (low.tolist(), high.tolist()) == ([18 * -128] * 3, [18 * 127] * 3)


def test_derived_values_of_recurrent_networks():
    network = recurrent_network()
    assert (network.recurrent, network.delayed, network.tail) == (True, ("h",), 1)


@pytest.mark.parametrize("make", NETWORKS)
def test_file_round_trip(tmp_path, make):
    path = tmp_path / "net.darb"
    network = make(provenance={"seed": 1, "shape": [1, 2]})
    network.save(path)
    loaded = EncodedNetwork.load(path)
    assert loaded.digest == network.digest
    assert loaded.provenance == {"seed": 1, "shape": [1, 2]}
    assert [path.name for path in tmp_path.iterdir()] == ["net.darb"]


def leaves(value, path=()):
    """Paths of everything in nested dictionaries and lists."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [leaf for key, inside in items for leaf in leaves(inside, (*path, key))]


def tampered(header, path, value):
    header = json.loads(json.dumps(header))
    place = header
    for key in path[:-1]:
        place = place[key]
    if value is leaves:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return header


@pytest.mark.parametrize("make", NETWORKS)
def test_no_header_is_trusted(tmp_path, make):
    """Every value of the header replaced or removed, under a seal that fits: refused in one line, or still legal."""
    network, path = make(provenance={}), tmp_path / "net.darb"
    header, arrays = network._parts()
    refused = []
    for leaf in leaves(header):
        for value in ("x", None, -1, [], leaves):
            path.write_bytes(pack_container("encoded network", FORMAT_VERSION, tampered(header, leaf, value), arrays))
            try:
                EncodedNetwork.load(path)
            except DarbError as error:
                refused.append(str(error))
    assert not any("\n" in message for message in refused)
    assert len(refused) > 4 * len(leaves(header))


@pytest.mark.parametrize("make", NETWORKS)
def test_no_array_is_trusted(tmp_path, make):
    """The same for arrays: of another type or shape, with values far outside, absent, or with one too many."""
    network, path = make(), tmp_path / "net.darb"
    header, arrays = network._parts()
    for name, array in arrays.items():
        wrong = [array.astype(np.float32), array[None], array[:-1], None]
        field = name.rpartition(".")[2]
        if field != "weight" and not name.startswith("function"):  # these may be all at their greatest
            wrong.append(np.full_like(array, np.iinfo(array.dtype).max))
        for other in wrong:
            others = {key: value for key, value in (arrays | {name: other}).items() if value is not None}
            path.write_bytes(pack_container("encoded network", FORMAT_VERSION, header, others))
            if other is None and field in ("order", "initial", "function", "state"):
                EncodedNetwork.load(path)
                continue
            with pytest.raises(
                DarbError, match=rf"{field}|table|level number|codes in|values of|nobody|symbols"
            ) as caught:
                EncodedNetwork.load(path)
            assert "\n" not in str(caught.value)
    path.write_bytes(pack_container("encoded network", FORMAT_VERSION, header, arrays | {"layer.0.colour": array}))
    with pytest.raises(DarbError, match=r"missing or malformed field 'layer\.0\.colour'"):
        EncodedNetwork.load(path)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, 0.5, -1])
def test_truncated_file(tmp_path, length):
    path = tmp_path / "net.darb"
    vector_network().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(length * len(data)) if isinstance(length, float) else length])
    with pytest.raises(DarbError, match=r"net\.darb: .*(truncated|damaged|not a)") as caught:
        EncodedNetwork.load(path)
    assert "\n" not in str(caught.value)


def test_every_altered_byte_is_found(tmp_path):
    path = tmp_path / "net.darb"
    vector_network().save(path)
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        broken = bytearray(data)
        broken[place] ^= 0x41
        path.write_bytes(broken)
        with pytest.raises(DarbError, match=r"net\.darb: "):
            EncodedNetwork.load(path)


def test_a_valid_seal_does_not_excuse_contents(tmp_path):
    path = tmp_path / "net.darb"
    header, arrays = vector_network()._parts()
    arrays["layer.1.index"][4] = 2
    write_atomic(path, pack_container("encoded network", FORMAT_VERSION, header, arrays))
    with pytest.raises(DarbError, match=r"net\.darb: layer 'b', row 1: index 2 outside its block of 2 columns"):
        EncodedNetwork.load(path)
    del arrays["layer.1.index"]
    write_atomic(path, pack_container("encoded network", FORMAT_VERSION, header, arrays))
    with pytest.raises(DarbError, match=r"missing or malformed field 'layer\.1\.index'"):
        EncodedNetwork.load(path)
    header, arrays = vector_network()._parts()
    header["tensor"][0]["colour"] = "red"
    write_atomic(path, pack_container("encoded network", FORMAT_VERSION, header, arrays))
    with pytest.raises(DarbError, match=r"missing or malformed field .*colour"):
        EncodedNetwork.load(path)


def test_other_files(tmp_path):
    path = tmp_path / "net.darb"
    with pytest.raises(DarbError, match="no such file"):
        EncodedNetwork.load(path)
    path.write_bytes(b"hello, this is no container at all")
    with pytest.raises(DarbError, match="truncated or damaged file"):
        EncodedNetwork.load(path)
    header, arrays = vector_network()._parts()
    for version in (3, 99):
        write_atomic(path, pack_container("encoded network", version, header, arrays))
        message = f"format version {version}, this package reads version 4; run darb compile again"
        with pytest.raises(DarbError, match=message):
            EncodedNetwork.load(path)
    TestVectors("x", {"in": np.zeros((1, 6))}).save(path)
    with pytest.raises(DarbError, match="is of kind 'test vectors', a file of kind 'encoded network' is needed"):
        EncodedNetwork.load(path)
    path.write_bytes(safetensors.numpy.save({"x": np.zeros(3)}))
    with pytest.raises(DarbError, match="no darb header; a file of kind 'encoded network' is needed"):
        EncodedNetwork.load(path)


def vectors(network, samples=4, **changes):
    tensors = {tensor.name: np.zeros((samples, tensor.size), np.int32) for tensor in network.tensors}
    return TestVectors(network.digest, tensors | changes, np.arange(samples))


def test_vectors_round_trip(tmp_path):
    network = vector_network()
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
    network = vector_network()
    with pytest.raises(DarbError, match=message):
        vectors(network, **changes).check(network)


@pytest.mark.parametrize(
    ("header", "arrays", "message"),
    [
        ({}, {}, "the digest of their network is missing"),
        ({"network": 3}, {}, "the digest of their network is missing"),
        ({"network": "x"}, {"labels": np.zeros(3, int)}, "test vectors without tensors"),
        ({"network": "x"}, {"tensor.a": np.zeros((), int)}, r"tensor 'a' has the shape \(1,\)"),
        ({"network": "x"}, {"tensor.a": np.zeros((2, 3))}, "tensor 'a' must be an array of integers"),
        ({"network": "x"}, {"tensor.a": np.zeros((0, 3), int)}, r"test vectors without samples"),
        ({"network": "x"}, {"tensor.a": np.zeros((1, 3), int), "tensor.b": np.zeros((2, 3), int)}, "'b' has the"),
        ({"network": "x"}, {"tensor.a": np.zeros((1, 3), int), "lengths": np.zeros((1, 1), int)}, "lengths has"),
        ({"network": "x"}, {"tensor.a": np.zeros((1, 3), int), "labels": np.zeros(1)}, "labels must be an array"),
    ],
)
def test_no_array_of_vectors_is_trusted(tmp_path, header, arrays, message):
    path = tmp_path / "net.vectors"
    write_atomic(path, pack_container("test vectors", 2, header, arrays))
    with pytest.raises(NetworkError, match=rf"net.vectors: .*{message}.*; run darb compile again"):
        TestVectors.load(path)


def test_vectors_of_another_network():
    network = vector_network()
    with pytest.raises(DarbError, match="belong to another network"):
        vectors(network).check(vector_network(name="other"))


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


def test_pipes_and_devices_are_neither_read_nor_replaced(tmp_path):
    pipe = tmp_path / "net.darb"
    os.mkfifo(pipe)
    for load in (EncodedNetwork.load, TestVectors.load):
        with pytest.raises(NetworkError, match=r"net.darb: is a pipe or a device; copy what it gives into a file"):
            load(pipe)
        with pytest.raises(NetworkError, match=r"is a folder, not a file"):
            load(tmp_path)
    for write in (lambda path: write_files({tmp_path / "a": b"1", path: b"2"}), check_file):
        with pytest.raises(DarbError, match=r"net.darb: is a pipe or a device; give the name of a file to write"):
            write(pipe)
    assert [path.name for path in tmp_path.iterdir()] == ["net.darb"]
    assert pipe.is_fifo()
    with pytest.raises(DarbError, match="/dev/null: is a pipe or a device"):
        check_file(Path("/dev/null"))


def test_deep_headers_are_refused(tmp_path):
    path = tmp_path / "net.darb"
    path.write_bytes(safetensors.numpy.save({"x": np.zeros(3)}, metadata={"darb": "[" * 100_000}))
    with pytest.raises(NetworkError, match="no darb header"):
        EncodedNetwork.load(path)


def test_container_header_is_json(tmp_path):
    write_atomic(tmp_path / "x", pack_container("thing", 3, {"a": [1, {"b": None}]}, {"v": np.arange(3)}))
    header, arrays = read_container(tmp_path / "x", "thing", 3)
    assert json.loads(json.dumps(header)) == {"kind": "thing", "version": 3, "a": [1, {"b": None}]}
    assert arrays["v"].tolist() == [0, 1, 2]
