"""Writes docs/results/imports.md from the measurements of ``measure.py``."""

from pathlib import Path
from typing import Any

from benchmarks.imports.measure import ALIKE, SAMPLES
from benchmarks.imports.routes import CALIBRATION, NETWORKS
from darb_prune.encoded import write_atomic
from darb_prune.studies.markdown import table

__all__ = ["failed", "verdict", "write"]

Results = dict[str, dict[str, dict[str, Any]]]
"""By network, then by way."""
LAYER_MOST = 2
"""How far an integer of a layer may be off, from the integers of the file: a sum of three scales."""


def failed(result: dict[str, Any]) -> bool:
    """Whether something is not as it has to be."""
    if result["problems"] or "float" in result:
        return bool(result["problems"]) or result["float"] > ALIKE
    return not result["input"] or result["layer_most"] > LAYER_MOST


def verdict(result: dict[str, Any]) -> str:
    """What became of a network by one of the ways, in a line."""
    if result["problems"]:
        return f"refused: {'; '.join(result['problems'])}"
    if "float" in result:
        return f"floats {result['float']:.1e} of the greatest output from torch"
    return f"{result['layers']} layers, none off by more than {result['layer_most']}"


def _percent(result: dict[str, Any], key: str) -> str:
    return f"{result[key]:.2%}".replace("%", " %") if key in result else "-"


def _floats(results: Results) -> str:
    rows = [
        [NETWORKS[name], route, f"{result['float']:.1e}", f"{result['codes']:,}", _percent(result, "accuracy")]
        for name, routes in results.items()
        for route, result in routes.items()
        if "float" in result
    ]
    return table(["network", "from", "floats off by", "codes", "accuracy of the integers"], rows, left=2)


def _integers(results: Results) -> str:
    rows = []
    for name, routes in results.items():
        for route, result in routes.items():
            if "layers" not in result:
                continue
            worst = f"{result['worst']}, {_percent(result, 'worst_share')}"
            output = f"{_percent(result, 'output_share')}, by {result['output_most']} at most"
            accuracies = _percent(result, "accuracy"), _percent(result, "own_accuracy")
            figures = [f"{result['codes']:,}", str(result["layers"]), str(result["layer_most"])]
            rows.append([NETWORKS[name], route, *figures, worst, output, *accuracies])
    heads = ["network", "from", "codes", "layers", "off by at most", "most in", "output off", "accuracy", "of the file"]
    return table(heads, rows, left=2)


def write(results: Results, path: Path) -> None:
    """Write the page of all networks."""
    text = f"""# Results: models from files

MLPerf Tiny's four reference networks with their published weights, by every way into the project. `make imports`, with
the data sets of [tasks.md](../tasks.md) in `$DARB_DATA`; `python -m benchmarks.imports kws` for some of them. All of
them pass `check`, and are quantised and encoded.

## Floats

Written by the exporters of torch with their own settings, loaded, and compared with the module of torch: the greatest
difference over the greatest output, {SAMPLES} inputs. It may be {ALIKE:g}. Accuracy is that of the integers, calibrated
with {CALIBRATION} inputs and not trained.

{_floats(results)}
## Integers

Files that are quantised already keep their scales, zero points and integers. Every layer is computed from the integers
that the interpreter of the file has in front of it (onnxruntime; LiteRT's reference kernels), and compared with those
behind it, {SAMPLES} inputs: *off by at most*, and the layer with the largest share of results that differ. Why they
differ: [models.md](../models.md#quantised-models). *Output off* is the whole network from its input: small differences
of all layers add up, and the unit of an output is small.

{_integers(results)}
Accuracy: DS-CNN on all 1,000 clips of `kws01-mfcc`, ResNet-8 on 1,000 test images of CIFAR-10. *Of the file*: what its
own interpreter has right. For the others there are no data of their kind, but stand-ins.
"""
    write_atomic(path, text.encode())
