"""Searches against grids of the same cost: which finds the better engine.

    python -m benchmarks.searches                    # digits on ice40-up5k, LeNet-5 on ecp5-25k
    python -m benchmarks.searches digits
    python -m benchmarks.searches --page             # docs/results/searches.md from what was measured

Both have the same bounds and the same aim, and choose on validation data. The search comes first. Then points of a
grid, in an order that a seed gives, are fine-tuned fully, synthesised, placed and simulated until they have taken as
much processor time.
"""

import random
import resource
import shutil
from dataclasses import dataclass
from itertools import count, product
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.builds import ROOT
from benchmarks.command import PageOnly, bar, chosen, command, measured
from benchmarks.goals import Goal, markdown_table, show
from darb_hw.estimate.model import shipped
from darb_hw.jobs.flow import outcome
from darb_hw.jobs.threads import ThreadPool
from darb_hw.search.choosing import winner
from darb_hw.search.question import Question
from darb_hw.search.run import run_search
from darb_hw.search.space import Candidate, Space
from darb_hw.search.study import Study
from darb_hw.search.verifying import Verified, verified
from darb_hw.search.wanted import Wanted
from darb_hw.store.store import Store
from darb_prune.encoded import write_atomic
from darb_prune.encoded.metrics import Limit, get
from darb_prune.studies import markdown

WORK, FILE = ROOT / "build" / "searches", ROOT / "docs" / "results" / "searches.json"
FINALISTS = 20
MINUTES = 30.0
"""Of two processors, for a search."""


@dataclass(frozen=True)
class Contest:
    """A question, the same as a command, and a grid that may answer it."""

    question: Question
    words: str
    ratios: tuple[float, ...]
    weight_bits: tuple[int, ...]
    lanes: tuple[int, ...]

    def grid(self, seed: int) -> list[Candidate]:
        """The points of the grid in an order of chance."""
        (device,) = self.question.space.devices
        points = [
            Candidate("darb", ratio, bits, 8, device, lanes)
            for ratio, bits, lanes in product(self.ratios, self.weight_bits, self.lanes)
        ]
        random.Random(seed).shuffle(points)
        return points


def _question(task: str, device: str, wanted: Wanted) -> Question:
    return Question(task, None, Space((device,)), wanted, (1,))


CONTESTS = {
    "digits": Contest(
        _question("digits", "ice40-up5k", Wanted(min_rate=150_000, max_loss=Limit.parse("1%"))),
        "--task digits --size 1 --device ice40-up5k --min-rate 150000 --max-loss 1%",
        (2.0, 4.0, 8.0, 16.0), (4, 8), (2, 4, 8, 16),
    ),
    "fashion-mnist-lenet5": Contest(
        _question("fashion-mnist-lenet5", "ecp5-25k", Wanted("rate", max_loss=Limit.parse("1%"))),
        "--task fashion-mnist-lenet5 --size 1 --device ecp5-25k --max-loss 1% --aim rate",
        (2.0, 4.0, 8.0, 16.0), (4, 8), (8, 16, 32),
    ),
}  # fmt: skip


