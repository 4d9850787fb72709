"""Jobs done by the workers of a Dask cluster: one on this machine, or one that is there already.

Jobs and results travel as bytes. A worker looks into its own store first and puts its results there, so that a job is
not done again if the worker or the client dies afterwards. The key of a task is the key of its job: two clients of one
scheduler share the work.
"""

import asyncio
import importlib.util
import logging
import os
import queue
import time
import warnings
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from darb_hw.errors import ToolError
from darb_hw.jobs.job import Job, finished
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_prune.encoded import DarbError

if TYPE_CHECKING:
    from distributed import Future

__all__ = ["ClusterPool", "work"]

_ANSWER_SECONDS = 5
"""So long a scheduler may take to answer."""
_LIVES = 10
"""So many workers may die over one job before it is given up."""
_AHEAD, _LEAST = 4, 64
"""Jobs that wait for each thread of a worker; for all of them together at least."""
_COUNT_SECONDS = 2.0
"""How often workers are counted."""


def work(job: Job) -> bytes:
    """What a worker does: the packed result of a job, from its store or done now."""
    store = Store()
    try:
        return finished(job, store).pack()
    except OSError:
        # The result is what counts; that of a disk without room is not there to be kept.
        entry = store.get(job.key)
        return (entry or job.done()).pack()


class ClusterPool:
    """A :class:`~darb_hw.jobs.flow.Pool` of workers; to be used in a ``with`` statement.

    Parameters
    ----------
    store : Store
        That of workers on this machine. Others have their own.
    address : str, optional
        Of a scheduler, such as ``tcp://host:8786``. If absent, workers are started on this machine, and ended again.
    jobs : int, optional
        Workers on this machine, of one thread each; one a processor if absent.

    Raises
    ------
    DarbError
        If there is no scheduler at that address.
    """

    def __init__(self, store: Store, address: str | None = None, jobs: int | None = None) -> None:
        self._store, self._address, self._jobs = store, address, jobs
        self._ended: queue.Queue[tuple[Job, Future]] = queue.Queue()
        self._futures: dict[str, Future] = {}
        self._client: Any = None
        self._cluster: Any = None
        self._counted, self._threads = float("-inf"), 0

    def __enter__(self) -> "ClusterPool":
        import dask.config
        from distributed import Client, LocalCluster

        # Workers come and go; what that means is said here, in one line.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        settings = {
            "distributed.scheduler.allowed-failures": _LIVES,
            "distributed.admin.large-graph-warning-threshold": "1TB",
        }
        dask.config.set(settings)
        try:
            if self._address is None:
                self._cluster = LocalCluster(
                    n_workers=self._jobs or os.cpu_count() or 1, threads_per_worker=1, processes=True, memory_limit=0,
                    host="127.0.0.1", dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL, preload=["darb_hw.jobs.worker"],
                    env={"DARB_STORE": str(self._store.folder)},
                )  # fmt: skip
                self._client = Client(self._cluster, set_as_default=False)
            else:
                self._client = _client(self._address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._futures.clear()
        for part in (self._client, self._cluster):
            if part is not None:
                with suppress(OSError, asyncio.TimeoutError, CancelledError), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    part.close()

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's dashboard, if there is one."""
        link = self._client.dashboard_link if self._cluster is None or _has_dashboard() else None
        return link or None

    @property
    def window(self) -> int:
        now = time.monotonic()
        if now - self._counted > _COUNT_SECONDS:
            self._counted, self._threads = now, sum(self._client.nthreads().values())
        return max(_AHEAD * self._threads, _LEAST)

    def submit(self, job: Job, rank: int) -> None:
        # Without retries: a job that fails, fails again. That its worker dies is no failure of the job.
        future = self._client.submit(work, job, key=f"{job.kind}-{job.key}", priority=-rank, retries=0)
        self._futures[job.key] = future
        future.add_done_callback(lambda done: self._ended.put((job, done)))

    def take(self, seconds: float) -> tuple[Job, Entry | Exception] | None:
        try:
            job, future = self._ended.get(timeout=seconds)
        except queue.Empty:
            self._check()
            return None
        self._futures.pop(job.key, None)
        return job, self._result(job, future)

    def _result(self, job: Job, future: "Future") -> Entry | Exception:
        from distributed import KilledWorker

        try:
            entry = Entry.unpack(future.result())
        except (DarbError, OSError) as error:
            return error
        except KilledWorker:
            return ToolError(f"{job.label}: too many workers died over it: give them more memory")
        except ModuleNotFoundError as error:
            return ToolError(f"a worker has no module {error.name}: install the same darb on all machines")
        except CancelledError:
            self._check()
            raise _gone(self._address) from None
        if entry is None or entry.key != job.key:
            return ToolError(f"{job.label}: a worker gave something else; install the same darb on all machines")
        return entry

    def _check(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise _gone(self._address)

    def running(self) -> set[str]:
        with suppress(OSError, asyncio.TimeoutError, CancelledError):
            tasks = [key for keys in self._client.processing().values() for key in keys]
            return {str(key).rpartition("-")[2] for key in tasks}
        return set()


def _client(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, timeout=_ANSWER_SECONDS, set_as_default=False)
    except (TimeoutError, OSError, ValueError, TypeError):
        raise DarbError(
            f"--scheduler {address}: no Dask scheduler answers there; start one with dask scheduler, or leave this out"
        ) from None


def _gone(address: str | None) -> DarbError:
    return DarbError(
        f"the scheduler {address or 'on this machine'} is gone; start the sweep again: what was finished is kept"
    )


def _has_dashboard() -> bool:
    return importlib.util.find_spec("bokeh") is not None
