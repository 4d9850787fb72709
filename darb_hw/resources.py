"""Block RAMs before synthesis: an estimate, and the refusal of what cannot fit."""

from darb_hw import cell_memory
from darb_hw.config import Device
from darb_hw.image import unsigned_bits
from darb_hw.plan import Plan, PlanError

__all__ = ["block_rams_of", "check_fit", "estimated_block_rams"]

# Word widths a block RAM can have, and how many words it has then. On ECP5 words of less than 9 bits leave the
# parity bits unused.
_SHAPES = {
    "ice40": {16: 256, 8: 512, 4: 1024, 2: 2048},
    "ecp5": {36: 512, 18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384},
}
# Synthesis builds memories this small from LUTs.
_LUT_WORDS = 32


def block_rams_of(device: Device, width: int, depth: int) -> int:
    """Block RAMs of a memory of ``depth`` words of ``width`` bits, in the shape that needs the fewest."""
    if depth <= _LUT_WORDS:
        return 0
    return min(-(-width // wide) * -(-depth // deep) for wide, deep in _SHAPES[device.family].items())


def _memories(plan: Plan) -> dict[str, list[tuple[int, int]]]:
    """Width and depth of each memory of the engine, by what it is."""
    found = {
        f"ROM {name}": [(image.width, image.depth)]
        for name, image in plan.images.items()
        if name != "activations"  # these are in the activation memory
    }
    found["gates of the cells"] = [(cell_memory.BITS, plan.memory.bank)] * 4
    place = max(1, unsigned_bits(plan.output_size - 1))
    found["output buffer"] = [(plan.widths.output, (plan.output_banks - 1 << place) + plan.output_size)]
    found["activation memory"] = [(plan.widths.activation, plan.memory_depth)] * plan.copies
    return found


def _by_memory(plan: Plan) -> dict[str, int]:
    device = plan.config.target
    return {name: sum(block_rams_of(device, *size) for size in sizes) for name, sizes in _memories(plan).items()}


def estimated_block_rams(plan: Plan) -> int:
    """Block RAMs of the whole engine before synthesis: ROMs, copies of the activation memory, gates, output buffer."""
    return sum(_by_memory(plan).values())


def check_fit(plan: Plan) -> None:
    """Raise :class:`PlanError` if the device has too few block RAMs: by how many, and what takes them."""
    device, needed = plan.config.target, estimated_block_rams(plan)
    if needed <= device.block_rams:
        return
    by_memory = _by_memory(plan)
    largest = max(by_memory, key=by_memory.get)
    message = (
        f"does not fit {device.name}: {needed} block RAMs needed, it has {device.block_rams}, "
        f"{needed - device.block_rams} too many; most are {largest}, {by_memory[largest]}"
    )
    if largest == "activation memory":
        region = max(plan.memory.regions.values(), key=lambda region: region.size)
        message += (
            f" ({plan.copies} copies of {plan.memory_depth:,} elements; largest tensor: {region.tensor!r}, "
            f"{region.size:,} elements)"
        )
    raise PlanError(f"{message}: choose fewer lanes, a larger device, or prune more")
