"""Products of two tensors: gates."""

from dataclasses import replace

from darb_prune.frontend.capture.axes import Ref, whole
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.recording import Node
from darb_prune.frontend.stages import Factor

__all__ = ["OPERATORS", "product"]

_UNTOUCHED = "first", "operand", "product", "pool", "maximum", "spread"


def product(context: Context, node: Node) -> None:
    """The product of the two tensors that ``node`` reads: a stage that writes one of them multiplies by the other."""
    sides = [context.shaped(node, context.look(node, source)) for source in node.sources]
    sides = [side if side.direct else context.stored(node, side, "product") for side in sides]
    fits = [_spread(sides[side], sides[1 - side]) for side in (0, 1)]
    if not any(fits):
        sides = list(context.alike(*sides))
        fits = [_spread(sides[side], sides[1 - side]) for side in (0, 1)]
    sizes = [context.draft.shapes[side.value] for side in sides]
    if not any(fits):
        texts = " and ".join(f"a tensor of {source.shape}" for source in node.sources)
        context.fail(
            node,
            f"product of {texts}; both sides must have one shape, or one of them one value for each channel: give it "
            "as many channels",
        )
    writers = [context.draft.writer(side, *_UNTOUCHED) if fit else -1 for side, fit in zip(sides, fits, strict=True)]
    if max(writers) < 0:
        side = fits.index(True)
        sides[side], (writers[side],) = context.open(node, replace(sides[side], sole=False))
    side = max((0, 1), key=lambda side: writers[side])
    other = sides[1 - side]
    (height, width), (lines, columns) = sizes[side][1:], sizes[1 - side][1:]
    stride = int(lines == height), int(columns == width)
    context.draft.change([writers[side]], product=_factor(other, stride))
    context.draft.behind(writers[side], other.value)
    context.write(node, sides[side])


def _factor(ref: Ref, stride: tuple[int, int] = (1, 1)) -> Factor:
    return Factor(ref.value, stride, -ref.start)


def _glu(context: Context, node: Node) -> None:
    """One half of the channels times the sigmoid of the other."""
    (dim,) = context.bind(node, "dim", dim=-1)
    ref = context.direct(node, context.shaped(node, context.read(node)))
    dim %= len(ref.dims)
    if [axis.name for axis in ref.dims[dim]] != ["c"]:
        context.fail(node, "glu of another dimension than the channels; give it dim=1, channels in dimension 1")
    half, first = ref.dims[dim][0].size // 2, ref.start
    dims = (*ref.dims[:dim], whole((half, 1, 1)), *ref.dims[dim + 1 :])
    halves = (replace(ref, dims=dims, channels=(start, start + half), sole=False) for start in (first, first + half))
    value, gate = halves
    gate, numbers = context.open(node, gate)
    (rows,) = (stage.rows for _, stage in context.open_stages(numbers))
    context.draft.change(numbers, functions=(("sigmoid", rows),), product=_factor(value))
    context.write(node, gate)


OPERATORS = {"glu": _glu}


def _spread(side: Ref, factor: Ref) -> bool:
    """Whether each element of ``side`` has a factor: its own, or that of its channel."""
    lead = 2 if len(side.dims) > 1 and any(axis.leading for axis in side.dims[0]) else len(side.dims)
    return (
        side.last == factor.last
        and len(side.dims) == len(factor.dims)
        and side.dims[:lead] == factor.dims[:lead]
        and all(own == there or not there for own, there in zip(side.dims[lead:], factor.dims[lead:], strict=True))
    )
