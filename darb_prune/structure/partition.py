"""Partition pruning: fully connected layers in parts that exchange nothing until the last layer of their chain."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.example import stages_of
from darb_prune.frontend.stages import CellStage, Curve, EmbeddingStage, Matrix, Stages, reads
from darb_prune.modules.layers import check_finite, layers, select
from darb_prune.modules.partitioned import PartitionedLinear
from darb_prune.patterns.parts import inside, part_sizes, parts_of_chain

__all__ = ["PARTS", "PARTS_MAX", "Partitioned", "again", "check_parts", "partition"]

PARTS = "partition"
"""Name of this pass in a record."""
PARTS_MAX = 64


@dataclass(frozen=True)
class Partitioned:
    """What :func:`partition` did.

    Parameters
    ----------
    layers : tuple of str
        Layers that are in parts now.
    weights, kept : int
        Weights of these layers before, and after.
    saliency : float
        Share of the sum of their magnitudes that is left. Of parts that are dealt at random it is ``kept / weights``.
    record : dict
        For the structure of a run folder (:mod:`darb_prune.structure.record`).
    """

    layers: tuple[str, ...]
    weights: int
    kept: int
    saliency: float
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Link:
    """A layer of a chain: its name and module, the channels of what it reads, the name of the norm behind it."""

    name: str
    module: nn.Linear
    channels: int
    norm: str | None


def check_parts(parts: int) -> None:
    """Raise :class:`ModelError` for a number of parts that nothing can have."""
    if not 2 <= parts <= PARTS_MAX:
        raise ModelError(f"parts {parts} must be 2 to {PARTS_MAX}")


@torch.no_grad()
def partition(
    model: nn.Module, parts: int, exclude: Sequence[str] = (), example: Tensor | None = None, seed: int = 0
) -> Partitioned:
    """Cut chains of Linear layers into parts, in place.

    Each row and each column of a layer belongs to one part, all parts equally large (up to one), and weights between
    different parts go. The parts are those that keep the greatest sum of magnitudes, as far as
    :func:`~darb_prune.patterns.parts.parts_of_chain` finds them. What a part gives, the same part of the next layer
    reads. The last layer of a chain stays whole and reads all parts. The layers become
    :class:`~darb_prune.modules.partitioned.PartitionedLinear` modules; units are stored part by part, and everything
    behind the chain is what it was.

    A chain is Linear layers that read one another, with functions of one value, dropout and normalisation in between,
    where nobody else reads what is between them. Behind a map, each part reads whole channels of it.

    Parameters
    ----------
    model : torch.nn.Module
        Trained, and not pruned yet.
    parts : int
        2 to 64.
    exclude : sequence of str
        Layers to leave whole, or modules that hold them.
    example : tensor, optional
        Inputs, a batch of at least one, as ``model`` takes them; made up if absent, as for :func:`darb_prune.prune`.
    seed : int
        Of the search for the parts.

    Raises
    ------
    ModelError
        If the model cannot be captured, is pruned already, has no such chain, or a layer has fewer rows or channels
        than there are parts. The model is as it was then.
    """
    check_parts(parts)
    prunable = layers(model)
    check_finite(prunable)
    pruned = next((layer.name for layer in prunable if any(part.masked for part in layer.parts)), None)
    if pruned is not None:
        raise ModelError(f"layer {pruned!r} is pruned already; partition the dense model, and prune it afterwards")
    whole = {layer.name for layer, wanted in zip(prunable, select(prunable, exclude), strict=True) if not wanted}
    chains = list(_chains(model, stages_of(model, example), whole))
    if not chains:
        raise ModelError(
            f"{type(model).__name__}: no two Linear layers of which one alone reads the other; "
            "only such chains can be partitioned"
        )
    for link in (link for chain in chains for link in chain[:-1]):
        for count, what in ((link.module.out_features, "rows"), (link.channels, "channels to read")):
            if count < parts:
                raise ModelError(
                    f"layer {link.name!r}: {count} {what} for {parts} parts; use fewer parts, or exclude the layer"
                )
    weights, kept, before, after, entries = 0, 0, 0.0, 0.0, []
    for chain in chains:
        worths = [_worth(link) for link in chain[:-1]]
        dealt = parts_of_chain(worths, parts, seed)
        for place, (link, worth) in enumerate(zip(chain, worths, strict=False)):
            columns, rows = dealt[place], dealt[place + 1]
            entry = {"name": link.name, "channels": 0 if place else link.channels, "norm": link.norm}
            kept += _cut(model, entry, parts, columns, rows)
            weights += link.module.weight.numel()
            before += float(worth.sum())
            after += inside(worth, rows, columns)
            entries.append(entry)
        last = chain[-1].module
        last.weight.copy_(last.weight[:, torch.from_numpy(np.argsort(dealt[-1], kind="stable"))])
    record = {"pass": PARTS, "parts": parts, "layers": entries}
    return Partitioned(tuple(entry["name"] for entry in entries), weights, kept, after / max(before, 1e-30), record)


def _worth(link: _Link) -> np.ndarray:
    """Magnitude of the weights between each row and each channel: float64, shape (rows, channels)."""
    return link.module.weight.double().abs().unflatten(1, (link.channels, -1)).sum(2).numpy()


def _chains(model: nn.Module, stages: Stages, whole: set[str]) -> Iterator[list[_Link]]:
    """Layers that read one another, two at least; the last one stays whole. Those of ``whole`` are last ones only."""
    readers: dict[str, list[Any]] = {}
    for stage in stages.stages:
        for name in reads(stage):
            readers.setdefault(name, []).append(stage)
    inside_sections = {n for section in stages.sections for n in range(section.first, section.stop)}
    links = {
        stage.name: link
        for stage_number, stage in enumerate(stages.stages)
        if isinstance(stage, Matrix) and stage_number not in inside_sections
        if (link := _link(model, stages, stage)) is not None
    }
    following: dict[str, str] = {}
    for stage in stages.stages:
        if stage.name in links and stage.name not in whole:
            behind = _behind(stages, stage, readers)
            if behind is not None and behind.name in links:
                following[stage.name] = behind.name
    for name in links:
        if name in following and name not in following.values():
            chain = [name]
            while chain[-1] in following:
                chain.append(following[chain[-1]])
            yield [links[each] for each in chain]


def _link(model: nn.Module, stages: Stages, stage: Matrix) -> _Link | None:
    """A Linear that reads all of one value in the order of torch, and alone writes all of another."""
    part, channels = stage.weights[0].part, stages.values[stage.inputs[0]].shape[0]
    whole = len(stage.inputs) == 1 and stage.window is None and stage.channels is None and stage.picks is None
    if part is None or type(part.module) is not nn.Linear or not whole or stage.weights[0].innermost:
        return None
    embedded = any(isinstance(other, EmbeddingStage) and other.output == stage.inputs[0] for other in stages.stages)
    if (
        embedded
        or stage.rows != stages.values[stage.output].shape[0]
        or stage.transposed
        or stage.inputs[0] in stages.delayed
    ):
        return None
    if stage.norm is not None and not isinstance(stage.norm, nn.BatchNorm1d):
        return None
    names = {module: name for name, module in model.named_modules()}
    return _Link(names[part.module], part.module, channels, None if stage.norm is None else names[stage.norm])


def _behind(
    stages: Stages, stage: Matrix | CellStage | EmbeddingStage, readers: Mapping[str, list[Any]]
) -> Matrix | None:
    """The only layer that reads what ``stage`` writes, functions in between; nothing if its units cannot move."""
    while isinstance(stage, Matrix):
        own = stage.operand is None and stage.product is None and stage.first == 0
        alike = all(function.alike for function, _ in stage.functions if isinstance(function, Curve))
        gates = [function for function, rows in stage.functions if function and rows != stage.rows]
        own &= stage.output != stages.output and stage.output not in stages.delayed
        if not own or not alike or gates or len(readers.get(stage.output, ())) != 1:
            return None
        stage = readers[stage.output][0]
        if not isinstance(stage, Matrix) or stage.operand is not None or stage.product is not None:
            return None
        copies = stage.window is not None and stage.window.depthwise and stage.picks is None and stage.channels is None
        if not copies or any(weight.part for weight in stage.weights) or stage.norm is not None:
            return stage
    return None


def _cut(model: nn.Module, entry: dict[str, Any], parts: int, columns: np.ndarray, rows: np.ndarray) -> int:
    """Put the blocks of a layer, and of the norm behind it, into a module in its place. Gives the weights kept."""
    old = model.get_submodule(entry["name"])
    norm = None if entry["norm"] is None else model.get_submodule(entry["norm"])
    assert isinstance(old, nn.Linear)
    new = _replace(model, entry, parts)
    weight = old.weight.unflatten(1, (len(columns), -1))
    for part_number, part in enumerate(new.parts):
        assert isinstance(part, nn.Linear)
        own, read = (torch.from_numpy(np.flatnonzero(side == part_number)) for side in (rows, columns))
        part.weight.copy_(weight[own][:, read].flatten(1))
        if new.channels:
            new.picks(part_number).copy_(read)
        if old.bias is not None:
            part.bias.copy_(old.bias[own])
        if norm is not None:
            target = new.norms[part_number].state_dict()
            state = {name: value[own] if value.dim() else value for name, value in norm.state_dict().items()}
            assert target.keys() == state.keys()
            new.norms[part_number].load_state_dict(state)
    return sum(part.weight.numel() for part in new.parts if isinstance(part, nn.Linear))


def _replace(model: nn.Module, entry: dict[str, Any], parts: int) -> PartitionedLinear:
    """Put an empty module in parts in the place of a Linear and its norm."""
    old, channels = model.get_submodule(entry["name"]), entry["channels"]
    assert isinstance(old, nn.Linear)
    pixels = old.in_features // channels if channels else 1
    inputs = tuple(size * pixels for size in part_sizes(old.in_features // pixels, parts))
    outputs = part_sizes(old.out_features, parts)
    new = PartitionedLinear(inputs, outputs, old.bias is not None, entry["norm"] is not None, channels)
    if entry["norm"] is not None:
        norm = model.get_submodule(entry["norm"])
        assert isinstance(norm, nn.BatchNorm1d)
        options = {"eps": norm.eps, "momentum": norm.momentum, "affine": norm.affine}
        new.norms = nn.ModuleList(nn.BatchNorm1d(size, **options) for size in outputs)
        _set(model, entry["norm"], nn.Identity())
    _set(model, entry["name"], new.to(old.weight.device, old.weight.dtype).train(old.training))
    return new


def _set(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def again(model: nn.Module, record: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """Do what a record says to a model that was built anew; its weights come afterwards.

    Parameters
    ----------
    model : torch.nn.Module
    record : mapping
        :attr:`Partitioned.record`, perhaps from a file that somebody changed.
    state : mapping of str to tensor
        What the model gets afterwards.

    Raises
    ------
    ModelError
        If the record is none, or does not fit the model.
    """
    parts, entries = record.get("parts"), record.get("layers")
    if type(parts) is not int or not isinstance(entries, list):
        raise ModelError(f"partition: its record has parts {parts!r} and layers {entries!r}; run the command again")
    check_parts(parts)
    for entry in entries:
        _check_entry(model, entry, parts, state)
        _replace(model, entry, parts)
    return model


def _check_entry(model: nn.Module, entry: Any, parts: int, state: Mapping[str, Tensor]) -> None:
    """Raise :class:`ModelError` unless ``entry`` names a layer, and a norm, that can be cut into parts."""
    modules = dict(model.named_modules())
    entry = entry if isinstance(entry, dict) else {}
    name, channels, norm = (entry.get(key) for key in ("name", "channels", "norm"))
    layer = modules.get(name) if isinstance(name, str) else None
    good = type(layer) is nn.Linear and type(channels) is int and channels >= 0 and bool(name) and "norm" in entry
    if good and isinstance(layer, nn.Linear):
        read = channels or layer.in_features
        good = layer.in_features % read == 0 and parts <= min(read, layer.out_features)
        behind = modules.get(norm) if isinstance(norm, str) else None
        batch = isinstance(behind, nn.BatchNorm1d) and behind.num_features == layer.out_features
        good &= norm is None or (batch and norm != name)
    if not good:
        raise ModelError(f"partition: its record does not fit the model at layer {name!r}; run the command again")
    if channels:
        picks = [state.get(f"{name}.picks_{part_number}") for part_number in range(parts)]
        given = [pick.flatten() for pick in picks if pick is not None and pick.dtype == torch.int64]
        joined = torch.cat(given) if len(given) == parts else torch.empty(0)
        if not torch.equal(joined.sort().values, torch.arange(channels)):
            raise ModelError(f"layer {name!r}: the channels of its parts are not all channels once; run again")
