"""What makes a network legal: every check names the place."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from darb_prune.encoded import DENSE, Cell, DarbError, EncodedNetwork, Level, Operand, Section, Segment, Tensor, rows
from tests.legal import change, changed, column_network, dense_layer, map_network, recurrent_network, vector_network
from tests.networks import networks

A, B = vector_network().layers


def refused(make, changes, message):
    network = make()
    with pytest.raises(DarbError, match=message) as caught:
        change(network, **changes)
    assert "\n" not in str(caught.value)


VECTORS = [
    ({"layers": ()}, "the network has no layers"),
    ({"provenance": [1]}, "provenance must be a dictionary"),
    ({"name": 3}, "name 3 must be a string"),
    ({"t_a_name": "in"}, "two tensors of one name"),
    ({"b_name": "a"}, "two layers, cells or embeddings of one name"),
    ({"output": "c"}, "output of the network: tensor 'c' is not in the network"),
    ({"input": "c"}, "input of the network: tensor 'c' is not in the network"),
    ({"output": "in"}, "the output of the network is its input"),
    ({"output": "a"}, "layer 'b': reads tensor 'a', the output of the network; write a copy for it"),
    ({"a_weight_bits": 2.5}, "layer 'a': weight_bits 2.5 must be an integer"),
    ({"a_levels": (Level(0, 0), DENSE, Level(2, 2.0))}, r"layer 'a', level \(2, 2.0\): kept 2.0 must be an integer"),
    ({"emit": "first"}, "emit 'first' must be 'step' or 'last'"),
    ({"emit": "last"}, "emit is 'last', but the network has no time steps"),
    ({"t_in_qmin": -127}, r"tensor 'in': nothing clamps an input, so its range must be all of -128\.\.127"),
    ({"t_in_shape": (1, 1, 0)}, r"tensor 'in': shape \(1, 1, 0\) must be height, width and channels, each at least 1"),
    ({"t_in_shape": (1, 6)}, r"tensor 'in': shape \(1, 6\) must be height"),
    ({"t_in_shape": 6}, "tensor 'in': shape 6 must be height"),
    ({"t_in_shape": (1, 1, 6.0)}, r"tensor 'in': shape \(1, 1, 6.0\) must be height"),
    ({"t_in_shape": (1 << 12, 1 << 12, 2)}, "tensor 'in': 33554432 elements, at most 16777216 are possible"),
    ({"t_a_bits": 17}, "tensor 'a': bits 17 must be 2 to 16"),
    ({"t_a_bits": 1}, "tensor 'a': bits 1 must be 2 to 16"),
    ({"t_a_bits": True}, "tensor 'a': bits True must be an integer"),
    ({"t_a_qmax": 128}, r"tensor 'a': range 0\.\.128 must hold 0 and lie in -128\.\.127"),
    ({"t_a_qmin": 1}, r"tensor 'a': range 1\.\.127"),
    ({"t_a_scale": 0.0}, "tensor 'a': scale 0.0 must be a positive number"),
    ({"t_a_scale": float("nan")}, "tensor 'a': scale nan must be a positive number"),
    ({"t_a_scale": "1"}, "tensor 'a': scale '1' must be a positive number"),
    ({"t_a_zero": 1}, "tensor 'a': zero 1; only an input of numbers has another than 0"),
    ({"t_in_zero": 0.5}, "tensor 'in': zero 0.5 must be an integer"),
    ({"t_in_zero": 128}, r"tensor 'in': zero 128 must lie in -128\.\.127"),
    ({"t_in_order": np.array([0, 0, 1, 2, 3, 4])}, "tensor 'in': order is no permutation of its 6 channels"),
    ({"t_in_order": np.arange(5)}, r"tensor 'in': order has the shape \(5,\), not \(6,\)"),
    ({"t_in_order": np.arange(6.0)}, "tensor 'in': order must be an array of integers"),
    ({"t_in_initial": np.zeros(6, int)}, "tensor 'in': initial values, but nobody reads it before it is written"),
    ({"t_a_initial": np.array([0, 1, -1])}, r"tensor 'a': initial holds -1, outside 0\.\.127"),
    ({"t_a_initial": np.array([0, 1])}, r"tensor 'a': initial has the shape \(2,\), not \(3,\)"),
    ({"a_output": "c"}, "layer 'a': output: tensor 'c' is not in the network"),
    ({"a_output": "in"}, "layer 'a': its output 'in' is the network's input's"),
    ({"b_output": "a"}, "layer 'b': channel 0 of tensor 'a' is written twice"),
    ({"t_a_shape": (1, 1, 4)}, "tensor 'a': nobody writes channel 3"),
    ({"a_first": 1}, r"layer 'a': writes channels 1\.\.3 of the 3 of tensor 'a'"),
    ({"a_first": -1}, r"layer 'a': writes channels -1\.\.1 of the 3 of tensor 'a'"),
    ({"a_first": 0.0}, "layer 'a': first 0.0 must be an integer"),
    ({"a_maximum": True}, "layer 'a': channel 0 of tensor 'a' takes the maximum with what nobody wrote before"),
    ({"a_maximum": 1}, "layer 'a': maximum 1 must be true or false"),
    ({"a_weight_bits": 1}, "layer 'a': weight bits 1 must be 2 to 8"),
    ({"a_weight_bits": 9}, "layer 'a': weight bits 9 must be 2 to 8"),
    ({"a_segments": ()}, "layer 'a': no segments"),
    ({"a_segments": (Segment("c", 0, 2),)}, "layer 'a': input: tensor 'c' is not in the network"),
    ({"a_segments": (Segment("in", 1, 6),)}, r"layer 'a', Segment.*: leaves its tensor of shape \(1, 1, 6\)"),
    ({"a_segments": (Segment("in", 0, 6, 1),)}, r"layer 'a', Segment.*: leaves its tensor of shape \(1, 1, 6\)"),
    ({"a_segments": (Segment("in", -1, 6),)}, "layer 'a', Segment.*: start and line must be at least 0"),
    ({"a_segments": (Segment("in", 0, 6, -1),)}, "layer 'a', Segment.*: start and line must be at least 0"),
    ({"a_segments": (Segment("in", 0, 0),)}, "layer 'a', Segment.*: length must be at least 1"),
    ({"a_segments": (Segment("in", 0, 6.0),)}, "layer 'a', Segment.*: length 6.0 must be an integer"),
    ({"a_levels": ()}, "layer 'a': no levels"),
    ({"a_bias": np.array([0.5, 1, 2])}, "layer 'a': bias must be a vector of integers"),
    ({"a_bias": None}, "layer 'a': bias must be a vector of integers"),
    ({"a_mult": np.zeros((3, 1), int)}, "layer 'a': mult must be a vector of integers"),
    ({"a_function": np.zeros(3)}, "layer 'a': function must be a vector of integers"),
    ({"a_function": np.array([0, 1, 0])}, "layer 'a', row 1: function number is not 0 to 0"),
    ({"a_function": np.array([0, 0])}, "layer 'a': 2 values of function for 3 rows"),
    ({"a_row_level": np.array([], int)}, "layer 'a': no rows"),
    ({"a_row_level": np.array([1, 3, 0])}, "layer 'a', row 1: level number is not 0 to 2"),
    ({"a_row_level": np.array([1, -1, 0])}, "layer 'a', row 1: level number is not 0 to 2"),
    ({"a_index": changed(A.index.astype(int), 0, -1)}, "layer 'a', row 0: index -1 outside its block"),
    ({"a_bias": np.array([1, 2])}, "layer 'a': 2 values of bias for 3 rows"),
    ({"a_mult": np.array([1, 2, 65536])}, "layer 'a', row 2: mult must be 0 to 65535"),
    ({"a_mult": np.array([1, -2, 0])}, "layer 'a', row 1: mult must be 0 to 65535"),
    ({"a_shift": np.array([0, 1, 1])}, "layer 'a', row 0: shift must be 1 to 47"),
    ({"a_shift": np.array([1, 48, 1])}, "layer 'a', row 1: shift must be 1 to 47"),
    ({"a_bias": np.array([0, 0, 1 << 39])}, "layer 'a', row 2: bias leaves 40 bits"),
    ({"a_bias": np.array([0, (1 << 39) - 1, 0])}, "layer 'a', row 1: accumulator may leave 40 bits"),
    ({"a_bias": np.array([-(1 << 39), 0, 0])}, "layer 'a', row 0: accumulator may leave 40 bits"),
    ({"a_index": A.index[:-1]}, "layer 'a': 9 codes in index, its rows and levels need 10"),
    ({"a_weight": A.weight[:-1]}, "layer 'a': 9 codes in weight, its rows and levels need 10"),
    ({"b_weight": changed(B.weight, 5, 8)}, "layer 'b', row 1: weight 8 leaves 4 bits"),
    ({"b_weight": changed(B.weight, 0, -9)}, "layer 'b', row 0: weight -9 leaves 4 bits"),
    ({"b_index": changed(B.index, 4, 2)}, "layer 'b', row 1: index 2 outside its block of 2 columns"),
    # Row 0 of b: blocks of 2, 2, 2 and, because a has 3 elements, 1 columns.
    ({"b_index": changed(B.index, 3, 1)}, "layer 'b', row 0: index 1 outside its block of 1 columns"),
    ({"a_index": changed(A.index, 0, 1)}, "layer 'a', row 0: index 1 outside its block of 1 columns"),
    ({"a_index": changed(A.index, 6, 3)}, "layer 'a', row 1: indices of a block must rise"),
    ({"b_segments": (Segment("in", 0, 7),)}, "layer 'b', Segment.*: leaves its tensor"),
    ({"functions": (np.zeros(255, np.int16),)}, r"function 0: table has the shape \(255,\), not \(256,\)"),
    ({"functions": (np.full(256, 32768),)}, r"function 0: table holds 32768, outside -32768\.\.32767"),
    ({"functions": ([0] * 256,)}, "function 0: table must be an array of integers"),
]


@pytest.mark.parametrize(("changes", "message"), VECTORS)
def test_vectors(changes, message):
    refused(vector_network, changes, message)


CONV = map_network().layers[0].segments
SIDES = (0, 1, 0, 1)
MAPS = [
    ({"t_x_zero": 3}, "tensor 'x': zero 3, but a layer puts zeros around it; store it less its zero"),
    ({"conv_positions": (4,)}, r"layer 'conv': positions \(4,\) must be two integers from 1 on"),
    ({"conv_positions": (0, 4)}, r"layer 'conv': positions \(0, 4\) must be two integers from 1 on"),
    ({"conv_stride": (0, 1)}, r"layer 'conv': stride \(0, 1\) must be two integers from 1 on"),
    ({"conv_padding": (1, 1, -1, 1)}, r"layer 'conv': padding \(1, 1, -1, 1\) must be four integers from 0 on"),
    ({"conv_padding": (1, 1)}, r"layer 'conv': padding \(1, 1\) must be four integers from 0 on"),
    ({"conv_padding": 1}, "layer 'conv': padding 1 must be four integers from 0 on"),
    ({"conv_padding": (1, 1, 1 << 24, 1)}, r"padding .* puts \d+ zeros around tensor 'x', at most 262144 are"),
    ({"conv_padding": (1, 1, 1, 1 << 31)}, r"'conv': padding .* puts \d+ zeros around tensor 'x', at most 262144"),
    # Neither alone is too much.
    (
        {"left_padding": (0, 0, 9000, 0), "right_padding": (0, 0, 0, 9000)},
        r"layer 'right': padding \(0, 0, 0, 9000\) puts \d+ zeros around tensor 'm'",
    ),
    ({"flat_stride": (1, (1 << 24) + 1)}, r"layer 'flat': stride \(1, 16777217\) must be at most 16777216"),
    ({"conv_pool": (2, 0)}, r"layer 'conv': pool \(2, 0\) must be two integers from 1 on"),
    ({"conv_pool": (2, 1)}, r"layer 'conv': positions \(4, 4\) in pools of \(2, 1\) do not give the \(2, 2\) pixels"),
    ({"conv_pool": (3, 3)}, r"layer 'conv': positions \(4, 4\) in pools of \(3, 3\) do not give the \(2, 2\) pixels"),
    ({"left_positions": (2, 1)}, r"layer 'left': positions .* do not give the \(2, 2\) pixels of tensor 'n'"),
    # A window that leaves the image: below, to the right, or because of its stride.
    ({"conv_padding": (0, 1, 0, 1)}, r"layer 'conv', Segment.*: leaves its tensor of shape \(4, 4, 2\) at the last p"),
    ({"conv_padding": (1, 0, 1, 0)}, "layer 'conv', Segment.*: runs past the end of its image row in a tensor that a"),
    ({"conv_padding": (1, 1, 0, 1)}, "layer 'conv', Segment.*: leaves its tensor"),
    ({"conv_padding": (1, 1, 1, 0)}, "layer 'conv', Segment.*: runs past the end of its image row in a tensor that a"),
    ({"conv_padding": (0,) * 4}, "layer 'conv', Segment.*: leaves its tensor"),
    ({"conv_stride": (2, 1)}, "layer 'conv', Segment.*: leaves its tensor"),
    ({"conv_stride": (1, 2)}, "layer 'conv', Segment.*: runs past the end of its image row"),
    ({"conv_segments": (*CONV[:2], Segment("x", 0, 6, 3))}, "layer 'conv', Segment.*: leaves its tensor"),
    ({"conv_segments": (*CONV[:2], Segment("x", 1, 6, 2))}, "layer 'conv', Segment.*: runs past the end"),
    ({"top_segments": (Segment("x", 3, 2, 1),)}, "layer 'top', Segment.*: runs past the end of its image row"),
    ({"left_segments": (Segment("m", 0, 4),)}, "layer 'left', Segment.*: leaves its tensor"),
    ({"flat_segments": (Segment("n", 1, 20),)}, "layer 'flat', Segment.*: leaves its tensor"),
    ({"flat_segments": (Segment("n", 0, 19), Segment("x", 7, 2))}, "layer 'flat', Segment.*: runs past the end of its"),
    ({"right_padding": SIDES, "left_padding": SIDES, "left_segments": (Segment("m", 7, 3),)}, "runs past the end"),
    ({"left_segments": (Segment("m", 0, 2), Segment("x", 0, 1))}, r"layer 'left': reads \['m', 'x'\]; at severa"),
    # Concatenation.
    ({"left_first": 1}, "layer 'right': channel 3 of tensor 'n' is written twice"),
    ({"right_first": 2}, "layer 'right': channel 2 of tensor 'n' is written twice"),
    ({"right_first": 4}, r"layer 'right': writes channels 4\.\.5 of the 5 of tensor 'n'"),
    ({"t_n_shape": (2, 2, 6)}, "tensor 'n': nobody writes channel 5"),
    ({"top_maximum": False}, "layer 'top': channel 3 of tensor 'n' is written twice"),
    ({"right_maximum": True}, "layer 'right': channel 3 of tensor 'n' takes the maximum with what nobody wrote before"),
    ({"left_segments": (Segment("n", 0, 3),)}, "layer 'left': reads tensor 'n' before it is written"),
    ({"top_segments": (Segment("n", 0, 2),), "top_stride": (1, 1)}, "layer 'top': reads tensor 'n' before it is writt"),
    # Operands.
    ({"left_operand": Operand("q")}, "layer 'left': input: tensor 'q' is not in the network"),
    ({"left_operand": Operand("n")}, "layer 'left': reads tensor 'n' before it is written"),
    ({"left_operand": Operand("y")}, "scale 1.0 differs"),
    ({"t_n_scale": 1.0}, "layer 'left', operand 'm': its scale 0.5 differs from 1.0, that of tensor 'n'"),
    ({"left_operand": Operand("m", (2, 1))}, r"layer 'left', operand 'm': leaves its tensor of shape \(2, 2, 3\) at t"),
    ({"left_operand": Operand("m", (1, 2))}, "layer 'left', operand 'm': leaves its tensor"),
    ({"left_operand": Operand("m", (0, 1))}, r"layer 'left', operand 'm': stride \(0, 1\) must be two integers"),
    ({"left_operand": Operand("m", (1, 1), 3)}, "layer 'left', operand 'm': first 3 leaves no row to add to"),
    ({"left_operand": Operand("m", (1, 1), -3)}, "layer 'left', operand 'm': first -3 leaves no row to add to"),
    ({"left_operand": Operand("m", (1, 1), "0")}, "layer 'left', operand 'm': first '0' must be an integer"),
    ({"top_operand": Operand("m")}, "operand 'm': a layer with an operand neither pools nor takes a maximum"),
    ({"conv_operand": Operand("m")}, "operand 'm': a layer with an operand neither pools nor takes a maximum"),
    ({"left_operand": Operand("m", (-1, 0), 0, True)}, r"layer 'left', operand 'm': stride \(-1, 0\) must be two"),
    ({"left_operand": Operand("m", (2, 1), 0, True)}, "layer 'left', operand 'm': leaves its tensor"),
    ({"left_operand": Operand("m", (0, 0), 1, True)}, "operand 'm': first 1 leaves a row without a factor"),
    ({"left_operand": Operand("m", (0, 0), -1, True)}, "operand 'm': first -1 leaves a row without a factor"),
    ({"left_operand": Operand("m", (1, 1), 0, 1)}, "operand 'm': product 1 must be true or false"),
    ({"top_operand": Operand("m", (0, 0), 0, True)}, "a layer with an operand neither pools nor takes a maximum"),
    (
        {"left_operand": Operand("m", (0, 0), 0, True), "left_clamp": (-32769, 5)},
        r"clamp -32769\.\.5 must lie in -32768\.\.32767, the range of what is multiplied",
    ),
    # Clamps.
    ({"right_clamp": (-129, 5)}, r"layer 'right': clamp -129\.\.5 must lie in -128\.\.127, the range of its output"),
    ({"right_clamp": (-5, 128)}, r"layer 'right': clamp -5\.\.128 must lie in"),
    ({"right_clamp": (5, 4)}, r"layer 'right': clamp 5\.\.4 must lie in"),
    ({"right_clamp": (5,)}, r"layer 'right': clamp \(5,\) must be two integers"),
    ({"right_clamp": (0.0, 4)}, r"layer 'right': clamp \(0.0, 4\) must be two integers"),
    # The output.
    ({"output": "n"}, "layer 'top': writes the output of the network, and so can neither pool nor take a maximum"),
    ({"output": "m"}, "layer 'conv': writes the output of the network, and so can neither pool nor take a maximum"),
    ({"flat_positions": (2, 2), "flat_pool": (2, 2), "flat_segments": (Segment("n", 0, 5),)}, "can neither pool nor"),
    ({"flat_segments": (Segment("x", 0, 8),)}, r"nobody reads the tensors \['n'\]; remove them and what writes them"),
]


@pytest.mark.parametrize(("changes", "message"), MAPS)
def test_maps(changes, message):
    refused(map_network, changes, message)


# ``left`` reads the channels of ``m``, each in a row of its own.
DEPTHWISE = {
    "left_depthwise": True, "left_levels": (Level(2, 1),),
    "left_index": np.arange(3), "left_weight": np.array([5, 0, -5]),
}  # fmt: skip
ORDER = np.array([2, 0, 1], np.int32)


def test_depthwise():
    network = change(map_network(), **DEPTHWISE)
    assert [layer.depthwise for layer in network.layers] == [False, True, False, False, False]
    assert [layer.dense_weights for layer in network.layers] == [54, 3, 6, 4, 40]
    assert [layer.dense_weights for layer in map_network().layers] == [54, 9, 6, 4, 40]
    change(network, t_m_order=ORDER, left_index=np.argsort(ORDER))
    change(network, left_index=np.array([0, 2, 2]))  # of one pixel a row picks any channel
    taps = (Segment("m", 0, 3), Segment("m", 3, 3))
    double = change(
        network,
        left_segments=taps,
        left_padding=SIDES,
        left_index=np.repeat(np.arange(3), 2),
        left_weight=np.ones(6, int),
    )
    assert double.layers[1].dense_weights == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left_depthwise": 1}, "layer 'left': depthwise 1 must be true or false"),
        ({"conv_depthwise": True}, r"layer 'conv': depthwise, so its only level must be \(2, 1\)"),
        ({"left_levels": (Level(2, 1), DENSE)}, r"layer 'left': depthwise, so its only level must be \(2, 1\)"),
        ({"left_levels": (Level(3, 1),)}, r"layer 'left': depthwise, so its only level must be \(2, 1\)"),
        ({"left_segments": (Segment("m", 0, 2),), "left_index": np.array([0, 1, 1])},
         "layer 'left', Segment.*: depthwise, so it must be 3 channels of one pixel, as all"),
        ({"left_segments": (Segment("x", 0, 3),), "left_operand": None},
         "layer 'left', Segment.*'x'.*: depthwise, so it must be 3 channels of one pixel, as all"),
        ({"left_segments": (Segment("m", 1, 3),), "left_padding": SIDES},
         "layer 'left', Segment.*: depthwise, so it must be 3 channels of one pixel, as all"),
    ],
)  # fmt: skip
def test_what_makes_a_layer_depthwise(changes, message):
    refused(lambda: change(map_network(), **DEPTHWISE), changes, message)


GROUPS = DEPTHWISE | {"left_depthwise": False, "left_groups": 3}


def test_groups():
    network = change(map_network(), **GROUPS)
    assert [layer.dense_weights for layer in network.layers] == [54, 3, 6, 4, 40]
    change(network, t_m_order=ORDER, left_index=np.argsort(ORDER))
    # What fills a block is a weight of no group.
    change(network, left_weight=np.array([5, 0, 0]), left_index=np.array([0, 1, 0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left_groups": 0}, "layer 'left': groups 0 must be at least 1"),
        ({"left_groups": 1.0}, "layer 'left': groups 1.0 must be an integer"),
        ({"left_depthwise": True}, "layer 'left': depthwise, so it can have no groups"),
        ({"left_groups": 2}, "layer 'left': 3 rows are not 2 groups of one size"),
        ({"right_groups": 2}, "layer 'right', Segment.*: must be one pixel whose 3 channels are 2 groups of one size"),
        ({"left_segments": (Segment("m", 0, 2),), "left_index": np.array([0, 1, 1])},
         "layer 'left', Segment.*: must be one pixel whose 3 channels"),
        ({"left_index": np.array([0, 2, 2])}, "layer 'left', row 1: keeps a weight of another group"),
        ({"t_m_order": ORDER}, "layer 'left', row 0: keeps a weight of another group"),
    ],
)  # fmt: skip
def test_what_makes_a_layer_of_groups(changes, message):
    refused(lambda: change(map_network(), **GROUPS), changes, message)


def test_one_code_for_all_segments(monkeypatch):
    """As many codes as rows; the tensors that are read have one order, and no file makes codes without bounds."""
    taps = (Segment("m", 0, 3), Segment("m", 3, 3))
    network = change(map_network(), **DEPTHWISE | {"left_segments": taps, "left_padding": SIDES})
    layer = network.layers[1]
    assert (layer.uniform, layer.kept, layer.dense_weights, layer.macs) == (True, 3, 3, 6 * layer.position_count)
    refused(lambda: network, {"left_index": np.array([0, 2, 2])}, "'left', row 1: depthwise, so it must keep its own")
    refused(lambda: network, {"t_m_order": ORDER}, "'left', row 0: depthwise, so it must keep its own channel of each")
    refused(lambda: network, {"left_index": np.arange(6)}, "layer 'left': 6 codes in index, its rows and levels need 3")
    monkeypatch.setattr(rows, "UNIFORM_MAX", 8)
    refused(lambda: network, {"left_segments": taps[:1] * 3}, "layer 'left': 9 codes out of 3, at most 8 are possible")


def spread_network(**changes):
    """x(2) -> two layers that write the lines of m(2, 1, 3) in turn -> y(2)."""
    tensors = (
        Tensor("x", (1, 1, 2), 8, -128, 127, 1.0), Tensor("m", (2, 1, 3), 8, -128, 127, 1.0),
        Tensor("y", (1, 1, 2), 8, -128, 127, 1.0),
    )  # fmt: skip
    segment = Segment("x", 0, 2)
    layers = (
        dense_layer("even", "m", 3, segment, spread=(2, 1)),
        dense_layer("odd", "m", 3, segment, spread=(2, 1), origin=(1, 0)),
        dense_layer("flat", "y", 2, Segment("m", 0, 6)),
    )
    return change(EncodedNetwork("spread", "x", "y", tensors, layers), **changes)


def test_spread():
    assert [layer.position_count for layer in spread_network().layers] == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"even_spread": (0, 1)}, r"layer 'even': spread \(0, 1\) must be two integers from 1 on"),
        ({"even_origin": (-1, 0)}, r"layer 'even': origin \(-1, 0\) must be two integers from 0 on"),
        ({"even_origin": (2, 0)}, r"layer 'even': origin \(2, 0\) must be less than spread \(2, 1\), and in the image"),
        ({"even_positions": (2, 1)}, r"layer 'even': positions \(2, 1\) are not all pixels of the \(2, 1\) of tensor"),
        ({"even_operand": Operand("x")}, r"layer 'even': spread \(2, 1\), and so it can neither pool"),
        ({"odd_origin": (0, 0)}, "layer 'odd': channel 0 of tensor 'm' is written twice"),
    ],
)
def test_what_a_spread_must_be(changes, message):
    refused(spread_network, changes, message)


def transposed_network(**changes):
    """x(2, 3, 1) -> two layers that write the pixels of m(1, 3, 6), a channel for each pixel of x -> y(2)."""
    tensors = (
        Tensor("x", (2, 3, 1), 8, -128, 127, 1.0), Tensor("m", (1, 3, 6), 8, -128, 127, 1.0),
        Tensor("y", (1, 1, 2), 8, -128, 127, 1.0),
    )  # fmt: skip
    pixel = Segment("x", 0, 1)
    layers = (
        dense_layer("one", "m", 1, pixel, first=2, positions=(2, 3), transposed=True),
        dense_layer("two", "m", 2, pixel, positions=(2, 3), transposed=True),
        dense_layer("flat", "y", 2, Segment("m", 0, 18)),
    )
    return change(EncodedNetwork("transposed", "x", "y", tensors, layers), **changes)


@pytest.mark.parametrize("shape", [(1, 3, 6), (1, 1, 18), (2, 3, 3), (18, 1, 1)])
def test_transposed_layers(shape):
    """They write a tensor of any shape."""
    assert [layer.position_count for layer in transposed_network(t_m_shape=shape).layers] == [6, 6, 1]


PLAIN = "layer 'one': transposed, and so it can neither pool, take a maximum, have a spread or an operand"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"one_transposed": 1}, "layer 'one': transposed 1 must be true or false"),
        (
            {"one_positions": (2, 2)},
            "layer 'one': transposed, so its 4 positions must divide the 18 elements",
        ),
        ({"one_positions": (1, 3), "one_first": 5}, r"tensor 'm': layers of \[3, 6\] positions write it, transposed"),
        (
            {"t_m_shape": (1, 6, 3), "flat_padding": (0, 1, 0, 0)},
            "layer 'one': transposed, and its 6 positions are not the 3 channels of tensor 'm', which a layer pads",
        ),
        (
            {"t_m_order": np.arange(6)[::-1].copy()},
            "layer 'one': transposed, .* tensor 'm', which has its channels in their own order",
        ),
        ({"one_pool": (1, 3)}, PLAIN),
        ({"one_maximum": True}, PLAIN),
        ({"one_spread": (2, 1)}, PLAIN),
        ({"one_operand": Operand("x")}, PLAIN),
        ({"output": "m"}, PLAIN),
        ({"one_first": 3}, r"layer 'one': writes rows 3\.\.3 of the 3 of tensor 'm'"),
        ({"one_first": 1}, "layer 'two': row 1 of tensor 'm' is written twice"),
        ({"t_m_shape": (2, 2, 6)}, "tensor 'm': nobody writes row 3"),
        ({"two_transposed": False}, r"layer 'two': positions \(2, 3\) in pools of"),
    ],
)
def test_what_a_transposed_layer_must_be(changes, message):
    refused(transposed_network, changes, message)


def test_a_tensor_of_transposed_layers_and_others():
    """Also where the shape fits both."""
    shapes = {"t_x_shape": (1, 3, 1), "t_m_shape": (1, 3, 3), "flat_segments": (Segment("m", 0, 9),)}
    changes = shapes | {"one_positions": (1, 3), "two_positions": (1, 3), "two_transposed": False}
    made = {name: np.zeros(18, kind) for name, kind in (("flat_index", np.uint16), ("flat_weight", np.int8))}
    refused(transposed_network, changes | made, "tensor 'm': transposed layers write it, and others; copy what")


@settings(max_examples=100)
@given(networks())
def test_depthwise_is_a_fact(random):
    """The mark, the weights counted and the dense matrix agree; no other layer may have the mark."""
    network = random.network
    for layer, matrix in zip(network.layers, random.matrices, strict=True):
        own = np.concatenate([columns.channel for columns in matrix.columns]) == np.arange(layer.rows)[:, None]
        diagonal = not matrix.weight[~own].any() and (own.sum(axis=1) == len(layer.segments)).all()
        assert layer.dense_weights == (own.sum() if layer.depthwise else matrix.weight.size)
        assert diagonal or not layer.depthwise
        first, channels = layer.segments[0], network.tensor(layer.segments[0].tensor).channels
        pixel = len(layer.segments) == 1 and (first.start % channels, first.length) == (0, channels)
        picks = pixel and layer.levels == (Level((channels - 1).bit_length(), 1),)
        if not diagonal and not picks:
            refused(lambda: network, {f"{layer.name}_depthwise": True}, f"layer '{layer.name}'.*: depthwise, so")


GATES = np.array([1, 1, 1, 1, 2, 2, 1, 1], np.uint8)
RECURRENT = [
    ({"cell_name": "gate"}, "two layers, cells or embeddings of one name"),
    ({"embed_name": "cell"}, "two layers, cells or embeddings of one name"),
    ({"cell_kind": "rnn"}, "cell 'cell': kind 'rnn' must be 'lstm' or 'gru'"),
    ({"cell_gates": "q"}, "cell 'cell': gates: tensor 'q' is not in the network"),
    ({"cell_output": "q"}, "cell 'cell': output: tensor 'q' is not in the network"),
    ({"cell_gates": "e"}, "tensor 'e': gates of cell 'cell' must have 16 bits"),
    ({"t_gates_bits": 15, "t_gates_qmin": -2, "t_gates_qmax": 2}, "tensor 'gates': gates of cell 'cell' must have"),
    ({"t_gates_shape": (1, 1, 9)}, r"tensor 'gates': gates of cell 'cell' have the shape \(1, 1, 8\)"),
    ({"t_h_shape": (1, 2, 1)}, "tensor 'h': the output of cell 'cell' must be a vector"),
    ({"t_h_qmin": -127, "t_h_initial": None}, r"tensor 'h': the range of a cell's output must be all of -128\.\.127"),
    ({"t_h_scale": 1.0}, "tensor 'h': the scale of a cell's output must be 0.0078125"),
    ({"t_h_initial": np.array([-129, 0])}, r"tensor 'h': initial holds -129, outside -128\.\.127"),
    ({"t_e_initial": np.zeros(4, int)}, "tensor 'e': initial values, but nobody reads it before it is written"),
    ({"cell_state": np.array([0])}, r"cell 'cell': state has the shape \(1,\), not \(2,\)"),
    ({"cell_state": np.array([0, 32768])}, r"cell 'cell': state holds 32768, outside -32768\.\.32767"),
    ({"cell_output": "e"}, r"tensor 'gates': gates of cell 'cell' have the shape \(1, 1, 16\)"),
    ({"cells": (), "emit": "step", "t_h_initial": None}, "tensor 'h': nobody writes channel 0"),
    ({"output": "gates"}, "tensor 'gates': no layer writes the output of the network; write a copy for it"),
    ({"output": "h"}, "tensor 'h': no layer writes the output of the network; write a copy for it"),
    (
        {"output": "y", "emit": "step", "head_segments": (Segment("y", 0, 2),)},
        "layer 'head': reads tensor 'y', the output",
    ),
    ({"head_segments": (Segment("gates", 0, 2),)}, "layer 'head': reads tensor 'gates', the gates of a cell; read the"),
    ({"head_segments": (Segment("x", 0, 2),)}, "layer 'head': reads tensor 'x', symbols; read the output of the embed"),
    ({"head_output": "h", "t_h_shape": (1, 1, 2)}, "layer 'head': its output 'h' is cell 'cell''s"),
    ({"gate_positions": (2, 2), "gate_pool": (2, 2)}, "layer 'gate': reads .*; at several positions"),
    ({"embed_output": "q"}, "embedding 'embed': output: tensor 'q' is not in the network"),
    ({"embed_output": "h"}, "embedding 'embed': its output has the shape"),
    ({"embed_table": np.zeros(8, int)}, r"embedding 'embed': table has the shape \(8,\), not \('any', 'any'\)"),
    ({"embed_table": np.full((4, 2), 128)}, r"embedding 'embed': table holds 128, outside -128\.\.127"),
    ({"embed_table": np.zeros((4, 3), int)}, r"embedding 'embed': its output has the shape \(1, 1, 4\), .*1, 6\)"),
    ({"embed_table": np.zeros((3, 2), int)}, r"tensor 'x': range 0\.\.3 must be that of its symbols, 0\.\.2"),
    ({"embed_table": np.zeros((4, 2))}, "embedding 'embed': table must be an array of integers"),
    ({"t_x_qmin": -4}, r"tensor 'x': range -4\.\.3 must be that of its symbols, 0\.\.3"),
    ({"t_x_shape": (1, 2, 1)}, r"tensor 'x': shape \(1, 2, 1\) of symbols must be that of a vector"),
    ({"embedding": None}, "tensor 'x': nothing clamps an input"),
    ({"gate_segments": (Segment("e", 0, 4), Segment("h", 0, 3))}, "layer 'gate', Segment.*: leaves its tensor"),
    ({"gate_function": changed(GATES, 7, 3)}, "layer 'gate', row 7: function number is not 0 to 2"),
]


@pytest.mark.parametrize(("changes", "message"), RECURRENT)
def test_recurrent(changes, message):
    refused(recurrent_network, changes, message)


def carrying(**changes):
    """The recurrent network with a layer ``carry`` behind the cell: the gates read what it gave a time step before."""
    network = recurrent_network()
    carry = dense_layer("carry", "r", 2, Segment("h", 0, 2))
    h, r = (Tensor(name, (1, 1, 2), 8, -128, 127, 2**-7) for name in ("h", "r"))
    gate, head = network.layers
    gate = replace(gate, segments=(Segment("e", 0, 4), Segment("r", 0, 2)))
    head = replace(head, segments=(Segment("r", 0, 2),))
    x, e, gates, _, y = network.tensors
    made = change(
        network, tensors=(x, e, gates, h, replace(r, initial=np.array([-128, 5])), y), layers=(gate, carry, head)
    )
    return change(made, **changes)


def test_a_layer_that_carries():
    """Behind a cell, or without one."""
    network = carrying()
    assert (network.delayed, network.carried, network.tail, network.recurrent) == (("r",), ("r",), 2, True)
    reader = dense_layer("a", "a", 3, Segment("in", 0, 6), Segment("a", 0, 3))
    plain = change(vector_network(), layers=(reader, vector_network().layers[1]), emit="last")
    assert (plain.carried, plain.tail, plain.recurrent) == (("a",), 1, True)


HALVES = [dense_layer(f"carry{row}", "r", 1, Segment("h", 0, 2), first=row) for row in (0, 1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"carry_positions": (1, 2), "carry_pool": (1, 2), "carry_padding": (0, 0, 0, 1)},
            "layer 'gate': reads tensor 'r' before it is written",
        ),
        ({"layers": (carrying().layers[0], *HALVES, carrying().layers[2])}, "layer 'gate': reads tensor 'r' before"),
        ({"t_h_initial": np.zeros(2, int)}, "tensor 'h': initial values, but nobody reads it before it is written"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried(changes, message):
    refused(carrying, changes, message)


def two_cells(**changes):
    """The recurrent network with a second cell, whose gates ``more`` come after ``head``'s input."""
    network = recurrent_network()
    gates = Tensor("gates2", (1, 1, 4), 16, -32768, 32767, 1.0)
    other = Tensor("h2", (1, 1, 1), 8, -128, 127, 2**-7)
    more = dense_layer("more", "gates2", 4, Segment("h", 0, 2), Segment("h2", 0, 1))
    head = dense_layer("head", "y", 3, Segment("h2", 0, 1))
    grown = {
        "tensors": (*network.tensors, gates, other),
        "layers": (network.layers[0], more, head),
        "cells": (*network.cells, Cell("cell2", "lstm", "gates2", "h2")),
    }
    return change(change(network, **grown), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell2_kind": "gru"}, "cell 'cell2': kind 'gru', but cell 'cell' is 'lstm'"),
        ({"t_h2_bits": 9, "t_h2_scale": 2**-8}, "tensor 'h2': 9 bits, but the output of cell 'cell' has 8"),
        ({"cell2_output": "h", "cell2_gates": "gates"}, "tensor 'h': written by cell 'cell' and by cell 'cell2'"),
        (
            {"more_maximum": True},
            "layer 'more': writes the gates of a cell, and so can neither pool nor",
        ),
    ],
)
def test_two_cells(changes, message):
    refused(two_cells, changes, message)


