"""TFLite operators with weights -> modules of torch, so that they can be pruned and trained as such."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.graph_layers import convolution, linear
from darb_prune.frontend.tflite.operators import ACTIVATIONS, Known, window_padding
from darb_prune.modules.grids import Scales, bring

__all__ = ["LAYERS"]


def _parameters(known: Known, dims: int) -> tuple[Tensor, Scales | None, Tensor | None]:
    """Weights, the scales of their integers, and biases."""
    weight, scales = known.constant(1, "the weights")
    if weight.dim() != dims:
        raise ModelError(f"weights of shape {list(weight.shape)}; {dims} dimensions are needed")
    return weight, scales, known.constant(2, "the bias")[0] if known.has(2) else None


def _brought(modules: list[nn.Module], scales: Scales | None, weight: Tensor, row_axis: int) -> list[nn.Module]:
    """The layer, last of ``modules``, with the scales of its weights as they are in the file."""
    if scales is not None:
        bring(modules[-1], scales.rows(weight, row_axis))
    return modules


def _window(known: Known, weight: Tensor, bias: Tensor | None, groups: int) -> list[nn.Module]:
    """``weight`` is of shape (rows, channels of a group, lines, columns)."""
    options = known.options
    strides = options["StrideH"], options["StrideW"]
    dilations = options["DilationHFactor"], options["DilationWFactor"]
    before, after = window_padding(known, (weight.shape[2], weight.shape[3]), strides, dilations)
    return convolution(weight, bias, strides, before, after, dilations, groups)


def _conv(known: Known) -> list[nn.Module]:
    weight, scales, bias = _parameters(known, 4)
    channels, of_group = known.image()[2], weight.shape[3]
    if of_group == 0 or channels % of_group:
        raise ModelError(f"weights for {of_group} channels, the image has {channels}")
    modules = _window(known, weight.permute(0, 3, 1, 2), bias, channels // of_group)
    return _brought(modules, scales, weight, 0)


def _depthwise(known: Known) -> list[nn.Module]:
    weight, scales, bias = _parameters(known, 4)
    channels, rows = known.image()[2], weight.shape[3]
    if weight.shape[0] != 1 or channels == 0 or rows % channels:
        raise ModelError(f"weights of shape {list(weight.shape)}, the image has {channels} channels")
    return _brought(_window(known, weight.permute(3, 0, 1, 2), bias, channels), scales, weight, 3)


def _fully_connected(known: Known) -> list[nn.Module]:
    """Columns of an image that was flattened come into the order of torch, channels outermost."""
    weight, scales, bias = _parameters(known, 2)
    if known.options["WeightsFormat"]:
        raise ModelError("weights in a shuffled format; convert it without it")
    rows, columns = weight.shape
    shape, image = known.shape(0), known.flattened
    whole = torch.Size(shape[1:]).numel() == columns
    if image is None and len(shape) > 2 and whole:
        image = shape[1:]
    if not whole and (not shape or shape[-1] != columns):
        raise ModelError(f"weights for {columns} inputs, the tensor has the shape {list(shape)}")
    if image is not None:
        weight = weight.reshape(rows, *image).movedim(-1, 1).reshape(rows, columns)
    layer: list[nn.Module] = [linear(weight, bias)]
    layer = _brought(layer, scales, weight, 0)
    if len(shape) < 3:
        return layer
    return [nn.Flatten(), *layer] if whole else [_Moved(1, -1), *layer, _Moved(-1, 1)]


class _Moved(nn.Module):
    """A dimension in another place."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.source, self.target = source, target

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(self.source, self.target)


def _with_activation(make: Callable[[Known], list[nn.Module]]) -> Callable[[Known], list[nn.Module]]:
    def made(known: Known) -> list[nn.Module]:
        activation = known.activation()
        return [*make(known), *([] if activation == "NONE" else [ACTIVATIONS[activation]()])]

    return made


LAYERS: dict[str, Callable[[Known], list[nn.Module]]] = {
    "CONV_2D": _with_activation(_conv),
    "DEPTHWISE_CONV_2D": _with_activation(_depthwise),
    "FULLY_CONNECTED": _with_activation(_fully_connected),
}
"""What each of them is: modules, one behind the other."""
