"""MLPerf Tiny's networks from files: the page, and a few inputs of the published int8 files."""

import pytest
import torch

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxscript")

from benchmarks.imports import page
from benchmarks.imports.measure import ALIKE, measure
from benchmarks.imports.routes import FILES, NETWORKS, ROUTES, network_of
from darb_prune import quantize
from darb_prune.tasks import DataSets
from darb_prune.tasks.mlperf import WEIGHTS

TORCH, LEGACY, DYNAMO, ONNX, TFLITE = ROUTES
FLOAT = {"problems": [], "codes": 10, "float": 1e-6, "accuracy": 0.9}
INTEGER = {
    "problems": [], "codes": 10, "input": True, "layers": 2, "layer_most": 1, "worst": "fc", "worst_share": 0.001,
    "output_most": 3, "output_share": 0.1,
}  # fmt: skip


def test_page(tmp_path):
    results = {"kws": {TORCH: FLOAT, TFLITE: INTEGER | {"accuracy": 0.901, "own_accuracy": 0.9}}, "ad": {ONNX: INTEGER}}
    page.write(results, tmp_path / "imports.md")
    text = (tmp_path / "imports.md").read_text()
    assert "| DS-CNN | torch | 1.0e-06 | 10 | 90.00 % |" in text
    assert "| DS-CNN | TFLite, int8 as published | 10 | 2 | 1 | fc, 0.10 % | 10.00 %, by 3 at most | 90.10 % |" in text
    assert (
        "| autoencoder | ONNX, int8 by onnxruntime | 10 | 2 | 1 | fc, 0.10 % | 10.00 %, by 3 at most | - | - |" in text
    )


@pytest.mark.parametrize(
    ("result", "failed", "words"),
    [
        (FLOAT, False, "floats 1.0e-06"),
        (FLOAT | {"float": 2 * ALIKE}, True, "floats 2.0e-05"),
        (INTEGER, False, "2 layers, none off by more than 1"),
        (INTEGER | {"layer_most": 3}, True, "none off by more than 3"),
        (INTEGER | {"input": False}, True, "2 layers"),
        ({"problems": ["fc: no"]}, True, "refused: fc: no"),
    ],
)
def test_what_fails(result, failed, words):
    assert page.failed(result) == failed
    assert words in page.verdict(result)


def network(name):
    """Skips without its data."""
    data = DataSets()
    needed = {WEIGHTS, *{"kws": ("kws01-mfcc",), "ad": ()}.get(name, ("cifar10-subset",))}
    if not all(map(data.available, needed)) or not (data.find(WEIGHTS) / f"{FILES[name]}.tflite").is_file():
        pytest.skip("MLPerf Tiny's files are not here; $DARB_DATA names the folder that holds them")
    return network_of(name, data)


@pytest.mark.parametrize("name", NETWORKS)
def test_published_integers(name):
    """Each layer gives the integers of LiteRT's reference kernels, from the same integers."""
    result = measure(network(name), TFLITE, samples=2, whole=False)
    assert (result["problems"], result["input"]) == ([], True)
    assert result["layers"] == {"kws": 11, "ic": 14, "vww": 29, "ad": 10}[name]
    assert result["layer_most"] <= 1
    assert result["worst_share"] < (0.15 if name == "ic" else 0.01)  # sums of other scales


@pytest.mark.parametrize("route", [LEGACY, DYNAMO, ONNX])
def test_exported(route):
    result = measure(network("kws"), route, samples=2, whole=False)
    assert not page.failed(result)


def test_accuracy_of_the_published_integers():
    kws = network("kws")
    imported = ROUTES[TFLITE](kws)
    inputs = imported.arranged(kws.inputs)
    integer = quantize(imported.model, inputs[:50], drop_softmax=True)
    found = torch.cat([integer(integer.quantize_input(part)).argmax(dim=1) for part in inputs.split(100)])
    assert abs(float((found == kws.labels).double().mean()) - 0.9) <= 0.003
