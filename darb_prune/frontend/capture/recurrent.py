"""LSTM, GRU and RNN layers: gates, cells, projections and initial states."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from darb_prune.frontend.capture.axes import Axis, Dims, Ref, whole
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.recording import Node
from darb_prune.frontend.stages import CellStage, Curve, Matrix, Weight
from darb_prune.modules.layers import Part

__all__ = ["OPERATORS", "constant_states", "steps_of"]


def _recurrent(context: Context, node: Node) -> None:
    module = node.owner
    assert isinstance(module, (nn.RNNBase, nn.RNNCellBase))
    batch_first = node.kwargs["batch_first"] if isinstance(module, nn.RNNCellBase) else module.batch_first
    ref = context.read(node)
    if len(ref.dims) != 3:
        context.fail(node, f"{node.name} of a tensor of {len(ref.dims)} dimensions; {_order(batch_first)} are needed")
    ref = _columns(context, node, ref, batch_first) if context.columns else steps_of(context, node, ref, batch_first)
    state = node.args[1] if len(node.args) > 1 else node.kwargs.get("hx")
    states = constant_states(context, node, state)
    directions = ("", "_reverse") if isinstance(module, nn.RNNBase) and module.bidirectional else ("",)
    layer_count = module.num_layers if isinstance(module, nn.RNNBase) else 1
    source, ends = ref.value, []
    for layer_number in range(layer_count):
        outputs = []
        for direction in directions:
            layer = f"{node.path}.{layer_number}" if layer_count > 1 else node.path
            name = f"{layer}{direction.replace('_', '.')}"
            ending = f"_l{layer_number}{direction}" if isinstance(module, nn.RNNBase) else ""
            names = ["weight_ih", "weight_hh", *(("bias_ih", "bias_hh") * module.bias)]
            names += ["weight_hr"] * bool(_projected(module))
            context.parameters(node, *(f"{kind}{ending}" for kind in names))
            initial = [entry[len(ends)] for entry in states]
            backward = bool(direction) or node.kwargs.get("backward", False)
            begun = len(context.draft.stages)
            outputs.append(_cell(context, module, name, ending, node.name.lower(), source, initial))
            if context.columns:
                context.draft.section(begun, backward)
            ends.append((outputs[-1], backward))
        source = outputs[0]
        if len(outputs) > 1 and (layer_number + 1 < layer_count or context.is_read(node.outputs[0])):
            source = context.draft.side_by_side(outputs)
    begins = source in context.draft.initial and bool(context.draft.initial[source].any())
    if context.columns and begins:  # its initial values stand where others may want zeros
        source = context.draft.side_by_side([source])
    own = whole((len(directions) * (_projected(module) or module.hidden_size), 1, 1))
    context.write(node, Ref(source, (*ref.dims[:-1], own), sole=source != ends[-1][0]))
    if len(node.outputs) > 1 and context.is_read(node.outputs[1]):
        context.write(node, _ends(context, node, ref, ends, module), 1)


def _order(batch_first: bool) -> str:
    return "(samples, steps, features)" if batch_first else "(steps, samples, features)"


def steps_of(context: Context, node: Node, ref: Ref, batch_first: bool) -> Ref:
    """What is read: the time steps of the input."""
    ref = context.flat(node, ref)
    leads = [dim[0].name if len(dim) == 1 else "" for dim in ref.dims[:-1]]
    if sorted(leads) != ["0", "1"]:
        context.fail(node, f"{node.name} must read {_order(batch_first)}, the first two being those of the input")
    batch = leads[0 if batch_first else 1]
    if context.batch not in (None, batch):
        context.fail(node, f"{node.name} runs over the samples of another layer; check batch_first")
    context.batch = batch
    return ref


def _columns(context: Context, node: Node, ref: Ref, batch_first: bool) -> Ref:
    """What is read: the columns of a map, whose features are channels and lines."""
    batch, time = (0, 1) if batch_first else (1, 0)
    if [axis.name for axis in ref.dims[batch]] != [context.batch]:
        context.fail(
            node,
            f"{node.name} must read {_order(batch_first)}, and the samples are dimension 0 of the input; check "
            "batch_first, or give the model (samples, steps, features) and transpose them in front of the layer",
        )

    def fits(dims: Dims, shape: tuple[int, int, int]) -> bool:
        channels, height, width = shape
        return dims[time] == whole((1, 1, width)) and dims[2] == whole((channels, height, 1))

    ref = context.stored(node, context.fitting(context.as_columns(node, ref, time), fits), node.name)
    if not fits(ref.dims, context.draft.shapes[ref.value]):
        context.fail(
            node,
            f"{node.name} must read {_order(batch_first)}, steps being the last dimension of a map, features its "
            "channels and lines in their order; give images with time as the last dimension, and read "
            "x.permute(0, 3, 1, 2).flatten(2) of them",
        )
    return ref


def _ends(
    context: Context, node: Node, ref: Ref, ends: list[tuple[str, bool]], module: nn.RNNBase | nn.RNNCellBase
) -> Ref:
    """The states behind the last step, of all layers and directions."""
    own = whole((_projected(module) or module.hidden_size, 1, 1))
    count = (Axis("layers", len(ends)),) if len(ends) > 1 else ()
    lead = next(dim for dim in ref.dims if dim and dim[0].name == context.batch)
    last, values = None, tuple(value for value, _ in ends)
    if context.columns:
        values = tuple(_last(context, value, backward) for value, backward in ends)
    else:
        last = "1" if context.batch == "0" else "0"
    return Ref(values[-1], (count, lead, own), sole=context.columns, last=last, layers=values if count else ())


def _last(context: Context, value: str, backward: bool) -> str:
    """A copy of the last column that a section writes."""
    draft = context.draft
    width = draft.shapes[value][2]
    copied = draft.copy(f"{value.removesuffix('.h')}.last", Ref(value, ())).value
    draft.crop(draft.fresh(Ref(copied, (), sole=True)), (0, 0 if backward else width - 1), (1, 1))
    return copied


def _projected(module: nn.RNNBase | nn.RNNCellBase) -> int:
    """Elements that a projection makes of the units; 0 without one."""
    return module.proj_size if isinstance(module, nn.RNNBase) else 0


def constant_states(context: Context, node: Node, state: object) -> list[Tensor]:
    """Constant initial states, (layers, units): h, and c of an LSTM; empty for zeros."""
    if state is None:
        return []
    states = []
    for entry in state if isinstance(state, (tuple, list)) else (state,):
        if not isinstance(entry, Tensor):
            context.fail(node, f"the initial state of {node.name} depends on the input; give a constant or nothing")
        entry = entry.detach()
        if entry.dim() != 3 or not bool((entry == entry[:, :1]).all()):
            context.fail(node, f"the initial state of {node.name} is not the same for all samples")
        states.append(entry[:, 0].clone())
    return states


def _cell(
    context: Context,
    module: nn.RNNBase | nn.RNNCellBase,
    name: str,
    ending: str,
    kind: str,
    source: str,
    states: list[Tensor],
) -> str:
    """One layer and direction of an LSTM, GRU or RNN, whose parameters have ``ending`` behind their names; the value it
    gives."""
    units, projected, draft = module.hidden_size, _projected(module), context.draft
    width = draft.shapes[source][2] if context.columns else 1
    output = draft.value(f"{name}.h", (projected or units, 1, width))
    parts = [Part(module, f"weight_{side}{ending}") for side in ("ih", "hh")]
    if states:
        draft.initial[output] = states[0].reshape(-1, 1, 1)
    if kind == "rnn":
        assert isinstance(module, (nn.RNN, nn.RNNCell))
        relu = module.nonlinearity == "relu"
        functions = () if relu else ((Curve("tanh", torch.tanh, rising=True), units),)
        weights, bias = tuple(Weight(part) for part in parts), _bias(module, ending, 0, units)
        low = 0.0 if relu else None
        draft.stages.append(Matrix(name, output, units, (source, output), weights, bias, functions=functions, low=low))
        return output
    gates = draft.value(f"{name}.gates", (4 * units, 1, width))
    inner = draft.value(f"{name}.cell.out", (units, 1, width)) if projected else output
    state = states[-1] if states and states[-1].any() else None
    if kind == "lstm":
        functions = ("sigmoid", 2 * units), ("tanh", units), ("sigmoid", units)
        weights = tuple(Weight(part) for part in parts)
        bias = _bias(module, ending, 0, 4 * units)
        draft.stages.append(Matrix(name, gates, 4 * units, (source, output), weights, bias, functions=functions))
    else:
        rz, n = (0, 2 * units), (2 * units, 3 * units)
        draft.stages += [
            Matrix(
                f"{name}.n_x", gates, units, (source,), (Weight(parts[0], n),),
                _bias(module, ending, *n, "ih"), 2 * units,
            ),
            Matrix(
                f"{name}.rz", gates, 2 * units, (source, output), tuple(Weight(part, rz) for part in parts),
                _bias(module, ending, *rz), functions=(("sigmoid", 2 * units),),
            ),
            Matrix(
                f"{name}.n_h", gates, units, (output,), (Weight(parts[1], n),),
                _bias(module, ending, *n, "hh"), 3 * units,
            ),
        ]  # fmt: skip
    draft.stages.append(CellStage(f"{name}.cell", kind, gates, inner, units, state))
    if projected:
        weight = Weight(Part(module, f"weight_hr{ending}"))
        draft.stages.append(Matrix(f"{name}.projection", output, projected, (inner,), (weight,)))
    return output


def _bias(
    module: nn.RNNBase | nn.RNNCellBase, ending: str, start: int, end: int, *kinds: str
) -> Callable[[], Tensor] | None:
    """Sum of the biases of a recurrent layer, for some of its rows."""
    if not module.bias:
        return None
    names = [f"bias_{kind}{ending}" for kind in kinds or ("ih", "hh")]
    return lambda: cast(Tensor, sum(getattr(module, name)[start:end] for name in names))


OPERATORS = dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent)
