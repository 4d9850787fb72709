"""darb estimate and darb refit."""

import json
from dataclasses import replace

import pytest

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.emit import generate
from darb_hw.estimate import sample
from darb_hw.estimate.model import Model, shipped
from darb_hw.estimate.sample import joined, samples_csv
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_hw.synthesis.measurements import keep
from tests.hw.estimate.made import made_samples
from tests.hw.samples import REPORT
from tests.networks import random_network


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.darb"
    random_network(5, sizes=(9, 11, 4)).network.save(path)
    return path


def test_table(darb, network, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = darb("estimate", network, "--lanes", "2,4")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if line.startswith(tuple(DEVICES))]
    assert [(row[0], row[1]) for row in rows] == [(device, lanes) for device in shipped().clocks for lanes in "24"]
    assert {row[-1] for row in rows} == {"yes"}
    assert "errors, unseen networks" in out
    assert f"{100 * shipped().areas['luts']['ecp5'].median_error:.1f} %" in out


def test_json(darb, network):
    code, out, _ = darb("estimate", network, "--device", "ecp5-25k", "--lanes", "4", "--json")
    assert code == 0
    values = json.loads(out)
    (made,) = values["estimates"]
    assert (made["device"], made["lanes"], made["fits"]) == ("ecp5-25k", 4, "yes")
    rate, clock = made["inferences_per_second"], made["fmax_mhz"]
    assert rate["low"] == pytest.approx(clock["low"] * 1e6 / made["interval_cycles"])
    assert clock["low"] < clock["value"] < clock["high"]
    assert values["errors"] == shipped().errors()


def test_what_does_not_fit_is_said(darb, tmp_path):
    path = tmp_path / "large.darb"
    random_network(5, sizes=(900, 900, 10)).network.save(path)
    code, out, _ = darb("estimate", path, "--device", "ice40-up5k", "--lanes", "2")
    assert code == 0
    assert "no plan" in out
    assert "ice40-up5k, 2 lanes: does not fit ice40-up5k" in out.replace("\n", " ")


def test_a_model_of_ones_own(darb, network, tmp_path, monkeypatch):
    """Fitted on the designs of the package and on builds; then used."""
    package = tmp_path / "package.csv"
    package.write_text(samples_csv(joined(made_samples(4))))
    monkeypatch.setattr("darb_hw.estimate.sample.shipped_samples", lambda: sample.read_samples(package))
    monkeypatch.setattr("darb_hw.estimate.sample.sample_of_build", lambda folder, store: own[int(folder.name)])
    own = [one for one in made_samples(6) if one.network >= "network 4"]
    builds = [tmp_path / str(number) for number in range(len(own))]
    code, out, err = darb("refit", *builds, "-o", tmp_path / "fit")
    assert (code, err) == (0, "")
    assert "errors, unseen networks" in out
    names = sorted(path.name for path in (tmp_path / "fit").iterdir())
    assert names == ["estimates.md", "estimates.png", "model.json", "samples.csv"]
    model = Model.load(tmp_path / "fit" / "model.json")
    assert model.areas["luts"]["ecp5"].networks == 6
    code, out, _ = darb(
        "estimate", network, "--device", "ecp5-25k", "--lanes", 1, "--json", "--model", tmp_path / "fit" / "model.json"
    )
    assert json.loads(out)["errors"] == model.errors() != shipped().errors()


def test_designs_of_the_store(darb, tmp_path, monkeypatch):
    """Without build folders; results that say too little are counted."""
    package = tmp_path / "package.csv"
    package.write_text(samples_csv(joined(made_samples(4))))
    monkeypatch.setattr("darb_hw.estimate.sample.shipped_samples", lambda: sample.read_samples(package))
    network = random_network(5, sizes=(9, 11, 4)).network
    build = generate(network, EngineConfig(lanes=2, device="ecp5-25k"), tmp_path / "build")
    report, store = replace(REPORT, digest=build.digest), Store(tmp_path / "store")
    old = {"report.json": report.packed(), "manifest.json": json.dumps(build.manifest).encode()}
    store.put(Entry("0" * 64, "measurement", "without its network", old))
    code, out, err = darb("refit", "-o", tmp_path / "fit", "--store", store.folder)
    assert code == 2
    assert "left out 1 results of" in out
    assert "store: no design to fit on" in err
    assert not (tmp_path / "fit").exists()

    keep(store, report, build.manifest, build.network.read_bytes())
    code, out, err = darb("refit", "-o", tmp_path / "fit", "--store", store.folder)
    assert (code, err) == (0, "")
    assert "left out 1 results of" in out
    samples = sample.read_samples(tmp_path / "fit" / "samples.csv")
    assert len(samples) == 33
    (own,) = [one for one in samples if one.digest == build.digest]
    assert (own.luts, own.fmax_mhz, own.features["lane"]) == (100, (120.0, 100.0, 150.0), 2)


def test_builds_alone_may_be_too_few(darb, tmp_path, monkeypatch):
    monkeypatch.setattr("darb_hw.estimate.sample.sample_of_build", lambda folder, store: made_samples(1)[0])
    code, out, err = darb("refit", tmp_path, "-o", tmp_path / "fit", "--alone")
    assert (code, out) == (2, "")
    assert "at least 2 are needed to tell an error; give more builds" in err
    assert not (tmp_path / "fit").exists()
