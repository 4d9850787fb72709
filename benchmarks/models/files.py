"""The same models as ONNX files."""

import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from benchmarks.models.brought import BroughtModel
from benchmarks.models.images import IMAGES
from benchmarks.models.sequences import SEQUENCES
from benchmarks.models.vectors import VECTORS
from darb_prune import load_onnx

__all__ = ["FILES"]

_EXPORTED = (
    "lenet", "resnet silu", "mobilenet v2", "inception", "tensorflow same", "overlapping pools", "lstm",
    "gru two layers", "tcn causal", "tc-resnet", "mlp gelu", "autoencoder",
    "mixer",
)  # fmt: skip


def _exported(brought: BroughtModel) -> nn.Module:
    """What the exporter of torch writes, loaded again."""
    model = brought.make().eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model, (brought.inputs(1),), str(path), dynamo=False)
        return load_onnx(path)


def _file(brought: BroughtModel) -> BroughtModel:
    return BroughtModel(f"{brought.kind}, from ONNX", lambda: _exported(brought), brought.inputs)


FILES = {f"{name}.onnx": _file({**IMAGES, **SEQUENCES, **VECTORS}[name]) for name in _EXPORTED}
