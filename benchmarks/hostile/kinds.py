"""The kinds of files that are read: legal ones, forgeries of them, and who reads them."""

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from torch import nn

from benchmarks.hostile.mutations import HOSTILE, altered, altered_array, damaged
from darb_hw import report
from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate, manifest_bytes
from darb_hw.plan.resources import fitting_plan
from darb_prune import tasks
from darb_prune.encoded import EncodedNetwork, TestVectors
from darb_prune.encoded.container import pack_container, read_container
from darb_prune.encoded.network import FORMAT_VERSION as NETWORK_FORMAT
from darb_prune.encoded.vectors import FORMAT_VERSION as VECTORS_FORMAT
from darb_prune.frontend.example import stages_of
from darb_prune.frontend.onnx.load import load_onnx
from darb_prune.frontend.tflite.load import load_tflite
from darb_prune.runs import tables
from darb_prune.runs.folder import MODEL, RECORD, RunFolder
from darb_prune.structure.block_term import block_term
from darb_prune.structure.partition import partition
from darb_prune.structure.removal import remove
from darb_prune.structure.units import units_of
from darb_prune.studies.experiment import spec
from tests.networks import KINDS as NETWORKS
from tests.networks import random_inputs, random_lengths, random_network
from tests.prune.studies.experiment.quick import QUICK
from tests.tflite_graphs import tiny_cnn

__all__ = ["KINDS", "Files", "Kind", "hostile_files"]

Files = dict[str, bytes]
"""Name in a folder -> contents."""
_BYTES = ("Padding", "FusedActivationFunction")  # options of one byte


@dataclass(frozen=True)
class Kind:
    """A kind of files.

    Parameters
    ----------
    legal : callable
        Gives a few legal sets of files.
    forged : callable
        A set of files that is whole and, if it has a seal, sealed again, but with something wrong in it.
    read : callable
        Reads the files of a folder as the program does.
    """

    legal: Callable[[], list[Files]]
    forged: Callable[[Files, Random], Files]
    read: Callable[[Path], None]


def hostile_files(kind: Kind, file_number: int) -> Files:
    """Files of a kind, the same for the same number: forged, or damaged in one file of them."""
    random = Random(file_number)
    files = random.choice(kind.legal())
    if random.random() < 0.8:
        return kind.forged(files, random)
    name = random.choice(list(files))
    return files | {name: damaged(files[name], random)}


def _show(*shown: Any) -> None:
    """Print into nothing what a command prints."""
    console = Console(file=io.StringIO())
    for table in shown:
        console.print(table)


@cache
def _networks() -> list[EncodedNetwork]:
    return [random_network(seed, kind).network for seed, kind in enumerate(("chain", *NETWORKS))]


