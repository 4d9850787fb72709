"""Which multipliers are built on DSP blocks, which on LUTs, and how many cycles they take."""

from collections.abc import Callable
from dataclasses import dataclass

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan import cell_memory
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.widths import ValueWidths

__all__ = ["MultiplierStyle", "limbs_of", "multiplier_styles"]


@dataclass(frozen=True)
class MultiplierStyle:
    """How a multiplier is built.

    Its operands are registered. Its ``b`` operand is cut into limbs, and the partial product of each is registered.
    A registered tree of adders joins these.

    Parameters
    ----------
    dsp : bool
        Partial products are left to the DSP blocks of the device. Else each is made from LUTs, for two bits.
    limb : int
        Bits of a limb.
    limbs : int
        Number of limbs.
    """

    dsp: bool
    limb: int
    limbs: int

    @property
    def latency(self) -> int:
        """Operand to product, in cycles: registers of operands, of partial products, and in the tree. A DSP block has
        the first two inside."""
        return 2 + unsigned_bits(self.limbs - 1)


def limbs_of(width: int, dsp: bool, dsp_bits: int) -> MultiplierStyle:
    """Style for a signed operand of ``width`` bits. A DSP block takes ``dsp_bits - 1`` bits of an inner limb."""
    if not dsp:
        return MultiplierStyle(False, 2, -(-width // 2))
    if width <= dsp_bits:
        return MultiplierStyle(True, width, 1)
    return MultiplierStyle(True, dsp_bits - 1, -(-width // (dsp_bits - 1)))


def multiplier_styles(
    config: EngineConfig, values: ValueWidths, products: bool
) -> tuple[MultiplierStyle, MultiplierStyle, MultiplierStyle, Callable[[int], MultiplierStyle]]:
    """How the multipliers of lanes, requantiser, products and cells are built. They get DSP blocks in this order, while
    there are any left. ``products`` is whether results are multiplied by operands.

    Returns
    -------
    MultiplierStyle, MultiplierStyle, MultiplierStyle, callable
        Of lanes, of the requantiser, of products, and int -> MultiplierStyle of cells, for a narrow operand of this
        many bits.

    Raises
    ------
    PlanError
        If the device does not have what the configuration asks for.
    """
    device, bits = config.target, config.target.dsp_bits
    lane = limbs_of(values.weight, True, bits)
    requant = limbs_of(values.biased, True, bits)
    lane_dsp = config.lane_multiplier == "dsp" or (config.lane_multiplier == "auto" and config.lanes <= device.dsps)
    left = device.dsps - config.lanes * lane_dsp
    # The other operand is mult with a sign bit: wider than an operand of the block, it would take four of them.
    narrow = values.mult + 1 <= bits
    if config.requant_multiplier == "dsp" and not narrow:
        raise PlanError(f"mult has {values.mult} bits, too wide for the DSP blocks of {device.name}: choose lut")
    requant_dsp = config.requant_multiplier == "dsp" or (
        config.requant_multiplier == "auto" and narrow and requant.limbs <= left
    )
    needed = config.lanes * lane_dsp + requant.limbs * requant_dsp
    if needed > device.dsps:
        raise PlanError(
            f"{needed} DSP blocks needed, {device.name} has {device.dsps}: choose fewer lanes or multiplier lut"
        )
    if not lane_dsp:
        lane = limbs_of(values.weight, False, bits)
    if not requant_dsp:
        requant = limbs_of(values.mult + 1, False, bits)
    product_dsp = products and config.ways <= device.dsps - needed
    needed += config.ways * product_dsp
    product = limbs_of(values.activation, product_dsp, bits)
    cell_dsp = device.dsps - needed >= 3 * limbs_of(cell_memory.BITS + 1, True, bits).limbs
    return lane, requant, product, lambda width: limbs_of(width, cell_dsp, bits)
