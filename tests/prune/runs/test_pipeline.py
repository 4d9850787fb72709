"""Which data, seeds and settings reach which step."""

import pytest
import torch
from torch import nn

from darb_prune import tasks
from darb_prune.integer.qat import FakeQuantized
from darb_prune.pruning.methods import BMWM, Darb, Unpruned
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.runs import pipeline
from darb_prune.studies import seeds
from darb_prune.tasks import Split, Task
from darb_prune.tasks.fsdd import Speech
from darb_prune.tasks.language import LanguageModel, text_split
from darb_prune.tasks.lenet import lenet5
from darb_prune.training import distillation, loop, metrics
from darb_prune.training.batches import TextBatches

NAMES = ("train", "validation", "test")


def split(number: int, size: int) -> Split:
    """Inputs of one split lie in a range of their own: ``number .. number + 0.5``."""
    generator = torch.Generator().manual_seed(number)
    return Split(number + torch.rand(size, 6, generator=generator) / 2, torch.arange(size) % 3)


SPLITS = {name: split(number, 100 + number) for number, name in enumerate(NAMES, start=1)}


def build(size=1.0):
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def task(monkeypatch):
    made = Task(
        "fake", "fake", lambda: SPLITS, build, {"epochs": 2}, PruningSchedule(steps=2, epochs=1, final_epochs=1),
        {"epochs": 1, "percentile": 90.0}, {"share": 0.5},
    )  # fmt: skip
    monkeypatch.setattr(tasks, "get", lambda name, data=None: made)
    return made


def split_of(inputs) -> set[str]:
    return {NAMES[int(number) - 1] for number in inputs.floor().unique()}


def test_only_the_training_split_is_learnt_from(task, monkeypatch):
    learnt, calibrated, taught = [], [], []

    def train(model, loader, *arguments, **options):
        learnt.append(split_of(torch.cat([inputs for inputs, _ in loader])))
        if isinstance(model, FakeQuantized):
            calibrated.append(split_of(torch.cat(model.calibration)))
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

    real_train, real_soften, real_quantize = pipeline.train, distillation.soften, pipeline.quantize
    monkeypatch.setattr(pipeline, "train", train)
    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(distillation, "soften", soften)
    monkeypatch.setattr(pipeline, "quantize", quantize)
    model, _ = pipeline.train_model(task, 0, False)
    pipeline.prune_model(task, model, 2, 0, False)
    assert len(taught) == 1
    made = pipeline.compile_model(task, model, 0, progress=False)
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

    assert pipeline.measure(task, Knows()) == {"validation": 1.0, "test": 0.0}


def test_pruning_depends_on_its_seed(task):
    def pruned(seed):
        model, _ = pipeline.train_model(task, 0, False)
        pipeline.prune_model(task, model, 2, seed, False)
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

    real_train, real_compile = pipeline.train_model, pipeline.compile_model
    monkeypatch.setattr(pipeline, "train_model", train_model)
    monkeypatch.setattr(pipeline, "compile_model", compile_model)
    task.method_options["saliency"] = "mean"
    result = seeds.run("fake", range(2), 2, Darb(saliency="frobenius"), 5, 7, False)
    assert not torch.equal(*models)
    for made in networks:
        assert {layer.weight_bits for layer in made.encoded.layers} == {5}
        assert {tensor.bits for tensor in made.encoded.tensors} == {7}
    assert result["settings"]["gradual"]["saliency"] == "frobenius"
    for entry in result["seeds"]:
        assert set(entry[seeds.TUNED]) == {"validation", "test"}
    summary = result["summary"]
    assert {"dense", "pruned", "integer", "integer - dense", "ratio"} < set(summary)
    difference = summary["integer"]["mean"] - summary[seeds.TUNED]["mean"]
    assert summary[f"integer - {seeds.TUNED}"]["mean"] == pytest.approx(difference, abs=1e-3)


