"""Vectors of symbols whose features all reach as far, which costs nothing: weights take what they lose.

All features of an embedding have one scale, which the greatest magnitude of a single one decides. In units of the
greatest magnitude of each feature, all of them use all integers; the columns of the weights that read them are
multiplied by it (cross-layer equalisation; Nagel et al., 2019).
"""

from dataclasses import replace

from darb_prune.frontend.stages import EmbeddingStage, Matrix, Stages, Weight, reads
from darb_prune.modules.grids import row_grid

__all__ = ["equalised"]


def equalised(stages: Stages) -> Stages:
    """``stages`` with an embedding in units of its features, if all that reads it are weights of its features."""
    first = stages.stages[0]
    if not isinstance(first, EmbeddingStage) or not _apart(stages, first):
        return stages
    made = [replace(first, unit=True), *(_scaled(stage, first) for stage in stages.stages[1:])]
    return replace(stages, stages=tuple(made))


def _scaled(stage: object, embedding: EmbeddingStage) -> object:
    if not isinstance(stage, Matrix) or embedding.output not in stage.inputs:
        return stage
    weights = tuple(
        replace(weight, symbols=embedding.module) if name == embedding.output else weight
        for name, weight in zip(stage.inputs, stage.weights, strict=True)
    )
    return replace(stage, weights=weights)


def _apart(stages: Stages, embedding: EmbeddingStage) -> bool:
    """Whether nobody but plain weights sees the vectors."""
    name = embedding.output
    one = stages.values[name].size == embedding.module.embedding_dim
    readers = [stage for stage in stages.stages if name in reads(stage)]
    seen = name == stages.output or name in stages.grids
    return one and not seen and all(isinstance(stage, Matrix) and _plain(stage, name) for stage in readers)


def _plain(stage: Matrix, name: str) -> bool:
    """Whether ``stage`` reads the value by weights, column by column."""
    beside = any(read is not None and read.value == name for read in (stage.operand, stage.product))
    whole = stage.window is None and stage.channels is None and stage.picks is None
    read = [weight for value, weight in zip(stage.inputs, stage.weights, strict=True) if value == name]
    return whole and not beside and all(_free(weight) for weight in read)


def _free(weight: Weight) -> bool:
    """Whether the weights may be multiplied."""
    part = weight.part
    return part is not None and not weight.innermost and row_grid(part.module) is None
