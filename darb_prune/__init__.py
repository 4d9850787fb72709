"""Pruning, quantisation and encoding of PyTorch models for the DARB inference engine.

Nothing heavy is loaded before it is used: ``import darb_prune`` loads neither torch nor NumPy, because the
hardware side of the project reads encoded networks without torch.

The method is a reconstruction: block-max weight masking and density-adaptive regular blocks after Ren et al.,
AAAI 2020 (arXiv 1911.08020), whose abstract fixes the idea but not thresholds, schedules or formats.
"""

import importlib

_HOME = {
    "BMWM": "pruning.methods",
    "BankBalanced": "pruning.methods",
    "Block": "pruning.methods",
    "DENSE": "encoded",
    "EMPTY": "encoded",
    "Darb": "pruning.methods",
    "DarbError": "errors",
    "DataError": "errors",
    "Unpruned": "pruning.methods",
    "EncodedNetwork": "encoded",
    "Gradual": "pruning.gradual",
    "IntegerNetwork": "integer.network",
    "Irregular": "pruning.methods",
    "Level": "encoded",
    "Mixed": "pruning.methods",
    "ModelError": "errors",
    "NM": "pruning.methods",
    "NetworkError": "errors",
    "PruningSchedule": "pruning.schedule",
    "Structured": "pruning.methods",
    "StructuredColumns": "pruning.methods",
    "StructuredRows": "pruning.methods",
    "TestVectors": "encoded",
    "decode": "encoded.decoder",
    "encode": "integer.encoder",
    "evaluate": "training.loop",
    "finetune": "training.loop",
    "gradual": "pruning.gradual",
    "load_onnx": "frontend.onnx.load",
    "load_pruned": "modules.masked",
    "prune": "pruning.one_shot",
    "quantize": "integer.quantization",
    "train": "training.loop",
}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_HOME])
