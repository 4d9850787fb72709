"""What an engine is made of, as numbers of bits: each takes LUTs and flip-flops in proportion.

They follow from the plan alone, component by component (``darb_hw/engine/``): how wide its registers, sums and
multiplexers are, and how many there are of them.
"""

from darb_hw.estimate.memories import Mapped, mapped
from darb_hw.plan.latency import SHIFT_LEVELS
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import multipliers
from darb_hw.plan.styles import MultiplierStyle

__all__ = ["PRIOR", "features_of"]


PRIOR = {
    "engine": (60, 150), "LUT multipliers": (0.85, 0), "registers of LUT multipliers": (0, 0.9),
    "sums of limbs": (1, 1),
    "lane": (0, 6), "lane operands": (0, 1.5), "lane sums": (1, 2), "rows held": (0, 1), "shadow row": (1, 0),
    "lane address sums": (0.7, 0), "lane addresses": (0, 1), "lane addresses shared": (1.5, 1),
    "write copies": (0, 1.5), "write choices": (1, 1), "weights": (0, 1), "indices": (0.3, 2), "code pointers": (2, 2),
    "code pointers that return": (1, 1), "context on its way": (0, 0.6), "program": (0.3, 1), "address": (4, 6),
    "loops": (0.3, 0.5), "loops that walk": (0.3, 0.3), "folds": (2, 2), "banked lanes": (0.5, 2),
    "banked rotations": (1, 0.5), "banked addresses": (0.3, 1.5), "banked streams": (4, 6), "banked ways": (1, 1),
    "banked taps": (0, 2), "bursts": (1, 1), "sections": (5, 5), "subsets": (5, 5), "input counter": (2, 2),
    "input walk": (3, 3),
    "input bits": (0, 3), "second input": (2, 1), "output counter": (3, 4), "output bits": (2, 4), "embedding": (5, 3),
    "requantisers": (0, 20), "requantiser sums": (1, 1), "shift choices": (1, 0), "shift registers": (0, 1),
    "limits": (0.5, 0.5), "values": (2, 3), "targets on their way": (0, 0.7), "functions": (2, 4), "factors": (3, 6),
    "maxima": (3, 3), "lstm": (150, 200), "gru": (150, 200), "units on their way": (0, 1), "memory choices": (1, 0),
    "memory outputs": (0, 1), "codes on LUTs": (1.25, 0), "tables on LUTs": (0.65, 0), "RAM bits on flip-flops": (1, 1),
    "RAM cells on LUTs": (6, 4),
}  # fmt: skip
"""LUTs and flip-flops that one of a feature takes, as the components are written: what a fit starts from."""


def features_of(plan: Plan) -> dict[str, float]:
    """The features of an engine by name, all of them 0 or more.

    ``banked`` features are those of lanes that compute neighbouring positions.
    """
    parts = (_multipliers, _lanes, _codes, _control, _ports, _requantiser, _memory)
    return {"engine": 1.0} | {name: float(value) for part in parts for name, value in part(plan).items()}


