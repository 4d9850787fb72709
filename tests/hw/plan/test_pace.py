"""Cycles at the ports: small cases by hand, and any case against an engine that is stepped cycle by cycle."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.plan.latency import Latency
from darb_hw.plan.pace import Timing, output_banks_of
from darb_hw.plan.plan import Plan
from tests.hw.plans import plans
from tests.hw.small import layer, network, tensor

LATENCY = Latency(lane_multiplier=2, requant_multiplier=2)
START, ROOM = LATENCY.start, LATENCY.room
NONE = np.zeros(0, np.int64)


def timing(
    load=10, outputs=4, offer=30, period=40, release=None, banks=2, output_banks=2, features=0, **fields
) -> Timing:
    release = period if release is None else release
    given = {"every": True, "busy": NONE, "body_busy": 0} | fields
    both = (period, period), (release, release)
    return Timing(load, features, outputs, LATENCY, offer, *both, banks=banks, output_banks=output_banks, **given)


def starts(found: Timing, count: int = 8) -> list[int]:
    return [sequence[0].start for sequence in found.times_of([1] * count)]


def cycle_by_cycle(found: Timing, lengths: list[int]) -> list[list[tuple]]:
    """Begun, entered, stored, start, offered, left of every step: what may happen in a cycle happens."""
    finals = [number == length - 1 for length in lengths for number in range(length)]
    count, never = len(finals), 1 << 40
    begun, entered, stored, start, offered, left = ([None] * count for _ in range(6))
    emitting = [n for n, final in enumerate(finals) if final or found.every]
    own = found.load - found.features  # places of an input that are elements: one of them waits in a register
    now, element, blocked, waiting = 0, 0, set(), False
    while any(left[n] is None for n in emitting) or start[-1] is None:
        taking = next((n for n in range(count) if stored[n] is None), None)
        if taking is not None:
            user = taking - found.banks
            free = user < 0 or (start[user] is not None and now > start[user] + found.release[finals[user]])
            if (element or free) and now not in blocked and (waiting or element >= own):
                element += 1
                if element <= own:
                    waiting = False
                if element == own:
                    entered[taking] = now
                if element == found.load:
                    stored[taking], element = now, 0
        if not waiting and any(entered[n] is None for n in range(count)):
            taken_from = next(n for n in range(count) if entered[n] is None)
            begun[taken_from] = now if begun[taken_from] is None else begun[taken_from]
            waiting = True
        following = next((n for n in range(count) if start[n] is None), None)
        if following is not None and stored[following] is not None and now >= stored[following] + found.latency.start:
            ready = following == 0 or now >= start[following - 1] + found.period[finals[following - 1]]
            before = [n for n in emitting if n < following]
            if len(before) >= found.output_banks:
                output = left[before[-found.output_banks]]
                ready &= output is not None and now >= output + found.latency.room
            if ready:
                start[following] = now
                busy = found.busy if finals[following] else found.busy[: found.body_busy]
                blocked |= set((now + busy).tolist())
        for n, before in zip(emitting, [None, *emitting[:-1]], strict=True):
            if left[n] is None and start[n] is not None and now >= start[n] + found.offer:
                if before is None or (left[before] or never) < now:
                    offered[n] = now if offered[n] is None else offered[n]
                    left[n] = now if now == offered[n] + found.outputs - 1 else None
                break
        now += 1
        assert now < 100_000
    flat = iter(
        [
            tuple(-1 if one is None else one for one in step)
            for step in zip(begun, entered, stored, start, offered, left, strict=True)
        ]
    )
    return [[next(flat) for _ in range(length)] for length in lengths]


def steps_of(found: Timing, lengths: list[int]) -> list[list[tuple]]:
    return [
        [(step.begun, step.entered, step.stored, step.start, step.offered, step.left) for step in sequence]
        for sequence in found.times_of(lengths)
    ]


# By hand.


def test_one_inference():
    """Ten elements in cycles 0 to 9, in the loader a cycle later; three cycles to the start of the sequencer; thirty to
    the first of four."""
    (((begun, entered, stored, start, offered, left),),) = steps_of(timing(), [1])
    assert (LATENCY.accept, START) == (1, 3)
    assert (begun, entered, stored, start, offered, left) == (0, 10, 10, 13, 43, 46)
    assert timing().latency_of(1) == 47


def test_program_bound():
    """The second input is there long before: the program follows itself without a gap; the third comes in when the
    first is released, all but its first element, for which there is room behind the second."""
    found = timing(period=40, release=25)
    assert starts(found, 5) == [13, 53, 93, 133, 173]
    assert [sequence[0].begun for sequence in found.times_of([1] * 5)] == [0, 10, 20, 13 + 25 + 10, 53 + 25 + 10]
    assert found.interval_of(1) == 40


def test_input_bound():
    """A hundred elements an inference: one comes in behind the other, and the sequencer waits for each."""
    found = timing(load=100, period=40, release=25)
    assert [sequence[0].begun for sequence in found.times_of([1] * 4)] == [0, 100, 200, 300]
    assert starts(found, 4) == [103, 203, 303, 403]
    assert found.interval_of(1) == 100


def test_output_bound():
    """A hundred elements out: the first output is whole in cycle 142, the second follows it at once; the third
    inference starts four cycles after the first output has left."""
    found = timing(outputs=100)
    assert ROOM == 4
    (first,), (second,), (third,) = found.times_of([1] * 3)
    assert (first.offered, first.left) == (43, 142)
    assert (second.offered, second.left) == (143, 242)
    assert (second.start, third.start) == (53, 146)
    assert (third.offered, third.left) == (243, 342)
    assert found.interval_of(1) == 100


def test_an_input_alone():
    """It comes in when the one before is released, all but its first element, and nothing else goes on meanwhile."""
    found = timing(banks=1, period=40, release=40)
    assert [sequence[0].begun for sequence in found.times_of([1] * 3)] == [0, 10, 63]
    assert starts(found, 3) == [13, 66, 119]
    assert found.interval_of(1) == 10 + 3 + 40


@pytest.mark.parametrize(("banks", "begun"), [(2, [13, 53, 130, 170, 247]), (3, [13, 53, 93, 133, 173])])
def test_two_outputs_or_three(banks, begun):
    """An output leaves 110 + 3 cycles after the start. Two banks: the third inference starts 4 cycles later, and so
    there are two of them in 117 cycles, in turns 40 and 77 apart. A third bank: the pace is that of the program."""
    found = timing(offer=110, output_banks=banks)
    assert starts(found, 5) == begun
    assert found.interval_of(1) == {2: 59, 3: 40}[banks]  # half of 117, rounded up


def test_three_outputs_that_take_turns():
    """An output leaves 27 + 4 cycles after the start, which even three outputs do not hide: three inferences at the
    pace of the program, then a wait; 31 cycles for three."""
    found = timing(load=1, outputs=1, offer=27, period=5, output_banks=3)
    assert starts(found, 7) == [4, 9, 14, 35, 40, 45, 66]
    assert found.interval_of(1) == 11  # a third of 31, rounded up


@pytest.mark.parametrize(
    ("written", "load", "outputs", "banks"),
    [
        (72 - LATENCY.send - 2, 10, 5, 2),  # 72 + 5 - 1 + 4 = 2 * 40
        (73 - LATENCY.send - 2, 10, 5, 3),
        (73 - LATENCY.send - 2, 41, 5, 2),  # the input is slower than the program
        (73 - LATENCY.send - 2, 40, 5, 3),
        (73 - LATENCY.send - 2, 10, 76, 2),  # the output is: 73 + 76 - 1 + 4 = 2 * 76
        (74 - LATENCY.send - 2, 10, 76, 3),
    ],
)
def test_a_third_output_only_where_two_hold_the_pace_back(written, load, outputs, banks):
    """Two keep the pace if an output leaves, and 4 cycles pass, within what two inferences take."""
    assert LATENCY.issue == 2
    plan = Plan.make(network([tensor("x", 9), tensor("y", 2)], [layer("y", "y", [("x", 0, 9)], 2)]), EngineConfig())
    schedule = replace(plan.schedule, written=written, period=40)
    assert output_banks_of(schedule, LATENCY, load, outputs) == banks
    offer = LATENCY.issue + written + LATENCY.send
    paces = [timing(load, outputs, offer, 40, release=25, output_banks=count).interval_of(1) for count in (2, 3)]
    assert paces[1] == max(load, outputs, 40)
    assert (paces[0] > paces[1]) == (banks == 3)


def test_results_take_the_port_from_the_input():
    """What enters the loader waits for results; so does what is to come behind it."""
    found = timing(load=4, busy=np.array([8, 9, 11]), period=60)
    first, second, third = (sequence[0] for sequence in found.times_of([1] * 3))
    assert (first.begun, first.stored, first.start) == (0, 4, 7)
    assert (second.begun, second.stored) == (4, 8)  # before the first writes in 15, 16 and 18
    assert (third.begun, third.stored) == (8, 7 + 60 + 4)
    found = timing(load=10, busy=np.array([0, 2, 3, 8]), period=60)
    first, second = (sequence[0] for sequence in found.times_of([1] * 2))
    assert (first.stored, first.start) == (10, 13)
    # 11, 12, not 13, 14, not 15 and 16, 17 to 20, not 21, 22, 23, 24.
    assert (second.begun, second.stored) == (10, 24)


def test_the_first_element_waits_for_the_port_as_well():
    found = timing(load=10, busy=np.array([38, 39]), period=40, release=37)
    third = found.times_of([1] * 3)[2][0]
    # Released in cycle 50, results in 51 and 52.
    assert (third.begun, third.stored) == (20, 53 + 9)


def test_there_is_room_for_a_symbol_while_the_one_before_becomes_its_features():
    """Two symbols of three features: the last one enters the loader four cycles before all is stored."""
    found = timing(load=8, features=3)
    first, second = (sequence[0] for sequence in found.times_of([1] * 2))
    assert (first.begun, first.entered, first.stored) == (0, 5, 8)
    assert (second.begun, second.entered, second.stored) == (5, 13, 16)


def test_steps_that_give_no_output_take_a_shorter_time():
    """Only the last of three gives an output: the others end early, and release their input early."""
    found = replace(timing(every=False), period=(20, 40), release=(11, 25), output_banks=2)
    ((first, second, third),) = found.times_of([3])
    assert (first.start, second.start, third.start) == (13, 33, 53)
    assert (second.begun, third.begun, third.stored) == (10, 20, 13 + 11 + 1 + 9)
    assert (first.offered, second.left) == (-1, -1)
    assert (third.offered, third.left) == (83, 86)
    assert found.latency_of(3) == 87
    assert found.interval_of(3) == 20 + 20 + 40


# Of any engine.

ends = st.integers(1, 60)


@st.composite
def timings(draw) -> Timing:
    """Periods, releases and times of writes as they come: those of a body are not those of a whole step."""
    period = draw(ends)
    body = draw(st.integers(1, period))
    busy = np.array(sorted(draw(st.sets(st.integers(1, 70), max_size=25))), np.int64)
    load = draw(ends)
    return Timing(
        load=load,
        features=draw(st.integers(0, load - 1)),
        outputs=draw(ends),
        latency=LATENCY,
        offer=draw(st.integers(1, 150)),
        period=(body, period),
        release=(draw(st.integers(0, body)), draw(st.integers(0, period))),
        every=draw(st.booleans()),
        banks=draw(st.integers(1, 2)),
        output_banks=draw(st.integers(2, 3)),
        busy=busy,
        body_busy=draw(st.integers(0, len(busy))),
    )


lengths = st.lists(st.integers(1, 4), min_size=1, max_size=6)


@given(timings(), lengths)
def test_steps_are_those_of_an_engine_cycle_by_cycle(found, lengths):
    assert steps_of(found, lengths) == cycle_by_cycle(found, lengths)


@given(plans(), lengths)
def test_steps_of_plans(plan, lengths):
    """The same with the numbers of an engine, taken from its parts."""
    latency, schedule = plan.latency, plan.schedule
    found = plan.timing
    features = plan.network.embedding.table.shape[1] if plan.network.embedding else 0
    assert (found.load, found.features) == (plan.network.tensor(plan.network.input).size * (1 + features), features)
    assert found.outputs == plan.network.tensor(plan.network.output).size
    assert found.offer == latency.issue + schedule.written + latency.send
    assert found.period == (schedule.body_period, schedule.period)
    assert found.release == (schedule.body_release + latency.release, schedule.release + latency.release)
    assert found.every == (plan.network.emit == "step")
    assert found.banks == (2 if plan.memory.second else 1)
    # An element is on the port three cycles after it enters; nobody minds where it comes alone.
    written = schedule.busy + latency.issue - 3 if plan.overlapped else NONE
    assert found.busy.tolist() == written.tolist()
    assert steps_of(found, lengths) == cycle_by_cycle(found, lengths)


@given(plans())
def test_the_pace_is_steady(plan):
    """The interval is that of inferences far behind the first, and no bound is undercut."""
    found = plan.timing
    begun = np.array([sequence[0].start for sequence in found.times_of([1] * 60)])
    assert found.interval_of(1) == -(-(begun[58] - begun[40]) // 18)
    assert found.interval_of(1) >= max(plan.timing.load, plan.schedule.period, plan.output_size)
