"""Additions, differences and concatenation."""

from dataclasses import replace

from torch import Tensor

from darb_prune.frontend.capture.axes import Dims, Ref, whole
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.recording import Node, TracedTensor
from darb_prune.frontend.capture.scaling import number, scaled
from darb_prune.frontend.stages import Addend

__all__ = ["OPERATORS"]


def _add(context: Context, node: Node) -> None:
    _sum(context, node, 1.0)


def _sub(context: Context, node: Node) -> None:
    _sum(context, node, -1.0)


def _sum(context: Context, node: Node, sign: float) -> None:
    """The first side and ``sign`` times the second, or the other way round in the operators that say so."""
    other, alpha = context.bind(node, "other alpha", alpha=1)
    sides = [node.args[0] if node.args else node.kwargs["input"], other]
    factors = [1.0, sign * number(context, node, alpha)]
    if node.function.__name__ in ("__rsub__", "rsub"):  # the second side minus the first
        factors = [factors[1], 1.0]
    tensors = [isinstance(side, TracedTensor) for side in sides]
    if not all(tensors):
        side, constant = (0, 1) if tensors[0] else (1, 0)
        if _is_nothing(sides[constant], sides[side]) and factors[side] == 1:
            context.write(node, context.look(node, sides[side]))
            return
        offset, ref = factors[constant] * number(context, node, sides[constant]), context.look(node, sides[side])
        plain = factors[side] == 1 and offset == 0  # the start of sum()
        context.write(node, ref if plain else scaled(context, node, ref, factors[side], offset))
        return
    refs = [context.look(node, side) for side in sides]
    _join_sides(
        context,
        node,
        [
            ref if factor == 1 else scaled(context, node, ref, factor, 0.0)
            for ref, factor in zip(refs, factors, strict=True)
        ],
    )


def _is_nothing(constant: object, side: TracedTensor) -> bool:
    """Whether a constant that is added to ``side`` is zeros in its shape, which a branch that was taken out gives."""
    return isinstance(constant, Tensor) and constant.shape == side.shape and not constant.any()


def _join_sides(context: Context, node: Node, sides: list[Ref]) -> None:
    sides = [context.shaped(node, side) for side in sides]
    left, right = context.alike(*sides)
    sides = [context.stored(node, side, "addition") if side.padded or side.layers else side for side in (left, right)]
    left, right = sides
    if left.dims != right.dims or left.last != right.last:
        context.fail(node, f"addition of {_text(left)} and {_text(right)}; both sides must have one shape")
    untouched = "first", "operand", "low", "high", "product", "pool", "maximum", "spread"
    writers = [context.draft.writer(side, *untouched) for side in sides]
    if writers == [-1, -1]:
        side = 0 if left.first is None else 1
        sides[side], (writers[side],) = context.open(node, replace(sides[side], sole=False))
    side = max((0, 1), key=lambda side: writers[side])
    _join(context, writers[side], sides[1 - side])
    context.write(node, sides[side])


def _join(context: Context, stage_number: int, other: Ref) -> None:
    """``other`` becomes the operand of a stage, which runs behind those that write it."""
    first = (other.first or 0) - other.start
    context.draft.change([stage_number], operand=Addend(other.value, other.stride, first))
    context.draft.behind(stage_number, other.value)


def _text(ref: Ref) -> str:
    shape = tuple(axis.size for dim in ref.dims for axis in dim)
    return f"a tensor of {shape}"


def _cat(context: Context, node: Node) -> None:
    (dim,) = context.bind(node, "dim", dim=0)
    tensors = node.args[0] if node.args else node.kwargs["tensors"]
    sides = [context.shaped(node, context.look(node, source)) for source in tensors]
    dim = dim % len(sides[0].dims)
    sides = [context.fitting(side, lambda dims, shape: _cut(dims, dim) == "c"[: shape[0] > 1]) for side in sides]
    rest = {(*side.dims[:dim], *side.dims[dim + 1 :], side.last) for side in sides}
    vectors = all(context.draft.shapes[side.value][1:] == (1, 1) for side in sides)
    channels = all(_cut(side.dims, dim) in ("", "c") for side in sides)
    together = all(side.dims[dim] == context.draft.order(side) for side in sides)
    if len(rest) > 1 or not (channels or (vectors and together)) or dim == 0:
        context.fail(node, "concatenation of other dimensions than channels, or of different maps; flatten behind it")
    size = context.size(sides[0])
    channels = sum(context.draft.channels(side) for side in sides)
    output = context.draft.value(f"{context.draft.free(context.name(node))}.out", (channels, *size))
    kinds = {context.draft.grids.get(side.value) for side in sides}
    grid = kinds.pop() if len(kinds) == 1 else None
    if grid is not None:  # sides of one grid need no copies for it
        context.draft.grids[output] = grid
    first = 0
    for side in sides:
        side = context.stored(node, side, "concatenation")
        numbers = context.draft.writers(side, on_grid=grid is not None)
        if numbers is None:
            side = context.copy(node, side, context.copy_name(side), node.name)
            numbers = context.draft.fresh(side)
        for stage_number, stage in context.open_stages(numbers):
            context.draft.change([stage_number], output=output, first=stage.first + first)
        first += context.draft.shapes[side.value][0]
    dims = list(sides[0].dims)
    dims[dim] = whole((first, 1, 1))
    context.write(node, Ref(output, tuple(dims), sole=True, last=sides[0].last))


def _cut(dims: Dims, dim: int) -> str:
    """The axes of a dimension."""
    return "".join(axis.name for axis in dims[dim])


OPERATORS = {"add": _add, "sub": _sub, "subtract": _sub, "rsub": _sub, "cat": _cat, "concat": _cat, "concatenate": _cat}
