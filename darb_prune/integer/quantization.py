"""Float model -> integer model, which is the oracle that all hardware is compared with."""

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from darb_prune.encoded import DENSE, MULT_MAX, SHIFT_MAX
from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.capture import capture, check_finite
from darb_prune.frontend.execution import folded, vectors
from darb_prune.frontend.stages import CellStage, Curve, Matrix, Stages, Value, Weight
from darb_prune.integer.arithmetic import (
    GRU_BITS,
    LSTM_BITS,
    UNITS,
    IntegerCell,
    IntegerEmbedding,
    IntegerMatrix,
    IntegerTensor,
    function_table,
)
from darb_prune.integer.cell_bits import best_cell_bits
from darb_prune.integer.domains import Domain, curve_tables, domains, table_limits
from darb_prune.integer.equalise import equalised
from darb_prune.integer.network import IntegerNetwork
from darb_prune.integer.ranges import (
    Range,
    calibrate,
    calibration_batches,
    check_bits,
    clamp_of,
    factor_range,
    freed,
    with_cell_bits,
)
from darb_prune.integer.rounding import SPREAD_MAX, gate_units, row_scales, weight_grid
from darb_prune.modules.matrix import as_matrix

__all__ = ["IntegerNetwork", "check_mult_bits", "multipliers", "quantize", "quantize_stages"]

MULT_BITS_MIN = 4
ROW_SPREAD_MAX = 16
"""Largest ratio between weight scales of one layer where rows have shifts of their own: few shifts are cheap, and a
row whose weights are so much smaller needs no more bits of them."""
BIAS_BITS = 31
"""Biases are kept within this many bits by widening the scale of a row with tiny weights and a large bias."""


def multipliers(factor: Tensor, bits: int | None = None) -> tuple[Tensor, Tensor]:
    """Fixed-point form of positive real factors: ``factor ~ mult / 2**shift``, ``shift`` from 1 to 47.

    Parameters
    ----------
    factor : float64 tensor of shape (rows,)
    bits : int, optional
        Of ``mult``: every row gets the largest shift that keeps its ``mult`` within them, so that the top bit of
        ``mult`` is set and its factor is off by ``2**-bits`` of itself at most (unless 47 is too small a shift).
        If absent, ``mult`` has 16 bits and all rows get one shift, the largest possible.

    Returns
    -------
    mult, shift : int64 tensors of shape (rows,)
    """
    greatest = MULT_MAX if bits is None else (1 << bits) - 1
    exponent = torch.frexp(factor).exponent.to(torch.int64)
    shift = (greatest.bit_length() - exponent).clamp(max=SHIFT_MAX)
    shift = shift - ((factor * 2.0**shift).round() > greatest).to(torch.int64)  # rounded up to a power of two
    shift = torch.full_like(shift, int(shift.min())) if bits is None else shift
    if int(shift.min()) < 1:
        raise ModelError(
            f"requantisation factor {float(factor.max()):.3g} is too large for a {greatest.bit_length()}-bit mult"
        )
    return (factor * 2.0**shift).round().to(torch.int64), shift


def _coarse(bias: Tensor, factor: Tensor, bits: int, activation_bits: int) -> Tensor:
    """Biases as multiples of one power of two: off by a quarter of what rounding the factors to ``bits`` bits does
    to the largest result, at most. Rows then store the bits above it."""
    error = 2.0 ** (activation_bits - 1 - bits) / 4
    unit = 1 << max(math.floor(math.log2(2 * error / float(factor.max()))), 0)
    return (bias / unit).round() * unit


def check_mult_bits(bits: int | None) -> None:
    """Raise :class:`DarbError` unless a multiplier can have so many bits."""
    if bits is not None and not MULT_BITS_MIN <= bits <= MULT_MAX.bit_length():
        raise DarbError(f"mult bits {bits} must be {MULT_BITS_MIN} to {MULT_MAX.bit_length()}")


def quantize(
    model: nn.Module,
    calibration: Tensor | Iterable,
    weight_bits: int = 8,
    activation_bits: int = 8,
    percentile: float = 100.0,
    name: str | None = None,
    mult_bits: int | None = None,
    drop_softmax: bool = False,
    cell_bits: int | None = None,
) -> IntegerNetwork:
    """Quantise a (pruned) model symmetrically: weights per row, activations per tensor, zero points 0.

    Weights and activations that were quantised by others (:func:`darb_prune.load_onnx`, :func:`darb_prune.load_tflite`)
    keep their integers and scales.

    Parameters
    ----------
    model : torch.nn.Module
        See :func:`darb_prune.frontend.capture.capture`; it is not changed. The integer network takes samples
        first, whatever the model does.
    calibration : tensor, or iterable of tensors or of (inputs, labels)
        Inputs that show the range of every tensor; those of :func:`darb_prune.finetune` give the ranges that
        the model was trained with.
    weight_bits : int
        2 to 8.
    activation_bits : int
        2 to 16, of all tensors; cells may write fewer.
    percentile : float
        See :func:`darb_prune.integer.ranges.calibrate`.
    name : str, optional
        Of the network; the class of the model if absent.
    mult_bits : int, optional
        Bits of the multiplier of a row, 4 to 16: fewer make the requantiser and the parameters of rows smaller. Rows
        then have shifts of their own, and the biases of a layer are multiples of a power of two (how coarse both are:
        :func:`multipliers`). If absent, 16 bits and one shift a layer.
    drop_softmax : bool
        Whether a softmax, log-softmax or argmax at the end is left out: outputs are what it reads, and the largest says
        the class.
    cell_bits : int, optional
        Bits of what cells write; the best ones (:func:`~darb_prune.integer.cell_bits.best_cell_bits`) if absent.

    Raises
    ------
    DarbError
        For layers that are not supported, NaN weights, unusable calibration data, or pruned weights that no
        longer follow their levels.
    """
    check_bits(weight_bits, activation_bits, cell_bits)
    check_mult_bits(mult_bits)
    batches = calibration_batches(calibration)
    stages = capture(model, batches[0][:2], drop_softmax)
    check_finite(stages)
    return quantize_stages(stages, batches, weight_bits, activation_bits, percentile, name, mult_bits, cell_bits)


