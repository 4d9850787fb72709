"""Progress of many jobs on a terminal: what runs, what is done, how long it still takes."""

import time
from collections import Counter

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from darb_hw.jobs.flow import Pool, Watcher
from darb_hw.jobs.job import Job
from darb_prune.encoded import printable

__all__ = ["JobProgress"]

_LINES = 8
"""Running jobs that are shown."""
_ASK_SECONDS = 1.0


class JobProgress(Watcher):
    """Shows points and jobs on stderr, if that is a terminal; to be used in a ``with`` statement.

    Parameters
    ----------
    total : int
        Points.
    quiet : bool
    """

    def __init__(self, total: int, quiet: bool = False) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Progress(*columns, console=console)
        self._points = self._bar.add_task("points", total=total)
        self._shown = console.is_terminal and not quiet
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._waiting: dict[str, Job] = {}
        self._done: Counter[str] = Counter()
        self._kept = 0
        self._asked = 0.0

    def __enter__(self) -> "JobProgress":
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            self._live.stop()

    @property
    def counts(self) -> tuple[int, int]:
        """Jobs that were done, and those whose results were in the store."""
        return sum(self._done.values()), self._kept

    def point(self) -> None:
        """A point is finished."""
        self._bar.advance(self._points)

    def waits(self, job: Job) -> None:
        self._waiting[job.key] = job

    def ended(self, job: Job, kept: bool) -> None:
        self._waiting.pop(job.key, None)
        if kept:
            self._kept += 1
        else:
            self._done[job.kind] += 1

    def look(self, pool: Pool) -> None:
        now = time.monotonic()
        if not self._shown or now - self._asked < _ASK_SECONDS:
            return
        self._asked = now
        at_work = pool.running()
        running = [job for key, job in self._waiting.items() if key in at_work]
        done = ", ".join(f"{count} {kind}" for kind, count in sorted(self._done.items())) or "none"
        lines = [f"jobs done: {done}; from the store: {self._kept}; waiting: {len(self._waiting) - len(running)}"]
        lines += [f"  {printable(job.label)}" for job in running[:_LINES]]
        if len(running) > _LINES:
            lines.append(f"  and {len(running) - _LINES} more")
        self._live.update(Group(self._bar, Text("\n".join(lines), no_wrap=True)), refresh=True)
