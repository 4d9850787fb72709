"""What comparisons of systems have to show, from small results made by hand."""

import pytest

from benchmarks.systems import page
from benchmarks.systems.goals import at_equal_metric, cheapest, goals, pair, ratios_of_pair
from benchmarks.systems.plots import bits
from benchmarks.systems.results import Results, spread_text


def record(value: float, cycles: int, stored: int = 1000, **more) -> dict:
    metric = {"validation": value, "test": value}
    return {"integer": metric, "cycles": cycles, "stored_bits": stored, "weights": {"fc": 10}, **more}


def merged(both: int, singles: tuple[int, int], accuracies: tuple[float, float]) -> dict:
    subsets = [{"tasks": ["a"], "interval": singles[0]}, {"tasks": ["b"], "interval": singles[1]}]
    subsets.append({"tasks": ["a", "b"], "interval": both})
    tasks = dict(zip(("a", "b"), accuracies, strict=True))
    return record(sum(accuracies) / 2, both, subsets=subsets, tasks={"validation": tasks, "test": tasks})


def test_the_cheapest_within_one_percent_of_dense():
    runs = {
        "dense": {"0": record(0.99, 100), "1": record(0.99, 100)},
        "neurons gates 4x": {"0": record(0.985, 40), "1": record(0.987, 44)},
        "neurons gates 8x": {"0": record(0.99, 20), "1": record(0.96, 20)},  # the mean is too low
        "darb 8x": {"0": record(0.90, 10)},
    }
    results = Results({"fsdd": runs})
    assert cheapest(results, "fsdd", "neurons gates", "cycles") == "neurons gates 4x"
    assert cheapest(results, "fsdd", "darb", "cycles") is None
    figures = {goal.name: goal.value for goal in goals(results)}
    assert figures["fsdd: dense cycles / cycles of units within 1 % (neurons gates 4x)"] == pytest.approx(100 / 42)


def test_of_a_text_less_is_better():
    runs = {
        "dense": {"0": record(2.0, 100)},
        "neurons gates 4x": {"0": record(2.1, 10)},
        "darb 16x": {"0": record(1.9, 9)},
    }
    results = Results({"chars-256": runs})
    assert cheapest(results, "chars-256", "neurons gates", "cycles") is None
    assert cheapest(results, "chars-256", "darb", "cycles") == "darb 16x"
    assert results.losses("chars-256", "neurons gates 4x") == pytest.approx([0.1])


def test_units_and_darb_against_darb_alone_at_an_equal_metric():
    runs = {
        "darb 8x": {"0": record(0.97, 10, 900)},
        "darb 16x": {"0": record(0.98, 10, 800)},  # the best one, though it is smaller
        "neurons 4x, darb to 16x": {"0": record(0.981, 10, 400)},
        "neurons 4x, darb to 8x": {"0": record(0.985, 10, 600)},
        "neurons 8x, darb to 32x": {"0": record(0.97, 10, 200)},  # worse
    }
    assert at_equal_metric(Results({"fsdd": runs}), "fsdd") == ("darb 16x", "neurons 4x, darb to 16x")
    assert at_equal_metric(Results({"fsdd": {"darb 8x": runs["darb 8x"]}}), "fsdd") == ("darb 8x", None)
    assert at_equal_metric(Results({}), "fsdd") == (None, None)


def test_merged_tasks_against_each_alone():
    runs = {
        "fsdd": {"darb 8x": {"0": record(0.99, 300), "1": record(0.99, 300)}},
        "fsdd-speaker": {"darb 8x": {"0": record(0.98, 200)}},
        "fsdd-both": {
            "wide": {"0": merged(250, (210, 260), (0.999, 0.999))},  # the second task alone takes longer
            "shared": {"0": merged(250, (240, 210), (0.986, 0.985)), "1": merged(1, (1, 1), (0, 0))},
        },
    }
    results = Results(runs)
    ratios = ratios_of_pair(results, "fsdd-both", "shared")
    assert ratios == pytest.approx({"both": 2.0, "single": 210 / 200, "loss": 0.004})
    assert pair(results, "fsdd-both") == "shared"
    held = {goal.name: goal.holds for goal in goals(results) if goal.name.startswith("fsdd-both")}
    assert list(held.values()) == [True, True, True]


def test_what_is_not_there_is_not_measured():
    assert not any(goal.measured for goal in goals(Results({})) if goal.limit)


def test_the_page_has_a_line_for_each_network(tmp_path):
    units = {"gru": [12, 128]}
    runs = {
        "fsdd": {"dense": {"0": record(0.99, 100)}, "neurons gates 8x": {"0": record(0.98, 10, units=units)}},
        "mnist": {"dense": {"0": record(0.98, 100)}, "4 parts": {str(n): record(0.97 + n / 100, 10) for n in range(3)}},
    }
    page.write(Results(runs), tmp_path / "page.md")
    bits(Results(runs), tmp_path / "bits.png")
    text = (tmp_path / "page.md").read_text()
    assert "| neurons gates 8x | 1 | 98.00 | 98.00 | +1.00 | 10 | 1,000 | 10 | 10.00 | 1 x 16 |" in text
    assert "| 4 parts | 3 | 98.00 ± 1.00 | 98.00 ± 1.00 | +1.00 | 10 | 1,000 | 10 | 10.00 | 4 x 16 |" in text
    assert "neurons gates 8x: `gru` 12 of 128" in text
    assert "- LeNet-5, MNIST: 0 of 3 seeds" in text
    assert (tmp_path / "bits.png").read_bytes().startswith(b"\x89PNG")


def test_means():
    assert spread_text([], 1) == "-"
    assert spread_text([1.0], 1, sign=True) == "+1.0"
    assert spread_text([1.0, 3.0], 1, sign=True) == "+2.0 ± 1.4"
