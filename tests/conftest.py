"""Fixtures shared by all tests."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate
from darb_prune.encoded import EncodedNetwork, TestVectors
from sim.launch import QUICK_COMPILE

# The same examples on every machine and every run; no deadline, since shared machines stumble.
settings.register_profile("darb", deadline=None, derandomize=True, max_examples=28)
settings.load_profile("darb")

os.environ.setdefault("MAKEFLAGS", QUICK_COMPILE)

TESTS = Path(__file__).resolve().parent
CACHE = TESTS.parent / "build" / "tests"


def pytest_addoption(parser):
    for simulator in ("icarus", "verilator"):
        parser.addoption(
            f"--{simulator}-networks", type=int, metavar="N",
            help=f"random networks that {simulator} simulates (tests/sim/test_fuzz.py); always the same ones",
        )  # fmt: skip
    parser.addoption(
        "--models", type=int, default=2, metavar="N",
        help="random models of torch that Verilator and Icarus simulate in turn (tests/sim/test_fuzz.py)",
    )  # fmt: skip


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Simulations first, then whole examples, which are in no folder: these take longest, and no worker should be left
    alone with one at the end."""
    items.sort(key=lambda item: (item.get_closest_marker("simulator") is None, item.path.parent != TESTS))
    if config.getoption("loadgroup", False):
        for item in items:
            _name_the_group(item)


def _name_the_group(item) -> None:
    """Tell xdist the group of a test, as the end of its id. xdist 3.8 does so itself, but in an attribute that pytest
    does not read any more since 9.2, and then distributes tests as if there were no groups."""
    group = "_".join(sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")}))
    if group and not item.nodeid.endswith(f"@{group}"):
        item._id = type(item.id).parse(f"{item.nodeid}@{group}")


@pytest.fixture(scope="session", autouse=True)
def _store(tmp_path_factory):
    """No test reads or writes the store of results of the user. All workers have the same one."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARB_STORE", str(folder / "store"))
        yield


@pytest.fixture(scope="session")
def cache() -> Path:
    """A folder that outlives the test run: what is unchanged is not compiled again."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE


@pytest.fixture(scope="session")
def make_build(cache):
    """Generate a build in the cache, once in a run; its simulators are compiled once for the same Verilog.

    Builds are shared: a test that changes one works on a copy.
    """
    made: dict[Path, tuple[bytes, Build]] = {}

    def make(name: str, network: EncodedNetwork, vectors: TestVectors, config: EngineConfig) -> Build:
        key = hashlib.sha256(repr((network.digest, config)).encode()).hexdigest()[:12]
        folder, digest = cache / f"{name}-{key}", hashlib.sha256(vectors.pack()).digest()
        if folder in made and made[folder][0] == digest:
            return made[folder][1]
        for stale in cache.glob(f"{name}-????????????"):
            if not stale.name.endswith(key):
                shutil.rmtree(stale, ignore_errors=True)  # another worker removes it as well
        made[folder] = digest, generate(network, config, folder, vectors)
        return made[folder][1]

    return make
