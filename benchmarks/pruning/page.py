"""The page docs/results/pruning.md."""

from collections.abc import Sequence

from benchmarks.goals import Goal, markdown_table
from benchmarks.pruning.comparison import COSTS, RATIO, ComparedMethods, Gain
from darb_prune.studies.experiment.comparisons import BASELINES, LIMIT, within_limit
from darb_prune.studies.experiment.results import mean, ratio_of
from darb_prune.studies.experiment.spec import DENSE
from darb_prune.studies.experiment.statistics import Interval, best, quotient
from darb_prune.studies.markdown import table

__all__ = ["goals", "page"]

AHEAD = ("mnist", "fashion-mnist-lenet5", "chars", "fsdd")
"""Experiments in which DARB is to be ahead of all rivals at equal stored bits."""
_PAPER = "2.8 to 4.3"


def goals(comparisons: Sequence[ComparedMethods]) -> list[Goal]:
    """What the comparisons have to show."""
    known = {one.name: one for one in comparisons}
    figures = []
    for name in AHEAD:
        gains = _structured(known[name], known[name].gains("stored bits")) if name in known else []
        least = gains[0] if gains else None
        words = f"{name}: DARB over the best rival at equal stored bits"
        figures.append(
            Goal(f"{words} ({least.rival})" if least else words, least and least.gain.mean, 1e-9, form="+.3f")
        )
    for name, ratio, limit, unit in (("chars", RATIO, 8.0, "%"), ("cifar10", 4.0, 3.0, "%")):
        lost = known[name].lost(ratio) if name in known else None
        value = None if lost is None else 100 * lost.mean
        figures.append(Goal(f"{name}: lost at {ratio:g}x, {unit} of dense", value, limit, least=False, form=".1f"))
    over = [one for one in (_over_baseline(each)[0] for each in comparisons) if one is not None]
    known_ratios = sorted((one.low for one in over), reverse=True)
    second = known_ratios[1] if len(known_ratios) > 1 else None
    words = f"largest ratio within {LIMIT:.0%}: DARB / best structured rival, second best task"
    return [*figures, Goal(words, second, 1.8, form=".2f")]


def _structured(comparison: ComparedMethods, gains: list[Gain]) -> list[Gain]:
    """Without irregular pruning, which no engine of this kind runs."""
    irregular = comparison.results.irregular
    return [one for one in gains if irregular is None or one.rival != comparison.results.experiment.label(irregular)]


def _limits(comparison: ComparedMethods) -> dict[str, Interval]:
    return within_limit(comparison.results, ratio_of, DENSE)


def _over_baseline(comparison: ComparedMethods) -> tuple[Interval | None, str]:
    """The subject's largest ratio within the limit over the best structured one, and whose that is."""
    limits, methods = _limits(comparison), comparison.results.experiment.methods
    rival = best({name: value for name, value in limits.items() if methods[name].method.name in BASELINES})
    if rival is None or comparison.subject not in limits:
        return None, ""
    return quotient(limits[comparison.subject], rival[1]), comparison.results.experiment.label(rival[0])


_HEAD = """# Pruning: DARB against what one would use instead

    make experiments

trains and measures everything on this page, and goes on where it was stopped ([how](../experiments.md)). Each method
gets the same dense model, batches, epochs, labels and rounding, and the same saliency, or the one that is better for
it on validation data (`words`) or makes no difference to it (`cifar10`). Rivals are also a *small* dense network,
taught by the dense one in as many epochs, and the dense network in fewer *bits*, which takes more than all others and
stands in the pictures. Of each method the best of its sizes, ratios and weight bits counts, chosen on validation
data. The closest rival is one that an engine of this kind can run, so not irregular pruning. Structured in the last
column are block, row, column, N:M and bank-balanced pruning; where DARB is within 1 % at all ratios, or at none, only
a bound is known.

"""


def page(comparisons: Sequence[ComparedMethods]) -> str:
    """The text."""
    rows = []
    for one in comparisons:
        over, rival = _over_baseline(one)
        gains = {cost: _structured(one, one.gains(cost)) for cost in COSTS}
        rows.append([
            f"[{one.name}]({one.name}/README.md)", str(len(one.results.experiment.seeds)),
            *(_closest(gains[cost]) for cost in COSTS), "–" if over is None else f"{over.text(2)} ({rival})",
        ])  # fmt: skip
    head = ["task", "seeds", *(f"at equal {cost}, closest rival" for cost in COSTS)]
    text = _HEAD + markdown_table(goals(comparisons)) + "\n\n## Verdicts\n\n"
    text += table([*head, f"largest ratio within {LIMIT:.0%}: DARB / best structured"], rows)
    lower = _listed({one.name: f"{one.ratio:g}x" for one in comparisons if one.ratio < RATIO})
    smaller = _listed({one.name: f"{one.size:g} of its units" for one in comparisons if one.size != 1})
    text += (
        "\nDifferences are DARB minus the rival on test data, seed by seed (above 0: DARB is better), at what DARB "
        f"costs at {RATIO:g}x{lower} of the task's own size{smaller} with weights of 8 bits. *Level*: "
        f"within its spread. The paper of DARB has {_PAPER} for the last column, with networks and baselines of its "
        "own.\n"
    )
    return text + "".join(_of_task(one) for one in comparisons)


def _listed(other: dict[str, str]) -> str:
    """What is otherwise of some tasks, in brackets."""
    return f" ({', '.join(f'`{name}`: {value}' for name, value in other.items())})" if other else ""


def _closest(gains: list[Gain]) -> str:
    return f"{gains[0].verdict}: {gains[0].gain.text(3, sign=True)} ({gains[0].rival})" if gains else "–"


def _of_task(one: ComparedMethods) -> str:
    metric = one.results.metric
    text = f"\n## {one.name}: {one.results.task.title}\n\n![Frontiers](pruning/{one.name}.png)\n"
    for cost in COSTS:
        ours, gains = one.ours(cost), one.gains(cost)
        if ours is None or not gains:
            continue
        budget = mean(one.at, COSTS[cost])
        rows = [
            [
                gain.rival,
                gain.value.text(metric.places, metric.scale),
                gain.gain.text(metric.places, sign=True),
                gain.verdict,
            ]
            for gain in gains
        ]
        text += f"\nAt {budget:,.0f} {cost} DARB has {ours.text(metric.places, metric.scale)}:\n\n"
        text += table(["rival", f"test, {metric.unit or metric.name}", "DARB better by", "DARB is"], rows)
    return text
