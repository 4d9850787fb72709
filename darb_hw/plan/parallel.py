"""How many neighbouring positions, and how many results at once: the choices, and estimates that need no plan."""

from collections.abc import Mapping
from dataclasses import replace

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan.banks import BankedLayout, banked_layouts
from darb_hw.plan.blocks import block_rams_of
from darb_hw.plan.groups import unrolls
from darb_hw.plan.latency import RUN_CYCLES_MIN
from darb_hw.plan.memory_map import memory_map
from darb_hw.plan.tiles import taps_of
from darb_prune.encoded import EncodedNetwork, Layer

__all__ = ["choices_of", "cost", "estimated_cycles"]

_WAYS = (1, 2, 4)
"""Results at once that are tried."""
_FULL, _WAY = 0.3, 0.005
"""Share of the cycles that is given for all block RAMs of a device, and for a requantiser more."""


def choices_of(network: EncodedNetwork, config: EngineConfig) -> list[EngineConfig]:
    """The configurations with all that ``positions`` and ``results`` may be, where ``config`` leaves them open: what
    costs least comes first. What cannot fit is left out, if anything else is there.

    Lanes over positions are for maps: a network without them, or one that keeps something from time step to time step,
    runs as many rows as there are lanes.

    Raises
    ------
    PlanError
        If several results at once are wanted of such a network.
    """
    walks = any(layer.position_count > 1 for layer in network.layers) and config.memory != "shared"
    walks &= config.clusters == 1
    positions = [config.positions] if config.positions else [1]
    if config.positions is None and (walks or config.memory == "spram"):
        positions = [1 << bit for bit in range(config.lanes.bit_length()) if config.lanes % (1 << bit) == 0]
        positions = [count for count in positions if count > 1 or config.memory != "spram"]
    everything = [
        replace(config, positions=count, results=way)
        for count in positions
        for way in ([config.results] if config.results else _WAYS)
        if way <= count and (way == 1 or config.memory != "spram")
    ]
    if not everything:
        raise PlanError(f"results = {config.results}: lanes that compute different rows give one at a time: choose 1")
    candidates = [candidate for candidate in everything if _possible(network, candidate)]
    if len(candidates) <= 1:  # where none is possible, the plan of any says why
        return candidates or everything[:1]
    fitting = [candidate for candidate in candidates if _share(network, candidate) <= 1] or candidates
    return sorted(
        fitting,
        key=lambda candidate: cost(network, candidate, estimated_cycles(network, _as_it_fits(network, candidate))),
    )


def _as_it_fits(network: EncodedNetwork, config: EngineConfig) -> EngineConfig:
    """``config``, with its maps in single-port RAMs if that is left open and block RAMs cannot hold them."""
    if config.memory != "auto" or not config.fits_spram or _block_ram_share(network, config) <= 1:
        return config
    return replace(config, memory="spram", input="alone")


def cost(network: EncodedNetwork, config: EngineConfig, cycles: int) -> float:
    """Cycles, and what block RAMs and requantisers are worth: a full device has a slower clock."""
    return cycles * (1 + _FULL * _share(network, config) + _WAY * config.ways)


def _share(network: EncodedNetwork, config: EngineConfig) -> float:
    """Block RAMs of the activation memories of all lanes, as a share of those of the device; 0 if they can stand in
    single-port RAMs."""
    if config.memory in ("auto", "spram") and config.fits_spram:
        return 0
    return _block_ram_share(network, config)


def _block_ram_share(network: EncodedNetwork, config: EngineConfig) -> float:
    """The same where all of them are in block RAMs."""
    banked = banked_layouts(network, config.banks, config.written)
    memory = memory_map(network, config.lanes, False, banked)
    bits = max(tensor.bits for tensor in network.tensors if tensor.name in memory)
    device = config.target
    return config.lanes * block_rams_of(device, bits, memory.depth) / device.block_rams


def _possible(network: EncodedNetwork, config: EngineConfig) -> bool:
    """Whether the maps of a network have a layout in so many banks."""
    try:
        banked_layouts(network, config.banks, config.written)
    except PlanError:
        return False
    return True


def estimated_cycles(network: EncodedNetwork, config: EngineConfig) -> int:
    """Cycles of an inference without fill and drain: each group takes its codes, or what its results take to leave."""
    layouts = banked_layouts(network, config.banks, config.written)
    total = 0
    for layer in network.layers:
        if not layouts:
            total += min(_of_rows(layer, config, unroll) for unroll in unrolls(layer, config.unroll))
            continue
        height, width = layer.positions[0] // layer.pool[0], layer.positions[1] // layer.pool[1]
        pitch = layouts[layer.segments[0].tensor].pitch
        tiles = -(-((height - 1) * pitch + width) // config.banks) * layer.pool[0] * layer.pool[1]
        words, again, bursts = config.banks // config.ways, 1.0, 0
        if config.memory == "spram":
            again, bursts = _read_again(layer, layouts), 1
        groups = _groups(layer, config.streams)
        total += tiles * sum(max(round(codes * again) + bursts * rows, rows * words) for codes, rows in groups)
    return total


def _read_again(layer: Layer, layouts: Mapping[str, BankedLayout]) -> float:
    """How often a tap is read where two banks have one address, in the mean."""
    level = max(layer.levels, key=layer.level_codes)
    return taps_of(layer, level, layouts, paired=True) / taps_of(layer, level, layouts)


def _of_rows(layer: Layer, config: EngineConfig, unroll: int) -> int:
    """Cycles of a layer whose lanes run different rows, so many output columns at once."""
    passes = layer.position_count // unroll
    return passes * sum(max(codes, rows) for codes, rows in _groups(layer, config.lanes, unroll))


def _groups(layer: Layer, at_once: int, copies: int = 1) -> list[tuple[int, int]]:
    """Codes and rows of the groups of a layer."""
    groups = []
    for number, level in enumerate(layer.levels):
        rows = len(layer.rows_of(number)) * copies
        codes = max(layer.level_codes(level), RUN_CYCLES_MIN)
        groups += [(codes, min(at_once, rows - first)) for first in range(0, rows, at_once)]
    return groups
