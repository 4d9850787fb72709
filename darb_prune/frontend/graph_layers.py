"""Layers of a graph: modules of torch with the weights of a file, and the zeros around the images that they read."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["convolution", "filled", "linear", "pairs", "same_padding"]

_Module = TypeVar("_Module", bound=nn.Module)


@torch.no_grad()
def filled(module: _Module, **values: Tensor | None) -> _Module:
    """``module`` with these parameters and buffers; what is none is left alone."""
    for name, value in values.items():
        if value is not None:
            getattr(module, name).copy_(value.reshape(getattr(module, name).shape))
    return module


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """``weight`` is of shape (rows, columns); ``bias`` has one value, or one for each row."""
    rows, columns = weight.shape
    bias = bias if bias is None else bias.reshape(-1).expand(rows)
    return filled(nn.Linear(columns, rows, bias=bias is not None), weight=weight, bias=bias)


def convolution(
    weight: Tensor,
    bias: Tensor | None,
    strides: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> list[nn.Module]:
    """A convolution of one or two dimensions; in front of it zeros, where its sides have different numbers of them.

    Parameters
    ----------
    weight : tensor of shape (rows, channels of a group, *kernel)
    before, after : sequence of int
        Zeros before and behind each dimension of the image.
    """
    dims = weight.dim() - 2
    symmetric = list(before) == list(after)
    kind: Any = nn.Conv1d if dims == 1 else nn.Conv2d
    conv = kind(
        weight.shape[1] * groups, len(weight), list(weight.shape[2:]), list(strides),
        list(before) if symmetric else 0, list(dilations), groups, bias is not None,
    )  # fmt: skip
    filled(conv, weight=weight, bias=bias)
    if symmetric:
        return [conv]
    padding: Any = nn.ConstantPad1d if dims == 1 else nn.ConstantPad2d
    return [padding(pairs(before, after), 0.0), conv]


def same_padding(length: int, stride: int, size: int) -> tuple[int, int]:
    """Zeros before and behind ``size`` lines for which a window of ``length`` lines gives ``size / stride`` positions,
    rounded up. The odd one is behind: ``SAME`` of TensorFlow, ``SAME_UPPER`` of ONNX."""
    both = max((-(-size // stride) - 1) * stride + length - size, 0)
    return both // 2, both - both // 2


def pairs(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Padding as torch takes it, the last dimension first."""
    return [size for pair in reversed(list(zip(before, after, strict=True))) for size in pair]
