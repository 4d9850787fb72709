"""The scoreboard notices what it is there to notice."""

import pytest
from networks import random_inputs, random_network

from darb_hw.config import EngineConfig
from darb_hw.plan import Plan
from sim.scenario import Report
from sim.scoreboard import Mismatch, Scoreboard


@pytest.fixture
def board():
    random = random_network(81, sizes=(6, 5, 3))
    plan = Plan.make(random.network, EngineConfig(lanes=2))
    vectors = random.vectors(random_inputs(0, random.network, 2))
    board = Scoreboard(plan, vectors, Report())
    board.frame_begins(1, 1)
    board.frame_loaded(6, 1)
    return board, plan, vectors


def outputs(plan, vectors):
    return vectors.tensors[plan.network.output][1].tolist()


def test_a_good_frame_is_counted(board):
    board, plan, vectors = board
    board.offered(6 + plan.compute_cycles)
    for number, value in enumerate(outputs(plan, vectors)):
        board.taken(6 + plan.compute_cycles + number, value, int(number == 2))
    assert board.done == 1


def test_a_wrong_output_names_layer_row_and_cycle(board):
    board, plan, vectors = board
    first = outputs(plan, vectors)[0]
    with pytest.raises(Mismatch, match=rf"cycle 99: output 0 \(layer 'layer2', row 0\), sample 1: engine {first + 1}"):
        board.taken(99, first + 1, 0)


def test_a_wrong_row_names_layer_row_and_cycle(board):
    board, plan, vectors = board
    _layer, row = plan.schedule[0]
    value = int(vectors.tensors["t1"][1, row])
    with pytest.raises(
        Mismatch, match=f"cycle 50: layer 'layer1', row {row}, sample 1: engine {value - 1}, oracle {value}"
    ):
        board.row(50, value - 1, False)


def test_a_cycle_too_late_or_too_early(board):
    board, plan, _ = board
    for wrong in (-1, 1):
        board._first_offer = True
        with pytest.raises(Mismatch, match=f"the plan says {plan.compute_cycles}"):
            board.offered(6 + plan.compute_cycles + wrong)


def test_an_end_mark_in_the_wrong_place(board):
    board, plan, vectors = board
    with pytest.raises(Mismatch, match="tlast 1 with element 1 of 3"):
        board.taken(99, outputs(plan, vectors)[0], 1)


def test_an_output_without_an_input(board):
    board, _plan, _vectors = board
    board.reset()
    with pytest.raises(Mismatch, match="an output frame without an input frame"):
        board.offered(20)
    with pytest.raises(Mismatch, match="computed, but no frame was sent"):
        board.row(20, 0, False)