def test_two_cells_of_the_same_gates():
    network = two_cells()
    h3 = Tensor("h3", (1, 1, 1), 8, -128, 127, 2**-7)
    with pytest.raises(DarbError, match="cell 'cell3': its gates are those of cell 'cell2'"):
        change(network, tensors=(*network.tensors, h3), cells=(*network.cells, Cell("cell3", "lstm", "gates2", "h3")))


def test_an_output_before_the_last_cell():
    """With emit "last" the layers of the output run once, so they must come behind all cells."""
    network = two_cells()
    early = dense_layer("head", "y", 3, Segment("h", 0, 2))
    layers = (network.layers[0], early, network.layers[1])
    assert change(network, layers=layers, emit="step").tail == 3
    with pytest.raises(DarbError, match="layer 'head': writes the output, emit is 'last', but a cell comes later"):
        change(network, layers=layers)


def test_the_update_gate_of_a_gru():
    """z outside 0..1 would let the state leave its 16 bits."""
    make = lambda: recurrent_network("gru")  # noqa: E731
    none = np.array([1, 1, 1, 0, 0, 0, 0, 0], np.uint8)
    message = "layer 'gate', row 3: gate z of a GRU may become negative; give it a sigmoid"
    refused(make, {"gate_function": none}, message)
    refused(make, {"gate_function": changed(none, 3, 2)}, message)  # tanh
    refused(make, {"gate_operand": Operand("h"), "t_gates_scale": 2**-7}, message.replace("row 3", "row 2"))
    change(make(), gate_function=none, gate_clamp=(0, 100))