def _seconds() -> float:
    """Processor time of this process and of all that it started and that has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def compare(name: str, trials: int, seed: int, console: Console) -> dict[str, Any]:
    """Both ways to an engine, from nothing."""
    made, folder = CONTESTS[name], WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = _seconds()
    store = Store(folder / "search")
    study = Study(made.question, str(folder / "study.log"), seed)
    with ThreadPool(1, store) as pool, bar(console, f"{name}: search", trials + FINALISTS) as done:
        numbers = count(1)
        found = run_search(
            made.question, study, trials, FINALISTS, shipped(), pool, store, progress=lambda one: done(next(numbers))
        )
    spent, points = _seconds() - start, []
    start = _seconds()
    store = Store(folder / "grid")
    grid = made.grid(seed)
    with ThreadPool(1, store) as pool, bar(console, f"{name}: grid", round(spent)) as done:
        while grid and _seconds() - start < spent:
            points.append(outcome(verified(grid.pop(), made.question, store), pool, store))
            done(round(_seconds() - start))
    ways = {"search": (found.winner, found.verified), "grid": (winner(points, made.question.wanted), points)}
    return {
        "trials": len(found.tried), "finalists": len(found.finalists), "seconds": spent,
        "points": len(points), "left": len(grid),
        **{way: _answer(best) | {"verified": len(every)} for way, (best, every) in ways.items()},
    }  # fmt: skip


def _answer(best: Verified | None) -> dict[str, Any]:
    if best is None or best.figures is None or best.loss is None:
        return {"candidate": None}
    return {
        "candidate": best.candidate.as_dict(), "network": best.candidate.network, "rate": best.figures.rate,
        "luts": best.figures.luts, "block_rams": best.figures.block_rams, "validation": best.loss.value,
        "dense": best.loss.dense, "metric": best.loss.metric, "test": best.result.accuracy,
    }  # fmt: skip


def goals(results: dict[str, Any]) -> list[Goal]:
    """What searches have to show."""
    figures = []
    for name, contest in CONTESTS.items():
        result = results.get(name)
        minutes = None if result is None else result["seconds"] / 120
        figures.append(Goal(f"{name}: minutes of two processors", minutes, MINUTES, least=False, form=".1f"))
        aim = contest.question.wanted.aim
        gain = None
        if result and result["search"]["candidate"]:
            key = "validation" if aim == "accuracy" else "rate"
            gain = result["search"][key] / result["grid"][key] if result["grid"]["candidate"] else float("inf")
        figures.append(Goal(f"{name}: {aim} of the search / of the grid", gain, 1.0, form=".3f"))
    return figures


_HEAD = """# Results: searches

`darb search` against a grid of the same processor time ([how a search goes](../search.md)): the same bounds, the same
aim, both choose on validation data. Points of the grid are taken in an order of chance, fine-tuned fully, synthesised,
placed and simulated, until they have taken as much.

    python -m benchmarks.searches

"""


def _page(results: dict[str, Any]) -> str:
    text = _HEAD + markdown_table(goals(results)) + "\n"
    for name, result in results.items():
        contest = CONTESTS[name]
        grid = len(contest.grid(0))
        text += f"\n## {name}\n\n    darb search {contest.words}\n\n"
        text += f"{result['trials']} candidates tried of {contest.question.space.count:,}, {result['finalists']} of "
        text += f"them fine-tuned fully; the grid got to {result['points']} of its {grid} points: "
        text += f"ratios {_listed(contest.ratios)}, "
        text += f"weight bits {_listed(contest.weight_bits)}, lanes {_listed(contest.lanes)}.\n\n"
        rows = [_row(way, result[way]) for way in ("search", "grid")]
        head = ["way", "answer", "lanes", "inferences/s", "LUTs", "block RAMs", "validation", "dense", "test"]
        text += markdown.table(head, rows, left=2) + "\n"
    return text


def _listed(values: tuple) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _row(way: str, answer: dict[str, Any]) -> list[str]:
    if not answer["candidate"]:
        return [way, "none", *[""] * 7]
    text = get(answer["metric"]).text
    return [
        way, answer["network"], f"{answer['candidate']['lanes']}", f"{answer['rate']:,.0f}", f"{answer['luts']:,}",
        f"{answer['block_rams']}", *(text(answer[split]) for split in ("validation", "dense", "test")),
    ]  # fmt: skip


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help=f"Any of {', '.join(CONTESTS)}.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Candidates to try.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of proposals, and of the order of the grid.")] = 0,
    page_only: PageOnly = False,
) -> None:
    """Search, then spend as much on a grid; write docs/results/searches.md.

    Examples:

    [bold]python -m benchmarks.searches digits[/bold]
    """
    console = Console()
    asked = [] if page_only else chosen(names, CONTESTS)
    results = measured(FILE, asked, lambda name: compare(name, trials, seed, console))
    write_atomic(FILE.with_suffix(".md"), _page(results).encode())
    show("what searches have to show", goals(results), console)


app = command(main)

if __name__ == "__main__":
    app()
