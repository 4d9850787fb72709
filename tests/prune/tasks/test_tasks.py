"""The registry, the splits and the models of the built-in tasks; made data where real data is not needed."""

import functools
import inspect

import numpy as np
import pooch
import pytest
import torch
from torch import fx, nn

from darb_prune import tasks
from darb_prune.encoded.metrics import METRICS
from darb_prune.errors import DarbError, DataError
from darb_prune.tasks import TASKS, DataSets, Split, chars, cifar10, fsdd, mlperf, mnist, shuffled, words
from darb_prune.tasks.language import LanguageModel
from darb_prune.tasks.lenet import lenet5, lenet_300_100
from darb_prune.tasks.mlperf_networks import Autoencoder, DsCnn, MobileNetV1, ResNet8
from darb_prune.tasks.resnet import resnet20
from darb_prune.training import metrics

DATA = {
    "mnist": ("mnist",),
    "mnist-lenet5": ("mnist",),
    "fashion-mnist": ("fashion-mnist",),
    "fashion-mnist-lenet5": ("fashion-mnist",),
    "chars": ("tinyshakespeare",),
    "words": ("words",),
    "words-medium": ("words",),
    "words-large": ("words",),
    "fsdd": ("fsdd",),
    "fsdd-speaker": ("fsdd",),
    "fsdd-both": ("fsdd",),
    "fashion-mnist-low": ("fashion-mnist",),
    "fashion-mnist-high": ("fashion-mnist",),
    "fashion-mnist-both": ("fashion-mnist",),
    "cifar10": ("cifar10-subset", "weights/cifar10_resnet"),
    "mlperf-kws": ("kws01-mfcc", "mlperf-tiny"),
    "mlperf-ic": ("cifar10-subset", "mlperf-tiny"),
    "mlperf-vww": ("cifar10-subset", "mlperf-tiny"),
    "mlperf-ad": ("mlperf-tiny",),
}
SIZES = {
    "digits": (1197, 240, 360),
    "mnist": (55_000, 5_000, 10_000),
    "fashion-mnist": (55_000, 5_000, 10_000),
    "chars": (1_003_853, 55_769, 55_769),
    "fsdd": (2_400, 300, 300),
    "cifar10": (4_000, 500, 500),
    "mlperf-kws": (600, 100, 300),
    "mlperf-ic": (3_600, 400, 1_000),
}
MODELS = {
    "lenet-300-100": (lenet_300_100, torch.rand(3, 784)),
    "lenet5": (lenet5, torch.rand(3, 1, 28, 28)),
    "chars": (chars.build, torch.randint(65, (2, 5))),
    "words": (lambda: LanguageModel(30, 8, 8, 2, 0.5, 0.1), torch.randint(30, (2, 5))),
    "fsdd": (fsdd.build, torch.rand(3, 50, 40)),
    "resnet20": (resnet20, torch.rand(2, 3, 32, 32)),
    "ds-cnn": (DsCnn, torch.rand(2, 1, 49, 10)),
    "resnet8": (ResNet8, torch.rand(2, 3, 32, 32)),
    "mobilenet": (MobileNetV1, torch.rand(1, 3, 96, 96)),
    "autoencoder": (Autoencoder, torch.rand(2, 640)),
}


def needs(name):
    missing = [part for part in DATA.get(name, ()) if not DataSets().available(part)]
    if missing:
        pytest.skip(f"data set {', '.join(missing)} is not here; $DARB_DATA names the folder that holds it")


def weights(model):
    """Of what can be pruned: matrices outside of embeddings."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if p.dim() > 1 and id(p) not in tables)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A data folder of this test alone, and no cache behind it."""
    monkeypatch.setenv("DARB_DATA", str(tmp_path))
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    return tmp_path


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_known_by_its_name(name):
    task = tasks.get(name)
    assert task.name == name
    assert task.metric in METRICS
    assert {"train", "validation", "test"}.isdisjoint(task.training)


