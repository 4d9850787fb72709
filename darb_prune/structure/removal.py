"""Units are taken out of a model: its modules get smaller, and it computes what it did without these units."""

import copy
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.capture import capture
from darb_prune.frontend.example import stages_of
from darb_prune.modules.sizes import fit, keep, take_sizes
from darb_prune.structure.gates import fold
from darb_prune.structure.units import Place, Units

__all__ = ["UNITS", "rehearse", "remove", "with_sizes"]

UNITS = "units"
"""Name of this pass in a record."""
TOLERANCE = 1e-4  # of the greatest output: what another order of float additions may change


def remove(units: Units, there: Tensor) -> None:
    """Take the units that are not ``there`` out of their model, in place.

    Parameters
    ----------
    units : Units
        Of a model without masks.
    there : bool tensor of shape (units,)
    """
    there = torch.cat([there, there.new_ones(1)])  # STAYS is the last one
    indices = {place: torch.nonzero(there[numbers]).flatten() for place, numbers in units.places.items()}
    for place, kept in indices.items():
        keep(place.module, place.name, place.dim, kept)
    for module in dict.fromkeys(place.module for place in indices):
        take_sizes(module)


@torch.no_grad()
def rehearse(model: nn.Module, units: Units, example: Tensor, drop_softmax: bool = False) -> None:
    """Find out whether ``model`` runs without some of its units, on a copy of it.

    Raises
    ------
    ModelError
        If it does not, or computes something else than with gates of 0.
    """
    twin = copy.deepcopy(model).eval()
    modules = dict(zip(model.modules(), twin.modules(), strict=True))
    copies = {place: Place(modules[place.module], place.name, place.dim) for place in units.places}
    copied = replace(
        units,
        places={copies[place]: numbers for place, numbers in units.places.items()},
        readers=tuple(copies[place] for place in units.readers),
    )
    there = torch.ones(units.count, dtype=torch.bool)
    for last in _last_of_each(copied):
        there[last] = False
    fold(copied, there.float())
    before = _outputs(twin, example)
    try:
        remove(copied, there)
        after = _outputs(twin, example)
        capture(twin, example, drop_softmax)
    except Exception as error:  # whatever the code of a user raises
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{type(model).__name__}: does not run with fewer units ({text}); its code may not name sizes (flatten(1), "
            "x.shape, initial states of torch), or exclude the layer"
        ) from error
    if before.shape != after.shape or not bool(
        (before - after).abs().max() <= TOLERANCE * before.abs().max().clamp(min=1e-3)
    ):
        raise ModelError(
            f"{type(model).__name__}: gives something else with fewer units: it does something that was not "
            "recognised; exclude the layer, or use modules and functions of torch only"
        )


def _last_of_each(units: Units) -> list[Tensor]:
    """A unit of each layer that has several, as many of each of the layers that must keep as many."""
    last = defaultdict(list)
    for number, writer in enumerate(units.writers):
        last[writer].append(number)
    return [torch.tensor(numbers[-1]) for numbers in last.values() if len(numbers) > 1]


def _outputs(model: nn.Module, example: Tensor) -> Tensor:
    result = model(example)
    while isinstance(result, (tuple, list)):
        result = result[0]
    return result


def with_sizes(model: nn.Module, record: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """A pass of a run folder: ``model`` with the sizes that ``state`` has."""
    fit(model, state)
    try:
        stages_of(model)
    except ModelError as error:
        raise ModelError(f"the saved sizes do not go together ({error})") from error
    return model
