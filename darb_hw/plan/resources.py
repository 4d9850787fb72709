"""Block RAMs before synthesis: an estimate, and the refusal of what cannot fit."""

from dataclasses import replace

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan import cell_memory
from darb_hw.plan.blocks import SHAPES, SPRAM_BITS, SPRAM_WORDS, block_rams_of
from darb_hw.plan.clusters import clustered
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.memory_map import memory_of
from darb_hw.plan.parallel import choices_of, cost
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import contents, reloadable
from darb_hw.plan.spram_roms import read_once
from darb_hw.plan.styles import MultiplierStyle
from darb_prune.encoded import FACTOR_BITS, EncodedNetwork

__all__ = [
    "by_memory",
    "check_fit",
    "estimated_block_rams",
    "estimated_dsps",
    "fitting_plan",
    "least_block_rams",
    "memories",
]

_REMEDIES = {
    "ROM weights": "prune more, quantise to fewer bits",
    "ROM index": "prune more",
    "ROM columns": "prune more",
    "ROM rows": "choose layers of fewer rows",
    "ROM program": "choose fewer or smaller layers",
    "ROM embedding": "choose fewer symbols or fewer features",
    "ROM cell": "choose fewer units in LSTM and GRU layers",
    "gates of the cells": "choose fewer units in LSTM and GRU layers",
    "output buffer": "choose fewer outputs",
}
"""What makes a memory smaller, by how its name begins; the activation memory depends on the configuration too."""


def memories(plan: Plan) -> dict[str, list[tuple[int, int]]]:
    """Width and depth of each memory of the engine, by what it holds; without those in single-port RAMs."""
    sizes = {
        f"ROM {name}": [(max(0, image.width - plan.in_spram(name)), contents(plan, name).depth)]
        for name, image in plan.images.items()
        if name != "activations"  # these are in the activation memory
    }
    sizes["gates of the cells"] = [(cell_memory.BITS, plan.memory.cell_units)] * 4
    bank_bits = max(1, unsigned_bits(plan.output_size - 1))
    sizes["output buffer"] = [(plan.widths.output, (plan.output_banks - 1 << bank_bits) + plan.output_size)]
    sizes["activation memory"] = [(plan.widths.activation, plan.memory_depth)] * plan.copies * (not plan.latency.paired)
    if plan.banked and plan.latency.reads_back:
        depth = plan.config.banks // plan.config.ways << plan.aux_bits
        sizes["memory of the write-back"] = [(plan.widths.activation, depth)] * plan.config.ways
    return sizes


def by_memory(plan: Plan) -> dict[str, int]:
    """Estimated block RAMs of each memory of the engine."""
    device, written = plan.config.target, {f"ROM {name}" for name in reloadable(plan)}
    return {
        name: sum(block_rams_of(device, *size, read_only=name not in written) for size in sizes)
        for name, sizes in memories(plan).items()
    }


def estimated_block_rams(plan: Plan) -> int:
    """Block RAMs of the whole engine before synthesis: ROMs, copies of the activation memory, gates, output buffer."""
    return sum(by_memory(plan).values())


def multipliers(plan: Plan) -> list[tuple[int, MultiplierStyle, int, int]]:
    """The multipliers of the whole engine: of lanes, requantisers, products and cells.

    Returns
    -------
    list of (int, MultiplierStyle, int, int)
        How many are alike; their style; bits of the operand that stays whole, and of the one that is cut into limbs.
    """
    widths, ways, requant = plan.widths, plan.config.ways, plan.requant_style
    mult = widths.mult + 1
    made = [
        (plan.config.lanes, plan.lane_style, widths.activation, widths.weight),
        (ways, requant, *((mult, widths.biased) if requant.dsp else (widths.biased, mult))),
    ]
    if plan.latency.product:
        made.append((ways, plan.product_style, FACTOR_BITS, widths.activation))
    for cell in plan.network.cells[:1]:  # all cells are one unit
        for bits, count in cell_memory.multipliers(cell.kind).items():
            made.append((count, plan.cell_style(bits), cell_memory.BITS, bits))
    return made