def _tree(style: MultiplierStyle, width: int) -> int:
    """Bits of the registered sums that join the partial products, for an operand of ``width`` bits that is not cut."""
    bits, parts, limb = 0, style.limbs, style.limb
    while parts > 1:
        width += limb
        bits += parts // 2 * width
        parts, limb = -(-parts // 2), 2 * limb
    return bits


def _multipliers(plan: Plan) -> dict[str, float]:
    """Of all multipliers: of lanes, requantisers, products with operands, cells.

    On LUTs, two bits choose each bit of a partial product among three multiples: two 4-input LUTs. Two of the multiples
    are sums. Operands, multiples, partial products and what is added up are in registers.
    """
    choices = registers = limbs = 0
    for count, style, whole, cut in multipliers(plan):
        tree, multiple = _tree(style, whole), whole + 2
        if style.dsp:
            limbs += count * tree
            continue
        choices += count * (2 * style.limbs * multiple + 2 * multiple + tree)
        registers += count * (style.limbs * multiple + 2 * multiple + tree + whole + cut)
    return {"LUT multipliers": choices, "registers of LUT multipliers": registers, "sums of limbs": limbs}


def _lanes(plan: Plan) -> dict[str, float]:
    widths, lanes = plan.widths, plan.config.lanes
    return {
        "lane": lanes,
        "lane operands": lanes * (widths.activation + widths.weight),
        "lane sums": lanes * widths.accumulator,
        "rows held": lanes * widths.accumulator * plan.latency.held,
        "shadow row": (lanes - plan.config.ways) * widths.accumulator,
        "lane address sums": 0 if plan.banked else lanes * (widths.address if not plan.disjoint else widths.index),
        "lane addresses": 0 if plan.banked else lanes * widths.address,
        "lane addresses shared": lanes * widths.address * plan.latency.shared,
        "write choices": widths.address + widths.activation,
        "write copies": 0 if plan.banked else -(-lanes // 8) * (widths.address + widths.activation + 1),
    }


def _codes(plan: Plan) -> dict[str, float]:
    streams, widths = plan.config.streams, plan.widths
    read = (image for name, image in plan.images.items() if name.startswith(("weights", "index_", "columns")))
    pointers = sum((image.depth - 1).bit_length() for image in read)
    return {
        "weights": streams * widths.weight,
        "indices": streams * widths.index,
        "code pointers": pointers,
        "code pointers that return": pointers * plan.walks,
    }


def _control(plan: Plan) -> dict[str, float]:
    widths, images, latency = plan.widths, plan.images, plan.latency
    context = (images["rows"].depth - 1).bit_length() + widths.row
    context += widths.target * plan.walks + widths.address * latency.reads_back
    loops = images["loops"].width if "loops" in images else 0
    banks, streams = plan.config.banks * plan.banked, plan.config.streams
    rotation = plan.rotation
    return {
        "context on its way": context * (latency.lane + latency.shadow),
        "program": images["program"].width,
        "address": widths.address,
        "loops": loops,
        "loops that walk": loops * plan.walks,
        "folds": widths.accumulator * plan.config.ways * (plan.folds > 0),
        "banked lanes": banks * streams * widths.activation,
        "banked rotations": banks * streams * widths.activation * len(rotation.stages) if rotation else 0,
        "banked addresses": banks * streams * widths.address,
        "banked streams": streams * widths.address * plan.banked,
        "banked ways": plan.config.ways**2 * (widths.address + widths.activation) * plan.banked,
        "banked taps": images["taps"].width * streams if plan.banked else 0,
        "bursts": _burst_bits(plan) * (plan.queue + 1) if latency.paired else 0,
        "sections": widths.address * bool(plan.network.sections),
        "subsets": plan.tasks,
    }


def _burst_bits(plan: Plan) -> int:
    """Bits of a burst to single-port RAMs: an address for each pair of banks, a value for each bank, and whether."""
    banks = plan.config.banks
    return banks // 2 * plan.widths.address + banks * (1 + plan.widths.activation)


def _ports(plan: Plan) -> dict[str, float]:
    widths = plan.widths
    return {
        "input counter": max(plan.input_size - 1, 1).bit_length(),
        "input walk": widths.address * (plan.input_walk is not None),
        "input bits": widths.input,
        "second input": widths.address * (plan.memory.second > 0),
        "output counter": max(plan.output_size - 1, 1).bit_length(),
        "output bits": widths.output,
        "embedding": widths.address * bool(plan.features),
    }


def _requantiser(plan: Plan) -> dict[str, float]:
    """Of all requantisers together, and of the unit of LSTM and GRU layers.

    A value is rounded and compared with two limits; once more, if it goes into a table or is multiplied.
    """
    widths, latency, ways = plan.widths, plan.latency, plan.config.ways
    kinds = {cell.kind for cell in plan.network.cells}
    rounded = 3 + 2 * latency.functions + 3 * (latency.product > 0) + latency.operand
    choices = registers = 0
    for stage in range(latency.shifts):
        bits = widths.rounded + (1 << stage * SHIFT_LEVELS)
        choices += bits * max(0, min(SHIFT_LEVELS, widths.shift - stage * SHIFT_LEVELS))
        registers += bits
    return {
        "requantisers": ways,
        "requantiser sums": ways * (widths.biased + rounded * widths.rounded),
        "shift choices": ways * choices,
        "shift registers": ways * registers,
        "limits": ways * len(plan.clamps) * widths.value,
        "values": ways * widths.value,
        "targets on their way": ways * (widths.target + 3) * latency.requant,
        "functions": ways * widths.rounded * latency.functions,
        "factors": ways * widths.activation * (latency.product > 0),
        "maxima": ways * widths.value * latency.maximum,
        "lstm": float("lstm" in kinds),
        "gru": float("gru" in kinds),
        "units on their way": widths.unit * latency.cell,
    }


def _memory(plan: Plan) -> dict[str, float]:
    """Of memories: what chooses between rows of blocks, outputs in registers, memories that are made from logic.

    Blocks of ECP5 have a register at their output. Small memories that are written take its LUTs as memory, and
    flip-flops on iCE40. Codes are as good as random; other ROMs repeat themselves.
    """
    made, inferred = mapped(plan), plan.config.target.family == "ice40"
    blocks, logic = [one for one in made if one.block_rams], [one for one in made if not one.block_rams]
    rams, roms = [one for one in logic if one.written], [one for one in logic if not one.written]

    def chosen(roms: list[Mapped]) -> float:
        """LUTs that choose among the words of ROMs, 16 bits a LUT, and among the outputs of these LUTs."""
        return sum(one.width * max(one.depth / 8 - 1, one.depth / 16) for one in roms)

    return {
        "memory choices": sum((one.rows - 1) * one.width for one in blocks),
        "memory outputs": sum(one.width for one in made if inferred or one.rows != 1),
        "codes on LUTs": chosen([one for one in roms if one.codes]),
        "tables on LUTs": chosen([one for one in roms if not one.codes]),
        "RAM bits on flip-flops": sum(one.width * one.depth for one in rams) * inferred,
        "RAM cells on LUTs": sum(-(-one.width // 4) * -(-one.depth // 16) for one in rams) * (not inferred),
    }
