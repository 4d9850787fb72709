"""What a search found: tables for the terminal, ``search.csv`` and ``search.json``."""

import csv
import io
import json
from collections import Counter

from rich.table import Table

from darb_hw.search.run import Search
from darb_hw.search.space import Candidate
from darb_hw.search.trying import Tried
from darb_hw.search.verifying import Verified
from darb_hw.search.wanted import Figures, Loss, Wanted, missed, misses
from darb_hw.sweep import table as sweep_table
from darb_prune.encoded.metrics import get

__all__ = ["expected", "files_of", "outcome_of", "reasons", "search_table", "tally", "verdict"]

_FORMAT = 1
_AXES = ("device", "size", "method", "ratio", "weight_bits", "activation_bits", "lanes")


def verdict(one: Verified, search: Search) -> str:
    """Why an engine that was placed is the answer, or is not."""
    best, wanted = search.winner, search.question.wanted
    if one is best:
        return "the answer"
    if one.reason:
        return one.reason
    beyond = one.missed(wanted)
    if beyond:
        return misses(beyond)
    assert best is not None
    assert one.figures is not None
    assert one.loss is not None
    return f"keeps all bounds; {_behind(one.figures, one.loss, best, wanted)}"


def expected(one: Tried, search: Search) -> str:
    """Why a finalist was not placed."""
    best, wanted = search.winner, search.question.wanted
    if one.estimate is None or one.loss is None:
        return one.reason
    figures = search.correction.likely(one.estimate)
    beyond = wanted.missed(figures, one.loss)
    if beyond:
        return f"not placed: {misses(beyond)}"
    assert best is not None  # all finalists are placed where none is an answer
    return f"not placed: {_behind(figures, one.loss, best, wanted)}"


def _behind(figures: Figures, loss: Loss, best: Verified, wanted: Wanted) -> str:
    """What the answer is better in."""
    assert best.figures is not None
    assert best.loss is not None
    text = get(loss.metric).text
    options = {
        "accuracy": (loss.share, best.loss.share, f"{text(loss.value)}, the answer {text(best.loss.value)}"),
        "rate": (-figures.rate, -best.figures.rate, f"{figures.rate:,.0f}/s, the answer {best.figures.rate:,.0f}"),
        "luts": (figures.luts, best.figures.luts, f"{figures.luts:,.0f} LUTs, the answer {best.figures.luts:,.0f}"),
    }
    for name in dict.fromkeys((wanted.aim, "accuracy", "luts", "rate")):
        mine, its, words = options[name]
        if mine > its:
            return words
    return "as good as the answer"


def search_table(search: Search) -> Table:
    """One row a finalist, the answer first; figures of those that were not placed are estimates."""
    table = Table(title="finalists", title_justify="left", pad_edge=False, caption="on validation data; ~ estimated")
    for name in ("network", "device"):
        table.add_column(name, no_wrap=True)
    for name in ("lanes", "metric", "inf/s", "LUTs", "BRAM"):
        table.add_column(name, justify="right", no_wrap=True)
    best, corrected = search.winner, search.correction
    for one in sorted(search.verified, key=lambda one: one is not best):
        style = "bold green" if one is best else ""
        table.add_row(*_cells(one.candidate, one.loss, one.figures, ""), style=style)
    for one in _left(search):
        figures = corrected.likely(one.estimate) if one.estimate else None
        table.add_row(*_cells(one.candidate, one.loss, figures, "~"))
    return table


def reasons(search: Search) -> list[str]:
    """Why each finalist is not the answer, in the order of the table."""
    placed = [(one.candidate, verdict(one, search)) for one in search.verified if one is not search.winner]
    left = [(one.candidate, expected(one, search)) for one in _left(search)]
    return [f"{candidate.network}, {candidate.lanes} lanes: {words}" for candidate, words in (*placed, *left)]


def _left(search: Search) -> list[Tried]:
    """Finalists that were not placed."""
    placed = search.known(search.verified)
    return [one for one in search.finalists if one.candidate not in placed]


def _cells(candidate: Candidate, loss: Loss | None, figures: Figures | None, about: str) -> list[str]:
    row = [candidate.network, candidate.device, str(candidate.lanes), get(loss.metric).text(loss.value) if loss else ""]
    if figures is None:
        return [*row, "", "", ""]
    return [*row, f"{about}{figures.rate:,.0f}", f"{about}{figures.luts:,.0f}", f"{figures.block_rams:,}"]


def outcome_of(one: Tried, wanted: Wanted) -> str:
    """What came of a candidate that was tried, in a word or two: the bound that it misses most, for example."""
    if one.estimate is None:
        return "no engine"
    if one.loss is None and one.reason:
        return "no network"
    if one.loss is None:
        beyond = missed(wanted.of_engine(Figures.at_best(one.estimate)))
    else:
        beyond = wanted.missed(Figures.likely(one.estimate), one.loss)
    return f"misses {max(beyond, key=lambda name: beyond[name])}" if beyond else "promising"


def tally(search: Search) -> str:
    """How many were tried, and what came of them."""
    counts = Counter(outcome_of(one, search.question.wanted) for one in search.tried)
    return f"{len(search.tried)} tried: " + ", ".join(f"{count} {words}" for words, count in counts.most_common())


def files_of(search: Search, name: str) -> dict[str, bytes]:
    """``search.csv``, ``search.json``, and ``sweep.json``, which has what was verified as a sweep of this name."""
    points = {axis: sorted({getattr(one.candidate, axis) for one in search.verified}) for axis in _AXES}
    results = [one.result for one in search.verified]
    return {
        "search.csv": _csv(search),
        "search.json": _json(search),
        "sweep.json": sweep_table.json_bytes(results, points, name),
    }


def _csv(search: Search) -> bytes:
    """The text of ``search.csv``: one line a candidate that was tried, with its estimate and its loss after a short
    fine-tuning."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = ("inferences_per_second", "latency_us", "luts", "block_rams")
    writer.writerow([*_AXES, *figures, "metric", "value", "dense", "outcome", "reason"])
    for one in search.tried:
        row = [getattr(one.candidate, name) for name in _AXES]
        if one.estimate is None:
            row += [""] * len(figures)
        else:
            likely = Figures.likely(one.estimate)
            row += [round(likely.rate), round(likely.latency, 3), round(likely.luts), likely.block_rams]
        row += ["", "", ""] if one.loss is None else [one.loss.metric, one.loss.value, one.loss.dense]
        writer.writerow([*row, outcome_of(one, search.question.wanted), one.reason])
    return text.getvalue().encode()


def _json(search: Search) -> bytes:
    """The text of ``search.json``: the question, what was tried, what was verified, the answer."""
    best = search.winner
    content = {
        "format": _FORMAT,
        "question": search.question.as_dict(),
        "tried": [one.as_dict() for one in search.tried],
        "finalists": [one.as_dict() for one in search.finalists],
        "verified": [
            {
                "candidate": one.candidate.as_dict(),
                "report": one.result.report and one.result.report.as_dict(),
                "accuracy": dict(one.result.accuracies),
                "missed": one.missed(search.question.wanted),
                "verdict": verdict(one, search),
            }
            for one in search.verified
        ],
        "answer": best and best.candidate.as_dict(),
    }
    return (json.dumps(content, indent=1) + "\n").encode()
