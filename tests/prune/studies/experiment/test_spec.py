"""The file of an experiment, and the runs that it asks for."""

import json
import os
from pathlib import Path

import pytest

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.studies.experiment import spec as spec_file
from darb_prune.studies.experiment.spec import DENSE, TUNED, MethodVariant
from tests.prune.studies.experiment.quick import AXES, QUICK

ROOT = Path(__file__).resolve().parents[4]


def test_file(spec):
    experiment = spec(QUICK + 'label = "free"\nratios = [13, 25]\n')
    assert (experiment.name, experiment.seeds, experiment.ratios) == ("quick", (0, 1), (4, 8))
    assert experiment.methods["bank"].options() == {"method": "bank", "kept": 4}
    assert experiment.label("irregular") == "free"
    assert experiment.label("darb") == "darb"
    assert spec_file.subject(experiment) == "darb"
    planned = spec_file.plan(experiment, tasks.get("digits"))
    assert [(run.method, run.seed) for run in planned[:3]] == [(DENSE, 0), (TUNED, 0), ("darb", 0)]
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
        ("kept = 4", 'budget = "bits"', "methods.bank: budget: method bank has no such option; .*: darb, mixed"),
        ("kept = 4", 'saliency = "luck"', "methods.bank.saliency: 'luck': input should be 'mean'"),
        ("kept = 4", "weight_bits = [4]", r"methods.bank.weight_bits: nothing is rounded; give weight_bits .*\[8\]"),
        ("kept = 4", "sizes = [0]", "methods.bank.sizes.0: 0: input should be greater than 0"),
        ("kept = 4", "sizes = [17]", "methods.bank.sizes.0: 17: input should be less than or equal to 16"),
        (
            "kept = 4",
            'method = "dense"\nratios = [2]',
            "methods.bank: ratios: method dense keeps all weights; give sizes",
        ),
        ("kept = 4", 'frontier = "x"', "methods.bank.frontier: 'x' is no table with a frontier of its own; name one"),
        ("kept = 4", 'frontier = "bank"', "methods.bank.frontier: 'bank' is no table with a frontier of its own"),
        ("seeds = 2", "seeds = 2\nweight_bits = 8", "weight_bits: 8: input should be a valid tuple"),
        ("seeds = 2", "seeds = 2\nweight_bits = [9]", "weight_bits.0: 9: input should be less than or equal to 8"),
        ("seeds = 2", 'seeds = 2\nsaliency = "luck"', "saliency: 'luck': input should be 'mean'"),
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


def test_tables_with_the_same_settings_share_their_runs(spec):
    planned = spec_file.plan(spec(QUICK + '[methods."darb, again"]\nmethod = "darb"\n'), tasks.get("digits"))
    names = [run.method for run in planned]
    assert names.count("darb") == names.count("darb, again") == 4
    assert len({run.stem for run in planned}) == len(planned) - 4


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


def test_sizes_and_bits_are_axes_and_each_run_follows_what_it_needs(spec):
    planned = spec_file.plan(spec(AXES), tasks.get("digits"))
    seen = set()
    for run in planned:
        assert {source.digest for source in run.sources} <= seen
        seen.add(run.digest)
    darb = [run.variant for run in planned if run.method == "darb"]
    assert sorted(darb) == [MethodVariant("darb", size, bits) for size in (1, 2) for bits in (0, 4, 8)]
    assert sorted(run.variant for run in planned if run.method == "nm") == [
        MethodVariant("nm", 1, bits) for bits in (0, 4, 8)
    ]
    small = next(run for run in planned if run.variant == MethodVariant("small", 0.25, 8))
    start = small.of_model.of_model
    assert (start.method, start.variant.size, start.of_teacher.variant.size) == (DENSE, 0.25, 1)
    assert start.of_teacher in planned
    assert [run.variant.size for run in planned if run.method == DENSE] == [1, 2, 0.25]
    assert {run.saliency for run in planned if run.ratio} == {"taylor"}
    assert len({run.stem for run in planned}) == len(planned)
