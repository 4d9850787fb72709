"""The scoreboard notices what it is there to notice."""

import pytest

from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from sim.scenario import Frame, Report
from sim.scoreboard import Mismatch, Scoreboard
from tests.networks import random_inputs, random_network


@pytest.fixture
def board():
    random = random_network(81, sizes=(6, 5, 3))
    plan = Plan.make(random.network, EngineConfig(lanes=2))
    vectors = random.vectors(random_inputs(0, random.network, 2))
    board = Scoreboard(plan, vectors, Report())
    frame = Frame([0] * 6, 1, [1])
    for place in range(6):
        board.sent(place, 1 + place, frame, place)
    return board, plan, vectors


def outputs(plan, vectors):
    return vectors.tensors[plan.network.output][1].tolist()


def test_a_good_frame_is_counted(board):
    board, plan, vectors = board
    board.offered(6 + plan.timing.compute)
    for number, value in enumerate(outputs(plan, vectors)):
        board.taken(6 + plan.timing.compute + number, value, int(number == 2))
    assert board.done == 1


def test_a_wrong_output_names_layer_row_and_cycle(board):
    board, plan, vectors = board
    first = outputs(plan, vectors)[0]
    with pytest.raises(Mismatch, match=rf"cycle 99: output 0 \(layer 'layer2', row 0\), sample 1: engine {first + 1}"):
        board.taken(99, first + 1, 0)


def test_a_wrong_row_names_layer_row_and_cycle(board):
    board, plan, vectors = board
    row = plan.writes.row[0]
    value = int(vectors.tensors["t1"][1, row])
    message = f"cycle 50: layer 'layer1', row {row}, element {row}, sample 1: engine {value - 1}, oracle {value}"
    with pytest.raises(Mismatch, match=message):
        board.result(50, value - 1)


def test_a_cycle_too_late_or_too_early(board):
    board, plan, _ = board
    for wrong in (-1, 1):
        board._first_offer = True
        offer = plan.timing.offer
        with pytest.raises(Mismatch, match=f"first output after {offer + wrong} cycles, the plan says {offer}"):
            board.offered(6 + plan.timing.compute + wrong)


def test_an_end_mark_in_the_wrong_place(board):
    board, plan, vectors = board
    with pytest.raises(Mismatch, match="tlast 1 with element 1 of 3"):
        board.taken(99, outputs(plan, vectors)[0], 1)


def test_an_output_without_an_input(board):
    board, _plan, _vectors = board
    board.reset()
    with pytest.raises(Mismatch, match="an output frame without an input frame"):
        board.offered(20)
    with pytest.raises(Mismatch, match="computed, but no input was sent"):
        board.result(20, 0)


@pytest.fixture
def sequence():
    """A recurrent network, a sequence of two steps sent, and no output yet."""
    random = random_network(3, "lstm")
    plan = Plan.make(random.network, EngineConfig(lanes=4))
    vectors = random.vectors(random_inputs(0, random.network, 2), [2])
    board = Scoreboard(plan, vectors, Report())
    frame = Frame([0] * 2 * plan.input_size, 0, [0, 1])
    for place in range(len(frame.values)):
        board.sent(place, 1 + place, frame, place)
    return board, plan, vectors


def test_a_wrong_unit_names_cell_unit_and_step(sequence):
    board, plan, vectors = sequence
    cells, units = plan.writes.cell.tolist(), plan.writes.unit.tolist()
    values = [vectors.tensors[cell.output] for cell in plan.network.cells]
    for cell, unit in zip(cells, units, strict=True):
        board.unit(50, int(values[cell][0, unit]))
    name, value = plan.network.cells[cells[0]].name, int(values[cells[0]][1, units[0]])
    message = f"cycle 60: cell '{name}', unit {units[0]}, sample 0, step 1: engine {value + 1}, oracle {value}"
    with pytest.raises(Mismatch, match=message):
        board.unit(60, value + 1)


