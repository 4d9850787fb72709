"""What the engine has to show on networks people use, from small results made by hand."""

from benchmarks.networks.goals import goals


def result(interval: int = 1000, samples: int = 200, icarus: dict | None = None) -> dict:
    layers = [{"positions": 4, "utilisation": 0.9}, {"positions": 1, "utilisation": 0.1}]
    return {
        "cycles": {"interval": interval}, "block_rams": 208, "verilator": {"samples": samples}, "icarus": icarus,
        "utilisation": {"whole": 0.9}, "layers": layers,
    }  # fmt: skip


NAMES = ("cifar10", "cifar10-lanes32", "lenet5-fast", "lstm-200")


def test_all_hold():
    figures = goals({name: result(icarus={"samples": 1}) for name in NAMES})
    assert all(goal.holds for goal in figures)


def test_what_falls_short():
    figures = goals({name: result(interval=700_001, samples=199) for name in NAMES})
    short = [goal.name for goal in figures if not goal.holds]
    assert [name.rpartition(": ")[2] for name in short] == [
        "cycles an image", "images on Verilator", "cycles an image", "images on Verilator", "images on Icarus",
        "cycles an image",
    ]  # fmt: skip


def test_what_is_not_there_is_not_measured():
    assert not any(goal.measured for goal in goals({}))