def test_a_task_finds_its_data_where_it_is_told(empty, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_words(empty, "a b")
    write_words(other, "a b c d")
    assert len(tasks.get("words").load()["train"]) == 2
    told = tasks.get("words", DataSets(other))
    assert len(told.load()["train"]) == 4
    assert told.build().output.out_features == 6


def test_unknown_tasks_are_named():
    with pytest.raises(DarbError, match=r"task 'imagenet': choose one of digits, mnist, .*cifar10"):
        tasks.get("imagenet")


def test_default_batches():
    split = Split(torch.arange(10.0), torch.arange(10))
    task = tasks.Task("fake", "fake", dict, nn.Identity)
    assert [len(labels) for _, labels in task.batches(split, 0)] == [10]
    assert [len(labels) for _, labels in shuffled(4)(split, 0)] == [4, 4, 2]


@pytest.mark.parametrize("name", SIZES)
def test_splits_are_complete_finite_and_apart(name):
    needs(name)
    task = tasks.get(name)
    splits = task.load()
    assert tuple(len(splits[part]) for part in ("train", "validation", "test")) == SIZES[name]
    for split in splits.values():
        assert len(split.inputs) == len(split.labels)
        assert split.labels.dtype == torch.int64
    if task.metric == "accuracy":
        assert all(split.inputs.dtype == torch.float32 for split in splits.values())
        assert all(split.inputs.isfinite().all() for split in splits.values())
        classes = 12 if name == "mlperf-kws" else 10
        assert all(len(split.labels.unique()) == classes for split in splits.values())
        rows = [{row.tobytes() for row in splits[part].inputs.numpy()} for part in ("train", "validation")]
        assert not rows[0] & rows[1]
    inputs, labels = next(iter(task.batches(splits["train"], 0)))
    outputs = task.build()(inputs)
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    assert metrics.loss(outputs, labels).isfinite()


@pytest.mark.parametrize("name", ["mnist-lenet5", "fashion-mnist-lenet5"])
def test_both_lenets_see_the_same_images(name):
    needs(name)
    flat, square = tasks.get(name.removesuffix("-lenet5")).load()["test"], tasks.get(name).load()["test"]
    assert square.inputs.shape == (10_000, 1, 28, 28)
    assert flat.inputs.data_ptr() == square.inputs.data_ptr()
    assert 0.1 < flat.inputs.mean() < 0.4
    assert flat.inputs.max() == 1


@pytest.mark.parametrize("name", MODELS)
def test_models_can_be_traced_with_their_layers_as_leaves(name):
    build, inputs = MODELS[name]
    model = build().eval()
    graph = fx.Tracer().trace(model)
    leaves = {node.target for node in graph.nodes if node.op == "call_module"}
    assert leaves == {path for path, module in model.named_modules() if not list(module.children())}
    assert not [node for node in graph.nodes if node.op == "get_attr"]
    wanted, traced = model(inputs), fx.GraphModule(model, graph)(inputs)
    pairs = zip(wanted, traced, strict=True) if isinstance(wanted, tuple) else [(wanted, traced)]
    wanted, traced = next(iter(pairs))
    assert torch.equal(wanted, traced)


def test_sizes_of_the_models():
    counts = {name: weights(build()) for name, (build, _) in MODELS.items()}
    assert counts["lenet-300-100"] == 784 * 300 + 300 * 100 + 100 * 10 == 266_200
    assert counts["lenet5"] == 25 * 6 + 25 * 6 * 16 + 400 * 120 + 120 * 84 + 84 * 10 == 61_470
    assert counts["chars"] == 512 * (64 + 128) + 128 * 65 == 106_624
    assert counts["fsdd"] == 384 * (40 + 128) + 128 * 10 == 65_792
    assert counts["resnet20"] == 268_336
    assert counts["ds-cnn"] == 64 * (40 + 4 * (9 + 64) + 12) == 22_016
    assert counts["resnet8"] == 77_360
    assert counts["mobilenet"] == 208_112
    assert counts["autoencoder"] == 2 * 128 * (640 + 3 * 128 + 8) == 264_192
    for size, units in (("words", 200), ("words-medium", 650), ("words-large", 1500)):
        assert words.SIZES[size].units == units


def test_a_language_model_goes_on_with_its_state():
    model = LanguageModel(9, 4, 6, layers=2, dropout=0.5).eval()
    tokens = torch.randint(9, (3, 10))
    whole, _ = model(tokens)
    first, state = model(tokens[:, :4])
    second, _ = model(tokens[:, 4:], state)
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-6)