FORWARD, BACKWARD = column_network().sections
SECTIONS = [
    ({"sections": (Section(0.0, 1),)}, "section 0: .* must have two integers, and backward true or false"),
    ({"sections": (Section(0, 1, 1),)}, "section 0: .* must have two integers, and backward true or false"),
    ({"sections": (FORWARD, Section(0, 2))}, "section 1: layers 0 to 2 must be some of the 3 layers, behind those of"),
    ({"sections": (FORWARD, Section(1, 4))}, "section 1: layers 1 to 4 must be some of the 3 layers"),
    ({"sections": (FORWARD, Section(1, 1))}, "section 1: layers 1 to 1 must be some of the 3 layers"),
    ({"sections": (FORWARD, Section(1, 3))}, "section 1, layer 'head': writes the output of the network; write a copy"),
    ({"sections": (Section(1, 2),)}, "cell 'cell': outside of the sections of the network"),
    ({"sections": (FORWARD,)}, r"tensors \['r'\]: read before they are written, outside of the sections"),
    ({"back_maximum": True}, "section 1, layer 'back': maximum True must be False in a section"),
    ({"back_positions": (1, 2)}, r"section 1, layer 'back': positions \(1, 2\) must be \(1, 1\) in a section"),
    ({"back_padding": (0, 1, 0, 0)}, r"section 1, layer 'back': padding .* must be \(0, 0, 0, 0\) in a section"),
    ({"back_operand": Operand("h", (1, 2))}, r"section 1, layer 'back': operand 'h' must be one line, and its stride"),
    ({"back_operand": Operand("x")}, "section 1, layer 'back': operand 'x' must be one line"),
    ({"t_r_shape": (2, 3, 2)}, "section 1: writes columns of tensor 'r', which must be one line of 3 pixels, not 2"),
    ({"t_gates_shape": (1, 2, 8)}, "section 0, layer 'gate': reads tensor 'x' of 3 columns, the section has 2"),
    ({"t_r_shape": (1, 4, 2)}, "section 1, layer 'back': reads tensor 'x' of 3 columns, the section has 4"),
    (
        {"back_segments": (Segment("x", 0, 3), Segment("r", 0, 2))},
        "layer 'back', Segment.*: leaves the pixels of a col",
    ),
    ({"gate_segments": (Segment("r", 0, 2), Segment("h", 0, 2))}, "layer 'gate': reads tensor 'r' before it is writt"),
    ({"t_h_initial": np.zeros(6, int)}, r"tensor 'h': initial has the shape \(6,\), not \(2,\)"),
    ({"t_h_initial": np.zeros(3, int)}, r"tensor 'h': initial has the shape \(3,\)"),
    ({"head_segments": (Segment("h", 2, 6),), "head_padding": (0, 1, 0, 1)}, "tensor 'h': has initial values, and a"),
    ({"back_output": "h", "t_r_shape": (1, 3, 2)}, "layer 'gate': reads tensor 'h' before section 1 writes it"),
]


