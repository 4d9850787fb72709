"""A quantised ONNX file through the generated Verilog: the engine gives the integers of the file."""

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")

from darb_hw.config import EngineConfig
from darb_prune import encode, load_onnx, quantize
from sim.launch import simulate
from sim.scenario import Scenario
from tests.quantized_graphs import Graph, tiny_cnn

pytestmark = pytest.mark.simulator


def unpadded():
    """An input of uint8 around 117 that nobody puts zeros around: its zero point is in the biases."""
    g = Graph((2, 4, 4), seed=2)
    x = g.qdq("x", 0.031, 117, np.uint8)
    a = g.qdq(g.node("Relu", g.conv(x, 2, 5, (2, 2), 0.031, 0.003)), 0.09, 0, np.uint8)
    return g, g.qdq(g.fc(g.node("Flatten", a), 45, 3, 0.09, 0.002), 0.3, -7)


def padded():
    return tiny_cnn(shared=True)


@pytest.mark.parametrize("make", [padded, unpadded])
def test_icarus(make, make_build, tmp_path):
    graph, output = make()
    x = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (6, *graph.shape)).astype(np.float32))
    integer = quantize(load_onnx(graph.save(tmp_path / "model.onnx", output)), x)
    network = encode(integer)
    vectors = integer.vectors(network, x)
    expected = graph.expected(output, x)
    # The bench compares every row with the vectors, and their outputs are those of the file.
    zero = network.tensor(network.input).zero
    assert np.array_equal(vectors.tensors[network.output], expected[-1])
    assert np.array_equal(vectors.tensors[network.input] - zero, expected[0])
    build = make_build(f"quantised-{make.__name__}", network, vectors, EngineConfig(lanes=2))
    reports = simulate(build, "icarus", [Scenario(tuple(range(6)), idle=0.2, stall=0.2)])
    assert [report.mismatch for report in reports] == [None]
    assert build.manifest["streams"]["input"].get("zero", 0) == zero
    assert (zero, network.tensor(network.input).bits) == ((0, 9) if make is padded else (-11, 8))
