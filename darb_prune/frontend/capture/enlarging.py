"""Transposed convolutions and upsampling: a stage for each phase, which writes every so many-th line and column."""

from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from darb_prune.frontend.capture.axes import Ref
from darb_prune.frontend.capture.context import Context, pair
from darb_prune.frontend.capture.recording import Node
from darb_prune.frontend.stages import Matrix, Weight, Window, positions_of
from darb_prune.modules.layers import Part

__all__ = ["OPERATORS"]


def _transposed(context: Context, node: Node) -> None:
    module, dims = node.owner, int(node.name[-2])
    assert isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d))
    context.parameters(node, "weight", "bias")
    kernel, stride = pair(module.kernel_size, dims, 1), pair(module.stride, dims, 1)
    if max(pair(module.dilation, dims, 1)) > 1:
        context.fail(node, f"{node.name} with dilation {module.dilation}; use dilation=1 and a larger kernel")
    if any(taps < step for taps, step in zip(kernel, stride, strict=True)):
        context.fail(node, f"{node.name} with a kernel of {kernel} and a stride of {stride}; make the kernel larger")
    ref = _image(context, node, dims)
    size, padding = pair(node.outputs[0].shape[2:], dims, 1), pair(cast(int, module.padding), dims, 0)
    rows, groups = module.out_channels, module.groups
    depthwise = groups == rows == module.in_channels > 1
    output = context.draft.value(f"{node.path}.out", (rows, *size))
    image = context.draft.shapes[ref.value][1:]
    bias = None if module.bias is None else lambda: cast(Tensor, module.bias)
    for origin in _origins(stride, size):
        # Pixel ``q * stride + origin`` gets tap ``k`` of input ``q + (origin + padding - k) / stride``.
        taps = [
            tuple(k for k in reversed(range(count)) if (first + zeros - k) % step == 0)
            for count, first, zeros, step in zip(kernel, origin, padding, stride, strict=True)
        ]
        before = [
            (own[0] - first - zeros) // step
            for own, first, zeros, step in zip(taps, origin, padding, stride, strict=True)
        ]
        positions = positions_of(size, (1, 1), stride, origin)
        window = context.draft.window(
            (len(taps[0]), len(taps[1])), (1, 1), (before[0], before[1]), image, positions, depthwise
        )
        sides = max(before[0], 0), max(before[1], 0), *window.padding[2:]
        offset = max(-before[0], 0), max(-before[1], 0)
        window = replace(window, padding=sides, offset=offset, groups=1 if depthwise else groups)
        weight = Weight(Part(module, "weight"), taps=(taps[0], taps[1]), groups=groups)
        name = node.path if stride == (1, 1) else context.draft.free(f"{node.path}.{origin[0]}.{origin[1]}")
        context.draft.stages.append(
            Matrix(name, output, rows, (ref.value,), (weight,), bias, window=window, spread=stride, origin=origin)
        )
    context.write(node, context.as_map(node, ref, output))


def _image(context: Context, node: Node, dims: int) -> Ref:
    """The first argument, a feature map with ``dims`` dimensions as it is stored."""
    return context.stored(node, context.map(node, dims), node.name)


def _origins(stride: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    return [(y, x) for y in range(min(stride[0], size[0])) for x in range(min(stride[1], size[1]))]


def _upsample(context: Context, node: Node) -> None:
    """Copies of each pixel; of an input of 3 or 4 dimensions."""
    mode = context.bind(node, "size scale_factor mode", mode="nearest")[2]
    shape = node.outputs[0].shape
    if mode not in ("nearest", "nearest-exact"):
        context.fail(
            node,
            f"{node.name} with mode {mode!r}; use mode='nearest' or a ConvTranspose{len(shape) - 2}d, and train again",
        )
    dims = min(len(shape) - 2, 2)
    ref = _image(context, node, dims)
    height, width = context.draft.shapes[ref.value][1:]
    size = pair(shape[2:], dims, 1)
    if size[0] % height or size[1] % width:
        context.fail(node, f"{node.name} of {(height, width)} pixels to {size}; use a factor that is an integer")
    output = _copies(context, node, ref, (size[0] // height, size[1] // width))
    context.write(node, context.as_map(node, ref, output))


def _pixel_shuffle(context: Context, node: Node) -> None:
    """Each pixel becomes a block, made of neighbouring channels."""
    (factor,) = context.bind(node, "upscale_factor")
    ref = _image(context, node, 2)
    output = _copies(context, node, ref, (factor, factor), factor**2)
    context.write(node, context.as_map(node, ref, output))


def _copies(context: Context, node: Node, ref: Ref, factor: tuple[int, int], step: int = 1) -> str:
    """A copy for each pixel of a block of ``factor`` lines and columns: of all channels, or of every ``step``-th one,
    the first pixel from channel 0 on, the second from channel 1 on."""
    channels, height, width = context.draft.shapes[ref.value]
    size = factor[0] * height, factor[1] * width
    name = context.draft.free(context.name(node))
    output = context.draft.value(f"{name}.out", (channels // step, *size))
    for pixel, (y, x) in enumerate(_origins(factor, size)):
        stage = Matrix(
            f"{name}.{y}.{x}", output, channels // step, (ref.value,), (Weight(),),
            window=Window((1, 1), depthwise=True), picks=None if step == 1 else tuple(range(pixel, channels, step)),
            spread=factor, origin=(y, x),
        )  # fmt: skip
        context.draft.stages.append(stage)
    return output


def _pixel_unshuffle(context: Context, node: Node) -> None:
    """Each block becomes a pixel: copies of every so many-th pixel, and one that brings their channels into order."""
    (factor,) = context.bind(node, "downscale_factor")
    ref = _image(context, node, 2)
    channels, height, width = context.draft.shapes[ref.value]
    size = height // factor, width // factor
    name = context.draft.free(context.name(node))
    blocks = context.draft.value(f"{name}.out", (channels * factor**2, *size))
    for pixel, (y, x) in enumerate(_origins((factor, factor), (height, width))):
        window = Window((1, 1), (factor, factor), depthwise=True, offset=(y, x))
        stage = Matrix(
            f"{name}.{y}.{x}", blocks, channels, (ref.value,), (Weight(),), window=window, first=pixel * channels
        )
        context.draft.stages.append(stage)
    picks = tuple(pixel * channels + channel for channel in range(channels) for pixel in range(factor**2))
    output = context.draft.depthwise(name, Ref(blocks, ()), size, picks=picks)
    context.write(node, context.as_map(node, ref, output))


OPERATORS = {
    "ConvTranspose1d": _transposed,
    "ConvTranspose2d": _transposed,
    **dict.fromkeys(("interpolate", "upsample", "upsample_nearest"), _upsample),
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
}
