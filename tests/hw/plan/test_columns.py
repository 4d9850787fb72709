"""Which columns the layers of sections read and write, and how addresses follow them."""

from darb_hw.config import EngineConfig
from darb_hw.plan.columns import NO_COLUMNS, Column, columns_of
from darb_hw.plan.metrics import layer_table
from darb_hw.plan.plan import Plan
from darb_prune.encoded import Section
from tests.hw.small import layer, network, tensor
from tests.legal import column_network, vector_network
from tests.networks import random_network


def test_without_sections():
    columns = columns_of(vector_network())
    assert columns == NO_COLUMNS
    assert columns.read(0, "in") == columns.write("a") == Column()
    assert columns.sides("in") == 0


def test_columns_of_both_directions():
    """A pixel outside of the map stands for the step before the first one, on the side that the section comes from."""
    network = column_network()
    columns = columns_of(network)
    assert (columns.moves, columns.cells) == ((2, -2), (("h", 2),))
    assert [(sweep.first, sweep.stop, sweep.steps) for sweep in columns.sweeps] == [(0, 1, 3), (1, 2, 3)]
    assert columns.read(0, "x") == Column(1, 0)
    assert columns.read(0, "h") == Column(1, -1, True)
    assert columns.write("h") == Column(1, 0)
    assert columns.write("gates") == Column()  # they are in no map
    assert columns.read(1, "x") == columns.read(1, "h") == Column(2, 2)
    assert columns.read(1, "r") == Column(2, 3, True)
    assert (columns.before(0), columns.before(1), columns.before(2)) == (["h"], ["r"], [])
    assert [columns.sides(name) for name in ("x", "h", "r")] == [0, 1, 1]


def test_moves_are_numbered_in_the_order_of_the_layers():
    """Of what they write, then of what they read: the same in every run of Python."""
    x, *written = (tensor(name, 1, 3, channels) for channels, name in enumerate("xabcd", 1))
    layers = [layer(one.name, one.name, [("x", 0, 1)], one.channels) for one in written]
    layers.append(layer("y", "y", [(one.name, 0, one.size) for one in written], 2))
    net = network([x, *written, tensor("y", 2)], layers, sections=(Section(0, 4),))
    assert columns_of(net).moves == (2, 3, 4, 5, 1)


def test_the_cycles_of_all_layers_are_those_of_the_program():
    for seed in range(4):
        plan = Plan.make(random_network(seed, "sections").network, EngineConfig(lanes=1 + seed))
        table = layer_table(plan)
        assert sum(row["cycles"] for row in table) + plan.schedule.spans[0].start == plan.schedule.period
        assert all(row["idle"] >= 0 for row in table)
        assert max(row["utilisation"] for row in table) <= 1


def test_what_a_section_reads_at_first_is_at_power_up():
    """The initial values of h stand in front of its first column, in storage order; r begins with zeros."""
    plan = Plan.make(column_network(), EngineConfig(lanes=2))
    power_up = plan.images["activations"].field("value")
    h, r = (plan.memory.start(name) + plan.memory.layouts[name].pixel(0, 0) for name in ("h", "r"))
    assert power_up[h - 2 : h].tolist() == [127, -128]
    assert not power_up[r + 6 : r + 8].any()
    assert not plan.memory.units
    assert plan.memory.cells == {"h": 0}
