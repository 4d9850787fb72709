"""How often the rows of each layer are computed for one input: a convolution runs at every output position."""

from collections.abc import Sequence

from darb_prune.frontend.stages import Matrix, Stages
from darb_prune.modules.layers import PrunableLayer

__all__ = ["positions_of_layers"]


def positions_of_layers(stages: Stages, layers: Sequence[PrunableLayer]) -> dict[PrunableLayer, int]:
    """Output positions, before pooling, of each of ``layers``; 1 of what computes a vector.

    Of a recurrent model they are those of one time step; a layer that runs for each column of a map has so many, one
    that the model does not run has 1.
    """
    columns: dict[int, int] = {}
    for section in stages.sections:
        inside = range(section.first, section.stop)
        count = max(stages.values[stages.stages[number].output].shape[2] for number in inside)
        columns |= dict.fromkeys(inside, count)
    rows = dict.fromkeys(((part.module, part.name) for layer in layers for part in layer.parts), 0)
    for number, stage in enumerate(stages.stages):
        if not isinstance(stage, Matrix):
            continue
        height, width = stage.positions(stages.values[stage.output].shape)
        for weight in stage.weights:
            key = None if weight.part is None else (weight.part.module, weight.part.name)
            if key in rows:
                rows[key] += stage.rows * columns.get(number, height * width)
    # The gates of a layer may be several stages, each with some of its rows.
    return {
        layer: max(1, *(-(-rows[part.module, part.name] // layer.shape[0]) for part in layer.parts)) for layer in layers
    }