@pytest.mark.parametrize(("changes", "message"), SECTIONS)
def test_sections(changes, message):
    refused(column_network, changes, message)


def test_what_sections_make_of_a_network():
    network = column_network()
    assert (network.recurrent, network.delayed, network.sectioned) == (False, ("h", "r"), {"gates", "h", "r"})
    assert [network.times(layer_number) for layer_number in range(3)] == [3, 3, 1]
    assert network.macs == 3 * 8 * 6 + 3 * 2 * 6 + 2 * 12


def test_a_section_has_one_cell():
    network = column_network()
    gates = Tensor("gates2", (1, 3, 4), 16, -32768, 32767, 1.0)
    other = Tensor("h2", (1, 3, 1), 8, -128, 127, 2**-7)
    more = dense_layer("more", "gates2", 4, Segment("h", 0, 2), Segment("h2", 0, 1))
    gate, back, head = network.layers
    head = replace(
        head, segments=(*head.segments, Segment("h2", 0, 3)), index=np.zeros(30, int), weight=np.ones(30, int)
    )
    grown = {
        "tensors": (*network.tensors, gates, other),
        "layers": (gate, more, back, head),
        "cells": (*network.cells, Cell("cell2", "lstm", "gates2", "h2")),
    }
    change(network, **grown, sections=(Section(0, 1), Section(1, 2), Section(2, 3, True)))
    with pytest.raises(DarbError, match=r"section 0: cells \['cell', 'cell2'\]; it can have one only"):
        change(network, **grown, sections=(Section(0, 2), Section(2, 3, True)))


