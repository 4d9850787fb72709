"""Plans of random networks, for property tests."""

from hypothesis import reject
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan.plan import Plan
from darb_prune.encoded import Level
from tests.draws import HypothesisDraw, SeedDraw
from tests.map_networks import averaging, with_mean, with_residual, with_transposed
from tests.networks import KINDS, RandomNetwork, networks, random_network
from tests.random_rows import LEVELS

STREAMED = tuple(kind for kind in ("chain", *KINDS) if kind != "sections")
"""Networks all of whose layers run once in an inference or a time step."""
MEMORIES = (
    {"input": "overlapped", "memory": "private"},
    {"input": "reused", "memory": "private"},
    {"input": "alone", "memory": "private"},
    {"input": "alone", "memory": "shared"},
)


@st.composite
def any_network(draw, kinds: tuple[str, ...] = ("chain", *KINDS)) -> RandomNetwork:
    """Half of them small ones that shrink, half of them from a seed, which are of all sizes. In some, depthwise layers
    average; some have a sum that may be written over its operand, some a transposed map."""
    kind = draw(st.sampled_from(kinds))
    options = {"split": True} if kind == "chain" else {"products": draw(st.integers(0, 2)) == 0}
    if draw(st.booleans()):
        random = draw(networks(kind, **options))
    else:
        random = random_network(draw(st.integers(0, 10_000)), kind, **options)
    random = averaging(random) if draw(st.integers(0, 3)) == 0 else random
    grow = draw(st.sampled_from((None, None, None, None, None, with_residual, with_residual, with_transposed)))
    return grow(random, HypothesisDraw(draw)) if grow else random


@st.composite
def waiting(draw) -> Plan:
    """Rows of more codes than the engine has lanes, and of few: short groups wait for the drain of longer ones."""
    sizes = tuple(draw(st.integers(*ends)) for ends in ((32, 96), (24, 64), (8, 24)))
    levels = draw(st.sampled_from((LEVELS, (Level(1, 1), Level(3, 1), Level(5, 1)))))
    network = random_network(draw(st.integers(0, 10_000)), sizes=sizes, levels=levels).network
    return Plan.make(network, EngineConfig(lanes=draw(st.integers(6, 16))))


@st.composite
def plans(draw, kinds: tuple[str, ...] = ("chain", *KINDS), memories: tuple[dict, ...] = MEMORIES) -> Plan:
    """Any network on an engine of any number of lanes, with any of ``memories``; some are of ``waiting``."""
    if "chain" in kinds and memories is MEMORIES and draw(st.integers(0, 5)) == 0:
        return draw(waiting())
    network = draw(any_network(kinds)).network
    order = draw(st.sampled_from(("logical", "storage")))
    memory = draw(st.sampled_from(memories))
    return Plan.make(network, EngineConfig(lanes=draw(st.integers(1, 20)), input_order=order, **memory))


@st.composite
def tile_plans(draw, most: int = 16) -> tuple[RandomNetwork, Plan]:
    """A network that has no time steps on an engine whose lanes compute up to ``most`` neighbouring positions."""
    random = draw(any_network(("convolution", "convolution", "chain")))
    if draw(st.integers(0, 3)) == 0:
        random = with_mean(random, HypothesisDraw(draw))
    positions = draw(st.sampled_from([count for count in (2, 4, 8, 16) if count <= most]))
    results = draw(st.sampled_from([count for count in (1, 2, 4, 8) if count <= positions]))
    config = EngineConfig(
        lanes=positions * draw(st.integers(1, 3)),
        positions=positions,
        results=results,
        memory="private",
        input=draw(st.sampled_from(("overlapped", "reused", "alone"))),
        input_order=draw(st.sampled_from(("logical", "storage"))),
    )
    try:
        return random, Plan.make(random.network, config)
    except PlanError:  # a tensor that is read with two strides
        reject()


@st.composite
def paired_plans(draw) -> tuple[RandomNetwork, Plan]:
    """The same with maps in single-port RAMs, two banks in each."""
    random = draw(any_network(("convolution", "convolution", "chain")))
    if draw(st.integers(0, 3)) == 0:
        random = with_mean(random, HypothesisDraw(draw))
    positions = draw(st.sampled_from((2, 4, 8)))
    config = EngineConfig(
        lanes=positions * draw(st.integers(1, 8 // positions)),
        device="ice40-up5k",
        positions=positions,
        results=1,
        memory="spram",
        input="alone",
        input_order=draw(st.sampled_from(("logical", "storage"))),
    )
    try:
        return random, Plan.make(random.network, config)
    except PlanError:  # a tensor that is read with two strides
        reject()


def tile_plan(seed: int, positions: int, streams: int, results: int, mean: bool = False, **options) -> Plan:
    """A convolutional network on an engine whose lanes compute neighbouring positions; ``mean``: the network averages
    a map."""
    random = random_network(seed, "convolution")
    random = with_mean(random, SeedDraw(seed)) if mean else random
    config = EngineConfig(lanes=positions * streams, positions=positions, results=results, **options)
    return Plan.make(random.network, config)
