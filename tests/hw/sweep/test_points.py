"""Grids: which points, in which order, by which names; and what becomes of sources that do not serve."""

import pytest

from darb_hw.sweep.networks import Networks
from darb_hw.sweep.points import grid
from darb_hw.sweep.spec import sweep_of
from darb_prune.encoded import DarbError
from tests.networks import random_network


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.darb"
    random_network(5, sizes=(9, 11, 4)).network.save(path)
    return path


def points(axes, **source):
    return grid(sweep_of({**(source or {"task": "digits"}), "axes": axes}, "x"))


def test_order_and_names():
    axes = {"lanes": [8, 4], "device": ["ecp5-25k", "ice40-up5k"], "ratio": [8, 2.5], "weight_bits": [8, 4]}
    made = points(axes | {"method": ["darb", "bank"], "levels": ["0,0 2,1"], "seed": 3})
    assert len(made) == 32
    assert len({(point.network, point.label) for point in made}) == 32
    assert made[0].network == "darb-l1-8x-s3-w8"
    assert [point.engine["lanes"] for point in made[:3]] == [4, 8, 4]
    assert [point.engine["device"] for point in made[:3]] == ["ecp5-25k", "ecp5-25k", "ice40-up5k"]
    assert made[4].network == "darb-l1-8x-s3-w4"
    assert made[-1].label == "bank-l1-2.5x-s3-w4, ice40-up5k, 8 lanes"
    assert made[-1].choice == {"method": "bank", "levels": "0,0 2,1", "ratio": 2.5, "seed": 3, "weight_bits": 4}


def test_one_point_at_least():
    (point,) = points({})
    assert (point.network, point.engine) == ("w8", {})
    assert point.choice == {"ratio": 13.0, "weight_bits": 8}


def test_files(network, tmp_path):
    (point,) = points({}, networks=[network])
    assert (point.network, point.file) == ("net", network)
    assert len(points({"weight_bits": 8, "lanes": [1, 2]}, networks=[network])) == 2
    for bits in (4, [4, 8]):
        with pytest.raises(DarbError, match="give the run folder"):
            points({"weight_bits": bits}, networks=[network])
    other = tmp_path / "other" / "net.darb"
    other.parent.mkdir()
    other.write_bytes(network.read_bytes())
    with pytest.raises(DarbError, match="two networks are named net"):
        points({}, networks=[network, other])
    with pytest.raises(DarbError, match=r"no.darb: no such file"):
        points({}, networks=[tmp_path / "no.darb"])


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(DarbError, match=r"no model.safetensors here; give a run folder"):
        Networks(sweep_of({"run": tmp_path}, "x"))


def commands_of(flow):
    """The commands that a flow of a network gives, with files for their results."""
    made, entry = [], None
    try:
        while True:
            (job,) = next(flow) if entry is None else flow.send([entry])
            made.append((job.arguments, sorted(job.inputs)))
            name = "network.darb" if job.kind == "command" and job.arguments[0] == "compile" else "run.json"
            entry = type("Entry", (), {"files": {name: str(len(made)).encode()}})
    except StopIteration as end:
        return made, end.value


def test_a_task_is_trained_pruned_and_compiled():
    sweep = sweep_of(
        {
            "task": "digits", "train": {"epochs": 3}, "prune": {"rewind": True, "final_rate": 0.25},
            "axes": {"ratio": [1, 8], "seed": 2, "method": "bank", "activation_bits": 6},
        },
        "x",
    )  # fmt: skip
    dense, pruned = grid(sweep)
    networks = Networks(sweep)
    train = ("train", "--task", "digits", "--seed", "2", "--epochs", "3", "-o", "output", "--quiet")
    compile_ = (
        "compile", "run", "--weight-bits", "8", "--activation-bits", "6", "--vectors", "256",
        "-o", "output/network.darb", "--quiet",
    )  # fmt: skip
    assert commands_of(networks.files(dense)) == ([(train, []), (compile_, ["run/run.json"])], {"network.darb": b"2"})
    prune = (
        "prune", "run", "--ratio", "8.0", "--method", "bank", "--seed", "2", "--rewind", "--final-rate", "0.25",
        "-o", "output", "--quiet",
    )  # fmt: skip
    steps, files = commands_of(networks.files(pruned))
    assert steps == [(train, []), (prune, ["run/run.json"]), (compile_, ["run/run.json"])]
    assert files == {"network.darb": b"3"}


def test_a_model_of_another_size_is_taught_by_that_of_size_1():
    sweep = sweep_of({"task": "digits", "axes": {"ratio": 1, "size": [0.25, 1], "seed": 2}}, "x")
    small, whole = grid(sweep)
    assert (small.network, whole.network) == ("size0.25-1x-s2-w8", "size1-1x-s2-w8")
    train = ("train", "--task", "digits", "--seed", "2")
    taught = (*train, "--size", "0.25", "--teacher", "run", "-o", "output", "--quiet")
    steps, _ = commands_of(Networks(sweep).files(small))
    assert steps[:2] == [((*train, "-o", "output", "--quiet"), []), (taught, ["run/run.json"])]
    steps, _ = commands_of(Networks(sweep).files(whole))
    assert [arguments[0] for arguments, _ in steps] == ["train", "compile"]


def test_a_run_folder_is_only_compiled(tmp_path):
    for name in ("model.safetensors", "run.json"):
        (tmp_path / name).write_text(name)
    sweep = sweep_of({"run": tmp_path, "axes": {"weight_bits": [4, 8]}}, "x")
    first, _ = grid(sweep)
    ((arguments, inputs),), _ = commands_of(Networks(sweep).files(first))
    assert arguments[:4] == ("compile", "run", "--weight-bits", "4")
    assert inputs == ["run/model.safetensors", "run/run.json"]
