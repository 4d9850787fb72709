"""Pooling: the maximum belongs to the stage before if windows do not overlap; averages are stages."""

from dataclasses import replace

from darb_prune.frontend.capture.axes import Dims, Ref
from darb_prune.frontend.capture.context import Context, pair
from darb_prune.frontend.capture.draft import span
from darb_prune.frontend.capture.recording import Node
from darb_prune.frontend.stages import Matrix, Weight

__all__ = ["OPERATORS"]

Pair = tuple[int, int]


def _sum(left: Pair, right: Pair) -> Pair:
    return left[0] + right[0], left[1] + right[1]


def _max_pool(context: Context, node: Node) -> None:
    dims = int(node.name[-2])
    kernel, stride, padding, dilation = context.bind(node, "kernel_size stride padding dilation", padding=0, dilation=1)
    ref = context.map(node, dims)
    kernel, dilation = pair(kernel, dims, 1), pair(dilation, dims, 1)
    stride = pair(stride or kernel[2 - dims :], dims, 1)
    padding = pair(padding, dims, 0)
    size = pair(node.outputs[0].shape[2:], dims, 1)
    image = context.size(ref)
    beyond = any(
        (count - 1) * advance + length > zeros + pixels
        for count, advance, length, zeros, pixels in zip(
            size, stride, span(kernel, dilation), padding, image, strict=True
        )
    )
    if kernel == stride and dilation == (1, 1) and padding == (0, 0) and not beyond:
        value = _pool(context, node, ref, kernel, size)
    else:
        if (any(padding) or beyond) and not context.draft.from_zero(ref.value):
            context.fail(node, f"{node.name} with padding (or ceil_mode) needs values from 0 on; put it behind a ReLU")
        value = _taps(context, node, ref, kernel, stride, dilation, _sum(padding, ref.before), size)
    context.write(node, context.as_map(node, ref, value))


def _pool(context: Context, node: Node, ref: Ref, kernel: Pair, size: Pair) -> str:
    ref, numbers = context.open(node, ref, "operand", "pool", "maximum", "spread", on_grid=True)
    context.draft.change(numbers, pool=kernel)
    return context.draft.value(ref.value, (context.draft.shapes[ref.value][0], *size))


def _taps(
    context: Context, node: Node, ref: Ref, kernel: Pair, stride: Pair, dilation: Pair, before: Pair, size: Pair
) -> str:
    """The maximum of overlapping windows: one stage a tap, of which each takes the maximum with those before."""
    channels, *image = context.draft.shapes[ref.value]
    name = context.draft.free(context.name(node))
    output = context.draft.value(f"{name}.out", (channels, *size))
    window = context.draft.window(kernel, stride, before, (image[0], image[1]), size, True, dilation)
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            tap = replace(window, kernel=(1, 1), offset=(y * dilation[0], x * dilation[1]), dilation=(1, 1))
            stage = Matrix(
                f"{name}.{y}.{x}", output, channels, (ref.value,), (Weight(),), window=tap, maximum=(y, x) != (0, 0)
            )
            context.draft.stages.append(stage)
    return output


def _average(context: Context, node: Node) -> None:
    dims = int(node.name[-2])
    kernel, stride, padding, _, include, divisor = context.bind(
        node,
        "kernel_size stride padding ceil_mode count_include_pad divisor_override",
        padding=0,
        count_include_pad=True,
    )
    ref = context.map(node, dims)
    kernel = pair(kernel, dims, 1)
    stride = pair(stride or kernel[2 - dims :], dims, 1)
    padding = pair(padding, dims, 0)
    if any(padding) and not include and not divisor:
        context.fail(node, f"{node.name} with padding that does not count; use count_include_pad=True")
    size = pair(node.outputs[0].shape[2:], dims, 1)
    limit = (
        (pixels + 2 * zeros - length) // advance + 1
        for pixels, zeros, length, advance in zip(context.size(ref), padding, kernel, stride, strict=True)
    )
    if tuple(limit) != size:
        context.fail(node, f"{node.name} with ceil_mode and windows that are cut")
    _mean_of(context, node, ref, kernel, stride, _sum(padding, ref.before), size, divisor)


def _adaptive(context: Context, node: Node) -> None:
    dims = 1 if "1d" in node.name else 2
    ref = context.map(node, dims)
    image, size = context.size(ref), pair(node.outputs[0].shape[2:], dims, 1)
    if any(pixels % count for pixels, count in zip(image, size, strict=True)):
        context.fail(node, f"{node.name} of {image} pixels to {size}; the image must be a multiple")
    kernel = image[0] // size[0], image[1] // size[1]
    if "max" in node.name:
        ref = context.stored(node, ref, node.name)
        context.write(node, context.as_map(node, ref, _pool(context, node, ref, kernel, size)))
    else:
        _mean_of(context, node, ref, kernel, kernel, ref.before, size, None)


def _mean_of(
    context: Context, node: Node, ref: Ref, kernel: Pair, stride: Pair, before: Pair, size: Pair, divisor: int | None
) -> None:
    factor = 1 / (divisor or kernel[0] * kernel[1])
    value = context.draft.depthwise(context.name(node), ref, size, kernel, stride, before, factor=factor)
    _keep_grid(context, ref, value)
    context.write(node, context.as_map(node, ref, value))


def _keep_grid(context: Context, ref: Ref, value: str) -> None:
    """``value``, an average of ``ref``, has the grid of ``ref`` if that says so."""
    grid = context.draft.grids.get(ref.value)
    if grid is not None and grid.kept:
        context.draft.grids[value] = grid


def _reduced(context: Context, node: Node) -> None:
    """The mean or the maximum over dimensions of the image."""
    what = "mean" if node.name == "mean" else "maximum"
    dim, keep = context.bind(node, "dim keepdim")
    if len(node.sources) > 1:
        context.fail(node, f"{node.name} of two tensors; of what only depends on one tensor it would be a table")
    ref = context.shaped(node, context.read(node))
    count = len(ref.dims)
    asked = dim if isinstance(dim, (tuple, list)) else range(count) if dim is None else (dim,)
    averaged = {dim_number % count for dim_number in asked}

    def names(dims: Dims) -> set[str]:
        return {axis.name for dim_number in averaged for axis in dims[dim_number]}

    ref = context.stored(node, context.fitting(ref, lambda dims, _: names(dims) <= {"h", "w"}), what)
    gone = names(ref.dims)
    if not gone <= {"h", "w"}:
        context.fail(node, f"{what} over other dimensions than those of the image; put the channels into dimension 1")
    _, height, width = context.draft.shapes[ref.value]
    kernel = height if "h" in gone else 1, width if "w" in gone else 1
    size = height // kernel[0], width // kernel[1]
    if what == "maximum":
        value = _pool(context, node, ref, kernel, size)
    else:
        factor = 1 / (kernel[0] * kernel[1])
        value = context.draft.depthwise(context.name(node), ref, size, kernel, kernel, factor=factor)
        _keep_grid(context, ref, value)
    dims = tuple(() if dim_number in averaged else entry for dim_number, entry in enumerate(ref.dims))
    dims = dims if keep else tuple(entry for dim_number, entry in enumerate(dims) if dim_number not in averaged)
    context.write(node, Ref(value, dims, sole=True, last=ref.last))


OPERATORS = {
    "max_pool1d": _max_pool,
    "max_pool2d": _max_pool,
    "avg_pool1d": _average,
    "avg_pool2d": _average,
    "adaptive_avg_pool1d": _adaptive,
    "adaptive_avg_pool2d": _adaptive,
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d"), _adaptive),
    **dict.fromkeys(("mean", "amax", "max"), _reduced),
}
