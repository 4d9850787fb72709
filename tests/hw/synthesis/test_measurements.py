"""Reports in a store, and the plans of their engines."""

import json
from dataclasses import replace

import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate, manifest_bytes
from darb_hw.estimate.features import features_of
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_hw.synthesis.measurements import keep, measurements
from tests.hw.samples import REPORT
from tests.networks import random_network


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    network = random_network(5, sizes=(9, 11, 4)).network
    return generate(network, EngineConfig(lanes=2, device="ecp5-25k"), tmp_path_factory.mktemp("build"))


def test_what_was_kept(build, tmp_path):
    store, report = Store(tmp_path), replace(REPORT, digest=build.digest)
    assert list(measurements(store)) == []
    for _ in range(2):
        keep(store, report, build.manifest, build.network.read_bytes())
    ((read, plan),) = measurements(store)
    assert read == report
    assert plan.config == build.plan.config
    assert features_of(plan) == features_of(build.plan)


def _sealed(**changes):
    def change(files):
        manifest = json.loads(files["manifest.json"]) | changes
        files["manifest.json"] = manifest_bytes(manifest)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.pop("network.darb"),  # as stores had it once
        lambda files: files.update({"network.darb": files["network.darb"][:-1]}),
        lambda files: files.update({"network.darb": random_network(6, sizes=(9, 11, 4)).network.pack()}),
        lambda files: files.update({"report.json": b"[]"}),
        lambda files: files.update({"manifest.json": b"{}"}),
        lambda files: files.update({"report.json": REPORT.packed()}),  # of another design
        _sealed(widths={"weight": 8}),  # planned otherwise
        _sealed(config={}),
    ],
)
def test_what_says_too_little(change, build, tmp_path):
    report = replace(REPORT, digest=build.digest)
    files = {
        "report.json": report.packed(), "manifest.json": manifest_bytes(dict(build.manifest)),
        "network.darb": build.network.read_bytes(),
    }  # fmt: skip
    store = Store(tmp_path)
    store.put(Entry("0" * 64, "measurement", "whole", dict(files)))
    assert [measurement is None for measurement in measurements(store)] == [False]
    change(files)
    store.put(Entry("1" * 64, "measurement", "changed", files))
    assert [measurement is None for measurement in measurements(store)] == [False, True]
