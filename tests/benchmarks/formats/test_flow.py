"""The shoot-out itself on a small layer: masks, simulation, synthesis, page."""

import json

import numpy as np
import pytest
import torch

from benchmarks.formats import build, layers, measure, page
from benchmarks.formats.engine import network_of
from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DarbError
from tests.benchmarks.formats.random_formats import random_format

WEIGHT = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", layers.FORMATS)
def test_formats_keep_the_same_number_of_weights(name):
    pruned = layers.prune(WEIGHT, name, 16)
    assert pruned.mask.sum() == (WEIGHT.numel() if name == "dense" else WEIGHT.numel() // 16)
    assert pruned.retained == pytest.approx(
        float((pruned.weight.astype(float) ** 2)[pruned.mask].sum() / (pruned.weight.astype(float) ** 2).sum()),
        abs=0.01,
    )
    # No mask keeps more than the one that is free to choose.
    assert name == "dense" or pruned.retained <= layers.prune(WEIGHT, "coordinate", 16).retained + 1e-9


@pytest.mark.parametrize("name", ["dense", "darb", "bank", "nm"])
def test_levels_of_the_engine(name):
    pruned = layers.prune(WEIGHT, name, 8)
    network = network_of(pruned)
    assert network.kept == pruned.mask.sum()
    plan = Plan.make(network, EngineConfig(lanes=8, device="ecp5-85k"))
    # No engine of 8 lanes can be faster.
    assert plan.timing.compute >= network.kept / 8


def test_masks_for_a_norm():
    aim = layers.prune(WEIGHT, "darb", 8).retained
    for name in ("nm", "block4", "coordinate"):
        found = measure._keeping(WEIGHT, name, aim)
        assert found.retained >= aim
        sparser = layers.prune(WEIGHT, name, 1.4 * found.mask.size / found.mask.sum())
        assert sparser.retained < aim


@pytest.fixture
def written(tmp_path):
    matrix, encoded = random_format("darb", 5)
    return matrix, build.write_skeleton(encoded, build.accumulator_bits([encoded]), tmp_path), tmp_path


@pytest.mark.simulator
def test_simulation_finds_a_wrong_bit(written, monkeypatch):
    matrix, skeleton, folder = written
    seen = build.simulate(skeleton, matrix, folder)
    assert seen["cycles"] == skeleton.total
    # What is done is not done again.
    with monkeypatch.context() as patch:
        patch.setattr(build, "_run", None)
        assert build.simulate(skeleton, matrix, folder) == seen
    rom = folder / "rom" / "index0.hex"
    words = rom.read_text().splitlines()
    step = np.flatnonzero(skeleton.encoded.weights[:, 0])[0]
    words[step] = f"{int(words[step], 16) ^ 1:0{len(words[step])}x}"
    rom.write_text("\n".join(words) + "\n")
    with pytest.raises(DarbError, match="its reference"):
        build.simulate(skeleton, matrix, folder)


@pytest.mark.synthesis
def test_decoder_resources(tmp_path):
    _, encoded = random_format("coordinate", 3)
    # Nothing but registers where regions are aligned; the bit of the region is the same for all lanes.
    found = build.decoder_resources(encoded, True, tmp_path)
    assert found == {
        "luts": 0, "ffs": encoded.lanes * encoded.index_bits + 1, "block_rams": 0, "dsps": 0,
    }  # fmt: skip
    assert build.decoder_resources(encoded, False, tmp_path)["luts"] >= encoded.lanes * encoded.index_bits


def test_page(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "BUILD", tmp_path / "build")
    monkeypatch.setattr(measure, "LANES", (8,))
    for module in (layers, measure, page):
        monkeypatch.setattr(module, "LAYERS", {"lenet": layers.Workload("a small layer", lambda: WEIGHT, (13,))})
    some = {name: layers.FORMATS[name] for name in ("dense", "darb", "block4", "coordinate")}
    monkeypatch.setattr(measure, "FORMATS", some)
    counts = {"luts": 24, "ffs": 3, "block_rams": 2, "dsps": 8}
    monkeypatch.setattr(build, "resources", lambda folder, top: counts)
    monkeypatch.setattr(build, "simulate", lambda skeleton, matrix, folder: {"sums": 2 * len(matrix)})
    monkeypatch.setattr(build, "fmax", lambda folder, seed: 100.0 + seed)
    pruned = measure.pruned_layers("lenet", 13)
    points = [measure.measure(pruned, *point, (1, 2, 3), lambda what: None) for point in measure.points()]
    assert len(points) == len(some)
    assert "102.0 MHz" in page.line(points[0])
    found = {"tools": {"yosys": "1"}, "points": points, "equal_norm": measure.at_equal_norm("lenet", 13, 8)}
    page.write(json.loads(json.dumps(found)), tmp_path)
    text = (tmp_path / "formats.md").read_text()
    darb = next(point for point in points if point["format"] == "darb")
    # Codes a cycle and LUT: of 24 LUTs.
    assert f"| {darb['kept'] / darb['cycles'] / 24:.3f} |" in text
    assert "**102.0** (101.0 to 103.0)" in text
    for name in ("formats.png", "formats-decoders.png", "formats-equal.png"):
        assert (tmp_path / name).stat().st_size > 10_000
