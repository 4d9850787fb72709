"""Scales and integers that a model brings along: what its author has quantised keeps them."""

from dataclasses import dataclass, replace
from math import isfinite

import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError

__all__ = ["Grid", "Quantizer", "RowGrid", "Scales", "bring", "centred", "check_scales", "row_grid", "signed_bits"]

BITS_MAX = 16
"""Most bits of an activation."""
SCALE_MIN, SCALE_MAX = 2.0**-100, 2.0**100
"""Scales beyond these are none of a trained model, and their products leave float32."""


def check_scales(scales: Tensor) -> None:
    """Raise :class:`ModelError` unless all scales are positive, finite numbers."""
    bad = ~((scales >= SCALE_MIN) & (scales <= SCALE_MAX))
    if bool(bad.any()):
        scale = float(scales.reshape(-1)[bad.reshape(-1)][0])
        what = "must be a positive, finite number" if not isfinite(scale) or scale <= 0 else "is out of all proportion"
        raise ModelError(f"scale {scale:.4g} {what}; calibrate the quantiser again")


def centred(integers: Tensor) -> tuple[int, int]:
    """Least and greatest integer of weights that had a zero point, now 0. The integers that are there decide, so that
    uint8 weights around 128 are like int8 ones."""
    least, greatest = (int(integers.min()), int(integers.max())) if integers.numel() else (0, 0)
    return min(least, -1), max(greatest, 0)


@dataclass(frozen=True)
class Grid:
    """The values that an activation takes: ``scale * (integer - zero)``, integers from ``low`` to ``high``.

    Parameters
    ----------
    scale : float
    zero, low, high : int
        In the integers of the file or module that they come from.
    kept : bool
        Whether operators give values of a grid all the time, as those of torch's quantised tensors do: averages of the
        same grid, functions of one of their own.

    Raises
    ------
    ModelError
        For a scale that is not positive and finite, or a zero point outside of the integers.
    """

    scale: float
    zero: int
    low: int
    high: int
    kept: bool = False

    def __post_init__(self) -> None:
        check_scales(torch.tensor(self.scale, dtype=torch.float64))
        if not self.low <= self.zero <= self.high or self.low == self.high:
            raise ModelError(
                f"zero point {self.zero} must lie in {self.low}..{self.high}, which must hold two integers or more; "
                "calibrate the quantiser again"
            )
        bits = signed_bits(self.low - self.zero, self.high - self.zero)
        if bits > BITS_MAX:
            raise ModelError(
                f"integers {self.low}..{self.high} with zero point {self.zero} need {bits} bits, at most {BITS_MAX} "
                "are possible; quantise activations symmetrically"
            )

    def rounded(self, x: Tensor) -> Tensor:
        """Each value's nearest on the grid, halves to the even integer; the gradient is that of :meth:`clamped`."""
        clamped = self.clamped(x)
        # The scale in the type of x: a division in float32 then rounds as those do who made the grid.
        scale = torch.tensor(self.scale, dtype=x.dtype)
        integers = (x / scale).round().clamp(self.low - self.zero, self.high - self.zero)
        if not clamped.requires_grad:
            return integers * scale
        return clamped + (integers * scale - clamped).detach()

    def clamped(self, x: Tensor) -> Tensor:
        """Each value within the ends of the grid, but not rounded."""
        return x.clamp((self.low - self.zero) * self.scale, (self.high - self.zero) * self.scale)


def signed_bits(low: int, high: int) -> int:
    """Bits of two's complement that hold ``low .. high``; at least 2."""
    return max(low.bit_length() if low >= 0 else (-low - 1).bit_length(), high.bit_length() if high >= 0 else 0, 1) + 1