def test_a_language_model_starts_uniform():
    model = LanguageModel(50, 20, 30, 2, uniform=0.05)
    values = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert values.abs().max() <= 0.05
    assert values.std() == pytest.approx(0.05 / 3**0.5, rel=0.02)


def write_words(folder, train, valid="a", test="a"):
    (folder / "words").mkdir(exist_ok=True)
    for name, text in (("train", train), ("valid", valid), ("test", test)):
        (folder / "words" / f"{name}.txt").write_text(text)


def test_words_of_any_text(empty):
    write_words(empty, "the cat  the\n\n dog the cat\n", "the bird\n", "dog\n<unk> cat\n")
    words._read.cache_clear()
    vocabulary, splits = words._read(DataSets().find("words"))
    # the 3, <eos> 3, cat 2, dog 1: most frequent first, equals by spelling; <unk> is added.
    assert vocabulary == {"<eos>": 0, "the": 1, "cat": 2, "dog": 3, "<unk>": 4}
    assert splits["train"].inputs.tolist() == [1, 2, 1, 0, 0, 3, 1, 2]
    assert splits["train"].labels.tolist() == [2, 1, 0, 0, 3, 1, 2, 0]
    assert [*splits["validation"].inputs.tolist(), int(splits["validation"].labels[-1])] == [1, 4, 0]
    assert [*splits["test"].inputs.tolist(), int(splits["test"].labels[-1])] == [3, 0, 4, 2, 0]
    assert words.build(DataSets(), words.SIZES["words"]).output.out_features == 5


def test_words_reports_what_is_missing(empty):
    with pytest.raises(DataError, match=r"data set 'words': not in .*put train.txt, valid.txt, test.txt into"):
        tasks.get("words").load()
    words._read.cache_clear()
    write_words(empty, "")
    with pytest.raises(DataError, match=r"train.txt: no words"):
        tasks.get("words").load()


def test_characters_are_split_by_position(empty):
    chars._read.cache_clear()
    (empty / "tinyshakespeare").mkdir()
    text = "".join(chr(97 + index % 26) for index in range(200))
    (empty / "tinyshakespeare" / "input.txt").write_text(text)
    splits = chars.load(DataSets())
    tokens = {name: [*split.inputs.tolist(), int(split.labels[-1])] for name, split in splits.items()}
    assert [len(tokens[name]) for name in ("train", "validation", "test")] == [180, 10, 10]
    assert functools.reduce(lambda a, b: a + b, tokens.values()) == [index % 26 for index in range(200)]
    assert all(torch.equal(split.inputs[1:], split.labels[:-1]) for split in splits.values())


def test_mel_filters_cover_the_band():
    filters = fsdd.mel_filters()
    hertz = np.fft.rfftfreq(fsdd.BINS, 1 / fsdd.RATE)
    peaks = hertz[filters.argmax(axis=1)]
    assert filters.shape == (40, 257)
    assert (np.diff(peaks) > 0).all()
    assert (filters.sum(axis=1) > 0.5).all()
    inside = (hertz > peaks[0]) & (hertz < peaks[-1])
    assert np.allclose(filters.sum(axis=0)[inside], 1, atol=0.35)


@pytest.mark.parametrize("hertz", [300, 1000, 3000])
def test_a_tone_is_loudest_in_its_band(hertz):
    tone = np.sin(2 * np.pi * hertz * np.arange(2000) / fsdd.RATE)
    frames = fsdd.log_mel(tone)
    assert frames.shape == (1 + (2000 - fsdd.WINDOW) // fsdd.HOP, fsdd.BANDS)
    bin_of_tone = round(hertz * fsdd.BINS / fsdd.RATE)
    assert (frames.argmax(axis=1) == fsdd.mel_filters()[:, bin_of_tone].argmax()).all()


def test_short_clips_have_a_frame_and_stand_at_the_end():
    assert fsdd.log_mel(np.ones(10)).shape == (1, fsdd.BANDS)
    clip = np.arange(1.0, 4)[:, None]
    assert fsdd.fitted(clip, 5)[:, 0].tolist() == [0, 0, 1, 2, 3]
    assert fsdd.fitted(clip, 3)[:, 0].tolist() == [1, 2, 3]
    assert fsdd.fitted(np.arange(1.0, 6)[:, None], 3)[:, 0].tolist() == [2, 3, 4]


def test_fsdd_refuses_files_of_other_names(tmp_path):
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "0_george_50.wav").touch()
    with pytest.raises(DataError, match=r"0_george_50.wav: name is not DIGIT_SPEAKER_INDEX.wav"):
        fsdd._read(tmp_path)