def test_a_maximum_to_come_bounds_what_is_written():
    random = next(
        found for seed in range(50) if not (found := random_network(seed, "convolution")).network.cells
        and found.network.layers[0].pool != (1, 1)
    )  # fmt: skip
    plan = Plan.make(random.network, EngineConfig(lanes=2))
    vectors = random.vectors(random_inputs(0, random.network, 1))
    board = Scoreboard(plan, vectors, Report())
    frame = Frame([0] * plan.input_size, 0, [0])
    for place in range(plan.input_size):
        board.sent(place, 1 + place, frame, place)
    writes = plan.writes
    first = int(writes.final.argmin())
    outputs = [vectors.tensors[layer.output][0] for layer in plan.network.layers]
    expected = [int(outputs[layer][element]) for layer, element in zip(writes.layer, writes.element, strict=True)]
    for value in expected[:first]:
        board.result(9, value)
    board.result(9, expected[first] - 1)  # less than what stays is legal before the last of a window
    board._result -= 1
    with pytest.raises(Mismatch, match=f"engine {expected[first] + 1}"):
        board.result(9, expected[first] + 1)


@pytest.mark.parametrize("late", [0, 1, -1])
def test_each_layer_ends_when_the_plan_says(board, late):
    board, plan, vectors = board
    start = 6 + plan.latency.start
    ends = [plan.latency.issue + span.written for span in plan.schedule.spans]
    writes = plan.writes
    of_layer = [vectors.tensors[layer.output][1] for layer in plan.network.layers]
    values = [int(of_layer[layer][element]) for layer, element in zip(writes.layer, writes.element, strict=True)]
    last = [number for number, layer in enumerate(writes.layer) if layer == 0][-1]
    for value in values[:last]:
        board.result(start + ends[0] - 1, value)
    if late:
        with pytest.raises(Mismatch, match=f"the layer ends after {ends[0] + late} cycles, the plan says {ends[0]}"):
            board.result(start + ends[0] + late, values[last])
    else:
        board.result(start + ends[0], values[last])
        assert board._report.layers == ends[:1]


def paced(count: int, late: int | None = None):
    """Frames sent and taken as fast as the plan says, but for the first element of one, which comes a cycle late."""
    random = random_network(81, sizes=(6, 5, 3))
    plan = Plan.make(random.network, EngineConfig(lanes=2))
    vectors = random.vectors(random_inputs(0, random.network, count))
    board = Scoreboard(plan, vectors, Report(), inside=False)
    for number, ((step,), values) in enumerate(
        zip(plan.timing.times_of([1] * count), vectors.tensors[plan.network.output].tolist(), strict=True)
    ):
        frame = Frame([0] * 6, number, [number])
        for place in range(6):
            board.sent(step.begun + (number == late), step.entered, frame, place)
        board.offered(step.offered)
        for place, value in enumerate(values):
            board.taken(step.offered + place, value, int(place == len(values) - 1))
    return board, plan


def test_the_pace_of_the_plan():
    """More frames than there is room for: the program and the outputs before hold each back."""
    board, plan = paced(8)
    board.check_pace([1] * 8, [0] * 8)
    assert board.done == 8
    assert board._report.latency == plan.timing.latency_of(1)
    assert board._report.interval == plan.timing.interval_of(1)


def test_a_pace_that_is_not_that_of_the_plan():
    board, plan = paced(8, late=5)
    begun = plan.timing.times_of([1] * 8)[5][0].begun
    with pytest.raises(Mismatch, match=f"frame 5 from cycle {begun + 1} to .*, the plan says {begun} to"):
        board.check_pace([1] * 8, [0] * 8)


def test_an_output_that_is_held_back_by_the_one_before(board):
    """It is offered in the cycle after that one has left, however early it is there."""
    board, plan, vectors = board
    frame = Frame([0] * 6, 0, [0])
    for place in range(6):
        board.sent(6 + place, 7 + place, frame, place)
    first = 6 + plan.timing.compute
    board.offered(first)
    late = 12 + plan.timing.compute + plan.schedule.period
    for number, value in enumerate(outputs(plan, vectors)):
        board.taken(late + number, value, int(number == 2))
    with pytest.raises(Mismatch, match="first output after"):
        board.offered(late + 4)
    board._first_offer = True
    board.offered(late + 3)
    assert board._report.compute == [plan.timing.offer]