class Quantizer(nn.Module):
    """Rounds an activation to its grid: QuantizeLinear and DequantizeLinear, or a fake quantisation.

    Parameters
    ----------
    grid : Grid

    Attributes
    ----------
    rounds : bool
        Whether it rounds; otherwise it only clamps, so that float models can be compared.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid, self.rounds = grid, True

    def forward(self, x: Tensor) -> Tensor:
        return self.grid.rounded(x) if self.rounds else self.grid.clamped(x)

    def extra_repr(self) -> str:
        return f"scale={self.grid.scale:.6g}, zero={self.grid.zero}, {self.grid.low}..{self.grid.high}"


@dataclass(frozen=True, eq=False)
class RowGrid:
    """The values that the weights of a layer take: ``scale * integer``, a scale for each row.

    Parameters
    ----------
    scale : float64 tensor of shape (rows,)
    low, high : int
        Ends of the integers, whose zero point is 0; at most those of 8 bits.
    """

    scale: Tensor
    low: int
    high: int

    def __post_init__(self) -> None:
        check_scales(self.scale)
        if signed_bits(self.low, self.high) > 8:
            raise ModelError(
                f"weights in {self.low}..{self.high} around their zero point need more than 8 bits; quantise weights "
                "symmetrically (int8, zero point 0)"
            )

    @property
    def bits(self) -> int:
        return signed_bits(self.low, self.high)


@dataclass(frozen=True, eq=False)
class Scales:
    """What the integers of a file stand for: ``scale * (integer - zero)``.

    Parameters
    ----------
    scale, zero : float64 tensors of shape (count,)
        One for all integers, or one for each index along ``axis``.
    axis : int
    low, high : int
        Ends of the integers.
    """

    scale: Tensor
    zero: Tensor
    axis: int
    low: int
    high: int

    def along(self, values: Tensor, tensor: Tensor) -> Tensor:
        """Scales or zero points, so that they meet the elements of ``tensor``."""
        dims = tensor.dim()
        if values.numel() > 1 and (not -dims <= self.axis < dims or tensor.shape[self.axis] != values.numel()):
            raise ModelError(
                f"{values.numel()} scales along axis {self.axis} of a tensor of {list(tensor.shape)}; give one, or as "
                "many as the axis is long"
            )
        if values.numel() == 1:
            return values.reshape(())
        return values.reshape([-1 if dim == self.axis % dims else 1 for dim in range(dims)])

    def real(self, integers: Tensor) -> tuple[Tensor, "Scales"]:
        """What constant ``integers`` stand for, float32, and their scales once their zero point is taken off."""
        scale, zero = (self.along(entry, integers) for entry in (self.scale, self.zero))
        if integers.is_floating_point() or bool((integers < self.low).any()) or bool((integers > self.high).any()):
            raise ModelError("dequantises constants that are no integers of its type; export it again")
        centre, scales = integers.double() - zero, self
        if self.zero.any():
            low, high = centred(centre)
            scales = replace(self, zero=torch.zeros_like(self.zero), low=low, high=high)
        return (centre * scale).to(torch.float32), scales

    @property
    def grid(self) -> Grid:
        """That of an activation."""
        if self.scale.numel() != 1:
            raise ModelError(
                f"{self.scale.numel()} scales of an activation; one is possible, quantise activations per tensor"
            )
        return Grid(float(self.scale), int(self.zero), self.low, self.high)

    def rows(self, weight: Tensor, row_axis: int, gain: float = 1.0) -> RowGrid:
        """That of ``weight``, whose zero point is 0 and whose rows lie along ``row_axis``; ``gain`` is multiplied."""
        if self.scale.numel() > 1 and self.axis % weight.dim() != row_axis:
            raise ModelError(
                f"its weights have scales along axis {self.axis % weight.dim()}; quantise them per tensor, or per "
                f"output channel (axis {row_axis})"
            )
        return RowGrid(self.scale.expand(weight.shape[row_axis]) * gain, self.low, self.high)


def bring(module: nn.Module, grid: RowGrid) -> None:
    """Put the grid of its weights into a layer."""
    object.__setattr__(module, "weight_grid", grid)


def row_grid(module: nn.Module) -> RowGrid | None:
    """That of the weights of a layer, if it brought one along: its attribute ``weight_grid``."""
    grid = getattr(module, "weight_grid", None)
    return grid if isinstance(grid, RowGrid) else None
