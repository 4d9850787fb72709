"""The commands, from training to an encoded network, and what they say to mistakes."""

import contextlib
import hashlib
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from darb_hw.cli import main
from darb_prune import tasks
from darb_prune.cli import app
from darb_prune.encoded import EMPTY, EncodedNetwork, Level, TestVectors
from darb_prune.errors import DarbError
from darb_prune.modules.layers import layers
from darb_prune.pruning.methods import Mixed
from darb_prune.runs import pipeline
from darb_prune.runs.folder import RunFolder
from darb_prune.tasks import digits, mlperf
from darb_prune.training import loop


def darb(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    if code == 0 and result.exception:
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def failing(*arguments) -> str:
    """The one line that the program itself prints to standard error."""
    error = io.StringIO()
    with pytest.raises(SystemExit) as stopped, contextlib.redirect_stderr(error):
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 2
    (line,) = error.getvalue().splitlines()
    assert line.startswith("darb: error: ")
    return line


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A trained run, two pruned ones and an encoded network."""
    folder = tmp_path_factory.mktemp("work")
    darb("train", "--task", "digits", "-o", folder / "dense", "--epochs", 12, "--rate", 0.005, "-q")
    quick = ["--steps", 2, "--epochs", 1, "--final-epochs", 4, "-q"]
    darb("prune", folder / "dense", "--ratio", 8, "-o", folder / "darb", *quick)
    darb("prune", folder / "dense", "--ratio", 8, "--method", "irregular", "-o", folder / "irregular", *quick)
    darb("compile", folder / "darb", "-o", folder / "net.darb", "--epochs", 2, "-q")
    return folder


def test_run_folders(work):
    assert sorted(path.name for path in (work / "darb").iterdir()) == ["model.safetensors", "run.json"]
    record = json.loads((work / "darb" / "run.json").read_text())
    assert (record["task"], record["seed"], record["method"]) == ("digits", 0, "darb")
    assert 8 <= record["ratio"] < 8.1
    assert record["accuracy"]["dense"]["test"] > 0.9
    assert record["accuracy"]["pruned"]["validation"] > 0.8
    assert record["options"]["prune"]["order"] == "spread"
    assert len(record["history"][0]["train"]) == 12
    assert record["model_sha256"] == hashlib.sha256((work / "darb" / "model.safetensors").read_bytes()).hexdigest()
    assert record["versions"]["torch"] == torch.__version__
    _, model = RunFolder.load(work / "darb")
    assert 17024 / sum(int(layer.weight.count_nonzero()) for layer in (model.fc1, model.fc2, model.fc3)) >= 8


def test_partition(work, tmp_path):
    said = darb("partition", work / "dense", "--parts", 4, "-o", tmp_path / "parts", "--epochs", 2, "-q")
    assert "fc1, fc2: 4 parts, 4,096 of 16,384 weights" in said
    quick = ["--steps", 1, "--final-epochs", 2, "-q"]
    run, _ = RunFolder.load(tmp_path / "parts")
    assert (run.method, run.ratio) == ("partition", 17024 / 4736)
    darb("prune", tmp_path / "parts", "--ratio", 2, "-o", tmp_path / "pruned", *quick)
    darb("compile", tmp_path / "pruned", "-o", tmp_path / "net.darb", "--epochs", 0, "-q")
    network = EncodedNetwork.load(tmp_path / "net.darb")
    assert [layer.name for layer in network.layers[:5]] == [*(f"fc1.parts.{part}" for part in range(4)), "fc2.parts.0"]
    assert network.provenance["options"]["partition"] == {"parts": 4, "epochs": 2, "seed": 0}
    error = failing("partition", tmp_path / "pruned", "--parts", 2, "-o", tmp_path / "again")
    assert "is pruned already; partition the dense model, and prune it afterwards" in error
    assert "parts 1 must be 2 to 64" in failing("partition", work / "dense", "--parts", 1, "-o", tmp_path / "again")
    path = tmp_path / "parts" / "run.json"
    record = json.loads(path.read_text())
    record["structure"][0]["layers"][0]["channels"] = 3
    path.write_text(json.dumps(record))
    error = failing("compile", path.parent, "-o", tmp_path / "x.darb")
    assert "its record does not fit the model at layer 'fc1'" in error


def test_compiled_network_and_vectors(work):
    network, vectors = EncodedNetwork.load(work / "net.darb"), TestVectors.load(work / "net.vectors")
    vectors.check(network)
    assert vectors.samples == 360
    assert list(vectors.labels) == digits.load()["test"].labels.tolist()
    assert [tensor.name for tensor in network.tensors] == ["input", "fc1.out", "fc2.out", "fc3.out"]
    assert network.weights / network.kept >= 8
    accuracy = np.mean(vectors.tensors["fc3.out"].argmax(axis=1) == vectors.labels)
    assert network.provenance["accuracy"]["integer"]["test"] == pytest.approx(accuracy)
    assert accuracy > 0.8
    assert set(network.provenance["accuracy"]) == {"dense", "pruned", "integer"}


def test_compile_gives_the_same_bytes_again(work, tmp_path):
    darb("compile", work / "darb", "-o", tmp_path / "net.darb", "--epochs", 2, "-q")
    for name in ("net.darb", "net.vectors"):
        assert (tmp_path / name).read_bytes() == (work / name).read_bytes()


def test_training_gives_the_same_bytes_again(work, tmp_path):
    darb("train", "-o", tmp_path / "dense", "--epochs", 12, "--rate", 0.005, "-q")
    for name in ("run.json", "model.safetensors"):
        assert (tmp_path / "dense" / name).read_bytes() == (work / "dense" / name).read_bytes()


def test_other_widths_and_dense(work, tmp_path):
    output = darb("compile", work / "dense", "-o", tmp_path / "d.darb", "--weight-bits", 4, "--epochs", 0, "-q")
    network = EncodedNetwork.load(tmp_path / "d.darb")
    assert network.kept == network.weights
    assert {layer.weight_bits for layer in network.layers} == {4}
    assert "integer" in output
    darb("compile", work / "dense", "-o", tmp_path / "d.darb", "--activation-bits", 16, "--epochs", 0, "-q")
    assert {tensor.bits for tensor in EncodedNetwork.load(tmp_path / "d.darb").tensors} == {16}


def test_few_vectors(work, tmp_path):
    darb("compile", work / "darb", "-o", tmp_path / "net.darb", "--epochs", 2, "--vectors", 7, "-q")
    assert (tmp_path / "net.darb").read_bytes() == (work / "net.darb").read_bytes()
    assert TestVectors.load(tmp_path / "net.vectors").samples == 7


def test_info_shows_layers_and_levels(work):
    output = darb("info", work / "net.darb")
    network = EncodedNetwork.load(work / "net.darb")
    assert network.digest in output
    for layer in network.layers:
        row = re.search(rf"│ {layer.name} +│ +(\d+) │ +(\d+) │ +([\d,]+) │ +([\d.]+) │ +([\d,]+) │", output)
        found = [float(value.replace(",", "")) for value in row.groups()]
        assert found[:3] == [layer.rows, layer.columns, layer.kept]
        assert found[4] == len(layer.index)
        for number, level in enumerate(layer.levels):
            rows = len(layer.rows_of(number))
            assert re.search(rf"│ {layer.name} +│ +{re.escape(str(level))} +│ +{rows} │", output)
    assert "torch" in output


def test_prune_options_reach_the_model(work, tmp_path):
    quick = ["--steps", 1, "--final-epochs", 0, "-q"]
    darb(
        "prune", work / "darb", "-o", tmp_path / "m", "--ratio", 6, "--method", "mixed", "--levels", "0,0 3,2 5,4",
        "--order", "none", "--budget", "bits", *quick,
    )  # fmt: skip
    run, model = RunFolder.load(tmp_path / "m")
    assert {tuple(pair) for pair in model.fc2.weight_level.tolist()} <= {(0, 0), (3, 2), (5, 4)}
    assert model.fc1.weight_order.tolist() == list(range(64))
    assert run.options["prune"]["levels"] == "0,0 3,2 5,4"


def test_effort_is_a_share_of_the_epochs_of_the_task(work, tmp_path):
    darb("prune", work / "dense", "-o", tmp_path / "none", "--effort", "none", "-q")
    run, _ = RunFolder.load(tmp_path / "none")
    assert [(step["wanted"], step["loss"]) for step in run.history[-1]["prune"]] == [(13, None)]
    darb("prune", work / "dense", "-o", tmp_path / "own", "--effort", "quick", "--steps", 1, "--final-epochs", 1, "-q")
    options = RunFolder.load(tmp_path / "own")[0].options["prune"]
    assert (options["steps"], options["epochs"], options["final_epochs"]) == (1, 2, 1)


def test_options_given_are_recorded_and_else_those_of_the_task(work, tmp_path, monkeypatch):
    monkeypatch.setitem(digits.TASK.method_options, "order", "none")
    quick = ["--steps", 1, "--epochs", 0, "--final-epochs", 0, "-q"]
    darb("prune", work / "dense", "-o", tmp_path / "m", "--order", "spread", *quick)
    run, model = RunFolder.load(tmp_path / "m")
    assert run.options["prune"]["order"] == "spread"
    assert model.fc1.weight_order.tolist() != list(range(64))
    darb("prune", work / "dense", "-o", tmp_path / "n", *quick)
    assert RunFolder.load(tmp_path / "n")[0].options["prune"]["order"] == "none"


def test_multipliers_of_few_bits(work, tmp_path):
    darb("compile", work / "darb", "-o", tmp_path / "net.darb", "--epochs", 0, "--mult-bits", 8, "-q")
    network = EncodedNetwork.load(tmp_path / "net.darb")
    mult = np.concatenate([layer.mult for layer in network.layers])
    assert set(mult) <= {0, *range(128, 256)}  # rows that nobody reads have none
    assert (mult > 0).mean() > 0.5
    wide = EncodedNetwork.load(work / "net.darb")
    assert max(layer.mult.max() for layer in wide.layers) > 255
    message = failing("compile", work / "darb", "-o", tmp_path / "no.darb", "--mult-bits", 17)
    assert "mult bits 17 must be 4 to 16" in message
    message = failing("compile", work / "darb", "-o", tmp_path / "no.darb", "--cell-bits", 9)
    assert "cell bits 9 must be 2 to 8, the bits of activations" in message


def test_evaluate_writes_the_summary(tmp_path, monkeypatch):
    monkeypatch.setitem(digits.TASK.training, "epochs", 8)
    shorter = digits.TASK.pruning.updated({"final_epochs": 2, "steps": 2})
    monkeypatch.setattr(digits, "TASK", replace(digits.TASK, pruning=shorter))
    monkeypatch.setitem(digits.TASK.quantization, "epochs", 1)
    output = darb("evaluate", "--seeds", 2, "--ratio", 5, "-o", tmp_path / "e.json", "-q")
    result = json.loads((tmp_path / "e.json").read_text())
    assert [entry["seed"] for entry in result["seeds"]] == [0, 1]
    integer = [100 * entry["integer"]["test"] for entry in result["seeds"]]
    dense = [100 * entry["dense"]["test"] for entry in result["seeds"]]
    assert result["summary"]["integer"]["mean"] == pytest.approx(np.mean(integer), abs=1e-3)
    assert result["summary"]["integer"]["deviation"] == pytest.approx(np.std(integer, ddof=1), abs=1e-3)
    assert result["summary"]["integer - dense"]["mean"] == pytest.approx(np.mean(integer) - np.mean(dense), abs=1e-3)
    assert result["summary"]["ratio"]["least"] >= 5
    assert f"{np.mean(integer):.2f}" in output


def test_what_has_no_encoding_is_refused_before_it_is_trained(work, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "finetune", None)
    assert "pruned without levels" in failing("compile", work / "irregular", "-o", tmp_path / "net.darb")


def test_parse_levels():
    assert Mixed(levels=None).levels is None
    assert Mixed(levels="0,0  3,1").levels == (EMPTY, Level(3, 1))
    for text, message in [("3", "'3': write pairs"), ("a,b", "write pairs"), (" ", "no level given"), ("2,9", "keeps")]:
        with pytest.raises(DarbError, match=message):
            Mixed(levels=text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--task", "sudoku", "-o", "{new}"], "task 'sudoku': choose one of digits"),
        (["prune", "{new}", "-o", "{new}2"], "no run.json here; make a run folder with darb train"),
        (["prune", "{work}/dense", "--ratio", "0.5", "-o", "{new}"], "ratio 0.5 must be a number from 1 up"),
        (
            ["prune", "{work}/dense", "--ratio", "4", "--within", "1%", "-o", "{new}"],
            "within and ratio exclude each other; give one of them",
        ),
        (
            ["prune", "{work}/dense", "--ratio", "4", "--bits", "9000", "-o", "{new}"],
            "bits and ratio exclude each other; give one of them",
        ),
        (["prune", "{work}/dense", "--method", "x", "-o", "{new}"], "method 'x': choose one of darb"),
        (["prune", "{work}/dense", "--levels", "9", "-o", "{new}"], "levels '9': write pairs"),
        (["prune", "{work}/dense", "--order", "x", "-o", "{new}"], "order 'x'"),
        (
            ["prune", "{work}/dense", "--method", "bank", "--budget", "bits", "-o", "{new}"],
            "budget: method bank has no such option; methods that have it: darb, mixed",
        ),
        (
            ["prune", "{work}/dense", "--method", "bank", "--bits", "9000", "-o", "{new}"],
            "bits: method bank has no budget; use darb or mixed, or give a ratio",
        ),
        (["compile", "{work}/irregular", "-o", "{new}"], r"layer 'fc1': pruned without levels \(irregular\)"),
        (["compile", "{work}/darb", "-o", "{new}", "--weight-bits", "1"], "weight bits 1 must be 2 to 8"),
        (["compile", "{work}/darb", "-o", "{new}", "--activation-bits", "17"], "activation bits 17 must be 2 to 16"),
        (["compile", "{work}/darb", "-o", "{new}.vectors"], "the ending .vectors is for the test vectors"),
        (["compile", "{work}/darb", "-o", "{new}", "--vectors", "0"], "vectors 0 must be at least 1"),
        (["info", "{new}"], "no such file"),
        (["info", "{work}/net.vectors"], "is of kind 'test vectors'"),
        (["train", "--epochs", "0", "-o", "{work}/net.darb", "-q"], "exists and is no folder"),
        (["train", "-o", ""], "give the name of a folder"),
        (["train", "-o", "{work}/net.darb"], "exists and is no folder"),
        (["train", "-o", "{work}/net.darb/x"], "net.darb is no folder"),
        (["train", "-o", "{new}", "--rate", "-1"], "rate -1.0 must be a number above 0"),
        (["train", "-o", "{new}", "--rate", "nan"], "rate nan must be a number above 0"),
        (["train", "-o", "{new}", "--epochs", "-1"], "epochs -1 must be at least 0"),
        (["train", "-o", "{new}", "--seed", "99999999999999999999999"], "seed 9+ must be 0 to"),
        (["train", "-o", "{new}", "--seed", "-1"], "seed -1 must be 0 to"),
        (["train", "-o", "{new}", "--size", "0"], "size 0: give a number above 0, up to 16"),
        (["train", "-o", "{new}", "--size", "nan"], "size nan: give a number above 0, up to 16"),
        (["train", "-o", "{new}", "--teacher", "{new}2"], "no run.json here; make a run folder with darb train"),
        (
            ["train", "--task", "digits-both", "-o", "{new}", "--teacher", "{work}/dense"],
            "a model of task digits; give",
        ),
        (["prune", "{work}/dense", "-o", "{new}", "--epochs", "-1"], "epochs -1 must be at least 0"),
        (["prune", "{work}/dense", "-o", "{new}", "--final-epochs", "-2"], "epochs -2 must be at least 0"),
        (["prune", "{work}/dense", "-o", "{new}", "--steps", "0"], "steps 0 must be at least 1"),
        (["prune", "{work}/dense", "-o", "{new}", "--seed", "4294967296"], "seed 4294967296 must be 0 to"),
        (["prune", "{work}/dense", "-o", "{work}/net.darb"], "exists and is no folder"),
        (["compile", "{work}/darb", "-o", "."], "give the name of a file"),
        (["compile", "{work}/darb", "-o", "/"], "give the name of a file"),
        (["compile", "{work}/darb", "-o", ""], "give the name of a file"),
        (["compile", "{work}/darb", "-o", "{work}/dense"], "dense: is a folder; give the name of a file"),
        (["compile", "{work}/darb", "-o", "{work}/folder.darb"], "folder.vectors: is a folder"),
        (["compile", "{work}/darb", "-o", "{new}", "--epochs", "-1"], "epochs -1 must be at least 0"),
        (["evaluate", "--weight-bits", "1"], "weight bits 1 must be 2 to 8"),
        (["evaluate", "--activation-bits", "1"], "activation bits 1 must be 2 to 16"),
        (["evaluate", "--method", "irregular"], "pruned without levels"),
        (["evaluate", "--ratio", "0"], "ratio 0.0 must be a number from 1 up"),
        (["evaluate", "--levels", "0,1"], "sparsest choice costs"),
        (["evaluate", "--levels", "x"], "write pairs"),
        (["evaluate", "--seeds", "0"], "seeds 0 must be at least 1"),
        (["evaluate", "-o", "{work}"], "is a folder; give the name of a file"),
    ],
)
def test_mistakes_write_nothing(arguments, message, work, tmp_path, monkeypatch):
    # All of them are found before anything is trained.
    monkeypatch.setattr(pipeline, "train", None)
    monkeypatch.setattr(loop, "train", None)
    (work / "folder.vectors").mkdir(exist_ok=True)
    before = snapshot(work)
    text = failing(*(argument.format(work=work, new=tmp_path / "new") for argument in arguments))
    assert re.search(message, text), text
    assert list(tmp_path.iterdir()) == []
    assert snapshot(work) == before


def test_damaged_run_folders(work, tmp_path):
    record, model = ((work / "darb" / name).read_bytes() for name in ("run.json", "model.safetensors"))

    def message(record=record, model=model):
        (tmp_path / "run.json").write_bytes(record)
        (tmp_path / "model.safetensors").write_bytes(model)
        return failing("compile", tmp_path, "-o", tmp_path / "net.darb")

    assert "not the model that run.json describes" in message(model=model[:-1])
    assert "damaged" in message(record=record[:-20])
    assert "damaged" in message(record=b"[]")
    assert "damaged" in message(record=b"{}")
    assert "damaged" in message(record=b"\xff\xfe")
    assert "damaged" in message(record=b"[" * 100_000)
    whole = json.loads(record)
    for name, value in [
        ("accuracy", []), ("accuracy", {"dense": 1}), ("accuracy", {"dense": {"test": "x"}}), ("seed", "1"),
        ("seed", 10**30), ("ratio", None), ("task", 3), ("options", 3), ("history", {}), ("method", []),
        ("size", 1e9), ("size", 0), ("size", "1"),
    ]:  # fmt: skip
        assert f"damaged ({'seed' if name == 'seed' and value != '1' else 'field ' + name}" in message(
            record=json.dumps(whole | {name: value}).encode()
        )

    def sealed(data):
        return message(json.dumps(whole | {"model_sha256": hashlib.sha256(data).hexdigest()}).encode(), data)

    assert "model.safetensors: damaged" in sealed(b"no safetensors")
    state = safetensors.torch.load(model)
    state["fc1.weight_order"][3] = 64
    assert "model.safetensors: the saved weights" in sealed(safetensors.torch.save(state))
    assert "format 2, this package reads 1" in message(record=record.replace(b'"format": 1', b'"format": 2'))
    assert "choose one of digits" in message(record=record.replace(b'"task": "digits"', b'"task": "other"'))
    assert not (tmp_path / "net.darb").exists()


def test_interrupted_save_leaves_no_mixture(work, tmp_path, monkeypatch):
    run, model = RunFolder.load(work / "darb")
    run.save(tmp_path, model)
    with torch.no_grad():
        model.fc1.bias += 1
    real = os.replace

    def stop_at_record(source, target):
        if Path(target).name == "run.json":
            raise OSError("disk full")
        return real(source, target)

    monkeypatch.setattr(os, "replace", stop_at_record)
    with pytest.raises(OSError, match="disk full"):
        run.save(tmp_path, model)
    with pytest.raises(DarbError, match=r"not the model that run\.json describes"):
        RunFolder.load(tmp_path)


def test_brackets_are_no_markup(work, tmp_path):
    output = darb("train", "-o", tmp_path / "a[/b]", "--epochs", 0, "-q")
    assert f"wrote {tmp_path / 'a[/b]'}" in output
    network = EncodedNetwork.load(work / "net.darb")
    odd = {"a[/b]": "[/c]", "accuracy": 5, "seed": {"x": ["[/]"]}}
    replace(network, name="[bold]x[/nope]", provenance=odd).save(tmp_path / "n[/x].darb")
    output = darb("info", tmp_path / "n[/x].darb")
    for text in ("[bold]x[/nope]", "a[/b]", "[/c]", "['[/]']"):
        assert text in output
    assert re.search(r"accuracy +│ 5", output)


@pytest.mark.parametrize("command", ["train", "prune", "compile", "info", "evaluate"])
def test_help_has_an_example(command):
    assert f"darb {command}" in darb(command, "--help")


def test_digits_split_is_fixed():
    splits = tasks.get("digits").load()
    assert {name: len(split) for name, split in splits.items()} == {"train": 1197, "validation": 240, "test": 360}
    for split in splits.values():
        assert split.inputs.dtype == torch.float32
        assert split.labels.dtype == torch.int64
        assert float(split.inputs.min()) >= 0
        assert float(split.inputs.max()) <= 1
        counts = torch.bincount(split.labels).double() / len(split)
        assert counts.max() - counts.min() < 0.02
    seen = hashlib.sha256(splits["test"].labels.numpy().tobytes() + splits["train"].labels.numpy().tobytes())
    assert seen.hexdigest()[:16] == "66a4d5e08f5cc892"


QUICK = ["--steps", 2, "--epochs", 1, "--final-epochs", 3, "-q"]


def test_the_largest_ratio_within_a_limit(work, tmp_path, monkeypatch):
    asked = []

    def prune_model(task, model, ratio, *arguments, **options):
        asked.append(ratio)
        return real(task, model, ratio, *arguments, **options)

    real = pipeline.prune_model
    monkeypatch.setattr(pipeline, "prune_model", prune_model)
    darb("prune", work / "dense", "--within", "20", "-o", tmp_path / "found", *QUICK)
    run, _ = RunFolder.load(tmp_path / "found")
    wanted = run.options["prune"]["ratio"]
    assert wanted in asked
    assert wanted <= run.ratio < 1.2 * wanted
    dense, pruned = (run.accuracy[name]["validation"] for name in ("dense", "pruned"))
    assert dense - pruned <= 0.2
    assert max(asked) == 128  # the other end was tried too
    line = failing("prune", work / "dense", "--within", "x", "-o", tmp_path / "none", *QUICK)
    assert "within 'x': give points of the metric (\"0.5\") or percent" in line
    line = failing("prune", work / "dense", "--within", "1%", "--bits", 9000, "-o", tmp_path / "none", *QUICK)
    assert "within and bits exclude each other" in line
    assert not (tmp_path / "none").exists()


def test_a_target_in_bits(work, tmp_path):
    darb("prune", work / "dense", "--bits", 20000, "-o", tmp_path / "found", *QUICK)
    _, model = RunFolder.load(tmp_path / "found")
    bits = 0
    for layer in (model.fc1, model.fc2, model.fc3):
        for b, m in layer.weight_level.tolist():
            bits += Level(b, m).codes(layer.in_features) * (8 + b)
    assert 0.97 * 20000 < bits <= 20000
    assert "bits 0 must be 1 to 136192" in failing("prune", work / "dense", "--bits", 0, "-o", tmp_path / "n", *QUICK)


@pytest.mark.parametrize(
    "options",
    [
        ("--method", "block", "--shape", "2x8"),
        ("--method", "structured"),
        ("--method", "nm", "--kept", 2),
        ("--method", "bank", "--group", 20),
        ("--saliency", "fisher", "--order", "search"),
        ("--budget", "cycles", "--lanes", 8),
        ("--lanes", 8, "--positions", 4, "--results", 2),
        ("--exclude", "fc3", "--regrow", 0.01),
        ("--admm", 0.01),
    ],
)
def test_every_method_and_option_prunes(work, tmp_path, options):
    output = darb("prune", work / "dense", "--ratio", 6, *options, "-o", tmp_path / "run", *QUICK)
    run, model = RunFolder.load(tmp_path / "run")
    assert run.ratio >= 6 or "cycles" in options
    assert "KiB stored" in output
    assert re.search(
        rf"darb train --task digits --size 0\.\d+ --teacher {re.escape(str(work))}", "".join(output.split("\n"))
    )
    assert hasattr(model.fc3, "weight_mask") != ("--exclude" in options)


@pytest.mark.parametrize("command", ["train", "prune"])
def test_a_command_that_was_stopped_goes_on(work, tmp_path, monkeypatch, command):
    class Stopped(Exception):
        pass

    def arguments(output):
        if command == "train":
            return "train", "-o", output, "--epochs", 8, "--rate", 0.005, "-q"
        return "prune", work / "dense", "--ratio", 8, "-o", output, *QUICK

    def stop(*given, **options):
        left.append(None)
        if len(left) == 50:
            raise Stopped
        return real(*given, **options)

    darb(*arguments(tmp_path / "whole"))
    left, real = [], tasks.cross_entropy
    with monkeypatch.context() as patch:
        patch.setattr("darb_prune.training.checkpoint.Checkpoint.due", True)
        patch.setattr(tasks, "cross_entropy", stop)
        with pytest.raises(Stopped):
            darb(*arguments(tmp_path / "again"))
    assert (tmp_path / "again.partial").exists()
    assert not (tmp_path / "again").exists()
    darb(*arguments(tmp_path / "again"))
    assert not (tmp_path / "again.partial").exists()
    for name in ("run.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_dense_run_of_published_weights_is_compiled_as_it_is(tmp_path, monkeypatch):
    """Weights of the autoencoder are made up; inputs follow from them."""
    monkeypatch.setenv("DARB_DATA", str(tmp_path))
    (tmp_path / "mlperf-tiny").mkdir()
    for file, build in mlperf.MODELS.values():
        state = {name: values.numpy() for name, values in build().state_dict().items()}
        held = {name: values for name, values in state.items() if "num_batches" not in name}
        np.savez(tmp_path / "mlperf-tiny" / file, **held)
    said = darb("train", "--task", "mlperf-ad", "-o", tmp_path / "dense", "-q")
    assert said.splitlines()[-1].endswith("dense, not trained (0 epochs)")
    record = json.loads((tmp_path / "dense" / "run.json").read_text())
    assert record["history"] == [{"train": []}]
    assert record["accuracy"] == {"dense": {"validation": 0, "test": 0}}
    darb("compile", tmp_path / "dense", "-o", tmp_path / "dense.darb", "--vectors", 3, "-q")
    network = EncodedNetwork.load(tmp_path / "dense.darb")
    assert network.kept == network.weights == 264_192
    assert {level for layer in network.layers for level in layer.levels} == {Level(0, 1)}
    assert 0 < network.provenance["accuracy"]["integer"]["test"] < 0.1
    vectors = TestVectors.load(tmp_path / "dense.vectors")
    assert (vectors.samples, vectors.labels) == (3, None)
    darb("prune", tmp_path / "dense", "--ratio", 8, "-o", tmp_path / "pruned", "-q")
    assert json.loads((tmp_path / "pruned" / "run.json").read_text())["ratio"] >= 8
    line = failing("train", "--task", "mlperf-ad", "--epochs", 1, "-o", tmp_path / "trained", "-q")
    assert "this task has no data to train with" in line


def test_block_term(work, tmp_path):
    """A run folder keeps the structure; what is pruned behind it is counted with the terms."""
    shape = "fc1=4,4,4/8,4,4/3,3,3"
    output = darb("block-term", work / "dense", "--layer", shape, "-o", tmp_path / "terms", "--epochs", 1, "-q")
    assert "9,270 of 17,024 parameters left, ratio 1.84" in output
    run, model = RunFolder.load(tmp_path / "terms")
    assert (run.method, [record["pass"] for record in run.structure]) == ("block-term", ["block-term"])
    assert set(run.accuracy) == {"dense", "block-term"}
    assert model.fc1.modes.ranks == (3, 3, 3)
    quick = ["--steps", 1, "--epochs", 1, "--final-epochs", 1, "-q"]
    output = darb("prune", tmp_path / "terms", "--ratio", 4, "-o", tmp_path / "pruned", *quick)
    assert "(6.4" in output
    assert type(RunFolder.load(tmp_path / "pruned")[1].fc1).__name__ == "BlockTermLinear"


@pytest.mark.parametrize("text", ["fc1", "fc1=4,4", "fc1=4,4,4/8,4,4/3,x", "fc1=4,4/8,4/3,3/5"])
def test_block_term_layers_that_cannot_be_read(work, tmp_path, text):
    line = failing("block-term", work / "dense", "--layer", text, "-o", tmp_path / "terms")
    assert "write NAME=inputs/outputs/ranks" in line


def test_block_term_layers_that_are_named_twice(work, tmp_path):
    shape = "fc1=4,4,4/8,4,4/3,3,3"
    line = failing("block-term", work / "dense", "--layer", shape, "--layer", shape, "-o", tmp_path / "terms")
    assert "one is named twice" in line
    line = failing("block-term", work / "dense", "--layer", shape, "--exclude", "fc1", "-o", tmp_path / "terms")
    assert "leave out what is excluded" in line
    assert not (tmp_path / "terms").exists()


@pytest.mark.parametrize("option", [("--ratio", 10), ("--budget", "parameters"), ("--modes", 3)])
def test_block_term_layers_are_named_or_chosen_by_ratio(work, tmp_path, option):
    shape = "fc1=4,4,4/8,4,4/3,3,3"
    line = failing("block-term", work / "dense", "--layer", shape, *option, "-o", tmp_path / "terms")
    assert f"layer and {option[0].strip('-')} exclude each other; give one of them" in line
    assert not (tmp_path / "terms").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("prune", "dense"),
        ("prune", "dense", "--method", "neurons"),
        ("partition", "dense"),
        ("block-term", "dense"),
        ("merge", "irregular", "dense"),
    ],
)
def test_the_output_is_no_input(work, monkeypatch, command):
    """However the folder is written."""
    monkeypatch.chdir(work)
    before = snapshot(work)
    for output in ("dense", work / "darb" / ".." / "dense"):
        assert f"{output}: -o is the input; name another folder" in failing(*command, "-o", output)
    assert snapshot(work) == before


def test_merge(work, tmp_path):
    """Two tasks become one run that is pruned and compiled as any; the network has the tasks."""
    for half in ("low", "high"):
        darb("train", "--task", f"digits-{half}", "-o", tmp_path / half, "--epochs", 2, "-q")
    said = darb("merge", tmp_path / "low", tmp_path / "high", "-o", tmp_path / "both", "--epochs", 2, "-q")
    assert re.search(r"low: [\d.]+ % on the test split, [\d.]+ % alone", said)
    again = darb("merge", tmp_path / "low", tmp_path / "high", "-o", tmp_path / "again", "--epochs", 2, "-q")
    assert (tmp_path / "both" / "model.safetensors").read_bytes() == (
        tmp_path / "again" / "model.safetensors"
    ).read_bytes(), again
    run, _ = RunFolder.load(tmp_path / "both")
    assert (run.task, run.structure[0]["pass"]) == ("digits-both", "merge")
    weights = sum(layer.weights for layer in layers(RunFolder.load(tmp_path / "both")[1]))
    alone = 64 * 128 + 128 * 64 + 64 * 5
    assert (run.method, run.ratio) == ("merge", 2 * alone / weights)  # two networks, not one
    quick = ["--steps", 1, "--epochs", 1, "--final-epochs", 1, "-q"]
    darb("prune", tmp_path / "both", "--ratio", 4, "-o", tmp_path / "pruned", *quick)
    darb("compile", tmp_path / "pruned", "-o", tmp_path / "net.darb", "--epochs", 1, "-q")
    wanted = ["prune", tmp_path / "both", "--ratio", 4, "--per-subset", "-o", tmp_path / "subsets"]
    said = darb(*wanted, *quick, "--saliency", "fisher")
    assert re.search(r"a subset of the tasks runs [\d,]+ of [\d,]+ weights in the mean, ratio 4\.0", said)
    assert RunFolder.load(tmp_path / "subsets")[0].options["prune"]["per_subset"] is True
    assert "uses: method bank does not weigh layers" in failing(*wanted, *quick, "--method", "bank")
    assert "uses: method neurons does not weigh layers" in failing(*wanted, *quick, "--method", "neurons")
    assert "per-subset and bits exclude each other" in failing(*wanted, *quick, "--bits", 9999)
    wanted[1] = work / "dense"
    assert "per-subset: the model has no parts of tasks; make one that has with darb merge" in failing(*wanted, *quick)
    network = EncodedNetwork.load(tmp_path / "net.darb")
    assert [(task.name, task.size) for task in network.tasks] == [("low", 5), ("high", 5)]
    assert "low of 5, high of 5" in darb("info", tmp_path / "net.darb")
    assert TestVectors.load(tmp_path / "net.vectors").labels is None
    line = failing("merge", tmp_path / "low", work / "dense", "-o", tmp_path / "none")
    assert "no task is made of digits-low and digits; there are: " in line
    assert "give the run folders of two tasks or more" in failing("merge", tmp_path / "low", "-o", tmp_path / "none")
    assert "share 2.0 must be 0 to 1" in failing(
        "merge", tmp_path / "low", tmp_path / "high", "--share", 2, "-o", tmp_path / "none"
    )
    assert not (tmp_path / "none").exists()


def test_a_small_model_is_taught_pruned_and_compiled(work, tmp_path):
    small = ("--size", 0.25, "--epochs", 4, "-q")
    darb("train", "-o", tmp_path / "alone", *small)
    darb("train", "-o", tmp_path / "taught", "--teacher", work / "dense", *small)
    alone, taught = (RunFolder.load(tmp_path / name) for name in ("alone", "taught"))
    assert [layer.weights for layer in layers(taught[1])] == [64 * 32, 32 * 16, 16 * 10]
    assert taught[0].options["train"]["teacher"] == str(work / "dense")
    assert not torch.equal(alone[1].fc1.weight, taught[1].fc1.weight)
    darb("prune", tmp_path / "taught", "--ratio", 2, "--effort", "none", "-o", tmp_path / "pruned", "-q")
    assert RunFolder.load(tmp_path / "pruned")[0].size == 0.25
    darb("compile", tmp_path / "pruned", "-o", tmp_path / "small.darb", "--effort", "none", "-q")
    assert EncodedNetwork.load(tmp_path / "small.darb").layers[0].rows == 32