def test_fsdd_frames_of_the_training_split_are_normalised():
    needs("fsdd")
    inputs = fsdd.load(DataSets())["train"].inputs
    spoken = inputs[inputs.abs().sum(dim=2) > 0]
    assert spoken.mean(dim=0).abs().max() < 0.1
    assert (spoken.std(dim=0) - 1).abs().max() < 0.1
    assert (inputs[:, -1].abs().sum(dim=1) > 0).all()


def test_published_weights_fit_and_read_images_as_they_were_trained():
    needs("cifar10")
    model, train = cifar10.build(DataSets()), cifar10.load(DataSets())["train"]
    few = Split(train.inputs[:200], train.labels[:200])
    assert metrics.measure("accuracy", model, few) > 0.98  # they were trained on these images


def test_wrong_weights_are_named(empty):
    folder = empty / "weights" / "cifar10_resnet"
    folder.mkdir(parents=True)
    torch.save({"state_dict": {"module.conv1.weight": torch.zeros(1)}}, folder / cifar10.WEIGHTS)
    with pytest.raises(DataError, match=r"resnet20-12fca82f.th: not the weights of ResNet-20"):
        cifar10.build(DataSets())


@pytest.mark.parametrize(
    ("name", "samples", "least"), [("mlperf-kws", 300, 0.90), ("mlperf-ic", 200, 0.87)], ids=["kws", "ic"]
)
def test_published_networks_of_mlperf_are_right(name, samples, least):
    needs(name)
    task = tasks.get(name)
    test = task.load()["test"]
    few = Split(test.inputs[:samples], test.labels[:samples])
    assert metrics.measure("accuracy", task.build(), few) >= least


@pytest.mark.parametrize("name", ["mlperf-vww", "mlperf-ad"])
def test_stand_ins_are_what_the_published_network_answers(name):
    needs(name)
    task = tasks.get(name)
    splits = task.load()
    assert {part: len(split) for part, split in splits.items()} == mlperf.STAND_INS
    assert task.metric == "distance"
    assert metrics.measure("distance", task.build(), splits["test"]) == pytest.approx(0, abs=1e-6)
    with pytest.raises(DataError, match="this task has no data to train with"):
        next(iter(task.batches(splits["train"], 0)))


def test_spectra_look_like_those_of_training():
    needs("mlperf-ad")
    inputs = tasks.get("mlperf-ad").load()["train"].inputs
    model = tasks.get("mlperf-ad").build()
    seen = model.net[1](model.net[0](inputs)) / model.net[1].weight
    assert -90 < inputs.min() < inputs.max() < 25
    assert seen.std(dim=0).mean().item() == pytest.approx(1, abs=0.3)
    error = (model(inputs) - inputs).abs().mean()
    assert error < 0.3 * inputs.abs().mean()


def write_mlperf(folder, name, **changes):
    """Files of weights of all networks; the one of ``name`` with changes."""
    (folder / mlperf.WEIGHTS).mkdir(exist_ok=True)
    for task, (file, build) in mlperf.MODELS.items():
        state = {key: value.numpy() for key, value in build().state_dict().items() if "num_batches" not in key}
        if task == "mlperf-kws":
            state = {key: value for key, value in state.items() if "norm" not in key}
        state |= changes if task == name else {}
        np.savez(folder / mlperf.WEIGHTS / file, **{key: value for key, value in state.items() if value is not None})