def estimated_dsps(plan: Plan) -> int:
    """DSP blocks of the whole engine."""
    return sum(count * style.limbs for count, style, *_ in multipliers(plan) if style.dsp)


def fitting_plan(network: EncodedNetwork, config: EngineConfig, asked: bool | None = None) -> Plan:
    """The plan of a network on a device.

    Where the configuration leaves a choice, this is the plan that costs least and fits. ``positions`` and ``results``
    are chosen by cycles and block RAMs. ``input`` is overlapped, else reused, else alone. ``memory`` is private, else
    shared; of lanes with banks, private, else spram.

    Parameters
    ----------
    network : EncodedNetwork
    config : EngineConfig
    asked : bool, optional
        Whether more positions are a remedy for what does not fit; if absent, where the configuration says how many.

    Raises
    ------
    PlanError
        If none fits. It says what the smallest one lacks.
    """
    _check_tensors(network, config)
    network = clustered(network, config)
    best: Plan | None = None
    refusal: PlanError | None = None
    for candidate in choices_of(network, config):
        if best is not None and candidate.banks > 1:
            continue  # estimates tell these apart; what rows of different lengths wait for each other they leave out
        if refusal is not None and least_block_rams(network, _by_speed(candidate)[-1]) > config.target.block_rams:
            continue  # nor does this one fit
        try:
            plan = _with_memory(network, candidate, config.positions is not None if asked is None else asked)
        except PlanError as error:
            refusal = refusal or error
            continue
        if best is None or _cost(plan) < _cost(best):
            best = plan
    if best is None:
        assert refusal is not None
        raise refusal
    return best


def _cost(plan: Plan) -> float:
    return cost(plan.network, plan.config, plan.timing.interval_of(1))


def _with_memory(network: EncodedNetwork, config: EngineConfig, asked: bool) -> Plan:
    """The fastest plan that fits, with these positions and results, which were ``asked`` for or are a trial."""
    *faster, smallest = _by_speed(config)
    for candidate in faster:
        if least_block_rams(network, candidate) > config.target.block_rams:
            continue
        plan = Plan.make(network, candidate)
        if estimated_block_rams(plan) <= config.target.block_rams:
            return plan
    plan = Plan.make(network, smallest)
    check_fit(plan, asked)
    return plan


def _by_speed(config: EngineConfig) -> list[EngineConfig]:
    """The configurations with all that ``input`` and ``memory`` may be, where ``config`` leaves them open: the fastest
    comes first, the one that takes the fewest block RAMs last."""
    inputs = ("overlapped", "reused", "alone") if config.input == "auto" else (config.input,)
    memories = (config.memory,)
    if config.memory == "auto" and config.clusters == 1:
        memories = ("private", "shared" if config.banks == 1 else "spram")
    return [
        replace(config, input=loading, memory=memory)
        for memory in memories
        if memory != "spram" or config.fits_spram
        for loading in inputs
        if loading == "alone" or memory not in ("shared", "spram")
    ]


