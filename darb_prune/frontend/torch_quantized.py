"""Models that torch has quantised (torch.ao.quantization, eager mode) as float models of the same integers."""

import copy
import warnings
from typing import Any

import torch
import torch.ao.nn.intrinsic.quantized as fused
import torch.ao.nn.quantized as quantized
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantizeBase, ObserverBase, convert

from darb_prune.errors import ModelError
from darb_prune.modules.grids import Grid, Quantizer, RowGrid, bring, centred

__all__ = ["import_quantized"]

_LIMITS = {torch.quint8: (0, 255), torch.qint8: (-128, 127)}
_CONVOLUTIONS: dict[type[nn.Module], Any] = {
    quantized.Conv1d: nn.Conv1d,
    quantized.Conv2d: nn.Conv2d,
    fused.ConvReLU1d: nn.Conv1d,
    fused.ConvReLU2d: nn.Conv2d,
}
_WITH_RELU = (fused.ConvReLU1d, fused.ConvReLU2d, fused.LinearReLU)
_CURVES: dict[type[nn.Module], Any] = {
    quantized.Sigmoid: lambda module: nn.Sigmoid(),
    quantized.Hardswish: lambda module: nn.Hardswish(),
    quantized.ELU: lambda module: nn.ELU(module.alpha),
    quantized.LeakyReLU: lambda module: nn.LeakyReLU(module.negative_slope),
}
_PLAIN: dict[type[nn.Module], Any] = {
    quantized.DeQuantize: nn.Identity,
    quantized.Dropout: nn.Identity,
    quantized.ReLU6: nn.ReLU6,
}


class _Functional(nn.Module):
    """What a QFunctional does, on real numbers."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.quantizer = Quantizer(grid)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return self.quantizer(x + y)

    def add_relu(self, x: Tensor, y: Tensor) -> Tensor:
        return self.quantizer(torch.relu(x + y))

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        return self.quantizer(x * y)

    def cat(self, tensors: list[Tensor], dim: int = 0) -> Tensor:
        return self.quantizer(torch.cat(tensors, dim))


def import_quantized(model: nn.Module) -> nn.Module:
    """A float model that :func:`darb_prune.quantize` gives the scales and integers of ``model``.

    Parameters
    ----------
    model : torch.nn.Module
        Prepared by ``torch.ao.quantization.prepare`` (and calibrated) or ``prepare_qat`` (and trained), or converted.
        It is not changed.

    Returns
    -------
    torch.nn.Module
        A copy in ``eval`` mode that takes and gives real numbers.

    Raises
    ------
    ModelError
        If nothing of the model is quantised, it was not calibrated, or a quantised module is not known.
    """
    made = copy.deepcopy(model).eval()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if any(isinstance(module, (FakeQuantizeBase, ObserverBase)) for module in made.modules()):
            made = convert(made)
    if any("must run observer" in str(warning.message) for warning in caught):
        raise ModelError(
            f"{type(model).__name__}: an observer has seen no data; run calibration data through the prepared model"
        )
    made = _replaced("", made)
    if not any(isinstance(module, Quantizer) for module in made.modules()):
        raise ModelError(
            f"{type(model).__name__}: nothing in it is quantised; prepare it with torch.ao.quantization.prepare or "
            "prepare_qat, or give it to darb_prune.quantize as it is"
        )
    return made


def _replaced(path: str, module: nn.Module) -> nn.Module:
    """``module``, or what stands for it; its children likewise."""
    replacement = _replacement(path, module)
    if replacement is not None:
        return replacement
    for name, child in list(module.named_children()):
        setattr(module, name, _replaced(f"{path}.{name}".strip("."), child))
    return module


def _replacement(path: str, module: Any) -> nn.Module | None:
    """A float module that does what a quantised one does; none if it is no quantised one."""
    kind = type(module)
    try:
        if kind in _PLAIN:
            return _PLAIN[kind]()
        if kind is quantized.Quantize:
            return Quantizer(_grid(module.scale, module.zero_point, module.dtype))
        if kind is quantized.QFunctional:
            return _Functional(_grid(module.scale, module.zero_point))
        if kind in _CURVES:
            return nn.Sequential(_CURVES[kind](module), Quantizer(_grid(module.scale, module.zero_point)))
        if kind in _CONVOLUTIONS or kind in (quantized.Linear, fused.LinearReLU):
            return _layer(module)
    except ModelError as error:
        raise ModelError(f"{path or kind.__name__}: {error}") from None
    if kind.__module__.startswith("torch.ao.nn.") and not isinstance(module, quantized.FloatFunctional):
        raise ModelError(
            f"{path or kind.__name__}: {kind.__name__} is not supported; supported quantised modules are Conv1d, "
            "Conv2d, Linear, their forms with ReLU, QFunctional and activations; fuse norms, leave the rest in floats"
        )
    return None


def _grid(scale: Any, zero: Any, dtype: torch.dtype = torch.quint8) -> Grid:
    if dtype not in _LIMITS:
        raise ModelError(f"activations of {dtype} are not supported; quantise them to quint8 or qint8")
    return Grid(float(scale), int(zero), *_LIMITS[dtype], kept=True)


def _layer(module: Any) -> nn.Module:
    """A convolution or Linear of the dequantised weights, with their scales; its ReLU; the grid of its output."""
    weight, bias = module.weight(), module.bias()
    rows = len(weight)
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        scale, zero = weight.q_per_channel_scales().double(), weight.q_per_channel_zero_points()
    else:
        scale = torch.full((rows,), weight.q_scale(), dtype=torch.float64)
        zero = torch.full((rows,), weight.q_zero_point())
    integers = weight.int_repr().double() - zero.reshape(-1, *[1] * (weight.dim() - 1))
    low, high = centred(integers) if zero.any() else (-128, 127)
    grid = RowGrid(scale, low, high)
    if type(module) in _CONVOLUTIONS:
        if module.padding_mode != "zeros":
            raise ModelError(f"padding_mode {module.padding_mode!r}; train it with 'zeros'")
        layer = _CONVOLUTIONS[type(module)](
            module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding,
            module.dilation, module.groups, bias is not None,
        )  # fmt: skip
    else:
        layer = nn.Linear(module.in_features, module.out_features, bias is not None)
    with torch.no_grad():
        layer.weight.copy_(integers * scale.reshape(-1, *[1] * (weight.dim() - 1)))
        if bias is not None:
            layer.bias.copy_(bias.detach())
    bring(layer, grid)
    relu = [nn.ReLU()] if isinstance(module, _WITH_RELU) else []
    return nn.Sequential(layer, *relu, Quantizer(_grid(module.scale, module.zero_point))).eval()
