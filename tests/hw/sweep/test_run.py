"""Whole sweeps with stand-ins for the tools: the same bytes whoever works, nothing run twice, refusals in the table."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.estimate.estimate import estimate
from darb_hw.estimate.model import shipped
from darb_hw.jobs.cluster import ClusterPool
from darb_hw.jobs.threads import ThreadPool
from darb_hw.store import store as store_module
from darb_hw.store.store import Store
from darb_hw.sweep.points import grid
from darb_hw.sweep.run import run_sweep
from darb_hw.sweep.spec import sweep_of
from darb_hw.synthesis.circuit import Circuit
from darb_hw.synthesis.measurements import measurements
from darb_prune.pareto import pareto
from tests.hw.sweep.standin_tools import design_digest, write_figures
from tests.networks import random_network

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "net.darb"
    random_network(5, sizes=(9, 11, 4)).network.save(path)
    axes = {"lanes": [1, 2, 16], "device": ["ecp5-25k", "ice40-up5k"], "lane_multiplier": "dsp"}
    return sweep_of({"networks": path, "seeds": 2, "axes": axes}, "x")


def test_the_same_bytes_whoever_works(sweep, log, tmp_path):
    """6 points, of which one does not fit; each job is run once in each store."""
    points, store = grid(sweep), Store(tmp_path / "serial")
    with ThreadPool(1, store) as pool:
        results = run_sweep(sweep, points, tmp_path / "a", pool, store)
    assert [result.report is None for result in results] == [False] * 5 + [True]
    runs = Counter(log.read_text().splitlines())
    assert max(runs.values()) == 1
    assert Counter(line.split()[0] for line in runs) == {"yosys": 5, "nextpnr": 10}
    read = [measurement for measurement in measurements(store) if measurement]
    assert len(read) == 5
    assert {report.digest for report, _ in read} == {result.report.digest for result in results if result.report}

    with ThreadPool(1, store) as pool:
        run_sweep(sweep, points, tmp_path / "b", pool, store)
    assert Counter(log.read_text().splitlines()) == runs

    log.write_text("")
    with ClusterPool(Store(tmp_path / "cluster"), jobs=2) as pool:
        run_sweep(sweep, points, tmp_path / "c", pool, Store(tmp_path / "cluster"))
    assert Counter(log.read_text().splitlines()) == runs
    for name in ("sweep.csv", "sweep.json"):
        first = (tmp_path / "a" / name).read_bytes().replace(b'"name": "a"', b"")
        for other in "bc":
            assert (tmp_path / other / name).read_bytes().replace(f'"name": "{other}"'.encode(), b"") == first
    rows = (tmp_path / "a" / "sweep.csv").read_text().splitlines()
    assert len(rows) == 7
    assert "16 DSP blocks needed, ice40-up5k has 8" in (tmp_path / "a" / "sweep.csv").read_text()

    # What a page needs: where cycles go, and what a build of the point says.
    good = json.loads((tmp_path / "a" / "sweep.json").read_text())["points"][0]
    build = generate(sweep.networks[0], EngineConfig(lanes=1, device="ecp5-25k", lane_multiplier="dsp"), tmp_path / "d")
    assert good["plan"]["layers"] == json.loads(json.dumps(build.manifest["layers"]))
    assert good["report"]["digest"] == build.digest


def _front(results, device):
    """Labels of the points of a device that no other one beats in LUTs and inferences/s."""
    built = [result for result in results if result.report and result.report.device == device]
    front = pareto([(result.report.luts.used, result.report.inferences_per_second) for result in built])
    return [built[index].point.label for index in front]


def test_dominated_points_are_skipped(log, tmp_path):
    """Figures anywhere in the intervals of the estimates: less is built, and the front is that of the full sweep.

    Validation says which network is the better one; test data say the opposite.
    """
    paths = [tmp_path / "small.darb", tmp_path / "large.darb"]
    for path, sizes, validation, test in zip(
        paths, ((9, 11, 4), (40, 60, 40, 4)), (0.97, 0.95), (0.9, 0.99), strict=True
    ):
        provenance = {"task": "digits", "accuracy": {"integer": {"validation": validation, "test": test}}}
        replace(random_network(5, sizes=sizes).network, provenance=provenance).save(path)
    axes = {"lanes": [2, 4], "device": ["ecp5-25k", "ice40-up5k"]}
    sweep = sweep_of({"networks": paths, "seeds": 1, "axes": axes, "prune_dominated": True}, "x")
    points, rng, figures = grid(sweep), np.random.default_rng(0), {}
    for point in points:
        build = generate(point.file, EngineConfig(**point.engine), tmp_path / "build")
        made = estimate(build.plan, shipped())
        luts, mhz = (rng.uniform(between.low, between.high) for between in (made.luts, made.fmax_mhz))
        figures[design_digest(Circuit.of(build).files)] = (round(luts), mhz)
    write_figures(tmp_path / "bin", figures)

    store = Store(tmp_path / "store")
    with ThreadPool(1, store) as pool:
        pruned = run_sweep(sweep, points, tmp_path / "a", pool, store)
    states = Counter(result.status for result in pruned)
    assert states["skipped"] >= 3
    assert states["failed"] == 0
    assert Counter(line.split()[0] for line in log.read_text().splitlines()) == dict.fromkeys(
        ("yosys", "nextpnr"), states["ok"]
    )
    skipped = {result.point.label: result for result in pruned if result.skipped}
    best = skipped["large, ecp5-25k, 4 lanes"]
    assert best.reason == "estimated to be no better than small, ecp5-25k, 2 lanes in anything"
    assert (best.accuracy, best.weight_bits, best.report, best.manifest) == (0.99, 8, None, None)
    assert "0.99,skipped," in (tmp_path / "a" / "sweep.csv").read_text()
    content = json.loads((tmp_path / "a" / "sweep.json").read_text())
    assert Counter(point["status"] for point in content["points"]) == states

    with ThreadPool(1, store) as pool:
        full = run_sweep(sweep.model_copy(update={"prune_dominated": False}), points, tmp_path / "b", pool, store)
    assert {result.status for result in full} == {"ok"}
    for device in axes["device"]:
        assert _front(pruned, device) == _front(full, device)

    with ClusterPool(Store(tmp_path / "cluster"), jobs=2) as pool:
        assert run_sweep(sweep, points, tmp_path / "c", pool, Store(tmp_path / "cluster")) == pruned
    assert (tmp_path / "c" / "sweep.csv").read_bytes() == (tmp_path / "a" / "sweep.csv").read_bytes()


def test_the_option(log, tmp_path, darb):
    path = tmp_path / "net.darb"
    random_network(5, sizes=(40, 60, 40, 4)).network.save(path)
    axes = ["--lanes", "3,12", "--memory", "private,shared", "--device", "ice40-hx8k", "--seeds", 1]
    places = ["-o", tmp_path / "a", "--store", tmp_path / "store", "--jobs", 1]
    code, out, err = darb("sweep", path, *axes, "--prune-dominated", *places)
    assert (code, err) == (0, "")
    assert "skipped 1 of 4 points, which cannot be on a Pareto front: sweep.csv says why" in out
    (row,) = [line for line in out.splitlines() if "│" in line and "skipped" in line]
    assert row.replace("│", " ").split() == ["net", "ice40-hx8k", "12", "skipped"]
    assert Counter(line.split()[0] for line in log.read_text().splitlines()) == {"yosys": 3, "nextpnr": 3}


def test_results_that_are_there_are_written_when_it_is_stopped(sweep, log, tmp_path):
    points, store, seen = grid(sweep), Store(tmp_path / "store"), []

    def stop(result):
        seen.append(result)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ThreadPool(1, store) as pool:
        run_sweep(sweep, points, tmp_path / "a", pool, store, progress=stop)
    assert len((tmp_path / "a" / "sweep.csv").read_text().splitlines()) == 4
    before = len(log.read_text().splitlines())
    with ThreadPool(1, store) as pool:
        run_sweep(sweep, points, tmp_path / "a", pool, store)
    runs = Counter(log.read_text().splitlines())
    assert before < sum(runs.values())
    assert max(runs.values()) == 1


def test_from_a_task_to_a_row(log, tmp_path, darb):
    """Trained, pruned and compiled by real commands; the second sweep of the same file needs none of them."""
    path = tmp_path / "quick.toml"
    path.write_text(
        'task = "digits"\nseeds = 1\ntrain.epochs = 1\nprune.epochs = 1\nprune.steps = 1\ncompile.epochs = 0\n'
        '[axes]\nratio = 4\nlanes = 2\ndevice = "ecp5-25k"\n'
    )
    store = tmp_path / "store"
    code, _, err = darb("sweep", path, "-o", tmp_path / "a", "--jobs", 1, "--store", store)
    assert (code, err) == (0, "")
    header, row = (tmp_path / "a" / "sweep.csv").read_text().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert (values["network"], values["ratio"], values["status"]) == ("4x-w8", "4", "ok")
    assert 0.1 < float(values["accuracy"]) <= 1
    assert float(values["pruning_ratio"]) == pytest.approx(4, rel=0.1)
    kinds = Counter(record.label.split()[0] for record in Store(store).records() if record.kind == "command")
    assert kinds == {"train": 1, "prune": 1, "compile": 1}
    code, out, _ = darb("sweep", path, "-o", tmp_path / "b", "--jobs", 1, "--store", store)
    assert "0 jobs done, results of 6 were in" in out
    assert (tmp_path / "b" / "sweep.csv").read_bytes() == (tmp_path / "a" / "sweep.csv").read_bytes()


def test_a_disk_that_is_full(sweep, log, tmp_path, darb, monkeypatch):
    """One line, and what was finished before is kept."""
    real, written = store_module.write_atomic, []

    def write(path, data):
        written.append(path)
        if len(written) > 3:
            raise OSError(28, "No space left on device", str(path))
        return real(path, data)

    monkeypatch.setattr(store_module, "write_atomic", write)
    store = tmp_path / "store"
    arguments = ["sweep", sweep.networks[0], "--lanes", "1,2", "--device", "ecp5-25k", "--jobs", 1, "--store", store]
    code, _, err = darb(*arguments, "-o", tmp_path / "a")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert err.endswith("no space left on device; make room on that disk, or choose another\n")
    assert len(list(Store(store).keys())) == 2
    monkeypatch.setattr(store_module, "write_atomic", real)
    assert darb(*arguments, "-o", tmp_path / "a")[0] == 0
    assert max(Counter(log.read_text().splitlines()).values()) <= 2
