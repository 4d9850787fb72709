"""From any ``nn.Module`` to its stages: every operator joins the stage before it or becomes one of its own."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.capture import (
    block_term,
    curves,
    elementwise,
    enlarging,
    grids,
    joining,
    layers,
    loops,
    moves,
    pooling,
    products,
    recurrent,
    scaling,
    views,
)
from darb_prune.frontend.capture.axes import Dims, whole
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.draft import INPUT
from darb_prune.frontend.capture.findings import SUPPORTED, Finding, Refusal, finding_of
from darb_prune.frontend.capture.recording import Recording, record
from darb_prune.frontend.execution import folded, run
from darb_prune.frontend.stages import EmbeddingStage, Matrix, Stages

__all__ = ["capture", "check_finite", "refusals"]

_OPERATORS = (
    layers.OPERATORS
    | recurrent.OPERATORS
    | block_term.OPERATORS
    | elementwise.OPERATORS
    | grids.OPERATORS
    | curves.OPERATORS
    | scaling.OPERATORS
    | products.OPERATORS
    | joining.OPERATORS
    | pooling.OPERATORS
    | enlarging.OPERATORS
    | moves.OPERATORS
    | views.OPERATORS
)
_LOOPS = ("getitem", "select", "unbind", "stack", "cat", "split", "chunk", "iter")
_TOLERANCE = 1e-3  # of the greatest output: what another order of float additions may change


def capture(model: nn.Module, example: Tensor, drop_softmax: bool = False) -> Stages:
    """The stages of ``model``, as it runs in ``eval`` mode.

    The model runs once on the example, and what it does with it is taken for what it always does. Its modules
    are used as they are, so that masks put on them are masks of the stages.

    Parameters
    ----------
    model : torch.nn.Module
        Several outputs that are vectors become one. Of others the first one counts.
    example : tensor
        A batch of at least one input.
    drop_softmax : bool
        Whether a softmax, log-softmax or argmax at the end is left out.

    Raises
    ------
    ModelError
        If the model does anything else than ``SUPPORTED``; the message names module path and operator.
    """
    name = type(model).__name__
    recording = curves.joined(loops.rolled(record(model, example, drop_softmax=drop_softmax)))
    attempts: list[tuple[int, ModelError]] = []  # how many operators were taken, and what was in the way of the next
    for context in _contexts(recording):
        taken = 0
        try:
            for node in recording.nodes:
                if node.name not in _OPERATORS:
                    context.unsupported(node)
            for node in recording.nodes:
                _OPERATORS[node.name](context, node)
                taken += 1
            stages = _finished(context, recording, name)
            _verify(stages, recording)
            return stages
        except ModelError as error:
            attempts.append((taken, error))
    raise max(attempts, key=lambda attempt: attempt[0])[1]


def _contexts(recording: Recording) -> Iterator[Context]:
    """The ways to take a model. Its time steps are those of the input, of sequences of any length, and several symbols
    are a vector; or, if that is refused, both are the columns of maps, as many as the example has."""
    nodes = recording.recurrent
    if not any(getattr(node.owner, "bidirectional", False) or node.kwargs.get("backward") for node in nodes):
        yield Context(recording)
    if nodes or any(node.name == "Embedding" for node in recording.nodes):
        yield Context(recording, columns=True)


def refusals(model: nn.Module, example: Tensor, drop_softmax: bool = False) -> tuple[Finding, ...]:
    """Everything for which :func:`capture` would refuse ``model``, and warnings.

    What an operator that is refused gives is taken for a value of its shape, so that the operators behind it are seen.
    """
    findings: list[Finding] = []
    name = type(model).__name__
    try:
        recording = curves.joined(loops.rolled(record(model, example, findings, drop_softmax)))
        ways = []
        for context in _contexts(recording):
            ways.append(_in_the_way(context, recording, name, findings))
            if not _problems(ways[-1]):
                break
        findings += min(ways, key=_problems)
    except ModelError as error:
        findings.append(finding_of(error, name))
    return tuple(_causes(findings))


def _problems(findings: list[Finding]) -> int:
    return sum(not finding.warning for finding in findings)


def _in_the_way(context: Context, recording: Recording, name: str, before: list[Finding]) -> list[Finding]:
    """What stands in one way to take a model, ``before`` being what is known already."""
    findings: list[Finding] = []
    try:
        for node in recording.nodes:
            try:
                if node.name not in _OPERATORS:
                    context.unsupported(node)
                if context.seen(node):
                    _OPERATORS[node.name](context, node)
            except Refusal as refusal:
                findings.append(refusal.finding)
            context.assume(node)
        if all(finding.warning for finding in (*before, *findings)):
            _verify(_finished(context, recording, name), recording)
    except ModelError as error:
        findings.append(finding_of(error, name))
    return findings


def _causes(findings: list[Finding]) -> list[Finding]:
    """Each finding once. In a loop over time steps, the cell is what has to go: taking it apart is no mistake."""
    findings = list(dict.fromkeys(findings))
    if any(finding.operator.endswith("Cell") for finding in findings):
        findings = [finding for finding in findings if finding.operator not in _LOOPS]
    return findings


def check_finite(stages: Stages) -> None:
    """Raise :class:`ModelError` naming the layer and the row of the first weight or bias that is not finite."""
    for stage in stages.stages:
        if isinstance(stage, Matrix):
            weights, bias = folded(stage)
            values = torch.cat([value.detach().reshape(stage.rows, -1) for value in (*weights, bias)], dim=1)
        elif isinstance(stage, EmbeddingStage):
            values = stage.module.weight.detach()
        else:
            continue
        bad = ~torch.isfinite(values).all(dim=1)
        if bad.any():
            row = int(bad.nonzero()[0])
            raise ModelError(
                f"layer {stage.name!r}, row {row}: weight or bias is NaN or infinite; train again with a lower rate"
            )


def _finished(context: Context, recording: Recording, name: str) -> Stages:
    draft, ref = context.draft, context.stored(None, context.look(None, recording.output), "the output")
    if context.recurrent:
        lead, time = [axis.name for axis in ref.lead], "1" if context.batch == "0" else "0"
        if lead != ["0", "1"] and (lead, ref.last) != ([context.batch], time):
            context.fail(None, "the output must be that of the last step, or of all steps, in the order of the input")
    if not context.in_order(ref):
        ref = context.fitting(ref, _ordered)
    last = context.channels_last(ref)
    channels, _, width = draft.shapes[ref.value]
    turned = context.columns and ref.dims == (whole((1, 1, width)), ref.lead, whole((channels, 1, 1)))
    in_order = [axis for dim in ref.dims for axis in dim] == [*ref.lead, *ref.axes]
    if not turned and not (in_order and (last or context.in_order(ref))):
        context.fail(None, "the dimensions of the output are permuted; return it as the last layer gives it")
    if draft.writers(ref, "pool", "maximum", "spread", on_grid=True) is None:
        ref = context.copy(None, ref, context.copy_name(ref), "the output")
    draft.separate()
    matrices = [stage for stage in draft.stages if isinstance(stage, Matrix)]
    embeddings = [stage for stage in draft.stages if isinstance(stage, EmbeddingStage)]
    if len(embeddings) > 1 or (embeddings and any(INPUT in stage.inputs for stage in matrices)):
        raise ModelError(f"{embeddings[-1].name}: the input is read by other layers than one Embedding")
    if not any(weight.part for stage in matrices for weight in stage.weights):
        raise ModelError(f"{name}: no layer with weights; supported: {SUPPORTED}")
    emit = "last" if context.recurrent and ref.last else "step"
    return draft.finished(
        name, ref.value, recurrent=context.recurrent, emit=emit, time_first=context.batch == "1",
        input_last=context.input_last, output_last=last and not turned, outputs=recording.outputs, columns_first=turned,
    )  # fmt: skip


def _ordered(dims: Dims, shape: tuple[int, int, int]) -> bool:
    """Whether samples come first, then channels, lines and columns, the channels perhaps last."""
    flat = [axis for dim in dims for axis in dim]
    lead, own = [axis for axis in flat if axis.leading], whole(shape)
    last = (*own[1:], own[0]) if own and own[0].name == "c" else own
    return flat in ([*lead, *own], [*lead, *last])


@torch.no_grad()
def _verify(stages: Stages, recording: Recording) -> None:
    """The stages must give what the model gave: nothing that the model did may have been overlooked. Neither rounds to
    grids: another order of float additions would become a whole unit here and there."""
    output, result = run(stages, stages.samples_first(recording.example), rounds=False)[stages.output], recording.result
    if stages.emit == "last":
        output = output[:, -1]
    elif stages.recurrent:
        result = stages.samples_first(result)
    output = stages.as_given(output)
    difference, finite = (output.flatten() - result.flatten()).abs(), torch.isfinite(result).all()
    if finite and not float(difference.max()) <= _TOLERANCE * max(float(result.abs().max()), 1e-3):
        raise ModelError(
            f"{stages.name}: does something that was not recognised (its stages give another output); use modules and "
            f"functions of torch only; supported: {SUPPORTED}"
        )
