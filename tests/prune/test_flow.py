"""Which data, seeds and settings reach which step."""

import pytest
import torch
from torch import nn

from darb_prune import distillation, flow, study, tasks, training
from darb_prune.qat import FakeQuantized
from darb_prune.tasks import Split, Task

NAMES = ("train", "validation", "test")


def split(number: int, size: int) -> Split:
    """Inputs of one split lie in a range of their own: ``number .. number + 0.5``."""
    generator = torch.Generator().manual_seed(number)
    return Split(number + torch.rand(size, 6, generator=generator) / 2, torch.arange(size) % 3)


SPLITS = {name: split(number, 100 + number) for number, name in enumerate(NAMES, start=1)}


def build():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def task(monkeypatch):
    made = Task(
        "fake", "fake", lambda: SPLITS, build, {"epochs": 2}, {"steps": 2, "epochs": 1, "final_epochs": 1},
        {"epochs": 1, "percentile": 90.0}, {"share": 0.5},
    )  # fmt: skip
    monkeypatch.setattr(tasks, "get", lambda name: made)
    return made


def split_of(inputs) -> set[str]:
    return {NAMES[int(number) - 1] for number in inputs.floor().unique()}


def test_only_the_training_split_is_learnt_from(task, monkeypatch):
    learnt, calibrated, taught = [], [], []

    def train(model, loader, *arguments, **options):
        learnt.append(split_of(torch.cat([inputs for inputs, _ in loader])))
        if isinstance(model, FakeQuantized):
            calibrated.append(split_of(model.calibration))
            assert model.percentile == 90
        return real_train(model, loader, *arguments, **options)

    def soften(model, inputs, *arguments, **options):
        taught.append(split_of(inputs))
        assert not any(hasattr(module, "weight_mask") for module in model.modules()) or len(taught) > 1
        return real_soften(model, inputs, *arguments, **options)

    def quantize(model, calibration, *arguments, **options):
        calibrated.append(split_of(calibration))
        assert 90.0 in arguments
        return real_quantize(model, calibration, *arguments, **options)

    real_train, real_soften, real_quantize = flow.train, distillation.soften, flow.quantize
    monkeypatch.setattr(flow, "train", train)
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(distillation, "soften", soften)
    monkeypatch.setattr(flow, "quantize", quantize)
    model, _ = flow.train_model(task, 0, False)
    flow.prune_model(task, model, 2, 0, False)
    assert len(taught) == 1
    made = flow.compile_model(task, model, 0, progress=False)
    assert learnt == [{"train"}] * 4
    assert calibrated == [{"train"}] * 2
    assert taught == [{"train"}] * 2
    assert made.vectors.samples == len(SPLITS["test"])


def test_measures_are_those_of_their_splits(task):
    class Knows(nn.Module):
        """Right on the validation split alone."""

        def forward(self, x):
            right = (torch.arange(len(x)) % 3 + (0 if split_of(x) == {"validation"} else 1)) % 3
            return nn.functional.one_hot(right, 3).float()

    assert flow.measure(task, Knows()) == {"validation": 1.0, "test": 0.0}


def test_pruning_depends_on_its_seed(task):
    def pruned(seed):
        model, _ = flow.train_model(task, 0, False)
        flow.prune_model(task, model, 2, seed, False)
        return model[0].weight_orig.detach()

    assert torch.equal(pruned(0), pruned(0))
    assert not torch.equal(pruned(0), pruned(1))


def test_evaluate_uses_its_seeds_bits_and_settings(task, monkeypatch):
    models, networks = [], []

    def train_model(*arguments, **options):
        model, losses = real_train(*arguments, **options)
        models.append(model[0].weight.detach().clone())
        return model, losses

    def compile_model(*arguments, **options):
        networks.append(real_compile(*arguments, **options))
        return networks[-1]

    real_train, real_compile = flow.train_model, flow.compile_model
    monkeypatch.setattr(flow, "train_model", train_model)
    monkeypatch.setattr(flow, "compile_model", compile_model)
    task.pruning["saliency"] = "mean"
    pruning = {"method": "darb", "saliency": "frobenius", "levels": None}
    result = study.run("fake", range(2), 2, pruning, 5, 7, False)
    assert not torch.equal(*models)
    for made in networks:
        assert {layer.weight_bits for layer in made.encoded.layers} == {5}
        assert {tensor.bits for tensor in made.encoded.tensors} == {7}
    assert result["settings"]["gradual"]["saliency"] == "frobenius"
    for entry in result["seeds"]:
        assert set(entry[study.TUNED]) == {"validation", "test"}
    summary = result["summary"]
    assert {"dense", "pruned", "integer", "integer - dense", "ratio"} < set(summary)
    difference = summary["integer"]["mean"] - summary[study.TUNED]["mean"]
    assert summary[f"integer - {study.TUNED}"]["mean"] == pytest.approx(difference, abs=1e-3)


def test_dense_gets_the_fine_tuning_of_pruned(task, monkeypatch):
    calls = []

    def prune_model(task, model, ratio, seed, progress, **options):
        calls.append((ratio, seed, options))
        return real(task, model, ratio, seed, progress, **options)

    real = flow.prune_model
    monkeypatch.setattr(flow, "prune_model", prune_model)
    study.run("fake", range(1), 2, {"method": "bmwm", "order": "none"}, 8, 8, False)
    assert calls == [(2, 0, {"method": "dense", "order": "none"}), (2, 0, {"method": "bmwm", "order": "none"})]
