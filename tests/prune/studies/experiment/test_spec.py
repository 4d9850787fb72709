"""The file of an experiment, and the runs that it asks for."""

import json
import os
from pathlib import Path

import pytest

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.studies.experiment import spec as spec_file
from darb_prune.studies.experiment.spec import DENSE, TUNED
from tests.prune.studies.experiment.quick import QUICK

ROOT = Path(__file__).resolve().parents[4]


def test_file(spec):
    experiment = spec(QUICK + 'label = "free"\nratios = [13, 25]\n')
    assert (experiment.name, experiment.seeds, experiment.ratios) == ("quick", (0, 1), (4, 8))
    assert experiment.methods["bank"].options() == {"method": "bank", "kept": 4}
    assert experiment.label("irregular") == "free"
    assert experiment.label("darb") == "darb"
    assert spec_file.subject(experiment) == "darb"
    planned = spec_file.plan(experiment, tasks.get("digits"))
    assert [(run.method, run.seed) for run in planned[:3]] == [(DENSE, 0), (DENSE, 1), (TUNED, 0)]
    assert [run.ratio for run in planned if run.method == "irregular"] == [13, 25] * 2
    assert len({run.digest for run in planned}) == len({run.stem for run in planned}) == len(planned) == 16


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kept = 4", "kept = 0", "methods.bank.kept: 0: input should be greater than or equal to 1"),
        ("kept = 4", "keep = 4", "methods.bank.keep: unknown"),
        ("kept = 4", "steps = 4", r"methods.bank.steps: the schedule is the same for all; set it in \[pruning\]"),
        ("kept = 4", "final_epochs = 4", "methods.bank.final_epochs: the schedule is the same"),
        ("[methods.darb]", '[methods.darb]\nlevels = ["2;1"]', 'methods.darb.levels.0: level .*: write "b,m"'),
        ("kept = 4", 'saliency = "mean"', "methods.bank: saliency: method bank has no such option; .*: darb, mixed"),
        ("kept = 4", "kept = 4\ngroup = 8", "methods.bank: group and kept exclude each other"),
        ("kept = 4", "admm = -1", "methods.bank.admm: -1.0 must be a number from 0 up"),
        ("kept = 4", 'order = "random"', "methods.bank.order: 'random': input should be 'none'"),
        ("methods.bank", "methods.mine", "methods.mine.method: missing; choose one of darb, mixed"),
        ("methods.bank", "methods.dense", "methods.dense: every experiment has this reference"),
        ('"digits"', '"digit"', "task: 'digit': input should be 'digits'"),
        ("seeds = 2", "seeds = []", "seeds: .* at least 1"),
        ("seeds = 2", "seeds = [1, 1]", "seeds: has a value twice"),
        ("seeds = 2", "seeds = -1", "seeds: -1"),
        ("seeds = 2", f"seeds = {10**23}", f"seeds: {10**23} are too many; at most 1000 are possible"),
        ("seeds = 2", f"seeds = {'9' * 5000}", "no TOML that can be read"),
        ("seeds = 2", f"seeds = {'[' * 10_000}", "no TOML that can be read"),
        ("[4, 8]", "[1, 8]", "ratios.0: 1: input should be greater than 1"),
        ("steps = 2", "steps = 0", "pruning.steps: 0"),
        ("epochs = 3", "epoch = 3", "training.epoch: unknown"),
        ("kept = 4", 'label = "darb"', "methods: two have the same label"),
        ("seeds = 2", 'seeds = 2\nsubject = "nm"', "subject: no method is called 'nm'"),
        ("seeds = 2", "seeds = 2\ndistillation = true", "distillation: True"),
        ("seeds = 2", "seeds 2", "no TOML"),
    ],
)
def test_mistakes_are_one_line_that_names_the_field(spec, old, new, message):
    with pytest.raises(DarbError, match=message) as error:
        spec(**{old: new})
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(DarbError, match="no such file"):
        spec_file.load(tmp_path / "none.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(DarbError, match=r"pipe.toml: is a pipe or a device; copy what it gives into a file; give"):
        spec_file.load(tmp_path / "pipe.toml")


def test_names_that_would_share_a_file_are_refused(tmp_path):
    def load(*names):
        methods = "".join(f'[methods."{name}"]\nmethod = "darb"\n' for name in names)
        path = tmp_path / "one.toml"
        path.write_text(f'task = "digits"\nseeds = 1\nratios = [4]\n{methods}')
        return spec_file.load(path)

    with pytest.raises(DarbError, match="two names differ in punctuation only"):
        load("darb, x", "darb x")
    with pytest.raises(DarbError, match="longer than 100 letters"):
        load("x" * 101)
    assert list(load("darb, x", "darb y").methods) == ["darb, x", "darb y"]


def test_every_method_is_trained_the_same(spec):
    planned = spec_file.plan(spec(), tasks.get("digits"))
    schedules = [run.settings["pruning"] for run in planned if run.method != DENSE]
    for name in ("steps", "epochs", "final_epochs", "rate", "final_rate"):
        assert len({schedule[name] for schedule in schedules}) == 1
    assert len({json.dumps(run.settings["training"]) for run in planned}) == 1


def test_settings_that_change_results_change_the_digest(spec):
    def digests(**replaced):
        return {run.stem: run.digest for run in spec_file.plan(spec(**replaced), tasks.get("digits"))}

    base = digests()
    assert not base.keys() & digests(**{"epochs = 3": "epochs = 4"}).keys()
    kept = base.keys() & digests(**{"final_epochs = 2": "final_epochs = 4"}).keys()
    assert {name.split("-")[0] for name in kept} == {"dense"}
    assert len(kept) == 2
    # More seeds, ratios and methods leave what there is.
    assert base.keys() < digests(**{"seeds = 2": "seeds = 3", "[4, 8]": "[4, 8, 13]"}).keys()


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "experiments").glob("*.toml")), ids=lambda path: path.stem)
def test_examples(path):
    experiment = spec_file.load(path)
    assert spec_file.subject(experiment) == "darb"
    assert experiment.task == path.stem
    assert {"bank", "nm", "irregular"} <= experiment.methods.keys()
