"""The peers themselves, where they are installed."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers import ladder, limits, simulate


def needs(*modules):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed: pip install 'darb[peers]'")


def checked(tmp_path, network, tool, samples, *options):
    """What the simulation of a generated peer showed."""
    path = tmp_path / "net.darb"
    network.save(path)
    folder = tmp_path / tool
    folder.mkdir()
    command = limits.module("generate", path, folder, "--tool", tool, "--samples", samples, *options)
    limits.run(command, folder, "log", 5)
    return simulate.simulate(folder, json.loads((folder / "generated.json").read_text()), 5, "icarus")


@pytest.mark.simulator
@needs("alkaid")
@pytest.mark.parametrize("options", [(), ("--sums",)])
def test_alkaid(tmp_path, options):
    made = ladder.make(12)
    seen = checked(tmp_path, made, "alkaid", 100, "--cutoff", "2", *options)
    assert (seen.samples, seen.elements, seen.interval) == (100, 1200, 1)
    assert seen.latency > 1


@pytest.mark.simulator
@needs("nngen")
def test_nngen(tmp_path):
    made = ladder.make(12)
    (layer,) = made.layers  # with the shifts of multipliers of 8 bits, which differ
    less = np.arange(layer.rows) % 3
    narrow = replace(layer, mult=(layer.mult >> 8 + less).astype(np.int32), shift=layer.shift - (8 + less))
    made = replace(made, layers=(replace(narrow, shift=narrow.shift.astype(np.uint8)),))
    seen = checked(tmp_path, made, "nngen", 3, "--left", "2", "--right", "2")
    assert (seen.samples, seen.elements) == (3, 36)
    assert seen.interval > 12 * 12 / 4
