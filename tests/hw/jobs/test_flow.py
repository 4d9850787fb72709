"""Flows on threads of this process: what is shared, what is refused, what is kept."""

import pytest

from darb_hw.errors import ToolError
from darb_hw.jobs.flow import Watcher, outcome, outcomes
from darb_hw.jobs.threads import ThreadPool
from darb_hw.store.store import Store
from darb_prune.encoded import DarbError
from tests.hw.jobs.standins import Square, squares


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def pool(store):
    with ThreadPool(2, store) as pool:
        yield pool


class Counts(Watcher):
    def __init__(self):
        self.done = self.kept = self.submitted = 0

    def waits(self, job):
        self.submitted += 1

    def ended(self, job, kept):
        self.kept += kept
        self.done += not kept


def test_values_and_sharing(store, pool, tmp_path):
    """2, 3, 4 twice: the squares of 2 and 4 share 4 and 16, and each is computed once."""
    log, counts = tmp_path / "log", Counts()
    flows = [squares([2, 3], log=str(log)), squares([4, 2], log=str(log)), squares([3], log=str(log)), squares([])]
    assert dict(outcomes(flows, pool, store, counts)) == {0: [16, 81], 1: [256, 16], 2: [81], 3: []}
    assert sorted(map(int, log.read_text().split())) == [2, 3, 4, 9, 16]
    assert counts.submitted == counts.done == 5
    again = Counts()
    assert outcome(squares([2, 3, 4], log=str(log)), pool, store, again) == [16, 81, 256]
    assert (again.submitted, again.done) == (0, 0)
    assert len(log.read_text().split()) == 5


def test_a_job_twice_in_a_flow(store, pool):
    assert outcome(squares([2, 2, 2]), pool, store) == [16, 16, 16]


def test_one_refusal_ends_one_flow(store, pool):
    """Jobs that were not done are an error of every flow that wants them; others go on."""
    flows = [squares([2]), squares([3, 5], mood="fail"), squares([3], mood="fail"), squares([4])]
    results = dict(outcomes(flows, pool, store))
    assert (results[0], results[3]) == ([16], [256])
    assert isinstance(results[1], ToolError)
    assert str(results[2]) == "no tool for 3"
    with pytest.raises(ToolError, match="no tool for 3"):
        outcome(squares([3], mood="fail"), pool, store)


def test_a_flow_may_go_on_after_an_error(store, pool):
    def careful():
        try:
            yield [Square(1, mood="fail")]
        except ToolError:
            (entry,) = yield [Square(7)]
            return entry.files["square"]

    assert outcome(careful(), pool, store) == b"49"


def test_no_room_ends_all(store, pool):
    with pytest.raises(OSError, match="No space left") as error:
        dict(outcomes([squares([2]), squares([3], mood="room")], pool, store))
    assert error.value.filename == "/full"


def test_our_own_faults_are_not_hidden(store, pool):
    def wrong():
        yield [Square(2)]
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        dict(outcomes([wrong()], pool, store))


def test_flows_are_begun_as_there_is_room(store, pool):
    """Not all at once: a grid of a million points would hold a million networks."""
    begun = []

    def flow(number):
        begun.append(number)
        (entry,) = yield [Square(number, seconds=0.01)]
        return int(entry.files["square"])

    results = outcomes((flow(number) for number in range(100)), pool, store)
    number, value = next(results)
    assert value == number**2
    assert len(begun) <= pool.window + 1
    assert len(dict(results)) == 99


def test_a_darb_error_of_a_flow_is_its_outcome(store, pool):
    def refused():
        raise DarbError("no such device")
        yield []

    ((_, result),) = outcomes([refused()], pool, store)
    assert str(result) == "no such device"
