"""Flows: what says which jobs it needs next, is sent their results, and ends with a value. Many of them run at once."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from darb_hw.jobs.job import Job
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_prune.encoded import DarbError

__all__ = ["Flow", "Pool", "Watcher", "outcome", "outcomes"]

_Value = TypeVar("_Value")
Flow = Generator[Sequence[Job], Sequence[Entry], _Value]
"""Yields jobs that may be done at once, is sent an entry for each, and returns a value."""


class Pool(Protocol):
    """Who does jobs."""

    @property
    def window(self) -> int:
        """So many jobs should wait or run, so that nobody is idle."""
        ...

    def submit(self, job: Job, rank: int) -> None:
        """Do a job, those of a smaller rank first."""
        ...

    def take(self, seconds: float) -> tuple[Job, Entry | Exception] | None:
        """A job that has ended, and what came of it; nothing if none ends so soon.

        Raises
        ------
        DarbError
            If nobody is left who could do jobs.
        """
        ...

    def running(self) -> set[str]:
        """Keys of the jobs that are done at the moment."""
        ...


class Watcher:
    """Is told what happens; this one does nothing with it."""

    def waits(self, job: Job) -> None:
        """A job was given to the pool."""

    def ended(self, job: Job, kept: bool) -> None:
        """A job has ended, or its result was in the store already (``kept``)."""

    def look(self, pool: Pool) -> None:
        """About twice a second."""


_LOOK_SECONDS = 0.5


@dataclass(eq=False)
class _Running:
    """A flow that waits for jobs."""

    number: int
    flow: Flow[Any]
    wanted: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)


def outcomes(
    flows: Iterable[Flow[_Value]], pool: Pool, store: Store, watcher: Watcher | None = None
) -> Iterator[tuple[int, _Value | DarbError]]:
    """What comes of flows, in the order in which they end.

    A job that several flows want is done once. One whose result the store has is not done at all; results that come are
    put there.

    Parameters
    ----------
    flows : iterable of Flow
        Begun one after another, as the pool has room.
    pool : Pool
    store : Store
    watcher : Watcher, optional

    Yields
    ------
    tuple of int and value
        The position of a flow, and what it returned, or the :class:`DarbError` that it raised.

    Raises
    ------
    OSError
        If the store cannot be written, or a job had no room.
    """
    return _Driver(pool, store, watcher or Watcher()).outcomes(flows)


def outcome(flow: Flow[_Value], pool: Pool, store: Store, watcher: Watcher | None = None) -> _Value:
    """What comes of one flow; raises what it raises."""
    ((_, value),) = outcomes([flow], pool, store, watcher)
    if isinstance(value, DarbError):
        raise value
    return value


class _Driver:
    def __init__(self, pool: Pool, store: Store, watcher: Watcher) -> None:
        self._pool, self._store, self._watcher = pool, store, watcher
        self._waiting: dict[str, list[_Running]] = {}
        self._ended: list[tuple[int, Any]] = []

    def outcomes(self, flows: Iterable[Flow[Any]]) -> Iterator[tuple[int, Any]]:
        for number, flow in enumerate(flows):
            self._go_on(_Running(number, flow), None)
            while len(self._waiting) >= self._pool.window:
                self._wait()
                yield from self._taken()
            yield from self._taken()
        while self._waiting:
            self._wait()
            yield from self._taken()

    def _taken(self) -> list[tuple[int, Any]]:
        ended, self._ended = self._ended, []
        return ended

    def _go_on(self, running: _Running, error: DarbError | None) -> None:
        """Resume a flow, up to where it waits for a job that is not in the store."""
        entries = [running.entries[key] for key in running.wanted] if running.wanted else None
        while True:
            try:
                if error is not None:
                    jobs = running.flow.throw(error)
                else:
                    jobs = next(running.flow) if entries is None else running.flow.send(entries)
            except StopIteration as end:
                self._ended.append((running.number, end.value))
                return
            except DarbError as refusal:
                self._ended.append((running.number, refusal))
                return
            error = None
            running.wanted, running.entries = [job.key for job in jobs], {}
            for job in jobs:
                self._want(running, job)
            if running.entries.keys() != set(running.wanted):
                return
            entries = [running.entries[key] for key in running.wanted]

    def _want(self, running: _Running, job: Job) -> None:
        if job.key in self._waiting:
            if running not in self._waiting[job.key]:
                self._waiting[job.key].append(running)
            return
        entry = self._store.get(job.key)
        if entry is not None:
            running.entries[job.key] = entry
            self._watcher.ended(job, True)
            return
        self._waiting[job.key] = [running]
        self._pool.submit(job, running.number)
        self._watcher.waits(job)

    def _wait(self) -> None:
        """Wait for something to happen."""
        taken = self._pool.take(_LOOK_SECONDS)
        self._watcher.look(self._pool)
        if taken is None:
            return
        job, result = taken
        self._watcher.ended(job, False)
        waiting = self._waiting.pop(job.key)
        if isinstance(result, Entry):
            self._store.put(result)
        elif not isinstance(result, DarbError):
            raise result
        for running in waiting:
            if job.key not in running.wanted:  # it was refused meanwhile
                continue
            if isinstance(result, DarbError):
                running.wanted = []
                self._go_on(running, result)
            else:
                running.entries[job.key] = result
                if running.entries.keys() == set(running.wanted):
                    self._go_on(running, None)
