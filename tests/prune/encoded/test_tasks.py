"""Which layers a subset of tasks needs, and what makes tasks legal."""

from dataclasses import replace

import numpy as np
import pytest

from darb_prune.encoded import EncodedNetwork, TaskOutput, elements_of, layers_of, subsets_of, tasks_of
from darb_prune.errors import NetworkError
from tests.draws import SeedDraw
from tests.hw.small import layer, lstm, network, tensor
from tests.legal import change, column_network, map_network
from tests.networks import random_inputs, random_network
from tests.task_networks import with_tasks

TWO = TaskOutput("one", 2), TaskOutput("two", 3)


def towers(order=None) -> EncodedNetwork:
    """x -> h (0-1 of task one, 2-3 of both, 4-5 of task two) -> y; layers by number: one, shared, two, heads."""
    tensors = [tensor("x", 5), tensor("h", 6, order=order), tensor("y", 5)]
    layers = [layer(f"h{number}", "h", [("x", 0, 5)], 2, first=2 * number) for number in range(3)]
    layers += [layer("y0", "y", [("h", 0, 4)], 2), layer("y1", "y", [("h", 2, 4)], 3, first=2)]
    return network(tensors, layers, tasks=TWO)


def test_subsets_are_numbers():
    net = towers()
    assert [*subsets_of(net)] == [1, 2, 3]
    assert [tasks_of(net, subset) for subset in (1, 2, 3)] == [[0], [1], [0, 1]]
    assert [elements_of(net, subset).tolist() for subset in (1, 2, 3)] == [[0, 1], [2, 3, 4], [0, 1, 2, 3, 4]]
    plain = change(net, tasks=())
    assert ([*subsets_of(plain)], layers_of(plain, 1)) == ([1], (0, 1, 2, 3, 4))
    assert elements_of(plain, 1).tolist() == [0, 1, 2, 3, 4]


def test_layers_are_those_that_the_outputs_depend_on():
    assert [layers_of(towers(), subset) for subset in (1, 2, 3)] == [(0, 1, 3), (1, 2, 4), (0, 1, 2, 3, 4)]


def test_channels_are_counted_where_they_are_stored():
    """Channels 0 and 1 stand last: the head of task one reads what layers `shared` and `two` write."""
    net = towers(order=np.array([2, 3, 4, 5, 0, 1], np.int32))
    assert [layers_of(net, subset) for subset in (1, 2)] == [(1, 2, 3), (0, 2, 4)]


def test_a_cell_needs_all_of_its_gates_and_what_they_read():
    net = lstm(units=3, tail=2)
    head = layer("head", "y1", [("y0", 0, 2)], 2, first=5)
    tensors = tuple(replace(each, shape=(1, 1, 7)) if each.name == "y1" else each for each in net.tensors)
    made = change(net, tensors=tensors, layers=(*net.layers, head), tasks=(TaskOutput("all", 5), TaskOutput("head", 2)))
    assert [layers_of(made, subset) for subset in (1, 2)] == [(0, 1, 2), (0, 1, 3)]


@pytest.mark.parametrize(("seed", "kind"), [(1, "chain"), (2, "gru"), (3, "convolution"), (10, "lstm")])
def test_what_is_left_out_changes_nothing(seed, kind):
    """The outputs of a subset, whatever layers compute that it leaves out."""
    random = with_tasks(random_network(seed, kind), SeedDraw(seed))
    net = random.network
    lengths = np.array([3, 2]) if net.recurrent else None
    inputs = random_inputs(seed, net, 5)
    whole = random.trace(inputs, lengths)[net.output]
    for subset in subsets_of(net):
        ran = layers_of(net, subset)
        biases = (one.bias if number in ran else one.bias + 12345 for number, one in enumerate(net.layers))
        layers = tuple(replace(one, bias=bias) for one, bias in zip(net.layers, biases, strict=True))
        other = replace(random, network=change(net, layers=layers))
        elements = elements_of(net, subset)
        np.testing.assert_array_equal(other.trace(inputs, lengths)[net.output][:, elements], whole[:, elements])


def test_a_file_keeps_tasks(tmp_path):
    net = towers()
    net.save(tmp_path / "net.darb")
    assert EncodedNetwork.load(tmp_path / "net.darb").tasks == TWO
    assert change(net, tasks=()).digest != net.digest


REFUSED = [
    (towers, {"tasks": TWO[:1]}, "1 tasks; a network has none or 2 to 4"),
    (towers, {"tasks": tuple(TaskOutput(name, 1) for name in "abcde")}, "5 tasks; a network has none or 2 to 4"),
    (towers, {"tasks": [*TWO]}, "tasks must be a tuple"),
    (towers, {"tasks": (TaskOutput(1, 2), TWO[1])}, "name 1 of a task must be a string"),
    (towers, {"tasks": (TWO[0], TaskOutput("two", 3.0))}, "task 'two': size 3.0 must be an integer from 1 on"),
    (
        towers,
        {"tasks": (TaskOutput("one", 0), TaskOutput("two", 5))},
        "task 'one': size 0 must be an integer from 1 on",
    ),
    (towers, {"tasks": (TWO[0], TaskOutput("one", 3))}, "two tasks of one name"),
    (towers, {"tasks": (TWO[0], TaskOutput("two", 2))}, r"tensor 'y': shape \(1, 1, 5\), but the outputs of the tasks"),
    (map_network, {"tasks": TWO}, "but the outputs of the tasks are a vector of 5 elements"),
    (column_network, {"tasks": TWO}, "the network has sections, and so it can have no tasks"),
]


@pytest.mark.parametrize(("make", "changes", "message"), REFUSED)
def test_tasks_are_checked(make, changes, message):
    with pytest.raises(NetworkError, match=message) as caught:
        change(make(), **changes)
    assert "\n" not in str(caught.value)


def test_a_task_needs_something_in_every_time_step():
    net = lstm(emit="last")
    tensors = tuple(replace(one, shape=(1, 1, 6)) if one.name == "y1" else one for one in net.tensors)
    once = layer("once", "y1", [("x", 0, 4)], 1, first=5)
    with pytest.raises(NetworkError, match="task 'once': nothing that it needs runs before the last time step"):
        change(net, tensors=tensors, layers=(*net.layers, once), tasks=(TaskOutput("all", 5), TaskOutput("once", 1)))
