"""What sweeps promise: little overhead, the same table whatever dies, nothing finished run again.

    python -m benchmarks.sweeps overhead              # 2,000 stand-ins of 0.1 s on 2 workers
    python -m benchmarks.sweeps deaths --times 5      # kill -9 of a worker, then of the client, at random moments

Both fail if a promise is not kept. The tools are stand-ins; what does the work is real.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from darb_hw.jobs.cluster import ClusterPool
from darb_hw.jobs.flow import Flow, outcomes
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from tests.hw.jobs.standins import Square
from tests.hw.sweep.standin_tools import standin_tools
from tests.networks import random_network

MOST = 1.15
"""Times the ideal time that many short jobs may take."""
WORKERS = 2


def _square(number: int, seconds: float) -> Flow[int]:
    (entry,) = yield [Square(number, seconds)]
    return int(entry.files["square"])


def overhead(count: int, seconds: float) -> float:
    """Time of ``count`` jobs of so many seconds each on two workers / the ideal time."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        with ClusterPool(store, jobs=WORKERS) as pool:
            start = time.monotonic()
            values = dict(outcomes((_square(number, seconds) for number in range(count)), pool, store))
            taken = time.monotonic() - start
        assert values == {number: number**2 for number in range(count)}
        assert len(list(store.keys())) == count
    return taken / (count * seconds / WORKERS)


class DeathTrial:
    """Sweeps of one small grid with stand-ins for the tools, in a folder."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.log = folder, folder / "log"
        self.log.touch()
        self.tools = standin_tools(folder / "bin", self.log, seconds)
        random_network(5, sizes=(9, 11, 4)).network.save(folder / "net.darb")

    def start(self, store: Path, output: str, jobs: int) -> subprocess.Popen:
        command = [sys.executable, "-m", "darb_hw.program", "sweep", "net.darb", "-o", output, "--jobs", str(jobs)]
        command += ["--lanes", "1,2,4", "--device", "ecp5-25k,ice40-hx8k", "--seeds", "3"]
        environment = os.environ | self.tools | {"DARB_STORE": str(store)}
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL)

    def table(self, output: str) -> bytes:
        return (self.folder / output / "sweep.csv").read_bytes()

    def begun(self) -> Counter[str]:
        return Counter(self.log.read_text().splitlines())


def _workers(process: int) -> list[psutil.Process]:
    children = psutil.Process(process).children()
    return [child for child in children if any("spawn_main" in word for word in child.cmdline())]


def _wait_for(store: Store, count: int, process: subprocess.Popen) -> None:
    while len(list(store.keys())) < count and process.poll() is None:
        time.sleep(0.02)


def deaths(trial: DeathTrial, victim: str, moment: int, expected: bytes) -> tuple[int, int]:
    """Kill a worker or the client once so many results are there, and start the sweep again if the client was killed.

    Returns
    -------
    tuple of int
        How many runs of tools were begun twice, and how many of those had finished before.
    """
    name = f"{victim}-{moment}"
    store = Store(trial.folder / f"store-{name}")
    trial.log.write_text("")
    process = trial.start(store.folder, name, WORKERS)
    _wait_for(store, moment, process)
    time.sleep(random.random())
    workers = _workers(process.pid) if process.poll() is None else []
    if victim == "worker" and workers:
        random.choice(workers).send_signal(signal.SIGKILL)
    elif victim == "client":
        process.kill()
        process.wait()
        psutil.wait_procs(workers, timeout=60)
        assert not any(worker.is_running() for worker in workers), "a worker was left behind"
    finished = {record.key: record.label for record in store.records()}
    if victim == "client":
        process = trial.start(store.folder, name, WORKERS)
    assert process.wait() == 0
    assert trial.table(name) == expected, f"{name}: another table"
    assert store.damaged() == []
    assert set(finished) <= set(store.keys())
    begun = trial.begun()
    again = {run for run, count in begun.items() if count > 1}
    kept = {
        _identity(entry) for kind in ("synthesis", "route") for entry in store.entries(kind) if entry.key in finished
    }
    return len(again), len(again & kept)


def _identity(entry: Entry) -> str:
    """What a stand-in has noted of the run that this is the result of."""
    if entry.kind == "synthesis":
        return f"yosys {entry.files['design.json'].decode()}"
    return f"nextpnr {entry.files['nextpnr.log'].decode().split()[-1]}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "deaths"])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.what == "overhead":
        times = overhead(arguments.count, arguments.seconds)
        print(f"{arguments.count} jobs of {arguments.seconds} s on {WORKERS} workers: {times:.3f} times the ideal time")
        sys.exit(times > MOST)
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        trial = DeathTrial(Path(name), 0.3)
        serial = trial.start(trial.folder / "store-serial", "serial", 1)
        assert serial.wait() == 0
        expected = trial.table("serial")
        jobs = len(list(Store(trial.folder / "store-serial").keys()))
        for victim in ("worker", "client"):
            for moment in sorted(random.sample(range(1, jobs - 8), arguments.times)):
                again, finished = deaths(trial, victim, moment, expected)
                print(
                    f"{victim} killed after {moment} results: same table, {again} runs begun twice, {finished} of them "
                    "had finished",
                    flush=True,
                )
                if finished or again > WORKERS:
                    sys.exit(1)


if __name__ == "__main__":
    main()
