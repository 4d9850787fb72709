"""Block-term layers: their mode products, one stage behind the other."""

from dataclasses import replace

from torch import Tensor

from darb_prune.frontend.capture.axes import Ref, whole
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.draft import INPUT
from darb_prune.frontend.capture.recording import Node
from darb_prune.frontend.capture.recurrent import constant_states, steps_of
from darb_prune.frontend.stages import Addend, CellStage, Matrix, Weight, Window
from darb_prune.modules.block_term import BlockTermGRU, BlockTermLinear, BlockTermLSTM
from darb_prune.modules.layers import Part

__all__ = ["OPERATORS"]

_COPY = Window((1, 1), depthwise=True)


def _linear(context: Context, node: Node) -> None:
    module = node.owner
    assert isinstance(module, BlockTermLinear)
    context.parameters(node, "cores", "bias")
    ref = context.flat(node, context.read(node))
    output = _products(context, node, module, node.path, ref)
    made = Ref(output, (*ref.dims[:-1], whole((module.out_features, 1, 1))), sole=True, last=ref.last)
    if module.bias is not None:  # rows are those of the first mode only: each output has a bias of its own
        made = replace(made, value=context.draft.depthwise(f"{node.path}.bias", made, (1, 1)))
        context.draft.change(context.draft.fresh(made), bias=lambda: module.biases)
    context.write(node, made)


def _products(context: Context, node: Node, module: BlockTermLinear, path: str, ref: Ref) -> str:
    """The stages of all mode products over ``ref``, a vector; the value of the last one, a vector too."""
    draft, steps = context.draft, module.products()
    shapes = [(step[0].channels, *step[0].image) for step in steps] + [(module.out_features, 1, 1)]
    source = _reshaped(context, node, ref, shapes[0])
    for step, shape in zip(steps, shapes[1:], strict=True):
        output = draft.value(f"{path}.{step[0].name.partition('.')[0]}.out", shape)
        for product in step:
            window = Window(product.kernel, offset=(product.start, 0), dilation=product.dilation)
            weights = (Weight(Part(product, "weight")),)
            draft.stages.append(
                Matrix(
                    f"{path}.{product.name}",
                    output,
                    product.rows,
                    (source,),
                    weights,
                    first=product.first,
                    window=window,
                    transposed=product.positions,
                )
            )
        source = output
    return source


def _reshaped(context: Context, node: Node, ref: Ref, shape: tuple[int, int, int]) -> str:
    """A value of ``shape`` that holds the elements of ``ref`` in their order, channels innermost."""
    if ref.value == INPUT and ref.raw and ref.sole and ref.plain:
        context.fix(node, shape, last=True)
        return INPUT
    return context.draft.transpose(context.copy_name(ref), context.shaped(node, ref), shape).value


def _recurrent(context: Context, node: Node) -> None:
    module = node.owner
    assert isinstance(module, (BlockTermLSTM, BlockTermGRU))
    ref = context.read(node)
    if len(ref.dims) != 3:
        context.fail(
            node, f"{node.name} of a tensor of {len(ref.dims)} dimensions; (samples, steps, features) are needed"
        )
    if context.columns:
        context.fail(
            node,
            f"{node.name} among layers that look at several time steps at once; use an LSTM or GRU of torch there",
        )
    ref = steps_of(context, node, ref, batch_first=True)
    states = constant_states(context, node, node.args[1] if len(node.args) > 1 else node.kwargs.get("state"))
    given = _products(context, node, module.input, f"{node.path}.input", ref)
    draft, units = context.draft, module.hidden_size
    output = draft.value(f"{node.path}.h", (units, 1, 1))
    if states:
        draft.initial[output] = states[0].reshape(-1, 1, 1)
    state = states[-1][0] if states and states[-1].any() else None
    gates = draft.value(f"{node.path}.gates", (4 * units, 1, 1))
    lstm = isinstance(module, BlockTermLSTM)
    functions = (("sigmoid", 2 * units), *((("tanh", units), ("sigmoid", units)) if lstm else ()))
    summed = sum(count for _, count in functions)
    both = draft.value(f"{node.path}.sum", (summed, 1, 1))

    def biases() -> Tensor:
        return (module.hidden.bias + module.input.biases)[:summed]

    hidden = Part(module.hidden, "weight")
    draft.stages += [
        Matrix(
            f"{node.path}.hidden", both, summed, (output,), (Weight(hidden, (0, summed)),), biases,
            operand=Addend(given),
        ),
        Matrix(f"{node.path}.functions", gates, summed, (both,), (Weight(),), window=_COPY, functions=functions),
    ]  # fmt: skip
    if not lstm:
        rows = 2 * units, 3 * units
        draft.stages += [
            Matrix(
                f"{node.path}.n_x", gates, units, (given,), (Weight(),), lambda: module.input.biases[summed:],
                summed, window=_COPY, channels=rows,
            ),
            Matrix(
                f"{node.path}.n_h", gates, units, (output,), (Weight(hidden, rows),),
                lambda: module.hidden.bias[summed:], 3 * units,
            ),
        ]  # fmt: skip
    draft.stages.append(CellStage(f"{node.path}.cell", "lstm" if lstm else "gru", gates, output, units, state))
    own = whole((units, 1, 1))
    context.write(node, Ref(output, (*ref.dims[:-1], own)))
    if len(node.outputs) > 1 and context.is_read(node.outputs[1]):
        lead = next(dim for dim in ref.dims if dim and dim[0].name == context.batch)
        context.write(node, Ref(output, ((), lead, own), last="1" if context.batch == "0" else "0"), 1)


OPERATORS = {"BlockTermLinear": _linear, "BlockTermLSTM": _recurrent, "BlockTermGRU": _recurrent}
