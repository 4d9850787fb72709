"""Samples: from builds, from reports, as a table."""

import json
from dataclasses import replace

import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.estimate.features import features_of
from darb_hw.estimate.sample import (
    Sample,
    joined,
    planned,
    read_samples,
    sample_of_build,
    samples_csv,
    samples_of_store,
    shipped_samples,
)
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_hw.synthesis import tools
from darb_hw.synthesis.circuit import Circuit
from darb_hw.synthesis.measurements import keep
from darb_hw.synthesis.report import CriticalPath, SynthReport, Usage
from darb_hw.synthesis.yosys import Synthesis
from darb_prune.encoded import DarbError
from tests.hw.estimate.made import made_samples
from tests.networks import random_network


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    return generate(random_network(5, sizes=(9, 11, 4)).network, EngineConfig(lanes=2, device="ecp5-25k"), folder)


@pytest.fixture
def synth(build):
    """The folder of results, empty."""
    folder = build.folder / "synth"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    return folder


def store_with(build, folder, failure=""):
    """A store with what Yosys counted of a build."""
    cells = {"LUT4": 300, "CCU2C": 20, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 500, "DP16KD": 5, "MULT18X18D": 3}
    circuit, store = Circuit.of(build), Store(folder)
    job = Synthesis(circuit.files, circuit.script, tools.yosys().version, circuit.title)
    files = {"cells.json": json.dumps({"design": {"num_cells_by_type": cells}}).encode()}
    store.put(Entry(job.key, job.kind, job.label, files, failure))
    return store


def report_of(build):
    path = CriticalPath(1, "a", "b", 1.0, 0.5, ())
    return SynthReport(
        "random", "ecp5-25k", 2, 8, Usage(350, 1), Usage(400, 1), Usage(600, 1), Usage(5, 1), Usage(3, 1),
        {2: 201.0, 1: 200.5}, 240.0, 1, 1, 1, 1, 1, 1, 1.0, 1.0, 1.0, path, {}, build.digest,
    )  # fmt: skip


def test_of_a_netlist(build, synth, tmp_path):
    sample = sample_of_build(build.folder, store_with(build, tmp_path))
    assert (sample.luts, sample.ffs, sample.block_rams, sample.dsps) == (352, 500, 5, 3)
    assert (sample.logic_cells, sample.fmax_mhz) == (0, ())
    assert (sample.network, sample.device, sample.family, sample.lanes) == ("random", "ecp5-25k", "ecp5", 2)
    assert sample.features == features_of(build.plan)
    assert (sample.planned_block_rams, sample.planned_dsps) == planned(build.plan)


def test_of_a_report(build, synth, tmp_path):
    report = report_of(build)
    (synth / "report.json").write_bytes(report.packed())
    sample = sample_of_build(build.folder, Store(tmp_path))
    assert sample == Sample.of_report(build.plan, report)
    assert (sample.luts, sample.logic_cells, sample.fmax_mhz) == (350, 400, (200.5, 201.0))


def test_a_report_of_another_design_is_not_read(build, synth, tmp_path):
    (synth / "report.json").write_bytes(replace(report_of(build), digest="another").packed())
    assert sample_of_build(build.folder, store_with(build, tmp_path)).luts == 352


def test_what_was_not_synthesised(build, synth, tmp_path):
    for store in (Store(tmp_path / "empty"), store_with(build, tmp_path / "failed", "it does not fit")):
        with pytest.raises(DarbError, match="not synthesised as it is now: run darb synth on it first"):
            sample_of_build(build.folder, store)


def test_reports_that_are_none(build, synth, tmp_path):
    (synth / "report.json").write_text("[]")
    with pytest.raises(DarbError, match="damaged report"):
        sample_of_build(build.folder, Store(tmp_path))


def test_what_is_no_build(tmp_path):
    with pytest.raises(DarbError, match=r"no manifest\.json there"):
        sample_of_build(tmp_path)


def test_of_a_store(build, tmp_path):
    """A design that was placed twice is that with the most seeds; what has no numbers is counted."""
    store, report = Store(tmp_path), report_of(build)
    assert samples_of_store(store) == ([], 0)
    kept = [replace(report, fmax_mhz=dict.fromkeys(range(1, seeds + 1), 200.0 + seeds)) for seeds in (1, 3, 2)]
    for one in (*kept, replace(report, luts=Usage(0, 1)), replace(report, ffs=Usage("x", 1))):
        keep(store, one, build.manifest, build.network.read_bytes())
    samples, others = samples_of_store(store)
    assert samples == [Sample.of_report(build.plan, kept[number]) for number in (0, 2, 1)]
    assert others == 2
    assert joined(samples) == [Sample.of_report(build.plan, kept[1])]


def test_a_table_and_back(tmp_path):
    samples = joined(made_samples())
    path = tmp_path / "samples.csv"
    path.write_text(samples_csv(samples))
    assert read_samples(path) == samples
    assert samples_csv(read_samples(path)) == path.read_text()


def test_each_design_once():
    first, second = made_samples()[:2]
    newer = replace(first, luts=7)
    assert joined([second, first], [newer]) == sorted([newer, second], key=lambda one: one.device)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "no samples"),
        (lambda text: text.splitlines()[0], "no samples"),
        (lambda text: text.replace("ecp5-25k", "ecp5-99k"), "line 4: no sample"),
        (lambda text: text.replace(",1,", ",-1,", 1), "line 2: no sample"),
        (lambda text: text.replace(",1,", ",nan,", 1), "line 2: no sample"),
        (lambda text: text + "x\n", "line 50: no sample"),
        (lambda text: text.replace("luts", "LUTs", 1), "line 2: no sample"),
    ],
)
def test_tables_that_are_none(damage, message, tmp_path):
    path = tmp_path / "samples.csv"
    path.write_text(damage(samples_csv(made_samples())))
    with pytest.raises(DarbError, match=message):
        read_samples(path)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "samples.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DarbError, match="no table of samples"):
        read_samples(tmp_path / "samples.csv")


def test_block_rams_and_dsps_of_shipped_designs():
    """Exact from the plan in 95 % of designs, and the others are near."""
    samples = shipped_samples()
    off = [sample.block_rams - sample.planned_block_rams for sample in samples]
    assert sum(difference == 0 for difference in off) >= 0.95 * len(samples)
    assert max(map(abs, off)) <= 3
    assert [sample.digest for sample in samples if sample.dsps != sample.planned_dsps] == []