def test_dense_gets_the_fine_tuning_of_pruned(task, monkeypatch):
    calls = []

    def prune_model(task, model, ratio, seed, progress, **options):
        calls.append((ratio, seed, options))
        return real(task, model, ratio, seed, progress, **options)

    real = pipeline.prune_model
    monkeypatch.setattr(pipeline, "prune_model", prune_model)
    seeds.run("fake", range(1), 2, BMWM(order="none"), 8, 8, False)
    assert calls == [(2, 0, {"method": Unpruned()}), (2, 0, {"method": BMWM(order="none")})]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_dense_network_of_as_many_bits(bits):
    chosen = tasks.get("digits")
    size = pipeline.size_of_bits(chosen, 20_000, bits)
    assert size is not None

    def stored(size: float) -> int:
        return bits * sum(weight.numel() for weight in chosen.build(size).parameters() if weight.ndim == 2)

    assert stored(size) <= 20_000 < stored(size + 0.01)
    assert pipeline.size_of_bits(chosen, 10**9, bits) == 1
    assert pipeline.size_of_bits(chosen, 1, bits) is None


def test_a_given_model_has_one_size():
    assert pipeline.size_of_bits(tasks.get("cifar10"), 10**6) is None


def test_vectors_are_bounded(task, monkeypatch):
    model, _ = pipeline.train_model(task, 0, False)

    def compiled(**options):
        return pipeline.compile_model(task, model, 0, progress=False, epochs=0, **options)

    whole = compiled().vectors
    frame = 4 * (6 + 8 + 3)
    monkeypatch.setattr(pipeline, "BYTES", 10 * frame + 1)
    few = compiled()
    assert few.vectors.samples == 10
    assert few.vectors.labels.tolist() == whole.labels[:10].tolist()
    assert all((values == whole.tensors[name][:10]).all() for name, values in few.vectors.tensors.items())
    monkeypatch.setattr(pipeline, "FRAMES", 7)
    assert compiled().vectors.samples == 7
    assert compiled(vectors=12).vectors.samples == 12
    assert compiled(vectors=10**6).vectors.samples == len(SPLITS["test"])


def text(count: int, seed: int) -> Split:
    """A text whose next symbol is mostly the one after."""
    generator = torch.Generator().manual_seed(seed)
    steps = 1 + (torch.rand(count, generator=generator) < 0.1).long()
    return text_split((steps.cumsum(0) % 11).numpy(), "text")


def test_a_text_is_compiled_as_sequences(monkeypatch):
    monkeypatch.setattr(metrics, "STEPS", 16)
    splits = {
        name: text(count, number) for number, (name, count) in enumerate(zip(NAMES, (2000, 300, 330), strict=True))
    }
    language = Task(
        "text", "text", lambda: splits, lambda size=1.0: LanguageModel(11, 8, 12), {"epochs": 6, "rate": 2e-2},
        PruningSchedule(), {"epochs": 1, "rate": 1e-3, "clip": 1.0}, {"share": 0.5}, "bits per character",
        lambda split, seed: TextBatches(split.inputs, split.labels, 8, 16, seed),
    )  # fmt: skip
    model, _ = pipeline.train_model(language, 0, False)
    assert pipeline.calibration_of(language).shape == (1999 // 50, 50)
    dense = pipeline.measure(language, model)
    made = pipeline.compile_model(language, model, 0, progress=False)
    found = made.encoded.provenance["accuracy"]["integer"]
    assert made.value == found["test"]
    assert made.encoded.provenance["metric"] == "bits per character"
    assert all(0 < found[name] < dense[name] + 0.1 for name in found)
    assert made.vectors.lengths.tolist() == [50] * 6
    assert made.vectors.tensors[made.encoded.input].flatten().tolist() == splits["test"].inputs[:300].tolist()
    assert made.vectors.labels.tolist() == splits["test"].labels[:300].tolist()


@pytest.mark.parametrize(("build", "shape"), [(lenet5, (1, 28, 28)), (Speech, (12, 40))])
def test_images_and_clips_are_compiled(build, shape):
    generator = torch.Generator().manual_seed(0)
    splits = {name: Split(torch.rand(20, *shape, generator=generator), torch.arange(20) % 10) for name in NAMES}
    made = pipeline.compile_model(
        Task("t", "t", lambda: splits, build, quantization={"epochs": 1}), build(), 0, progress=False
    )
    clips = shape == (12, 40)
    assert made.encoded.recurrent == clips
    assert made.vectors.samples == 20
    assert made.vectors.frames == (20 * 12 if clips else 20)
    ends = made.vectors.starts[1:] - 1
    outputs = torch.from_numpy(made.vectors.tensors[made.encoded.output][ends])
    assert made.value == float((outputs.argmax(1) == splits["test"].labels).double().mean())
