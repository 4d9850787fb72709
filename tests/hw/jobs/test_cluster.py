"""Jobs on workers of Dask: shared, killed, without a scheduler."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import psutil
import pytest

from darb_hw.errors import ToolError
from darb_hw.jobs.cluster import ClusterPool
from darb_hw.jobs.flow import outcomes
from darb_hw.store.store import Store
from darb_prune.encoded import DarbError
from tests.hw.jobs.standins import squares

# Of Dask: sockets that are closed by the end of the process, loops of other threads.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


def workers_of(process: int) -> list[int]:
    """Processes of workers that a process has started."""
    children = psutil.Process(process).children()
    return [child.pid for child in children if any("spawn_main" in word for word in child.cmdline())]


def test_two_workers_and_the_death_of_one(tmp_path):
    """Its job is done by another one; of those that had finished none is done again; no process is left behind."""
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    numbers = range(40)
    with ClusterPool(store, jobs=2) as pool:
        flows = (squares([number], seconds=0.1, log=str(log)) for number in numbers)
        results = outcomes(flows, pool, store)
        values = dict([next(results) for _ in range(5)])
        victim = workers_of(os.getpid())[0]
        os.kill(victim, signal.SIGKILL)
        values |= dict(results)
        assert values == {number: [number**4] for number in numbers}
        begun = Counter(log.read_text().split())
        assert sum(begun.values()) - len(begun) <= 1
        ((_, refused),) = outcomes([squares([2], mood="fail")], pool, store)
        assert isinstance(refused, ToolError)
        left = workers_of(os.getpid())
        assert left
    time.sleep(1)
    assert not set(workers_of(os.getpid())) & set(left)


CLIENT = """
import sys
from darb_hw.jobs.cluster import ClusterPool
from darb_hw.jobs.flow import outcomes
from darb_hw.store.store import Store
from tests.hw.jobs.standins import squares

if __name__ == "__main__":
    store = Store(sys.argv[1])
    with ClusterPool(store, sys.argv[3] if len(sys.argv) > 3 else None, jobs=2) as pool:
        flows = [squares([number], seconds=0.1, log=sys.argv[2]) for number in range(20)]
        assert dict(outcomes(flows, pool, store)) == {number: [number**4] for number in range(20)}
"""


@pytest.fixture
def client(tmp_path):
    """A process that computes squares."""
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    log = tmp_path / "log"
    log.touch()

    def start(store, *arguments):
        command = [sys.executable, str(script), str(store), str(log), *arguments]
        return subprocess.Popen(command, env=environment, start_new_session=True)

    return start


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_the_death_of_the_client(client, sign, tmp_path):
    """Started again, it ends; what had finished is not begun again; its workers end with it."""
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    with client(store.folder) as first:
        while len(list(store.keys())) < 8:
            time.sleep(0.02)
        workers = workers_of(first.pid)
        first.send_signal(sign)
    assert len(workers) == 2
    for _ in range(300):
        if not any(os.path.exists(f"/proc/{worker}") for worker in workers):
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker was left behind")
    finished = {entry.label.removeprefix("square of ") for entry in store.entries("square")}
    before = len(log.read_text().split())
    with client(store.folder) as again:
        assert again.wait(120) == 0
    begun = log.read_text().split()[before:]
    assert not finished & set(begun)
    assert len(begun) == len(set(begun))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense", "what://x:1"])
def test_a_scheduler_that_is_not_there(address, tmp_path, monkeypatch):
    monkeypatch.setattr("darb_hw.jobs.cluster._ANSWER_SECONDS", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    with (
        pytest.raises(
            DarbError, match=r"^--scheduler .*: no Dask scheduler answers there; start one with dask scheduler"
        ),
        ClusterPool(Store(tmp_path), address.format(port=port)),
    ):
        pass
    assert time.monotonic() - start < 30


def test_two_clients_of_one_scheduler(client, tmp_path):
    """They share the work, and each has all results in its own store."""
    from distributed import LocalCluster

    log, stores = tmp_path / "log", [Store(tmp_path / "a"), Store(tmp_path / "b")]
    environment = {"DARB_STORE": str(tmp_path / "workers")}
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", env=environment
    ) as cluster:
        clients = [client(store.folder, cluster.scheduler_address) for store in stores]
        assert [process.wait(200) for process in clients] == [0, 0]
        begun = Counter(log.read_text().split())
        assert max(begun.values()) == 1
        assert list(stores[0].keys()) == list(stores[1].keys()) == list(Store(tmp_path / "workers").keys())


def test_a_scheduler_that_goes_away(tmp_path):
    from distributed import LocalCluster

    store = Store(tmp_path / "store")
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0")
    try:
        with ClusterPool(store, cluster.scheduler_address) as pool:
            threading.Timer(2, cluster.close).start()
            flows = (squares([number], seconds=0.2) for number in range(1000))
            results = outcomes(flows, pool, store)
            next(results)
            threading.Thread(target=cluster.close).start()
            with pytest.raises(DarbError, match=r"^the scheduler tcp://.* is gone; start the sweep again"):
                dict(results)
    finally:
        cluster.close()
    assert list(store.keys())
