"""What becomes of a network by each of the ways: floats against torch, integers against the interpreter of the file."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.imports.routes import ROUTES, Imported, Own, PublishedNetwork
from darb_prune import IntegerNetwork, check, encode, quantize
from tests.quantized_graphs import each_layer

__all__ = ["ALIKE", "matched", "measure"]

ALIKE = 1e-5
"""How far floats of an exported file may be off, of the greatest output."""
SAMPLES = 20
"""Inputs of which every layer is compared."""


def matched(integer: IntegerNetwork, own: Own) -> dict[str, Tensor]:
    """The tensors of ``integer`` that are those of the file: of the same scale and size, in order."""
    left, found = list(zip(own.scales, own.integers, strict=True)), {}
    for name, tensor in integer.tensors.items():
        size = tensor.shape[0] * tensor.shape[1] * tensor.shape[2]
        for place, (scale, values) in enumerate(left):
            if scale == tensor.scale and values.shape[1] == size:
                found[name] = left.pop(place)[1]
                break
    return found


def _compared(integer: IntegerNetwork, own: Own, inputs: Tensor) -> dict[str, Any]:
    """Every layer from the integers of the file, and the output from those of the input."""
    wanted = matched(integer, own)
    integers = integer.quantize_input(inputs)
    zero = integer.tensors[integer.input].zero
    same = torch.equal(integers.flatten(1) - zero, wanted[integer.input])
    names = [name for name in integer.tensors if name in wanted]
    layers = each_layer(integer, names, [wanted[name] + (zero if name == integer.input else 0) for name in names])
    shares = {name: float((apart > 0).float().mean()) for name, apart in layers.items()}
    worst = max(shares, key=lambda name: shares[name])
    apart = (integer(integers).flatten(1) - own.integers[-1]).abs()
    return {
        "input": same,
        "layers": len(layers),
        "layer_most": max(int(apart.max()) for apart in layers.values()),
        "worst": worst.removesuffix(".out"),
        "worst_share": shares[worst],
        "output_most": int(apart.max()),
        "output_share": float((apart > 0).float().mean()),
    }


def _right(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.flatten(1).argmax(dim=1) == labels).double().mean())


@torch.no_grad()
def measure(network: PublishedNetwork, route: str, samples: int = SAMPLES, whole: bool = True) -> dict[str, Any]:
    """Load, check, quantise, encode and compare.

    Parameters
    ----------
    network : PublishedNetwork
    route : str
        A key of ``ROUTES``.
    samples : int
        Inputs of which every layer is compared.
    whole : bool
        Whether accuracies of all inputs are measured.

    Returns
    -------
    dict
        ``problems`` of ``check``; ``codes`` of the encoded network; ``float``, the greatest difference from torch over
        the greatest output, of files of floats; of quantised ones ``input``, whether integers of the input are equal,
        ``layers`` compared, the greatest difference of any (``layer_most``), the one with most differences (``worst``,
        ``worst_share``), and the same of the output (``output_most``, ``output_share``); ``accuracy`` of the integers,
        and ``own_accuracy`` of the file's interpreter, where there are labels.
    """
    imported: Imported = ROUTES[route](network)
    inputs, calibration = imported.arranged(network.inputs), imported.arranged(network.calibration)
    report = check(imported.model, calibration[:2], drop_softmax=True)
    result: dict[str, Any] = {"problems": [str(problem) for problem in report.problems]}
    if report.problems:
        return result
    integer = quantize(imported.model, calibration, drop_softmax=True)
    result["codes"] = sum(int(layer.index.size) for layer in encode(integer).layers)
    if imported.own is None:
        given, wanted = imported.model(inputs[:samples]), network.model(network.inputs[:samples])
        result["float"] = float((given - wanted).abs().max() / wanted.abs().max())
    else:
        result |= _compared(integer, imported.own(inputs[:samples]), inputs[:samples])
    if network.labels is not None and whole:
        outputs = [integer(integer.quantize_input(part)) for part in inputs.split(100)]
        result["accuracy"] = _right(torch.cat(outputs), network.labels)
        if imported.own is not None:
            own = [imported.own(part).integers[-1] for part in inputs.split(100)]
            result["own_accuracy"] = _right(torch.cat(own), network.labels)
    return result
