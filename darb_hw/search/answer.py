"""The answer of a search as files: its network, its build, its report; and what to say if there is none."""

import shutil
from pathlib import Path

from darb_hw.emit import generate
from darb_hw.jobs.flow import Pool, outcome
from darb_hw.search.run import Search
from darb_hw.search.verifying import network_files
from darb_hw.search.wanted import misses
from darb_hw.store.store import Store
from darb_hw.synthesis.synth import synthesise
from darb_prune.encoded import write_files

__all__ = ["unanswered", "write_answer"]


def write_answer(search: Search, folder: Path, pool: Pool, store: Store) -> bool:
    """Write ``network.darb``, ``network.vectors`` and ``build/``, synthesised, of the winner; whether there is one.

    An older answer goes.
    """
    best = search.winner
    shutil.rmtree(folder, ignore_errors=True)
    if best is None:
        return False
    files = outcome(network_files(best.candidate, search.question), pool, store)
    write_files({folder / name: data for name, data in files.items()})
    build = generate(folder / "network.darb", best.candidate.point().config, folder / "build")
    synthesise(build, search.question.seeds, store=store)
    return True


def unanswered(search: Search) -> str:
    """Why there is no answer, and what helps."""
    wanted = search.question.wanted
    near = [(sum(beyond.values()), one, beyond) for one in search.verified if (beyond := one.missed(wanted))]
    if near:
        _, one, beyond = min(near, key=lambda entry: entry[0])
        found = f"the nearest, {one.candidate.network} on {one.candidate.lanes} lanes, {misses(beyond)}"
    elif search.verified:
        found = search.verified[0].reason
    else:
        found = "no engine keeps them, by the estimates"
    return f"no candidate keeps all bounds: {found}; give it more --trials, another --device, or wider bounds"
