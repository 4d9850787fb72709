"""Layers with weights that are no recurrent ones, and embeddings."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from darb_prune.frontend.capture.axes import Axis, Dims, Ref, whole
from darb_prune.frontend.capture.context import Context, pair
from darb_prune.frontend.capture.draft import INPUT, span
from darb_prune.frontend.capture.recording import Node
from darb_prune.frontend.stages import EmbeddingStage, Matrix, Weight, Window
from darb_prune.modules.block_term import BlockTermConv2d
from darb_prune.modules.layers import Part
from darb_prune.modules.matrix import taps_apart

__all__ = ["OPERATORS"]


# A stage that is nothing but weights and a bias so far.
_LINEAR_ONLY = (
    "first",
    "norm",
    "factor",
    "offset",
    "functions",
    "operand",
    "low",
    "high",
    "product",
    "pool",
    "maximum",
)


def _bias(module: nn.Linear | nn.Conv1d | nn.Conv2d | BlockTermConv2d) -> Callable[[], Tensor] | None:
    """The bias as it is when it is asked for."""
    return None if module.bias is None else lambda: cast(Tensor, module.bias)


def _linear(context: Context, node: Node) -> None:
    module = node.owner
    assert isinstance(module, nn.Linear)
    context.parameters(node, "weight", "bias")
    ref = context.read(node)
    if any(not axis.leading for dim in ref.dims[:-1] for axis in dim):
        _at_positions(context, node, module, ref)
        return
    innermost = context.innermost(ref)
    ref = context.stored(node, ref, node.name) if innermost else context.flat(node, ref, parts=True)
    rows = module.out_features
    output = context.draft.value(f"{node.path}.out", (rows, 1, 1))
    weights = (Weight(Part(module, "weight"), innermost=innermost),)
    stage = Matrix(node.path, output, rows, (ref.value,), weights, _bias(module), channels=ref.channels)
    context.draft.stages.append(stage)
    context.write(node, Ref(output, (*ref.dims[:-1], whole((rows, 1, 1))), sole=True, last=ref.last))


def _at_positions(context: Context, node: Node, module: nn.Linear, ref: Ref) -> None:
    """A Linear over the last dimension, the channels, at every position: a convolution with a kernel of 1."""
    ref = context.fitting(context.shaped(node, ref, last=True), _channels_last)
    ref = context.stored(node, ref, node.name)
    _, height, width = shape = context.draft.shapes[ref.value]
    if not _channels_last(ref.dims, shape):
        context.fail(
            node,
            "Linear must read all values of a sample or step in one dimension, or the channels at every position, or "
            "all positions; flatten(1) first, or flatten(2) for all positions, or put the channels last, as in "
            "x.permute(0, 2, 3, 1)",
        )
    rows = module.out_features
    output = context.draft.value(f"{node.path}.out", (rows, height, width))
    weights = (Weight(Part(module, "weight")),)
    stage = Matrix(node.path, output, rows, (ref.value,), weights, _bias(module), window=Window((1, 1)))
    context.draft.stages.append(stage)
    context.write(node, Ref(output, (*ref.dims[:-1], whole((rows, 1, 1))), sole=True, last=ref.last))


def _channels_last(dims: Dims, shape: tuple[int, int, int]) -> bool:
    """Whether the last dimension of a map is its channels, and the others are its pixels."""
    positions = {axis.name for dim in dims[:-1] for axis in dim if not axis.leading}
    sides = {axis.name for axis in whole((1, *shape[1:]))}
    return dims[-1] == whole((shape[0], 1, 1)) and positions == sides


def _conv(context: Context, node: Node) -> None:
    module, dims = node.owner, 1 if node.name == "Conv1d" else 2
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, BlockTermConv2d))
    context.parameters(node, "cores" if isinstance(module, BlockTermConv2d) else "weight", "bias")
    depthwise = module.groups == module.in_channels == module.out_channels > 1
    if module.padding_mode != "zeros":
        context.fail(node, f"{node.name} with padding_mode {module.padding_mode!r}; train it with 'zeros'")
    # Columns of a kernel row are pruned together, and must be neighbours in memory, unless each tap is by itself.
    plain = module.groups == 1 and (module.kernel_size[-1] == 1 or taps_apart(module))
    ref = context.map(node, dims, parts=depthwise or plain)
    kernel, stride = pair(module.kernel_size, dims, 1), pair(module.stride, dims, 1)
    dilation = pair(module.dilation, dims, 1)
    if module.padding == "same":
        height, width = span(kernel, dilation)
        before = (height - 1) // 2, (width - 1) // 2
    else:
        before = pair(0 if isinstance(module.padding, str) else module.padding, dims, 0)
    before = before[0] + ref.before[0], before[1] + ref.before[1]
    size = pair(node.outputs[0].shape[2:], dims, 1)
    rows = module.out_channels
    output = context.draft.value(f"{node.path}.out", (rows, *size))
    image = context.draft.shapes[ref.value][1:]
    groups = 1 if depthwise else module.groups
    window = context.draft.window(kernel, stride, before, image, size, depthwise, dilation, groups)
    weights = (Weight(Part(module, "weight")),)
    stage = Matrix(node.path, output, rows, (ref.value,), weights, _bias(module), window=window, channels=ref.channels)
    context.draft.stages.append(stage)
    context.write(node, context.as_map(node, ref, output))


def _norm(context: Context, node: Node) -> None:
    module = node.owner
    assert isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
    if module.running_mean is None:
        context.fail(node, f"{node.name} without running statistics")
    ref = context.channels_second(context.shaped(node, context.read(node)))
    if len(ref.dims) < 2 or [axis.name for axis in ref.dims[1]] not in ([], ["c"]):
        context.fail(node, f"{node.name} must read (samples, channels, ...), steps of a sequence among the samples")
    writers = context.open_stages(context.draft.writers(ref) or [])
    if any(stage.rows < context.draft.shapes[ref.value][0] for _, stage in writers):  # it would need a part of the norm
        ref = replace(ref, sole=False)
    ref, numbers = context.open(node, ref, *_LINEAR_ONLY)
    context.draft.change(numbers, norm=module)
    context.write(node, ref)


def _embedding(context: Context, node: Node) -> None:
    module, ref = node.owner, context.read(node)
    assert isinstance(module, nn.Embedding)
    if ref.value != INPUT or not ref.plain or node.sources[0].floating or ref.last:
        context.fail(node, "an Embedding must read the symbols of the input")
    if module.max_norm is not None:
        context.fail(node, "Embedding with max_norm; renormalise its weights instead")
    if not context.in_order(ref):
        context.fail(node, "the dimensions of the input are permuted")
    symbols, features = context.draft.shapes[INPUT][0], module.embedding_dim
    context.fix(node, (symbols, 1, 1))
    if context.columns and len(ref.dims) == 2:
        output = context.draft.value(f"{node.path}.out", (features, 1, symbols))
        context.draft.stages.insert(0, EmbeddingStage(node.path, output, module))
        columns = (dim if dim and dim[0].leading else whole((1, 1, symbols)) for dim in ref.dims)
        context.write(node, Ref(output, (*columns, whole((features, 1, 1)))))
        return
    own = (Axis("c" if symbols == 1 else "e", features),) if features > 1 else ()
    dims = tuple(tuple(a if a.leading else Axis(f"k{a.name[1:]}", a.size) for a in dim) for dim in ref.dims)
    axes = tuple(axis for dim in dims for axis in dim if not axis.leading)
    output = context.draft.value(f"{node.path}.out", (symbols * features, 1, 1), axes + own)
    context.draft.stages.insert(0, EmbeddingStage(node.path, output, module))
    context.write(node, Ref(output, (*dims, own)))


OPERATORS = {
    "Linear": _linear,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "BlockTermConv2d": _conv,
    "BatchNorm1d": _norm,
    "BatchNorm2d": _norm,
    "Embedding": _embedding,
}