@torch.no_grad()
def quantize_stages(
    stages: Stages,
    batches: list[Tensor],
    weight_bits: int = 8,
    activation_bits: int = 8,
    percentile: float = 100.0,
    name: str | None = None,
    mult_bits: int | None = None,
    cell_bits: int | None = None,
) -> IntegerNetwork:
    """:func:`quantize` for a model that is captured already, and batches of :func:`calibration_batches`."""
    stages = equalised(freed(stages))
    ranges = calibrate(stages, batches, activation_bits, percentile)
    found = domains(stages, batches, ranges)
    if cell_bits is None:
        cell_bits = best_cell_bits(stages, batches, ranges, found, weight_bits)
    ranges = with_cell_bits(stages, ranges, cell_bits)
    initial = {
        key: _integers(values.flatten(), ranges[key].scale, ranges[key].qmin, ranges[key].qmax)
        for key, values in stages.initial.items()
    }
    tensors = [_tensor(key, value, ranges[key], initial.get(key)) for key, value in stages.values.items()]
    made = []
    for stage_number, stage in enumerate(stages.stages):
        if isinstance(stage, Matrix):
            matrix = _matrix(stage, stages, ranges, found.get(stage.name), weight_bits, mult_bits)
            column = any(section.first <= stage_number < section.stop for section in stages.sections)
            made.append(replace(matrix, column=column))
        elif isinstance(stage, CellStage):
            unit = 2.0 ** -(LSTM_BITS if stage.kind == "lstm" else GRU_BITS)
            state = None if stage.state is None else _integers(stage.state.flatten(), unit, -32768, 32767)
            made.append(IntegerCell(stage.name, stage.kind, stage.gates, stage.output, state))
        else:
            limits = ranges[stage.output]
            table = _integers(vectors(stage), limits.scale, limits.qmin, limits.qmax)
            made.append(IntegerEmbedding(stage.name, stages.input, stage.output, table))
    return IntegerNetwork(
        name or stages.name, stages.input, stages.output, tensors, made, stages.recurrent, stages.emit,
        stages.input_last, stages.outputs, ranges[stages.input].limits, stages.sections,
    )  # fmt: skip


def _tensor(name: str, value: Value, limits: Range, initial: Tensor | None) -> IntegerTensor:
    return IntegerTensor(
        name, value.shape, limits.bits, limits.qmin, limits.qmax, limits.scale, initial=initial, zero=limits.zero
    )


def _integers(values: Tensor, scale: float | Tensor, qmin: int, qmax: int) -> Tensor:
    return (values.detach().double() / scale).round().clamp(qmin, qmax).to(torch.int64)