@pytest.mark.parametrize("name", mlperf.MODELS)
def test_weights_of_mlperf_are_read_by_name(empty, name):
    first = next(iter(dict(mlperf.MODELS[name][1]().named_parameters())))
    shape = mlperf.MODELS[name][1]().get_parameter(first).shape
    write_mlperf(empty, name, **{first: np.full(shape, 0.5, np.float32)})
    model = mlperf.published(name, DataSets())
    assert (model.get_parameter(first) == 0.5).all()
    assert not model.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fc.bias": None}, r"fc.bias is missing"),
        ({"other": np.zeros(2, np.float32)}, r"other is too much"),
        ({"fc.bias": np.zeros(11, np.float32)}, r"fc.bias is float32 of shape \(11,\), not float32 of shape \(12,\)"),
        ({"fc.bias": np.zeros(12)}, r"fc.bias is float64 of shape \(12,\), not float32"),
        ({"fc.bias": np.full(12, np.nan, np.float32)}, r"fc.bias has values that are not finite"),
        ({"fc.bias": np.array([None] * 12)}, r"fc.bias is object of shape \(12,\)"),
    ],
    ids=["missing", "more", "shape", "type", "nan", "object"],
)
def test_other_weights_of_mlperf_are_named(empty, changes, message):
    write_mlperf(empty, "mlperf-kws", **changes)
    with pytest.raises(DataError, match=rf"ds_cnn.npz: not the expected arrays \({message}.*; get it again"):
        mlperf.published("mlperf-kws", DataSets())


def write_clips(folder, name="tst_000000_Down_0.bin", size=490):
    (folder / "kws01").mkdir()
    (folder / "kws01" / name).write_bytes(bytes(range(256))[: size % 256] + bytes(size - size % 256))


def test_clips_have_their_class_in_their_name(tmp_path):
    write_clips(tmp_path, "tst_000000_Unknown_11.bin")
    clips, classes = mlperf.read_clips(tmp_path)
    assert clips.shape == (1, 49, 10)
    assert clips.dtype == np.int8
    assert clips[0, 0, :3].tolist() == [0, 1, 2]
    assert classes.tolist() == [11]


@pytest.mark.parametrize(("name", "size"), [("a_12.bin", 490), ("a_b.bin", 490), ("a_3.bin", 489)])
def test_other_clips_are_refused(tmp_path, name, size):
    write_clips(tmp_path, name, size)
    with pytest.raises(DataError, match=rf"{name}: not NAME_CLASS.bin of 490 bytes with a class from 0 to 11"):
        mlperf.read_clips(tmp_path)


def test_augmented_clips_move_in_time(monkeypatch):
    monkeypatch.setattr(mlperf, "NOISE", 0.0)
    monkeypatch.setattr(mlperf, "MIXED", 0.0)
    clips = torch.arange(49.0).view(1, 1, 49, 1).repeat(200, 1, 1, 10)
    moved = mlperf._augmented_words(clips, torch.Generator().manual_seed(0))
    assert moved.shape == clips.shape
    shifts = moved[:, 0, 20, 0] - 20
    assert sorted(set(shifts.tolist())) == list(range(-4, 5))
    for clip, shift in zip(moved[:, 0], shifts, strict=True):
        assert (clip == (torch.arange(49) + shift).clamp(0, 48)[:, None]).all()


def test_normalisations_adopt_statistics_and_change_nothing():
    inputs = torch.randn(20, 1, 49, 10)
    neutral, adopted = DsCnn().eval(), DsCnn().eval()
    adopted.load_state_dict(neutral.state_dict())
    mlperf.adopt_statistics(adopted, inputs)
    assert torch.allclose(adopted(inputs), neutral(inputs), atol=1e-5)
    assert not torch.equal(adopted.norm.running_mean, neutral.norm.running_mean)
    # The mean and the deviation of the batch are about those: training starts where the model is.
    assert torch.allclose(adopted.train()(inputs), neutral(inputs), atol=1e-3)


def test_published_settings_are_options_of_training():
    from darb_prune.training.loop import train

    known = inspect.signature(train).parameters
    for name in TASKS:
        assert set(tasks.get(name).training) <= set(known), name


def test_images_of_another_shape_are_refused(empty, monkeypatch):
    monkeypatch.setattr(mnist, "read_idx", lambda path: np.zeros((2, 5, 5) if "images" in path.name else 2, np.uint8))
    with pytest.raises(DataError, match=r"images of shape \(2, 5, 5\) for 2 labels"):
        mnist._read(empty)
