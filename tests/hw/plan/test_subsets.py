"""Schedules of subsets of tasks: all share the codes and rows of one, and take no longer than it."""

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.plan.groups import Group
from darb_hw.plan.plan import Plan
from darb_prune.encoded import layers_of
from tests.draws import SeedDraw
from tests.hw.interpreter import single
from tests.networks import random_network
from tests.task_networks import with_tasks

TILES = {"lanes": 8, "positions": 4}
NETWORKS = [(3, "chain", {}), (10, "gru", {}), (10, "convolution", {}), (10, "convolution", TILES)]


@pytest.fixture(scope="module", params=NETWORKS, ids=str)
def plan(request):
    seed, kind, options = request.param
    network = with_tasks(random_network(seed, kind), SeedDraw(seed)).network
    return Plan.make(network, EngineConfig(**{"lanes": 3, "positions": 1, "results": 1} | options))


def cut(groups: list[Group], layer: int) -> list[tuple]:
    """What the ROMs have of the groups of a layer."""
    some = (group for group in groups if group.layer == layer)
    return [(group.rows.tolist(), group.steps, group.fold, group.index_bits) for group in some]


def test_groups_are_those_of_all_tasks(plan):
    for subset, schedule in plan.subsets.items():
        assert schedule.layers == layers_of(plan.network, subset)
        assert {group.layer for group in schedule.groups} == {*schedule.layers}
        for layer in schedule.layers:
            assert cut(schedule.groups, layer) == cut(plan.schedule.groups, layer)


def test_fewer_layers_take_fewer_cycles(plan):
    whole = plan.schedule
    assert whole is plan.subsets[max(plan.subsets)]
    for schedule in plan.subsets.values():
        if len(schedule.layers) < len(whole.layers):
            assert schedule.period < whole.period


def test_words_jump_over_what_is_left_out(plan):
    """Rows and words of codes, counted word by word as the engine does, against where the groups stand."""
    groups, jumps = plan.schedule.groups, single(plan.images["jumps"])
    program, entries = single(plan.images["program"]), plan.entries
    assert entries[max(plan.subsets)] == 0
    first_row = np.cumsum([0, *(len(group.rows) for group in groups)])
    first_word = np.cumsum([0, *(group.stored_steps for group in groups)])
    number = {id_of(group): index for index, group in enumerate(groups)}
    for subset, schedule in plan.subsets.items():
        words = program[entries[subset] :][: len(schedule.words)]
        row = word = 0
        left = list(schedule.groups)
        for fields, planned in zip(words, schedule.words, strict=True):
            if not planned.first or planned.idle:
                continue
            if fields.get("jump"):
                row, word = (jumps[fields["jump"]][name] for name in ("row", "weights"))
            for group in left[: planned.repeat + 1]:
                assert (row, word) == (first_row[number[id_of(group)]], first_word[number[id_of(group)]])
                row, word = row + len(group.rows), word + group.stored_steps
            del left[: planned.repeat + 1]
        assert not left


def id_of(group: Group) -> tuple:
    return group.layer, group.fold, group.level, tuple(group.rows.tolist()), tuple(group.positions.tolist())


def test_output_banks_are_those_of_all(plan):
    assert len({timing.output_banks for timing in plan.timings.values()}) == 1
    assert {subset: timing.outputs for subset, timing in plan.timings.items()} == {
        subset: sum(task.size for number, task in enumerate(plan.network.tasks) if subset >> number & 1)
        for subset in plan.subsets
    }


def test_mixed_subsets_take_turns(plan):
    """The pace of frames of one subset, and of all in turn."""
    timings = [*plan.timings.values()]
    mixed = plan.timing.times_of([1] * len(timings), timings)
    for times, timing in zip(mixed, timings, strict=True):
        assert times[0].left - times[0].offered == timing.outputs - 1
        assert times[0].offered >= times[0].start + timing.offer
    alone = plan.timing.times_of([1, 1])
    assert alone == plan.timing.times_of([1, 1], [plan.timing] * 2)
