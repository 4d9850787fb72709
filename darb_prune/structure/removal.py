"""Units and blocks are taken out of a model: its modules get smaller, and it computes what it did without them."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.capture import capture
from darb_prune.frontend.capture.recording import first_of
from darb_prune.frontend.example import example_of, stages_of
from darb_prune.frontend.graph import first_line
from darb_prune.modules.sizes import fit, keep, take_sizes
from darb_prune.structure.blocks import Branch, take_out
from darb_prune.structure.gates import fold
from darb_prune.structure.units import Place, Units

__all__ = ["UNITS", "again", "problem_without", "rehearsed", "remove"]

UNITS = "units"
"""Name of this pass in a record."""
TOLERANCE = 1e-4  # of the greatest output: what another order of float additions may change


def remove(model: nn.Module, units: Units, there: Tensor) -> dict[str, Any]:
    """Take the units and blocks that are not ``there`` out of ``model``, in place.

    Parameters
    ----------
    model : torch.nn.Module
        Without masks.
    units : Units
        Its own.
    there : bool tensor of shape (units and blocks,)

    Returns
    -------
    dict: the record of this pass (``darb_prune/structure/record.py``).
    """
    paths = {module: path for path, module in model.named_modules()}
    gone = [block for block, stays in zip(units.blocks, there[units.count :].tolist(), strict=True) if not stays]
    last = [paths[block.last] for block in gone]
    others = list(dict.fromkeys(paths[module] for block in gone for module in block.others))
    take_out(model, last, others)
    of_units = torch.cat([there[: units.count], there.new_ones(1)])  # STAYS is the last one
    remaining = set(model.modules())
    indices = {
        place: torch.nonzero(of_units[numbers]).flatten()
        for place, numbers in units.places.items()
        if place.module in remaining
    }
    for place, kept in indices.items():
        keep(place.module, place.name, place.dim, kept)
    changed = dict.fromkeys(place.module for place in indices)
    for module in changed:
        take_sizes(module)
    sizes = {
        f"{paths[module]}.{name}".lstrip("."): list(tensor.shape)
        for module in changed
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        if tensor.dim()
    }
    return {"pass": UNITS, "zeros": last, "identities": others, "sizes": sizes}


def again(model: nn.Module, record: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """A pass of a run folder: ``model`` without the blocks of ``record``, with its sizes."""
    sizes = record.get("sizes", {})
    try:
        example = example_of(model)
    except ModelError:
        example = None  # who uses the model has one
    try:
        last, others = (list(map(str, record.get(key, ()))) for key in ("zeros", "identities"))
        take_out(model, last, others)
    except (AttributeError, TypeError) as error:
        raise ModelError(f"the record of its structure does not fit the model ({error})") from error
    if not isinstance(sizes, dict):
        raise ModelError(f"the record of its structure has sizes {str(sizes)[:80]}; run the command again")
    fit(model, sizes)
    if example is None:
        return model
    try:
        stages_of(model, example)
    except ModelError as error:
        raise ModelError(f"the saved sizes do not go together ({error})") from error
    return model


@torch.no_grad()
def rehearsed(model: nn.Module, units: Units, example: Tensor, drop_softmax: bool = False) -> Units:
    """Find out whether ``model`` runs without some of its units, on a copy of it; and without which blocks.

    Returns
    -------
    Units: the same with only those blocks without which it runs, one at a time and all together.

    Raises
    ------
    ModelError
        If it does not run without units, or computes something else than with gates of 0.
    """
    possible = []
    for block in units.blocks:
        problem = problem_without(model, replace(units, blocks=(block,)), _all_but_blocks(units), example, drop_softmax)
        possible += [] if problem else [block]
    units = replace(units, blocks=tuple(possible))
    if problem_without(model, units, _all_but_blocks(units), example, drop_softmax):
        units = replace(units, blocks=())
    there = torch.ones(units.size, dtype=torch.bool)
    # A unit of each layer, and so as many of each of the layers that must keep as many.
    there[[int(numbers[-1]) for numbers in units.by_writer().values() if len(numbers) > 1]] = False
    there[: units.count] |= units.best(there[: units.count].float())
    if problem := problem_without(model, units, there, example, drop_softmax):
        raise ModelError(f"{type(model).__name__}: {problem}")
    return units


def _all_but_blocks(units: Units) -> Tensor:
    """No block is there, but all units are."""
    return torch.arange(units.size) < units.count


def problem_without(model: nn.Module, units: Units, there: Tensor, example: Tensor, drop_softmax: bool = False) -> str:
    """What is wrong with a copy of ``model`` that has only what is ``there``; empty if it is right.

    Parameters
    ----------
    model : torch.nn.Module
    units : Units
    there : bool tensor of shape (units and blocks,)
    example : tensor
    drop_softmax : bool
    """
    there = there[: units.size]
    twin = copy.deepcopy(model).eval()
    copied = _of_copy(units, dict(zip(model.modules(), twin.modules(), strict=True)))
    fold(copied, there.float())
    before = first_of(twin(example))
    try:
        remove(twin, copied, there)
        after = first_of(twin(example))
        capture(twin, example, drop_softmax)
    except Exception as error:  # whatever the code of a user raises
        return (
            f"does not run with fewer units ({first_line(error)}); its code may not name sizes (flatten(1), x.shape, "
            "initial states of torch), or exclude the layer"
        )
    alike = before.shape == after.shape and bool(
        (before - after).abs().max() <= TOLERANCE * before.abs().max().clamp(min=1e-3)
    )
    return "" if alike else (
        "gives something else with fewer units: it does something that was not recognised; exclude the layer, or use "
        "modules and functions of torch only"
    )  # fmt: skip


def _of_copy(units: Units, modules: Mapping[nn.Module, nn.Module]) -> Units:
    """The units of a copy, whose ``modules`` stand for those of the model."""
    copies = {place: Place(modules[place.module], place.name, place.dim) for place in units.places}
    blocks = tuple(
        Branch(block.name, (), modules[block.last], tuple(modules[module] for module in block.others))
        for block in units.blocks
    )
    return replace(
        units,
        places={copies[place]: numbers for place, numbers in units.places.items()},
        readers=tuple(copies[place] for place in units.readers),
        blocks=blocks,
    )