def _matrix(
    stage: Matrix,
    stages: Stages,
    ranges: dict[str, Range],
    domain: Domain | None,
    weight_bits: int,
    mult_bits: int | None,
) -> IntegerMatrix:
    gates = {cell.gates for cell in stages.stages if isinstance(cell, CellStage)}
    weights, bias = folded(stage, torch.float64)
    source, target = ranges[stage.inputs[0]].scale, factor_range(stage, ranges)
    units = gate_units(stage) if stage.output in gates else [(target.scale, stage.rows)]
    unit = torch.cat([torch.full((count,), size, dtype=torch.float64) for size, count in units])
    start, tables, function = 0, [], torch.zeros(stage.rows, dtype=torch.int64)
    for name, count in stage.functions:
        rows = slice(start, start + count)
        if isinstance(name, Curve):
            assert domain is not None
            made, function = curve_tables(stage, name, domain, target)
            tables += made.unbind()
            unit[rows] = domain.unit
            bias = bias + domain.zero * domain.unit
        elif name:
            # Rows of one function of one stage have one unit.
            tables.append(function_table(name, float(unit[start]), *table_limits(stage, target)))
            function[rows], unit[rows] = len(tables), UNITS[name]
        start += count
    spread = SPREAD_MAX if mult_bits is None else ROW_SPREAD_MAX
    scale, relative = _scale(stage, weights, bias, unit, ranges, weight_bits, spread)
    factor = scale * source / unit
    grid = weight_grid(stage)
    # Scales of a grid stay as they are, however far apart they are: rows have shifts of their own then.
    bits = MULT_MAX.bit_length() if grid is not None and mult_bits is None else mult_bits
    try:
        mult, shift = multipliers(factor, bits)
    except ModelError as error:
        raise ModelError(f"layer {stage.name!r}: {error}; scale its weights down") from None
    greatest = (1 << (weight_bits - 1)) - 1
    low, high = (-greatest, greatest) if grid is None else (-greatest - 1, greatest)
    integers = tuple(
        _integers(weight, (scale / part).reshape(-1, *[1] * (weight.dim() - 1)), low, high)
        for weight, part in zip(weights, relative, strict=True)
    )
    bias = (bias / (source * scale)).round()
    for weight, key in zip(integers, stage.inputs, strict=True):
        bias = bias - ranges[key].zero * weight.flatten(1).sum(dim=1)
    if mult_bits is not None:
        bias = _coarse(bias, factor, mult_bits, 8 if tables else target.bits)
    return IntegerMatrix(
        name=stage.name,
        output=stage.output,
        inputs=stage.inputs,
        weights=integers,
        bias=bias.to(torch.int64),
        mult=mult,
        shift=shift,
        weight_bits=weight_bits,
        clamp=clamp_of(stage, ranges),
        first=stage.first,
        window=stage.window,
        channels=stage.channels,
        picks=stage.picks,
        tables=torch.stack(tables) if tables else None,
        function=function if tables else None,
        operand=stage.operand,
        product=stage.product,
        pool=stage.pool,
        maximum=stage.maximum,
        spread=stage.spread,
        origin=stage.origin,
        transposed=stage.transposed,
        **_structure(stage),
    )


def _scale(
    stage: Matrix, weights: list[Tensor], bias: Tensor, unit: Tensor, ranges: dict[str, Range], bits: int, spread: int
) -> tuple[Tensor, list[float]]:
    """Scale of each row, and scales of the inputs relative to the first; see :func:`row_scales`."""
    source = ranges[stage.inputs[0]].scale
    if all(weight.part is None for weight in stage.weights) and not bias.any():  # weights of 1 and -1
        return weights[0].flatten(1)[:, 0].abs().clamp(min=1e-30), [1.0]
    scale, relative = row_scales(stage, weights, ranges, bits)
    grid = weight_grid(stage)
    empty = ~torch.cat([weight.flatten(1) for weight in weights], dim=1).any(dim=1)
    # Nothing but its bias is left of such a row: any unit will do, and 1/256 of an output unit is fine enough.
    # It must not be larger than those of the other rows, which may share the shift and would lose bits of mult.
    fine = unit / source / 256
    scale[empty] = fine[empty] if empty.all() else torch.minimum(scale, fine)[empty]
    scale = torch.maximum(scale, bias.abs() / (source * 2.0 ** (BIAS_BITS - 1)))
    return (scale if grid is not None else scale.clamp(min=float(scale.max()) / spread)), relative


def _structure(stage: Matrix) -> dict:
    """Kept weights, levels and column orders of a layer, for the encoder."""
    parts = [_of_part(weight) for weight in stage.weights]
    tables = [part["levels"] for part in parts if part["levels"] is not None]
    levels = tables[0] if len(tables) == len(parts) else None
    if levels is not None and not all(torch.equal(table, levels) for table in tables):
        raise ModelError(f"layer {stage.name!r}: its input and hidden weights have different levels; prune it again")
    return {
        "kept": tuple(part["kept"] for part in parts),
        "levels": levels,
        "orders": tuple(part["order"] for part in parts),
    }


def _dense(rows: int) -> Tensor:
    """Levels of rows that were never pruned."""
    return torch.tensor([[DENSE.bits, DENSE.kept]], dtype=torch.int16).repeat(rows, 1)


def _of_part(weight: Weight) -> dict:
    if weight.part is None:
        return {"kept": None, "levels": None, "order": None}
    module, name = weight.part.module, weight.part.name
    if weight.taps is not None:  # transposed convolutions are not pruned
        return {"kept": None, "levels": _dense(getattr(module, name).shape[1] * weight.groups), "order": None}
    rows = slice(None) if weight.rows is None else slice(*weight.rows)
    mask, level, order = (getattr(module, f"{name}{ending}", None) for ending in ("_mask", "_level", "_order"))
    values = getattr(module, name).detach()
    if level is None and mask is None:  # never pruned
        level = _dense(len(values))
    # After prune.remove the zeros are the mask.
    kept = (values != 0) if mask is None and order is not None else mask
    kept = None if kept is None else as_matrix(kept.bool())[rows]
    if weight.innermost:
        columns = weight.columns(values.shape[1])
        kept = None if kept is None else kept[:, columns]
        order = None if order is None else torch.argsort(columns)[order]
    return {"kept": kept, "levels": None if level is None else level[rows], "order": order}