def least_block_rams(network: EncodedNetwork, config: EngineConfig) -> int:
    """Block RAMs that a plan needs at least, without making it: those of the lanes' activation memories, and those of
    the weights. Every code is stored, but for equal ones of depthwise layers.

    Raises
    ------
    PlanError
        If a map has no layout in so many banks.
    """
    memory, device = memory_of(network, config), config.target
    copies = {"shared": -(-config.lanes // 2), "spram": 0}.get(config.memory, config.lanes)
    bits = max(tensor.bits for tensor in network.tensors if tensor.name in memory)
    steps = sum(-(-len(layer.weight) // config.streams) for layer in network.layers if not layer.depthwise)
    weight_bits = max(layer.weight_bits for layer in network.layers)
    weights = block_rams_of(device, config.streams * weight_bits, steps * (1 + config.reload), not config.reload)
    weights *= config.roms != "spram"
    return copies * block_rams_of(device, bits, memory.depth) + weights


def _check_tensors(network: EncodedNetwork, config: EngineConfig) -> None:
    """Refuse what no plan can make fit, without making one: that takes minutes for tensors of this size."""
    device = config.target
    bits = device.block_rams * max(width * words for width, words in SHAPES[device.family].items())
    rams = "block RAMs"
    if device.sprams and config.memory in ("auto", "spram") and config.roms != "spram":
        bits, rams = bits + 2 * device.sprams * SPRAM_WORDS * SPRAM_BITS, "RAMs"
    # These are never in the activation memory as a whole.
    beside = {network.output} | ({network.input} if network.embedding else set())
    for tensor in network.tensors:
        if tensor.name not in beside and tensor.size * tensor.bits > bits:
            raise PlanError(
                f"does not fit {device.name}: tensor {tensor.name!r} alone has {tensor.size * tensor.bits:,} bits, all "
                f"{rams} {bits:,}: choose a larger device, or smaller feature maps"
            )


def check_fit(plan: Plan, asked: bool = True) -> None:
    """Raise :class:`PlanError` if the device has too few block RAMs: by how many, what takes them, and what helps.

    Parameters
    ----------
    plan : Plan
    asked : bool
        Whether the user has chosen the positions. If not, more of them are no remedy: they are tried as well.
    """
    device, needed = plan.config.target, estimated_block_rams(plan)
    if needed <= device.block_rams:
        return
    shares = by_memory(plan)
    largest = max(shares, key=lambda memory: shares[memory])
    message = (
        f"does not fit {device.name}: {needed} block RAMs needed, it has {device.block_rams}, "
        f"{needed - device.block_rams} too many; most are {largest}, {shares[largest]}"
    )
    if largest == "activation memory":
        region = max(plan.memory.regions.values(), key=lambda region: region.size)
        message += (
            f" ({plan.copies} copies of {plan.memory_depth:,} elements; largest tensor: {region.tensor!r}, "
            f"{region.size:,} elements)"
        )
    raise PlanError(f"{message}: {_remedy(plan, largest, asked)}")


def _may_stand_in_spram(memory: str) -> bool:
    """Whether a memory, of those of :func:`by_memory`, can stand in single-port RAMs."""
    return read_once(memory.removeprefix("ROM "))


def _remedy(plan: Plan, memory: str, asked: bool) -> str:
    """What makes a memory smaller, of those of :func:`by_memory`."""
    if memory.startswith("ROM input"):
        # Another order helps only where what is stored has neither zeros nor banks in between.
        plain = not plan.banked and not plan.memory.regions[plan.network.input].layout.has_zeros
        order = (
            "choose --input-order storage"
            if plain and plan.config.input_order == "logical"
            else "choose smaller inputs"
        )
        return f"{order}, or choose a larger device"
    if memory != "activation memory":
        known = (remedy for name, remedy in _REMEDIES.items() if memory.startswith(name))
        remedy = f"{next(known, 'choose a smaller network')}, or choose a larger device"
        if plan.config.overwrites:
            return f"choose other --lanes, or {remedy}"
        free = plan.config.target.sprams and not plan.sprams and not plan.config.reload
        return f"choose darb verilog --roms spram, {remedy}" if free and _may_stand_in_spram(memory) else remedy
    remedies = ["fewer lanes"] if plan.config.lanes > 1 else []
    if plan.config.input == "overlapped":
        remedies.append("--input alone")
    if plan.config.memory == "private" and plan.config.fits_spram:
        remedies.append("--memory spram")
    if not plan.banked:
        if plan.config.memory == "private" and plan.config.lanes > 1 and not plan.clustered:
            remedies.append("--memory shared")
        if asked and any(layer.position_count > 1 for layer in plan.network.layers):
            remedies.append("more --positions, so that lanes share a map")
    return f"choose {', '.join([*remedies, 'smaller feature maps'])}, or a larger device"