def _packed(kind: str, version: int, name: str, packed: bytes, random: Random) -> Files:
    """A checked file with another header or other arrays, and a digest that fits."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(packed)
        file.flush()
        header, arrays = read_container(file.name, kind, version)
    if arrays and random.random() < 0.3:
        array = random.choice(list(arrays))
        changed = random.randrange(8)
        if changed == 0:
            arrays[random.choice(list(arrays))] = arrays[array]
        elif changed == 1:
            arrays[random.choice(("x", "tensor.", "layer.99.index", "labels", "function.9"))] = arrays.pop(array)
        else:
            arrays[array] = altered_array(arrays[array], random)
    else:
        header = altered(header, random)
    identity = {key: header.pop(key, None) for key in ("kind", "version")}
    return {name: pack_container(identity["kind"], identity["version"], header, arrays)}


def _read_network(folder: Path) -> None:
    network = EncodedNetwork.load(folder / "net.darb")
    _show(tables.network_table(network), tables.layer_table(network), tables.level_table(network))
    plan = fitting_plan(network, EngineConfig(lanes=4, device="ecp5-85k"))
    _show(report.memory_table(plan), report.layer_table(plan), report.plan_table(plan))


@cache
def _legal_networks() -> list[Files]:
    return [{"net.darb": network.pack()} for network in _networks()]


@cache
def _legal_vectors() -> list[Files]:
    made = []
    for network_number, kind in enumerate(("chain", *NETWORKS)):
        random = random_network(network_number, kind)
        lengths = random_lengths(0, random.network, 3)
        frames = 3 if lengths is None else int(lengths.sum())
        vectors = random.vectors(random_inputs(0, random.network, frames), lengths)
        made.append({"net.darb": random.network.pack(), "net.vectors": vectors.pack()})
    return made


def _read_vectors(folder: Path) -> None:
    vectors = TestVectors.load(folder / "net.vectors")
    assert vectors.samples >= 1
    vectors.check(EncodedNetwork.load(folder / "net.darb"))


def _floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _model(nodes: list[Any], shape: tuple[int, ...], constants: dict[str, np.ndarray]) -> Files:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return {"net.onnx": onnx.shape_inference.infer_shapes(model).SerializeToString()}


@cache
def _legal_models() -> list[Files]:
    node = helper.make_node
    rows = {name: _floats(4) for name in ("gain", "bias", "mean")} | {"variance": np.ones(4, np.float32)}
    return [
        _model(
            [
                node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 0, 0], strides=[1, 1]),
                node("BatchNormalization", ["c", "gain", "bias", "mean", "variance"], ["n"], "norm"),
                node("Relu", ["n"], ["r"], "relu"),
                node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
                node("Flatten", ["p"], ["f"], "flat"),
                node("Gemm", ["f", "v", "u"], ["y"], "head", transB=1),
            ],
            (1, 2, 8, 8),
            {"w": _floats(4, 2, 2, 2), "b": _floats(4), "v": _floats(3, 64), "u": _floats(3)} | rows,
        ),
        _model(
            [
                node("LSTM", ["x", "w", "r", "b"], ["h", "", ""], "lstm", hidden_size=3),
                node("Squeeze", ["h", "axis"], ["s"], "squeeze"),
                node("MatMul", ["s", "v"], ["m"], "head"),
                node("Add", ["m", "u"], ["y"], "bias"),
            ],
            (5, 1, 4),
            {
                "w": _floats(1, 12, 4), "r": _floats(1, 12, 3), "b": _floats(1, 24), "axis": np.array([1]),
                "v": _floats(3, 2), "u": _floats(2),
            },
        ),
    ]  # fmt: skip


def _forged_model(files: Files, random: Random) -> Files:
    model = onnx.load_from_string(files["net.onnx"])
    graph = model.graph
    for _ in range(random.choice((1, 1, 2, 3))):
        node, tensor = random.choice(graph.node), random.choice(graph.initializer)
        attribute = random.choice(list(node.attribute) or [helper.make_attribute("x", 1)])
        integer = random.choice([v for v in HOSTILE if type(v) is int and abs(v) < 1 << 63])
        kind = random.randrange(12)
        if kind == 0 and tensor.dims:
            tensor.dims[random.randrange(len(tensor.dims))] = integer
        elif kind == 1:
            tensor.raw_data = damaged(tensor.raw_data, random)
        elif kind == 2:
            node.name = random.choice(
                ("training", "forward", "", "\x1b[31m[/]", "x" * 5000, "norm", "conv", "conv_pad")
            )
        elif kind == 3:
            node.op_type = random.choice([*(other.op_type for other in graph.node), "Gather", "GRU", "Pad", "Loop", ""])
        elif kind == 4:
            attribute.i = integer
        elif kind == 5 and attribute.ints:
            attribute.ints[random.randrange(len(attribute.ints))] = integer
        elif kind == 6:
            tensor.data_type = random.randrange(25)
        elif kind == 7 and node.input:
            node.input[random.randrange(len(node.input))] = random.choice(
                [*(t.name for t in graph.initializer), "", "x"]
            )
        elif kind == 8 and node.input:
            node.input.pop()
        elif kind == 9:
            node.attribute.append(helper.make_attribute(random.choice(("group", "axis", "perm", "alpha")), integer))
        elif kind == 10:
            graph.node.append(node)
        else:
            tensor.CopyFrom(numpy_helper.from_array(altered_array(_floats(2, 3, 1), random), tensor.name))
    return {"net.onnx": model.SerializeToString()}


def _read_model(folder: Path) -> None:
    load_onnx(folder / "net.onnx")


@cache
def _legal_graphs() -> list[Files]:
    graph, _, output = tiny_cnn()
    return [{"net.tflite": graph.content(output)}]


def _read_graph(folder: Path) -> None:
    load_tflite(folder / "net.tflite")


def _altered_graph(random: Random) -> bytes:
    """A TFLite file that is whole, with something wrong in it."""
    graph, _, output = tiny_cnn()
    for _ in range(random.choice((1, 1, 2, 3))):
        tensor, operator = random.choice(graph.tensors), random.choice(graph.operators)
        integer = random.choice([v for v in HOSTILE if type(v) is int and abs(v) < 1 << 31])
        kind = random.randrange(10)
        if kind == 0:
            shape = [*tensor["shape"]]
            shape[random.randrange(len(shape))] = integer
            tensor["shape"] = tuple(shape)
        elif kind == 1 and tensor["data"] is not None:
            tensor["data"] = altered_array(tensor["data"], random)
        elif kind == 2:
            tensor["kind"] = random.choice(("FLOAT32", "INT8", "UINT8", "INT16", "INT32", "STRING", "BOOL"))
        elif kind == 3 and tensor["scale"] is not None:
            name = random.choice(("scale", "zero"))
            tensor[name] = altered_array(tensor[name], random).astype(tensor[name].dtype).reshape(-1)
        elif kind == 4:
            tensor["axis"] = integer
        elif kind == 5:
            operator["kind"] = random.choice([*(other["kind"] for other in graph.operators), "SPLIT", "MEAN", "PAD"])
            operator["options"] = {}
        elif kind == 6 and operator["inputs"]:
            inputs = [*operator["inputs"]]
            inputs[random.randrange(len(inputs))] = random.choice((-1, integer, 0, 1, 2, output))
            operator["inputs"] = inputs
        elif kind == 7:
            operator["inputs"] = operator["inputs"][:-1]
        elif kind == 8 and operator["options"]:
            name = random.choice(list(operator["options"]))
            operator["options"] = operator["options"] | {name: integer % 128 if name in _BYTES else integer}
        else:
            graph.operators.append(operator)
    return graph.content(output)


def _forged_graph(files: Files, random: Random) -> Files:
    """Values of the graph, or words of four bytes: offsets, lengths, sizes."""
    if random.random() < 0.5:
        return {"net.tflite": _altered_graph(random)}
    content = bytearray(files["net.tflite"])
    for _ in range(random.choice((1, 1, 2, 5))):
        word = 4 * random.randrange(len(content) // 4)
        value = random.choice((0, 1, 4, 1 << 16, (1 << 31) - 1, (1 << 32) - 1, random.randrange(len(content))))
        content[word : word + 4] = value.to_bytes(4, "little")
    return {"net.tflite": bytes(content)}


def _forged_experiment(files: Files, random: Random) -> Files:
    """Values are replaced in the text; lines are doubled or moved."""
    lines = files["quick.toml"].decode().splitlines()
    for _ in range(random.choice((1, 1, 2, 3))):
        line_number, kind = random.randrange(len(lines)), random.randrange(4)
        if kind == 0:
            lines.insert(random.randrange(len(lines)), lines[line_number])
        elif kind == 1:
            del lines[line_number]
            lines = lines or [""]
        else:
            value = random.choice(HOSTILE)
            text = json.dumps(value) if not isinstance(value, dict) else "{ x = 1 }"
            text = {"null": "1e400", "NaN": "nan", "Infinity": "inf"}.get(text, text)
            lines[line_number] = re.sub(r"= .*|\[\w+", lambda _, text=text: f"= {text}", lines[line_number])
    return {"quick.toml": "\n".join(lines).encode()}


def _read_experiment(folder: Path) -> None:
    experiment = spec.load(folder / "quick.toml")
    spec.plan(experiment, tasks.get(experiment.task))


@cache
def _legal_runs() -> list[Files]:
    torch.set_num_threads(1)  # others do not live on in copies of this process
    made = []
    for change in (lambda _: None, _fewer_units, lambda model: partition(model, 4).record, _block_terms):
        model = tasks.get("digits").build()
        record = change(model)
        with tempfile.TemporaryDirectory() as name:
            run = RunFolder("digits", 0, accuracy={"dense": {"test": 0.9}}, history=[{"train": [1.0, 0.5]}])
            run.structure = [record] if record else []
            run.save(name, model)
            made.append({file: (Path(name) / file).read_bytes() for file in (MODEL, RECORD)})
    return made


def _fewer_units(model: nn.Module) -> dict[str, Any]:
    units = units_of(stages_of(model))
    return remove(model, units, torch.arange(units.size) % 3 == 0)


def _block_terms(model: nn.Module) -> dict[str, Any]:
    return block_term(model, 4, modes=2, fit=False).record


def _forged_run(files: Files, random: Random) -> Files:
    record, model = json.loads(files[RECORD]), files[MODEL]
    if random.random() < 0.4:
        model = damaged(model, random)
    else:
        record = altered(record, random)
    if isinstance(record, dict) and random.random() < 0.9:
        record["model_sha256"] = hashlib.sha256(model).hexdigest()
    return {MODEL: model, RECORD: json.dumps(record).encode()}


def _read_run(folder: Path) -> None:
    _, model = RunFolder.load(folder)
    stages_of(model)


@cache
def _legal_builds() -> list[Files]:
    with tempfile.TemporaryDirectory() as name:
        generate(_networks()[0], EngineConfig(lanes=2), name)
        return [{path.relative_to(name).as_posix(): path.read_bytes() for path in Path(name).rglob("*.*")}]


def _forged_build(files: Files, random: Random) -> Files:
    manifest = altered(json.loads(files["manifest.json"]), random)
    files = dict(files)
    if random.random() < 0.1:
        del files[random.choice([name for name in files if name != "manifest.json"])]
    return files | {"manifest.json": manifest_bytes(manifest)}


def _read_build(folder: Path) -> None:
    build = Build.load(folder)
    assert build.verilog.is_file()
    assert build.digest


KINDS = {
    "darb": Kind(
        _legal_networks,
        lambda files, random: _packed("encoded network", NETWORK_FORMAT, "net.darb", files["net.darb"], random),
        _read_network,
    ),
    "vectors": Kind(
        _legal_vectors,
        lambda files, random: (
            files | _packed("test vectors", VECTORS_FORMAT, "net.vectors", files["net.vectors"], random)
        ),
        _read_vectors,
    ),
    "onnx": Kind(_legal_models, _forged_model, _read_model),
    "tflite": Kind(_legal_graphs, _forged_graph, _read_graph),
    "toml": Kind(lambda: [{"quick.toml": QUICK.strip().encode()}], _forged_experiment, _read_experiment),
    "run": Kind(_legal_runs, _forged_run, _read_run),
    "build": Kind(_legal_builds, _forged_build, _read_build),
}