def test_what_is_legal_at_the_limit():
    """Windows that end exactly at the padding or the tensor, operands of negative ``first``, several levels twice."""
    network = map_network()
    change(network, conv_positions=(2, 2), conv_pool=(1, 1), conv_stride=(3, 3))
    change(network, conv_positions=(2, 2), conv_pool=(1, 1), conv_stride=(2, 3))
    for padding in ((2, 0, 0, 2), (0, 2, 2, 0), (1, 1, 13_000, 1), (9, 9, 9, 9)):
        change(network, conv_padding=padding)
    change(network, left_operand=Operand("m", (1, 1), -2))
    change(network, left_operand=Operand("m", (1, 1), 2))
    change(network, left_levels=(DENSE, DENSE), left_row_level=np.array([0, 1, 0]))
    change(network, right_clamp=(3, 3))
    change(vector_network(), a_segments=(Segment("in", 2, 2), Segment("in", 0, 4)),
           a_levels=(Level(1, 1), DENSE), a_row_level=np.array([1, 0, 0]), a_index=np.zeros(12, int),
           a_weight=np.zeros(12, int))  # fmt: skip


def test_windows_run_on_where_nobody_pads():
    """Into the next image row, for several positions too; not in a tensor that some layer pads."""
    conv = {"conv_positions": (2, 2), "conv_pool": (1, 1), "conv_padding": (0,) * 4}
    change(map_network(), **conv, top_segments=(Segment("x", 7, 2),))
    refused(map_network, {**conv, "top_segments": (Segment("x", 11, 2),)}, r"layer 'top', Segment.*: leaves its tensor")
    refused(map_network, {"top_segments": (Segment("x", 7, 2),)}, r"layer 'top', Segment.*: runs past the end of its ")
