"""Random legal networks beyond chains: feature maps, residual and concatenated tensors, recurrent cells."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from darb_prune.encoded import Cell, Embedding, EncodedNetwork, Level
from tests.random_layers import Builder
from tests.random_sections import Sections, with_initial
from tests.reference import Matrix

KINDS = ("convolution", "lstm", "gru", "sections")


def random_graph(
    draw,
    kind: str,
    *,
    levels: tuple[Level, ...] | None = None,
    extreme: bool = False,
    products: bool = False,
    carried: bool = False,
) -> tuple[EncodedNetwork, list[Matrix]]:
    """A network and its dense matrices.

    Parameters
    ----------
    draw : draws.SeedDraw
    kind : str
        One of ``KINDS``.
    levels : tuple of Level, optional
        The only levels of rows that are no depthwise convolution.
    extreme : bool
        All weights at the ends of their range.
    products : bool
        Many layers are multiplied by a tensor.
    carried : bool
        Of a recurrent network: layers carry many tensors on to the next time step, behind cells or without any.
    """
    builder = Builder(draw, levels, extreme, products)
    if kind == "sections":
        fields = _sections(builder)
    else:
        fields = _convolution(builder) if kind == "convolution" else _recurrent(builder, kind, carried)
    network = EncodedNetwork(
        f"random {kind}", "x", "y", tuple(builder.tensors.values()), tuple(builder.layers),
        functions=tuple(builder.functions), **fields,
    )  # fmt: skip
    if network.sections:
        tensors = (with_initial(builder, t) if t.name in network.delayed else t for t in network.tensors)
        network = replace(network, tensors=tuple(tensors))
    elif network.delayed:
        network = replace(network, tensors=tuple(_with_initial(builder, t, network.delayed) for t in network.tensors))
    return network, builder.matrices


def _with_initial(builder: Builder, tensor, delayed):
    if tensor.name not in delayed or not builder.draw.chance(60):
        return tensor
    initial = builder.draw.rng.integers(tensor.qmin, tensor.qmax + 1, tensor.size).astype(np.int32)
    return replace(tensor, initial=initial)


def _convolution(builder: Builder) -> dict:
    draw = builder.draw
    side = 14 if draw.chance(15) else 7
    shape = draw.integer(1, 7), draw.integer(1, side), draw.integer(1, 5)
    builder.start(builder.tensor("x", shape, full=True))
    for _ in range(draw.integer(0, 4)):
        _stage(builder, draw.choice(("convolution", "linear", "depthwise", "maximum", "concatenation")))
    _stage(builder, draw.choice(("linear", "convolution", "concatenation")), final=True)
    return {}


def _stage(builder: Builder, kind: str, final: bool = False) -> None:
    """One more tensor, written by one or more layers, of which the first reads the tensor before."""
    draw = builder.draw
    source = builder.last
    if kind == "linear" and not builder.can_flatten(source):
        kind = "convolution"
    if kind == "linear":
        builder.layer(builder.flat(builder.sources(source)), final=final)
    elif kind in ("convolution", "depthwise"):
        builder.layer(builder.window(source, depthwise=kind == "depthwise", pooled=not final), final=final)
    elif kind == "concatenation":
        _concatenation(builder, final)
    else:
        plan = builder.window(source, depthwise=draw.chance(70), pooled=draw.chance(20))
        target = builder.layer(plan, operand=False)
        for _ in range(draw.integer(1, 3)):
            again = builder.window(source, depthwise=plan.taps is not None, pixels=target.shape[:2], pooled=False)
            end = draw.integer(1, min(again.rows or target.channels, target.channels))
            again = replace(again, rows=end if again.taps is None else again.rows)
            builder.layer(again, target=target, operand=False, maximum=True)
    builder.finish()


def _concatenation(builder: Builder, final: bool) -> None:
    """Layers that write channels of one tensor, in any order; all but one read any tensor that is large enough."""
    draw = builder.draw
    plans = [builder.window(builder.last, depthwise=draw.chance(25), pooled=not final)]
    pixels = plans[0].pixels
    for _ in range(draw.integer(1, 2)):
        fitting = [tensor for tensor in builder.ready if all(np.greater_equal(tensor.shape[:2], pixels))]
        source = draw.choice(fitting) if fitting else None
        if pixels == (1, 1) and source is not None and builder.can_flatten(source) and draw.chance(30):
            plans.append(builder.flat([source]))
        elif source is not None:
            plans.append(builder.window(source, depthwise=draw.chance(25), pixels=pixels, pooled=not final))
    order = draw.rng.permutation(len(plans))
    firsts, channels = {}, 0
    for number in order:
        firsts[number] = channels
        channels += plans[number].rows
    target = builder.output((*pixels, channels), final)
    for number, plan in enumerate(plans):
        builder.layer(plan, target=target, first=firsts[number], final=final)


def _sections(builder: Builder) -> dict:
    draw = builder.draw
    shape = draw.integer(1, 3), draw.integer(1, 6), draw.integer(1, 4)
    builder.start(builder.tensor("x", shape, full=True))
    if draw.chance(50):
        _stage(builder, draw.choice(("convolution", "depthwise")))
    made = Sections(builder, draw.choice(("lstm", "gru")), gates_of)
    for _ in range(draw.integer(1, 2)):
        made.add()
        if draw.chance(30):
            _stage(builder, draw.choice(("convolution", "depthwise", "maximum", "concatenation")))
    _stage(builder, draw.choice(("linear", "convolution", "concatenation")), final=True)
    return {"cells": tuple(made.cells), "sections": tuple(made.sections)}


def _recurrent(builder: Builder, kind: str, carried: bool) -> dict:
    draw = builder.draw
    fields = {"emit": "last" if draw.chance(50) else "step", "embedding": None}
    if draw.chance(40):
        fields["embedding"] = _embedding(builder)
    else:
        pixels = (draw.integer(2, 4), draw.integer(2, 4)) if draw.chance(25) else (1, 1)
        builder.start(builder.tensor("x", (*pixels, draw.integer(1, 4)), full=True))
    if builder.last.shape[:2] != (1, 1):
        _stage(builder, "convolution")
    if draw.chance(40):
        _stage(builder, "linear")
    bits = draw.choice((8, 2, 3, 5, 8, 12, 15, 16))
    plain = carried and draw.chance(30)
    outputs = [
        builder.tensor(f"h{number}", (1, 1, draw.integer(1, 6)), bits=bits, full=True, scale=2.0 ** (1 - bits))
        for number in range(draw.integer(1, 3))
    ]
    hidden = [
        builder.tensor(f"r{number}", (1, 1, draw.integer(1, 6)))
        if carried and not plain and draw.chance(80)
        else output
        for number, output in enumerate(outputs)
    ]
    builder.delayed = hidden
    cells = []
    for number, (output, state) in enumerate(zip(outputs, hidden, strict=True)):
        if not plain:
            cells.append(gates_of(builder, kind, number, output, state, builder.flat))
            builder.complete(output)
        if plain or state is not output:
            chain = [builder.last, state] if plain or draw.chance(30) else [builder.last]
            builder.layer(replace(builder.flat(chain), rows=state.channels), target=state)
            builder.finish()
        if draw.chance(30) and number + 1 < len(hidden):
            _stage(builder, "linear")
    builder.delayed = []
    for _ in range(draw.integer(0, 2)):
        _stage(builder, "linear")
    _stage(builder, "linear", final=True)
    return fields | {"cells": tuple(cells)}


def _embedding(builder: Builder) -> Embedding:
    draw, rng = builder.draw, builder.draw.rng
    symbols, count, features = draw.integer(2, 9), draw.integer(1, 3), draw.integer(1, 4)
    least = int(symbols - 1).bit_length() + 1
    builder.tensor("x", (1, 1, count), bits=draw.integer(least, 16), limits=(0, symbols - 1))
    output = builder.tensor("e", (1, 1, count * features))
    builder.start(output)
    table = rng.integers(output.qmin, output.qmax + 1, (symbols, features)).astype(np.int16)
    return Embedding("embedding", "e", table)


def gates_of(builder: Builder, kind: str, number: int, output, state, reading) -> Cell:
    """The layers that write the gates of a cell, in one piece or several, and the cell; they read ``state`` of the time
    step before. ``reading`` plans a layer that reads some tensors."""
    draw, rng = builder.draw, builder.draw.rng
    units = output.channels
    gates = builder.tensor(f"gates{number}", (*output.shape[:2], 4 * units), bits=16, full=True)
    if kind == "gru":
        pieces = [(0, 2 * units, True), (2 * units, 3 * units, False), (3 * units, 4 * units, True)]
    elif draw.chance(50):
        pieces = [(0, 4 * units, True)]
    else:
        cuts = sorted({0, 4 * units, *(draw.integer(1, 4 * units - 1) for _ in range(3))})
        pieces = [(low, high, True) for low, high in pairwise(cuts)]
    source = builder.last
    tables = {"lstm": ("sigmoid", "sigmoid", "tanh", "sigmoid"), "gru": ("sigmoid", "sigmoid", None, None)}[kind]
    raw = kind == "lstm" and draw.chance(20)  # gates of any value, without tables
    saturated = draw.chance(20)
    for low, high, looks_back in pieces:
        chain = [state] if looks_back and (low == 3 * units or not builder.can_flatten(source)) else [source]
        if looks_back and chain == [source]:
            chain.append(state)
        if draw.chance(15):
            chain.append(draw.choice(builder.delayed))
        plan = replace(reading(chain), rows=high - low)
        gate = np.arange(low, high) // units
        functions = None if raw else [tables[number] for number in gate]
        builder.layer(plan, target=gates, first=low, functions=functions, operand=False, saturated=saturated)
    first = None
    if saturated or draw.chance(50):
        first = rng.choice([-32768, 32767, *rng.integers(-32768, 32768, 2 if saturated else 10)], units)
    return Cell(f"cell{number}", kind, gates.name, output.name, None if first is None else first.astype(np.int32))
