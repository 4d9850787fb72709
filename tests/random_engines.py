"""Random networks on random engines, each with a number: for the fuzz tests and ``benchmarks.bytes``."""

from dataclasses import replace

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan.banks import banked_layouts
from darb_hw.plan.clusters import clustered
from darb_hw.plan.resources import fitting_plan
from darb_prune import encode, quantize
from darb_prune.encoded import DarbError, EncodedNetwork, TestVectors
from sim.launch import SIMULATORS
from tests.draws import SeedDraw
from tests.map_networks import with_mean, with_residual, with_transposed
from tests.networks import (
    RandomNetwork,
    at_the_edges,
    bound_inputs,
    lively,
    random_inputs,
    random_lengths,
    random_network,
    with_bound_state,
)
from tests.parted_networks import parted_model, parted_network
from tests.task_networks import with_tasks

__all__ = [
    "draw_config", "draw_engine", "draw_network", "draw_parts", "draw_positions", "draw_tasks", "draw_vectors",
    "kind_of",
]  # fmt: skip


def kind_of(number: int) -> str:
    """Kind of network ``number``; all kinds in turn."""
    return "sections" if number % 10 == 3 else ("convolution", "lstm", "gru", "convolution", "chain")[number % 5]


def draw_network(simulator: str, number: int) -> tuple[RandomNetwork, SeedDraw]:
    """Network ``number`` of a simulator, and what draws the rest of its test."""
    kind = kind_of(number)
    draw = SeedDraw(2 * number + SIMULATORS.index(simulator))
    extreme = draw.chance(15)
    if kind == "chain":
        random = random_network(draw, kind, extreme=extreme, split=draw.chance(50))
        return (at_the_edges(random, number) if draw.chance(30) else random), draw
    random = random_network(draw, kind, extreme=extreme, products=number % 4 == 3, carried=number % 3 == 0)
    return (with_transposed(random, draw) if number % 20 == 15 else random), draw


def draw_tasks(simulator: str, number: int) -> tuple[RandomNetwork, SeedDraw]:
    """Network ``number`` of those with several tasks. Their numbers are their own: no other network moves."""
    draw = SeedDraw(1_000_000 + 2 * number + SIMULATORS.index(simulator))
    kind = ("chain", "gru", "convolution", "lstm")[number % 4]
    random = random_network(draw, kind)
    while random.network.tensor(random.network.output).shape[:2] != (1, 1) or random.network.embedding:
        random = random_network(draw, kind)
    return with_tasks(random, draw), draw


def draw_parts(simulator: str, number: int) -> tuple[EncodedNetwork, TestVectors, EngineConfig]:
    """Network ``number`` of those in parts, vectors of it, and an engine: of clusters, if they can have its parts and
    in most cases. Odd ones come from models of torch."""
    draw = SeedDraw(2_000_000 + 2 * number + SIMULATORS.index(simulator))
    parts = draw.choice((2, 2, 4, 8))
    if number % 2:
        model, x = parted_model(draw, parts)
        integer = quantize(model, x, draw.integer(3, 8), draw.choice((8, 8, 5, 12)))
        network = encode(integer)
        vectors = integer.vectors(network, x)
    else:
        random = parted_network(draw, parts, extreme=draw.chance(15))
        random, vectors = draw_vectors(lively(random, draw) if draw.chance(80) else random, draw)
        network = random.network
    config = draw_config(draw)
    clusters = replace(config, lanes=parts * draw.integer(1, 6), memory="private", clusters=parts)
    if draw.chance(80) and _in_clusters(clusters, network):
        return network, vectors, clusters
    return network, vectors, draw_positions(draw, config, network)


def _in_clusters(config: EngineConfig, network: EncodedNetwork) -> bool:
    """Whether a network has layers in as many parts as an engine has clusters."""
    try:
        clustered(network, config)
    except PlanError:
        return False
    return True


def draw_config(draw: SeedDraw) -> EngineConfig:
    """An engine whose lanes compute different rows."""
    inputs = ("overlapped", "private"), ("reused", "private"), ("alone", "private"), ("alone", "shared")
    loading, memory = draw.choice(inputs)
    return EngineConfig(
        lanes=draw.choice((1, 2, 3, 4, 5, 7, 8, 16, 33)),
        device="ecp5-85k",
        lane_multiplier=draw.choice(("auto", "dsp", "lut")),
        requant_multiplier=draw.choice(("auto", "dsp", "lut")),
        input_order=draw.choice(("logical", "storage")),
        input=loading,
        memory=memory,
        unroll=draw.choice((1, 2, 16)),
        positions=1,
        results=1,
    )


def draw_engine(draw: SeedDraw, random: RandomNetwork) -> tuple[RandomNetwork, TestVectors, EngineConfig]:
    """Vectors and an engine for a network. It may get a sum that can be written over its operand, or, where its lanes
    compute neighbouring positions, a layer that averages a map."""
    random, vectors = draw_vectors(random, draw)
    config = draw_positions(draw, draw_config(draw), random.network)
    grow = with_mean if config.banks > 1 and draw.chance(25) else with_residual if draw.chance(25) else None
    if grow:
        grown, grown_vectors = draw_vectors(grow(random, draw), draw)
        if config.banks == 1 or _in_banks(config, grown.network):
            random, vectors = grown, grown_vectors
    return random, vectors, _in_spram(config, random.network) if draw.chance(15) else config


def _in_spram(config: EngineConfig, network: EncodedNetwork) -> EngineConfig:
    """``config`` with ROMs in single-port RAMs, if that saves anything and the device has room."""
    made = replace(config, device="ice40-up5k", roms="spram")
    try:
        fitting_plan(network, made)
    except DarbError:
        return config
    return made


def draw_positions(draw: SeedDraw, config: EngineConfig, network: EncodedNetwork) -> EngineConfig:
    """``config``, or an engine whose lanes compute neighbouring positions. It stays ``config`` where the network cannot
    run that way: if it has time steps or an embedding, or reads a tensor with two strides."""
    positions, streams = draw.choice((1, 2, 4, 8, 16)), draw.integer(1, 3)
    results = draw.choice([count for count in (1, 2, 4, 8) if count <= positions])
    if positions == 1 or network.recurrent or network.sections or network.embedding:
        return config
    sizes = {"lanes": positions * streams, "positions": positions, "results": results}
    banked = replace(config, **sizes, memory="private")
    return banked if _in_banks(banked, network) else config


def _in_banks(config: EngineConfig, network: EncodedNetwork) -> bool:
    """Whether the maps of a network have a layout in the banks of an engine."""
    try:
        banked_layouts(network, config.banks, config.ways)
    except PlanError:
        return False
    return True


def draw_vectors(random: RandomNetwork, draw: SeedDraw) -> tuple[RandomNetwork, TestVectors]:
    """A network and vectors: two at the ends of the range, random ones, and two that drive a row of the first layer
    to the ends of its accumulator; as far as the time step before matters for that, to one of them."""
    network = random.network
    row = draw.integer(0, network.layers[0].rows - 1)
    lengths = random_lengths(draw.integer(0, 1000), network, 4)
    frames = 4 if lengths is None else int(lengths.sum())
    inputs = random_inputs(draw.integer(0, 1000), network, frames)
    if not network.embedding and not network.section_of(0):
        random = with_bound_state(random, row, draw.chance(50)) if network.recurrent and network.delayed else random
        inputs = np.concatenate([inputs, bound_inputs(random, row)])
        lengths = None if lengths is None else np.append(lengths, [1, 1])
    return random, random.vectors(inputs, lengths)
