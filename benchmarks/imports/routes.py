"""The ways of a network into the project: each gives a model, and what the file itself computes."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from darb_prune import load_onnx, load_tflite, tasks
from darb_prune.errors import DataError
from darb_prune.frontend.tflite.operators import as_file, as_torch
from darb_prune.frontend.tflite.reading import read_graph
from darb_prune.modules.grids import Quantizer
from darb_prune.tasks.mlperf import published, read_clips
from tests.quantized_graphs import runtime_integers, statically_quantized
from tests.tflite_graphs import interpreted

__all__ = ["NETWORKS", "ROUTES", "Imported", "Own", "PublishedNetwork", "network_of"]

FILES = {"kws": "kws_int8", "ic": "resnet8_int8", "vww": "vww_96_int8", "ad": "ad01_int8"}
"""TFLite files of the networks, in the folder of the published weights."""
NETWORKS = {"kws": "DS-CNN", "ic": "ResNet-8", "vww": "MobileNetV1-0.25", "ad": "autoencoder"}
CALIBRATION = 50
"""Inputs that calibrate; in the files of onnxruntime, too."""


@dataclass(frozen=True, eq=False)
class PublishedNetwork:
    """A network with its published weights, and its data.

    Parameters
    ----------
    name : str
        A key of ``NETWORKS``.
    model : torch.nn.Module
    calibration, inputs : tensors
        As ``model`` takes them, samples first.
    labels : tensor, optional
        Classes of ``inputs``, where there are any.
    folder : pathlib.Path
        Of the published weights.
    """

    name: str
    model: nn.Module
    calibration: Tensor
    inputs: Tensor
    labels: Tensor | None
    folder: Path


@dataclass(frozen=True, eq=False)
class Own:
    """Tensors of integers that a file's own interpreter gives, less their zero points: scale, and (samples, elements)
    in the order of torch. The first is the input, the last the output in front of a softmax."""

    scales: list[float]
    integers: list[Tensor]


@dataclass(frozen=True, eq=False)
class Imported:
    """A model by one of the ways.

    Parameters
    ----------
    model : torch.nn.Module
    arranged : callable
        Inputs of the published model -> inputs of this one.
    own : callable, optional
        What the interpreter of the file gives for inputs of this model; none for files of floats.
    """

    model: nn.Module
    arranged: Callable[[Tensor], Tensor]
    own: Callable[[Tensor], Own] | None = None


@cache
def network_of(name: str, data: tasks.DataSets) -> PublishedNetwork:
    """All 1,000 clips for DS-CNN, the test split of the others."""
    task = f"mlperf-{name}"
    splits, model = tasks.get(task, data).load(), published(task, data)
    inputs, labels = splits["test"].inputs, splits["test"].labels
    if name == "kws":
        clips, classes = read_clips(data.find("kws01-mfcc"))
        inputs = torch.cat([split.inputs for split in splits.values()])
        labels = torch.cat([split.labels for split in splits.values()])
        assert len(inputs) == len(clips) == len(classes), "the splits are all clips"
    calibration = splits["validation"].inputs[:CALIBRATION]
    known = labels if name in ("kws", "ic") else None
    return PublishedNetwork(name, model, calibration, inputs, known, data.find("mlperf-tiny"))


def _same(x: Tensor) -> Tensor:
    return x


def _torch(network: PublishedNetwork) -> Imported:
    return Imported(network.model, _same)


def _exported(dynamo: bool, network: PublishedNetwork) -> Imported:
    """A file of floats by an exporter of torch with its own settings."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()):  # the exporter says what it does
            torch.onnx.export(network.model, (network.inputs[:1],), str(path), dynamo=dynamo)
        return Imported(load_onnx(path), _same)


def _quantized(network: PublishedNetwork) -> Imported:
    """What onnxruntime's static quantisation makes of it: int8, scales of each output channel."""
    with tempfile.TemporaryDirectory() as folder:
        path = statically_quantized(Path(folder), network.model, network.calibration, "QInt8", per_channel=True)
        model, content = load_onnx(path), path.read_bytes()
    grids = [module.grid for module in model.modules() if isinstance(module, Quantizer)]

    def own(x: Tensor) -> Own:
        return Own([grid.scale for grid in grids], list(runtime_integers(content, x).values()))

    return Imported(model, _same, own)


def _tflite(network: PublishedNetwork) -> Imported:
    """The published file of integers."""
    path = network.folder / f"{FILES[network.name]}.tflite"
    if not path.is_file():
        raise DataError(f"{path}: no such file; put the int8 files of MLPerf Tiny there")
    graph, model = read_graph(path), load_tflite(path)
    grids = {number: tensor.grid for number, tensor in graph.tensors.items() if tensor.data is None}
    written = [operator.outputs[0] for operator in graph.operators if operator.kind not in ("RESHAPE", "SOFTMAX")]
    source = grids[graph.source]
    assert source is not None

    def own(x: Tensor) -> Own:
        integers = (x.double() / source.scale).round() + source.zero
        samples = integers.clamp(source.low, source.high).numpy().astype(np.int8)
        known = [as_torch(torch.from_numpy(samples))]
        scales, less = [], []
        for number, values in zip([graph.source, *written], known + interpreted(path, samples, written), strict=True):
            grid = grids[number]
            assert grid is not None
            scales.append(grid.scale)
            less.append(values.long().flatten(1) - grid.zero)
        return Own(scales, less)

    return Imported(model, as_file, own)


ROUTES: dict[str, Callable[[PublishedNetwork], Imported]] = {
    "torch": _torch,
    "ONNX, legacy exporter": lambda network: _exported(False, network),
    "ONNX, dynamo exporter": lambda network: _exported(True, network),
    "ONNX, int8 by onnxruntime": _quantized,
    "TFLite, int8 as published": _tflite,
}
"""The first is what the others are compared with."""
