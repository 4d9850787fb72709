"""Every method of an experiment gets the same: dense model, batches, labels, epochs, saliency, rounding."""

import hashlib
from collections import defaultdict

import pytest

from darb_prune import tasks
from darb_prune.pruning import selection
from darb_prune.runs import pipeline
from darb_prune.runs.folder import model_digest
from darb_prune.studies.experiment import run
from darb_prune.studies.experiment import spec as spec_file
from darb_prune.training.batches import Batches

METHODS = ("darb", "mixed", "bank", "nm", "bmwm", "irregular", "block", "structured", "dense")
FILE = """
task = "digits"
seeds = 1
ratios = [4]
weight_bits = [4]
saliency = "fisher"

[training]
epochs = 2

[pruning]
steps = 2
epochs = 1
final_epochs = 2

[quantization]
epochs = 1
""" + "".join(f'[methods."a {name}"]\nmethod = "{name}"\n' for name in METHODS)


class Watch:
    """What each method is given, by the name of its table."""

    def __init__(self) -> None:
        self.seen = defaultdict(lambda: defaultdict(list))
        self.method, self.labels, self.trains = "", True, True
        self.real = run.execute, pipeline.prune_model, selection.collect, Batches.__iter__

    def execute(self, planned, *rest):
        self.method, self.labels = planned.method, not planned.variant.bits
        self.seen[self.method]["saliency"] += [planned.saliency] if planned.ratio else []
        return self.real[0](planned, *rest)

    def prune_model(self, task, model, *rest, **options):
        mine = self.seen[self.method]
        mine["dense"].append(model_digest(model))
        mine["schedule"].append(options["schedule"])
        return self.real[1](task, model, *rest, **options)

    def collect(self, *rest):
        self.trains = False
        try:
            return self.real[2](*rest)
        finally:
            self.trains = True

    def batches(self, loader):
        for inputs, labels in self.real[3](loader):
            if self.trains:
                # What is rounded learns from itself, so labels are alike before that only.
                contents = inputs.numpy().tobytes() + (labels.numpy().tobytes() if self.labels else b"")
                self.seen[self.method]["batches"].append(hashlib.sha256(contents).hexdigest())
            yield inputs, labels


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder, watch = tmp_path_factory.mktemp("fair"), Watch()
    (folder / "fair.toml").write_text(FILE)
    experiment = spec_file.load(folder / "fair.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "execute", watch.execute)
        patch.setattr(pipeline, "prune_model", watch.prune_model)
        patch.setattr(selection, "collect", watch.collect)
        patch.setattr(Batches, "__iter__", lambda loader: watch.batches(loader))
        records = run.run(experiment, folder / "work", progress=False)
    assert {record["state"] for record in records} == {"done"}
    return watch.seen


def test_the_first_method_gets_what_the_file_says(seen):
    mine = seen["a darb"]
    whole = len(tasks.get("digits").batches(tasks.get("digits").load()["train"], 0))
    assert len(mine["batches"]) == (1 + 2 + 1) * whole  # two steps of pruning, and rounding
    assert set(mine["saliency"]) == {"fisher"}
    assert [schedule.final_epochs for schedule in mine["schedule"]] == [2]


@pytest.mark.parametrize("what", ["dense", "schedule", "batches", "saliency"])
@pytest.mark.parametrize("name", METHODS[1:])
def test_all_others_get_the_same(seen, name, what):
    nothing_pruned = name == "dense" and what == "saliency"
    assert seen[f"a {name}"][what] == ([] if nothing_pruned else seen["a darb"][what])
