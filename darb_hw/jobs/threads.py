"""Jobs done by threads of this process: what they start are programs, or they are alone."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

from darb_hw.jobs.job import Job, finished
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store

__all__ = ["ThreadPool"]


class ThreadPool:
    """A :class:`~darb_hw.jobs.flow.Pool` of threads; to be used in a ``with`` statement.

    Parameters
    ----------
    jobs : int
        Threads, and so jobs at a time.
    store : Store
        Gets each result as soon as it is there, so that none is lost if nobody takes it any more.
    """

    def __init__(self, jobs: int, store: Store) -> None:
        self._store = store
        self._executor = ThreadPoolExecutor(jobs, thread_name_prefix="darb-job")
        self._ended: queue.Queue[tuple[Job, Entry | Exception]] = queue.Queue()
        self._running: set[str] = set()
        self._lock = threading.Lock()
        self.window = 2 * jobs

    def __enter__(self) -> "ThreadPool":
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def submit(self, job: Job, rank: int) -> None:
        self._executor.submit(self._do, job)

    def _do(self, job: Job) -> None:
        with self._lock:
            self._running.add(job.key)
        try:
            result: Entry | Exception = finished(job, self._store)
        except Exception as error:  # raised again by who takes it
            result = error
        with self._lock:
            self._running.discard(job.key)
        self._ended.put((job, result))

    def take(self, seconds: float) -> tuple[Job, Entry | Exception] | None:
        try:
            return self._ended.get(timeout=seconds)
        except queue.Empty:
            return None

    def running(self) -> set[str]:
        with self._lock:
            return set(self._running)
