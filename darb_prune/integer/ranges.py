"""Scale and integer range of every value of a model, from calibration data."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.execution import Hooks, run
from darb_prune.frontend.stages import CellStage, EmbeddingStage, Matrix, Stages, Value, Weight, Window, reads
from darb_prune.integer.arithmetic import PRODUCT_BITS, PRODUCT_SHIFT
from darb_prune.modules.grids import Grid, signed_bits

__all__ = [
    "GATE_BITS",
    "Range",
    "calibrate",
    "calibration_batches",
    "check_bits",
    "clamp_of",
    "factor_range",
    "freed",
    "is_copy",
    "run_batches",
    "with_cell_bits",
]

GATE_BITS = 16
CHUNK = 1 << 23  # elements of all values of a batch: bounds memory


@dataclass(frozen=True)
class Range:
    """How a value is stored: ``real = scale * (integer - zero)``, integers in ``qmin .. qmax`` of ``bits`` bits.

    ``limits`` are the ends of its grid, if it has one: what is written to it is clamped to them. Only an input has
    another ``zero`` than 0.
    """

    bits: int
    qmin: int
    qmax: int
    scale: float
    zero: int = 0
    limits: tuple[int, int] | None = None

    @classmethod
    def full(cls, bits: int, scale: float) -> "Range":
        """All that ``bits`` bits can hold."""
        return cls(bits, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, scale)

    @classmethod
    def of_grid(cls, grid: Grid) -> "Range":
        """Integers less the zero point of ``grid``, in as many bits as they need."""
        limits = grid.low - grid.zero, grid.high - grid.zero
        return replace(cls.full(signed_bits(*limits), grid.scale), limits=limits)

    @classmethod
    def of_input(cls, grid: Grid) -> "Range":
        """The integers of ``grid`` with their zero point, if they need more bits without it; 0..255 as -128..127."""
        bits = max((grid.high - grid.low).bit_length(), 2)
        full = cls.full(bits, grid.scale)
        if signed_bits(grid.low - grid.zero, grid.high - grid.zero) <= bits:
            return cls.of_grid(grid)
        offset = 0 if full.qmin <= grid.low and grid.high <= full.qmax else grid.low - full.qmin
        return replace(full, zero=grid.zero - offset, limits=(grid.low - offset, grid.high - offset))

    @property
    def ends(self) -> tuple[int, int]:
        """Least and greatest integer that may be written."""
        full = Range.full(self.bits, self.scale)
        return self.limits or (full.qmin, full.qmax)


def check_bits(weight_bits: int, activation_bits: int, cell_bits: int | None = None) -> None:
    """Raise :class:`DarbError` unless weights have 2 to 8 bits, activations 2 to 16, and outputs of cells no more."""
    if not 2 <= weight_bits <= 8:
        raise DarbError(f"weight bits {weight_bits} must be 2 to 8")
    if not 2 <= activation_bits <= 16:
        raise DarbError(f"activation bits {activation_bits} must be 2 to 16")
    if cell_bits is not None and not 2 <= cell_bits <= activation_bits:
        raise DarbError(f"cell bits {cell_bits} must be 2 to {activation_bits}, the bits of activations")


def calibration_batches(calibration: Tensor | Iterable) -> list[Tensor]:
    """All inputs of a calibration set, as the model takes them: float32, or int64 for symbols.

    Parameters
    ----------
    calibration : tensor (samples first), or iterable of tensors or of (inputs, labels)
        Sequences of one batch have the same length.
    """
    if not isinstance(calibration, (Tensor, Iterable)):
        raise DarbError(f"calibration: {type(calibration).__name__} given; give a tensor or a loader")
    entries = [calibration] if isinstance(calibration, Tensor) else list(calibration)
    inputs: list[Any] = [entry[0] if isinstance(entry, (tuple, list)) and entry else entry for entry in entries]
    for batch in inputs:
        if not isinstance(batch, Tensor) or batch.dim() == 0:
            raise DarbError("calibration: give a tensor (samples first), or a loader of such or of (inputs, labels)")
    batches = [batch.float() if batch.is_floating_point() else batch.long() for batch in inputs if batch.numel()]
    if not batches:
        raise DarbError("calibration: no inputs; give a tensor or a loader with at least one batch")
    if not all(torch.isfinite(batch).all() for batch in batches):
        raise DarbError("calibration: an input is NaN or infinite")
    return batches


def is_copy(stage: Matrix) -> bool:
    """Whether each row is an element of its input, and nothing else: a copy, or one tap of a max pooling."""
    alone = _is_plain(stage) and stage.factor == 1 and stage.product is None
    return alone and stage.window is not None and stage.window.kernel == (1, 1)


def _is_plain(stage: Matrix) -> bool:
    """Whether rows are sums of inputs times one factor."""
    return (
        all(weight.part is None for weight in stage.weights)
        and stage.norm is None
        and stage.bias is None
        and stage.offset == 0
        and not any(name for name, _ in stage.functions)
    )


def factor_range(stage: Matrix, ranges: dict[str, Range]) -> Range:
    """How the rows of ``stage`` are rounded: as what it writes, or finer in front of a product.

    The unit is that whose product with a unit of the other factor is ``2**-PRODUCT_SHIFT`` of a unit of the output.
    """
    if stage.product is None:
        return ranges[stage.output]
    return Range.full(PRODUCT_BITS, ranges[stage.output].scale / (ranges[stage.product.value].scale * 2**PRODUCT_SHIFT))


def clamp_of(stage: Matrix, ranges: dict[str, Range]) -> tuple[int, int]:
    """Least and greatest integer of the rows of ``stage``, in units of :func:`factor_range`."""
    target = factor_range(stage, ranges)
    low, high = target.ends
    low = low if stage.low is None else min(max(low, round(stage.low / target.scale)), high)
    high = high if stage.high is None else max(min(high, round(stage.high / target.scale)), low)
    positive = _is_plain(stage) and stage.factor > 0 and all(ranges[name].qmin == 0 for name in reads(stage))
    return max(low, 0) if positive else low, high


def _written(stage: Matrix, ranges: dict[str, Range]) -> tuple[int, int]:
    """Least and greatest integer that ``stage`` writes."""
    low, high = clamp_of(stage, ranges)
    if stage.product is None:
        return low, high
    least, greatest = ranges[stage.output].ends
    return 0 if low >= 0 and ranges[stage.product.value].qmin >= 0 else least, greatest


def calibrate(stages: Stages, batches: list[Tensor], bits: int, percentile: float = 100.0) -> dict[str, Range]:
    """Range of every value.

    Values that are added to each other, or copied, share one scale: that of a grid, if one of them has one. What cells
    write has the scale ``2**-(bits - 1)``, their gates have 16 bits in units of ``2**-15``.

    Parameters
    ----------
    stages : Stages
        From :func:`freed`.
    batches : list of tensors
        From :func:`calibration_batches`.
    bits : int
        Of all values but gates, symbols, and values that share the scale of a grid.
    percentile : float
        Which percentile of the magnitudes of all calibration data, however batched, is the end of the range
        of a hidden value; 100 is the maximum. Input and output always use the maximum.

    Raises
    ------
    DarbError
        If the calibration data do not fit the model.
    """
    if not 0 < percentile <= 100:
        raise DarbError(f"percentile {percentile} must be above 0 and at most 100")
    ends = _ends(stages, batches, percentile)
    gates = {stage.gates for stage in stages.stages if isinstance(stage, CellStage)}
    ranges = {name: Range.full(GATE_BITS, 2.0 ** -(GATE_BITS - 1)) for name in gates}
    ranges = with_cell_bits(stages, ranges, bits)
    for group in _groups(stages)[0]:
        scales = {stages.grids[name].scale for name in group if name in stages.grids}
        if scales:
            scale = scales.pop()
            ranges |= {name: _on_grid(stages, name, scale, ends[name], bits) for name in group}
            continue
        scale = max(ends[name] for name in group) / ((1 << (bits - 1)) - 1) or 1.0
        ranges |= {name: Range.full(bits, scale) for name in group}
    first = stages.stages[0]
    if isinstance(first, EmbeddingStage):
        ranges[stages.input] = _symbols(first)
    for name in stages.values:
        writers = [stage for stage in stages.stages if isinstance(stage, Matrix) and stage.output == name]
        if writers and name not in gates:
            clamps = [_written(stage, ranges) for stage in writers]
            low, high = min(low for low, _ in clamps), max(high for _, high in clamps)
            # A layer that carries its output on may begin with values that it never writes.
            whole = name in stages.initial
            low, high = ranges[name].ends if whole else (min(low, 0), max(high, 1))
            ranges[name] = replace(ranges[name], qmin=low, qmax=high)
    return ranges


def with_cell_bits(stages: Stages, ranges: dict[str, Range], bits: int) -> dict[str, Range]:
    """``ranges`` with outputs of cells of ``bits`` bits, from -1 to 1."""
    cells = [stage for stage in stages.stages if isinstance(stage, CellStage)]
    return ranges | {cell.output: Range.full(bits, 2.0 ** -(bits - 1)) for cell in cells}


def _on_grid(stages: Stages, name: str, scale: float, end: float, bits: int) -> Range:
    """Range of a value that shares the ``scale`` of a grid; ``end`` is its greatest magnitude in calibration."""
    if name in stages.grids:
        if name == stages.input and _folds(stages):
            return Range.of_input(stages.grids[name])
        return Range.of_grid(stages.grids[name])
    # Its own values decide on its bits, as the scale does not follow them.
    reach = [end / scale]
    writers = [stage for stage in stages.stages if stage.output == name]
    for stage in writers:
        if isinstance(stage, Matrix) and is_copy(stage) and stage.operand is None and stage.inputs[0] in stages.grids:
            grid = stages.grids[stage.inputs[0]]
            reach += [(grid.zero - grid.low) * grid.scale / scale, (grid.high - grid.zero) * grid.scale / scale]
    greatest = round(min(max(reach), 1 << 15))
    return Range.full(min(max(signed_bits(-greatest, greatest), bits), 16), scale)


def _folds(stages: Stages) -> bool:
    """Whether all that read the input can take its zero point into their biases: rows of weights without padding."""
    readers = [stage for stage in stages.stages if stages.input in reads(stage)]
    return all(
        isinstance(stage, Matrix)
        and all(read is None or read.value != stages.input for read in (stage.operand, stage.product))
        and (stage.window is None or not any(stage.window.padding))
        for stage in readers
    )


def _symbols(embedding: EmbeddingStage) -> Range:
    last = embedding.module.num_embeddings - 1
    bits = max(last.bit_length() + 1, 2)
    if bits > 16:
        raise ModelError(f"layer {embedding.name!r}: {last + 1} symbols; at most 32768 are possible")
    return Range(bits, 0, max(last, 1), 1.0)


def freed(stages: Stages) -> Stages:
    """``stages`` with a copy of each value that is added to something but has a scale of its own: the output of a cell,
    a value of another grid. The scale of the copy is that of the sum."""
    cells = {stage.output for stage in stages.stages if isinstance(stage, CellStage)}
    apart = _groups(stages)[1]
    values, made, places = dict(stages.values), [], []
    for stage in stages.stages:
        if isinstance(stage, Matrix) and stage.operand and (stage.operand.value in cells or stage.name in apart):
            name, source = f"{stage.name}.operand", stages.values[stage.operand.value]
            value = Value(f"{name}.out", source.shape)
            values[value.name] = value
            window = Window((1, 1), depthwise=True)
            made.append(Matrix(name, value.name, source.shape[0], (source.name,), (Weight(),), window=window))
            stage = replace(stage, operand=replace(stage.operand, value=value.name))
        places.append(len(made))
        made.append(stage)
    sections = tuple(
        replace(section, first=places[section.first], stop=places[section.stop - 1] + 1) for section in stages.sections
    )
    return replace(stages, values=values, stages=tuple(made), sections=sections)


def _groups(stages: Stages) -> tuple[list[set[str]], set[str]]:
    """Values that share a scale; without outputs and gates of cells, whose scales are fixed.

    Also the names of the stages whose operand cannot share that of their output, because both have grids.
    """
    cells = [stage for stage in stages.stages if isinstance(stage, CellStage)]
    fixed = {stage.output for stage in cells} | {stage.gates for stage in cells}
    groups = {name: {name} for name in stages.values if name not in fixed}

    def join(joined: set[str]) -> bool:
        """Whether these values can share a scale; then they do."""
        whole = set().union(*(groups[name] for name in joined - fixed))
        if len({stages.grids[name].scale for name in whole if name in stages.grids}) > 1:
            return False
        groups.update(dict.fromkeys(whole, whole))
        return True

    matrices = [stage for stage in stages.stages if isinstance(stage, Matrix)]
    apart = set()
    for stage in matrices:
        if stage.operand and not join({stage.output, stage.operand.value}):
            apart.add(stage.name)
    for stage in matrices:  # behind the sums: a copy can have another scale than what it reads
        if is_copy(stage):
            join({stage.output, *stage.inputs})
    return list({id(group): group for group in groups.values()}.values()), apart


class _Magnitudes(Hooks):
    """The largest magnitudes of every value: as many as its percentile needs."""

    def __init__(self, needed: dict[str, int]) -> None:
        self.needed = needed
        self.greatest: dict[str, Tensor] = {}

    def stored(self, value: str, values: Tensor) -> Tensor:
        magnitude = values.abs().flatten()
        if self.needed[value] == 1:
            magnitude = magnitude.max().reshape(1)
        known = self.greatest.get(value)
        magnitude = magnitude if known is None else torch.cat([known, magnitude])
        self.greatest[value] = magnitude.topk(min(self.needed[value], len(magnitude))).values
        return values


def run_batches(stages: Stages, batches: list[Tensor], hooks: Hooks) -> None:
    """Run the stages on all batches of :func:`calibration_batches`, in pieces that fit into memory."""
    batches = [stages.samples_first(batch) for batch in batches]
    if len({(batch.shape[1:], batch.dtype) for batch in batches}) == 1:
        batches = [torch.cat(batches)]  # so that the result does not depend on how they were cut
    elements = sum(value.size for value in stages.values.values())
    for batch in batches:
        steps = batch.shape[1] if stages.recurrent else 1
        for piece in batch.split(max(CHUNK // (elements * steps), 1)):
            run(stages, piece, hooks)


@torch.no_grad()
def _ends(stages: Stages, batches: list[Tensor], percentile: float) -> dict[str, float]:
    """End of the range of each value that is not fixed."""
    symbols = isinstance(stages.stages[0], EmbeddingStage)
    shape, lead = stages.values[stages.input].shape, 2 if stages.recurrent else 1
    for batch in batches:
        size = prod(batch.shape[lead:])
        if size != prod(shape) or batch.dim() < lead or batch.is_floating_point() == symbols:
            what = "integers" if symbols else "floats"
            raise DarbError(
                f"calibration: inputs of {size} values ({str(batch.dtype).removeprefix('torch.')}), "
                f"{stages.name} reads {prod(shape)} {what}"
            )
    frames = sum(prod(batch.shape[:lead]) for batch in batches)
    counts = dict.fromkeys(stages.values, 0) | {stages.input: stages.values[stages.input].size}
    for stage in stages.stages:  # how many elements of each value the hook sees
        shape = stages.values[stage.output].shape
        written = prod(shape)
        if isinstance(stage, Matrix):
            written = stage.rows * prod(stage.positions(shape)) // prod(stage.pool)
        counts[stage.output] += written
    needed = {}
    for name, count in counts.items():
        share = 100 if name in (stages.input, stages.output) else percentile
        rank = max(round(share / 100 * frames * count), 1)
        needed[name] = max(frames * count - rank + 1, 1)
    magnitudes = _Magnitudes(needed)
    run_batches(stages, batches, magnitudes)
    ends = {name: float(values.min()) for name, values in magnitudes.greatest.items() if len(values)}
    for name, initial in stages.initial.items():
        if name in ends:
            ends[name] = max(ends[name], float(initial.abs().max()))
    if not all(torch.isfinite(torch.tensor(list(ends.values())))):
        raise ModelError("calibration: a value of the model is NaN or infinite; scale the inputs, or train again")
    return ends
