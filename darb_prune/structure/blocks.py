"""Residual blocks that can be taken out of a model: what is added to a value, and computed from that value alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from darb_prune.frontend.stages import Matrix, Stages, reads
from darb_prune.modules.layers import Part
from darb_prune.modules.zeros import Zeros

__all__ = ["Branch", "blocks_of", "take_out"]


@dataclass(frozen=True, eq=False)
class Branch:
    """The branch ``F`` of a residual addition ``x + F(x)``, where both sides have one shape.

    Parameters
    ----------
    name : str
        Of the layer that is added to ``x``.
    parts : tuple of Part
        All weights of the branch.
    last : torch.nn.Module
        What the branch ends with: its parameters times 0 make ``F`` zeros.
    others : tuple of torch.nn.Module
        All other modules of the branch that have parameters.
    """

    name: str
    parts: tuple[Part, ...]
    last: nn.Module
    others: tuple[nn.Module, ...]


def blocks_of(stages: Stages) -> tuple[Branch, ...]:
    """Residual blocks of a model without time steps, in order."""
    if stages.recurrent or stages.sections:
        return ()
    return tuple(_blocks(stages))


def _blocks(stages: Stages) -> Iterator[Branch]:
    for stage in stages.stages:
        if not isinstance(stage, Matrix) or stage.operand is None or stage.operand.stride != (1, 1):
            continue
        source, output = stage.operand.value, stages.values[stage.output]
        plain = stage.operand.first == stage.first == 0 and stage.transposed is None and stage.spread == (1, 1)
        if not plain or stages.values[source].shape[0] != output.shape[0] or stage.rows != output.shape[0]:
            continue
        branch = _branch(stages, stage, source)
        parts = tuple(weight.part for matrix in branch for weight in matrix.weights if weight.part)
        if not branch or not parts or not any(weight.part for weight in stage.weights):
            continue
        norms = [matrix.norm for matrix in branch if matrix.norm is not None]
        last = stage.norm or next(weight.part.module for weight in stage.weights if weight.part)
        modules = dict.fromkeys([*(part.module for part in parts), *norms])
        yield Branch(stage.name, parts, last, tuple(module for module in modules if module is not last))


def _branch(stages: Stages, last: Matrix, source: str) -> list[Matrix]:
    """Stages that lead from ``source`` to ``last``; nothing if others take part, or look at what is between."""
    branch, values = [last], list(last.inputs)
    while values:
        name = values.pop()
        if name == source:
            continue
        writers = [stage for stage in stages.stages if stage.output == name and isinstance(stage, Matrix)]
        if len(writers) < sum(stage.output == name for stage in stages.stages) or not writers:
            return []  # cells, embeddings, the input
        fresh = [writer for writer in writers if writer not in branch]
        branch += fresh
        values += [read for writer in fresh for read in reads(writer)]
    inside = {matrix.output for matrix in branch if matrix is not last}
    outside = [stage for stage in stages.stages if stage not in branch]
    return branch if not any(inside & {*reads(stage)} for stage in outside) else []


def take_out(model: nn.Module, last: Sequence[str], others: Sequence[str]) -> None:
    """Replace modules of ``model``, in place: the last ones of blocks give zeros, the others give what they read.

    Parameters
    ----------
    model : torch.nn.Module
    last, others : sequence of str
        Module paths.

    Raises
    ------
    AttributeError
        If there is no module of a path.
    """
    for paths, kind in ((last, Zeros), (others, nn.Identity)):
        for path in paths:
            parent, _, name = path.rpartition(".")
            owner = model.get_submodule(parent)
            owner.get_submodule(name)
            setattr(owner, name, kind())
