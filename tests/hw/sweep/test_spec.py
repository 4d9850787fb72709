"""Files of sweeps: what they mean, and mistakes in one line that names the field."""

from pathlib import Path

import pytest

from darb_hw.config import EngineConfig
from darb_hw.sweep.spec import ENGINE_AXES, METHODS, SIZE_MAX, Axes, load, sweep_of
from darb_prune import tasks
from darb_prune.encoded import DarbError
from darb_prune.pruning.methods import encodable

EXAMPLES = Path(__file__).parents[3] / "examples" / "sweeps"


def test_methods_are_those_that_can_be_encoded():
    assert {*METHODS, "dense"} == set(encodable())


def test_sizes_go_as_far_as_those_of_darb_train():
    assert SIZE_MAX == tasks.SIZE_MAX


def test_axes_of_engines_are_fields_of_the_configuration():
    """But for the name of the module, and for what costs memory and makes nothing faster."""
    assert set(ENGINE_AXES) == set(EngineConfig.__dataclass_fields__) - {"top", "reload"}


def test_what_only_some_devices_know_is_an_axis_too():
    """Whether it goes with the device of a point is for that point to say."""
    axes = Axes(memory=("spram", "private"), roms=("spram", "blocks"))
    assert axes.declared() == {"memory": ("spram", "private"), "roms": ("spram", "blocks")}


def test_what_a_file_means(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text(
        'run = "runs/digits"\nseeds = [4, 2]\n[axes]\nlanes = [8, 2]\nratio = 4\n'
        'memory = "private"\ndevice = "ecp5-25k"\n'
        "[prune]\nfinal_rate = 0.001\n"
    )
    sweep = load(path)
    assert sweep.run == tmp_path / "runs" / "digits"
    assert sweep.seeds == (4, 2)
    assert sweep.prune == {"final_rate": 0.001}
    declared = {"ratio": (4.0,), "weight_bits": (8,), "device": ("ecp5-25k",), "lanes": (2, 8), "memory": ("private",)}
    assert list(sweep.declared().items()) == list(declared.items())
    assert sweep_of({"task": "digits"}, "x").declared() == {"ratio": (13.0,), "weight_bits": (8,)}
    assert sweep_of({"networks": "a.darb", "seeds": 2}, "x").seeds == (1, 2)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples(path):
    assert load(path).task


AXES = {"task": "digits"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"axes": {"lens": 1}}, "axes.lens: unknown; remove it"),
        ({"lanes": 1}, "lanes: unknown; remove it"),
        ({"axes": {"lanes": []}}, "axes.lanes: is empty; give at least one value"),
        ({"axes": {"lanes": [0]}}, "axes.lanes: lanes = 0: choose a whole number from 1 to 128"),
        ({"axes": {"lanes": [4, 4]}}, "axes.lanes: has a value twice"),
        ({"axes": {"lanes": "4"}}, "axes.lanes: '4': input should be a valid integer"),
        ({"axes": {"lanes": True}}, "axes.lanes: True: "),
        ({"axes": {"device": "ecp6"}}, "axes.device: unknown device 'ecp6': choose one of"),
        ({"axes": {"positions": 3}}, "axes.positions: positions = 3: choose a power of two"),
        ({"axes": {"memory": "big"}}, "axes.memory: memory = 'big': choose one of auto, private, shared, spram"),
        ({"axes": {"ratio": 0.5}}, "axes.ratio: 0.5: "),
        ({"axes": {"method": "irregular"}}, "axes.method: 'irregular': input should be 'darb', "),
        ({"axes": {"levels": "many"}}, "axes.levels: 'many': write levels as for darb prune --levels"),
        ({"axes": {"weight_bits": 9}}, "axes.weight_bits: 9: "),
        ({"axes": 3}, "axes: 3: "),
        ({"seeds": 0}, "seeds: 0: "),
        ({"prune_dominated": "yes"}, "prune_dominated: "),
        ({"seeds": [1, 1]}, "seeds: has a value twice"),
        ({"prune": {"ratio": 3}}, "prune.ratio: ratio is an axis, or set by the sweep"),
        ({"prune": {"Order": 3}}, "'Order' is no name of an option"),
        ({"task": "../x"}, "task: '../x': "),
        ({"run": "x"}, "task and run exclude each other"),
        ({"task": None}, "no networks; give one of task, run and networks"),
        ({"task": None, "run": "x", "axes": {"method": "darb"}}, "axes.method: nothing is pruned; give axes.ratio too"),
        ({"task": None, "run": "x", "prune": {"order": "search"}}, "prune: no network of this sweep needs it"),
        ({"task": None, "run": "x", "axes": {"size": 2}}, "axes.size: the networks have theirs; give the task instead"),
        ({"axes": {"size": 17}}, "axes.size: 17: input should be less than or equal to 16"),
        ({"task": None, "networks": ["a.darb"], "axes": {"ratio": 8}}, "axes.ratio: .darb files are finished"),
        ({"axes": {"lanes": list(range(1, 129)), "unroll": list(range(1, 9000))}}, "points are too many"),
    ],
)
def test_mistakes(values, message):
    with pytest.raises(DarbError) as error:
        sweep_of(AXES | values, "some.toml")
    assert str(error.value).startswith("some.toml: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a =", "no TOML"), ("a = " + "[" * 10**5, "no TOML"), ("\udc80", "no TOML"), (None, "no such file")],
    ids=["cut", "deep", "bytes", "absent"],
)
def test_no_file_of_a_sweep(text, message, tmp_path):
    path = tmp_path / "some.toml"
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DarbError, match=message):
        load(path)
