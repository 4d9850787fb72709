"""Which passes changed the structure of a model: run folders keep that, and do it again to what the task builds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.structure import block_term, merged, partition, removal

__all__ = ["PASSES", "Pass", "rebuild"]

Pass = Callable[[nn.Module, Mapping[str, Any], Mapping[str, Tensor]], nn.Module]
"""Takes a model, the record of a pass and the ``state_dict`` that will be loaded; gives the model with the structure
that this state has. The record comes from a file: it has to be checked, and sizes are bounded by those of the state."""

PASSES: dict[str, Pass] = {
    block_term.BLOCK_TERMS: block_term.again,
    merged.MERGE: merged.again,
    partition.PARTS: partition.again,
    removal.UNITS: removal.again,
}
"""What each record stands for, by its ``pass``."""


def rebuild(model: nn.Module, records: Sequence[Any], state: Mapping[str, Tensor]) -> nn.Module:
    """Do the passes of ``records`` to ``model``.

    Parameters
    ----------
    model : torch.nn.Module
        As the task builds it.
    records : sequence of dict
        Of each pass its name, ``pass``, and what else it needs; one behind the other.
    state : dict of str to tensor
        What the model gets afterwards.

    Raises
    ------
    ModelError
        For a record that is none, or does not fit the model.
    """
    for record in records:
        name = record.get("pass") if isinstance(record, dict) else None
        if not isinstance(name, str) or name not in PASSES:
            raise ModelError(f"pass {name!r} of its structure is not known; run the command again")
        model = PASSES[name](model, record, state)
    return model
