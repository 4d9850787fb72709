"""Partition pruning: layers in parts that exchange nothing until the last layer of their chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darb_prune.encoded import part_sizes
from darb_prune.errors import ModelError
from darb_prune.frontend.example import stages_of
from darb_prune.modules.layers import check_finite, layers, select
from darb_prune.modules.partitioned import PartitionedConv2d, PartitionedLinear
from darb_prune.patterns.parts import inside, parts_of_chain
from darb_prune.structure.chains import Link, chains_of

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


def check_parts(parts: int) -> None:
    """Raise :class:`ModelError` for a number of parts that nothing can have."""
    if not (isinstance(parts, Integral) and 2 <= parts <= PARTS_MAX):
        raise ModelError(f"parts {parts!r} must be 2 to {PARTS_MAX}")


@torch.no_grad()
def partition(
    model: nn.Module, parts: int, exclude: Sequence[str] = (), example: Tensor | None = None, seed: int = 0
) -> Partitioned:
    """Cut chains of Linear layers and convolutions into parts, in place.

    Each row and each column of a layer belongs to one part, all parts equally large (up to one), and weights between
    different parts go; of a convolution, kernels between channels of different parts. The parts are those that keep the
    greatest sum of magnitudes, as far as :func:`~darb_prune.patterns.parts.parts_of_chain` finds them. What a part
    gives, the same part of the next layer reads. The last layer of a chain stays whole and reads all parts, and so does
    the first one if it is a convolution. The other layers become
    :class:`~darb_prune.modules.partitioned.PartitionedLinear` and
    :class:`~darb_prune.modules.partitioned.PartitionedConv2d` modules; units are stored part by part, and everything
    behind the chain is what it was.

    A chain is layers (Linear, Conv2d without groups) that read one another, with functions of one value, dropout,
    normalisation, pooling, depthwise convolutions and ``flatten`` in between, where nobody else reads what is between
    them. A Linear that begins a chain behind a map reads whole channels of it in each part.

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
    divided = (_divided(chain) for chain in chains_of(model, stages_of(model, example), whole))
    chains = [(first, cut, last) for first, cut, last in divided if cut]
    if not chains:
        raise ModelError(
            f"{type(model).__name__}: no two Linear layers, and no three layers that begin with a convolution, of "
            "which each alone reads the one before; only such chains can be partitioned"
        )
    for first, cut, _ in chains:
        counts = [(link, len(link.module.weight), "rows") for link in (*first, *cut)]
        for link, count, what in (*counts, (cut[0], cut[0].channels, "channels to read")):
            if count < parts:
                raise ModelError(
                    f"layer {link.name!r}: {count} {what} for {parts} parts; use fewer parts, or exclude the layer"
                )
    weights, kept, before, after, entries = 0, 0, 0.0, 0.0, []
    for first, cut, last in chains:
        worths = [_worth(link) for link in cut]
        dealt = parts_of_chain(worths, parts, seed)
        orders = [torch.from_numpy(np.argsort(own, kind="stable")) for own in dealt]
        for link in first:
            norm = [] if link.norm is None else [model.get_submodule(link.norm)]
            for module in (link.module, *norm, *link.followers):
                _sort_rows(module, orders[0])
        for place, (link, worth) in enumerate(zip(cut, worths, strict=True)):
            columns, rows = dealt[place], dealt[place + 1]
            sorted_already = bool(place or first)
            picks = link.channels if link.pixels > 1 or not sorted_already else 0
            entry = {"name": link.name, "channels": picks, "norm": link.norm}
            kept += _cut(model, entry, parts, columns, rows, sorted_already)
            for module in link.followers:
                _sort_rows(module, orders[place + 1])
            weights += link.module.weight.numel()
            before += float(worth.sum())
            after += inside(worth, rows, columns)
            entries.append(entry)
        weight = last.module.weight
        weight.copy_(_by_channel(weight, last.channels)[:, orders[-1]].reshape(weight.shape))
    record = {"pass": PARTS, "parts": parts, "layers": entries}
    return Partitioned(tuple(entry["name"] for entry in entries), weights, kept, after / max(before, 1e-30), record)


def _divided(chain: list[Link]) -> tuple[list[Link], list[Link], Link]:
    """The layer of a chain that writes all parts, if it begins with a convolution; those to cut; the one that reads all
    parts."""
    first = int(isinstance(chain[0].module, nn.Conv2d))
    return chain[:first], chain[first:-1], chain[-1]


def _by_channel(weight: Tensor, channels: int) -> Tensor:
    """Weights of a layer, shape (rows, channels that it reads, columns or taps of each)."""
    return weight.reshape(len(weight), channels, -1)


def _worth(link: Link) -> np.ndarray:
    """Magnitude of the weights between each row and each channel: float64, shape (rows, channels)."""
    return _by_channel(link.module.weight, link.channels).double().abs().sum(2).numpy()


def _sort_rows(module: nn.Module, order: Tensor) -> None:
    """Put the rows of a layer or norm in another order, in place."""
    for values in module.state_dict().values():
        if values.dim():
            values.copy_(values[order])


def _cut(
    model: nn.Module, entry: dict[str, Any], parts: int, columns: np.ndarray, rows: np.ndarray, sorted_already: bool
) -> int:
    """Put the blocks of a layer, and of the norm behind it, into a module in its place. Gives the weights kept.
    ``sorted_already``: the channels that it reads are stored part by part."""
    old = model.get_submodule(entry["name"])
    norm = None if entry["norm"] is None else model.get_submodule(entry["norm"])
    assert isinstance(old, nn.Linear | nn.Conv2d)
    new = _replace(model, entry, parts)
    weight = _by_channel(old.weight, len(columns))
    for part_number, part in enumerate(new.parts):
        assert isinstance(part, nn.Linear | nn.Conv2d)
        own, read = (torch.from_numpy(np.flatnonzero(side == part_number)) for side in (rows, columns))
        part.weight.copy_(weight[own][:, read].reshape(part.weight.shape))
        if isinstance(new, PartitionedLinear) and new.channels and not sorted_already:
            new.picks(part_number).copy_(read)
        if old.bias is not None and part.bias is not None:
            part.bias.copy_(old.bias[own])
        if norm is not None:
            target = new.norms[part_number].state_dict()
            state = {name: value[own] if value.dim() else value for name, value in norm.state_dict().items()}
            assert target.keys() == state.keys()
            new.norms[part_number].load_state_dict(state)
    return sum(part.weight.numel() for part in new.parts if isinstance(part, nn.Linear | nn.Conv2d))


def _replace(model: nn.Module, entry: dict[str, Any], parts: int) -> PartitionedLinear | PartitionedConv2d:
    """Put an empty module in parts in the place of a layer and its norm."""
    old, normed = model.get_submodule(entry["name"]), entry["norm"] is not None
    if isinstance(old, nn.Conv2d):
        inputs, outputs = part_sizes(old.in_channels, parts), part_sizes(old.out_channels, parts)
        options = {"stride": old.stride, "padding": old.padding, "dilation": old.dilation}
        new = PartitionedConv2d(inputs, outputs, old.kernel_size, **options, bias=old.bias is not None, norm=normed)
    else:
        assert isinstance(old, nn.Linear)
        pixels = old.in_features // entry["channels"] if entry["channels"] else 1
        outputs = part_sizes(old.out_features, parts)
        inputs = tuple(size * pixels for size in part_sizes(old.in_features // pixels, parts))
        new = PartitionedLinear(inputs, outputs, old.bias is not None, normed, entry["channels"])
    if normed:
        norm = model.get_submodule(entry["norm"])
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        kind = nn.BatchNorm2d if isinstance(old, nn.Conv2d) else nn.BatchNorm1d
        options = {"eps": norm.eps, "momentum": norm.momentum, "affine": norm.affine}
        new.norms = nn.ModuleList(kind(size, **options) for size in outputs)
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
    layer = modules.get(name) if isinstance(name, str) and name else None
    behind = modules.get(norm) if isinstance(norm, str) else None
    norm_fits, good = False, type(channels) is int and channels >= 0 and "norm" in entry
    if good and type(layer) is nn.Linear:
        read = channels or layer.in_features
        good = layer.in_features % read == 0 and parts <= min(read, layer.out_features)
        norm_fits = isinstance(behind, nn.BatchNorm1d) and behind.num_features == layer.out_features
    elif good and type(layer) is nn.Conv2d:
        good = layer.groups == 1 and not channels and parts <= min(layer.in_channels, layer.out_channels)
        norm_fits = isinstance(behind, nn.BatchNorm2d) and behind.num_features == layer.out_channels
    else:
        good = False
    if not good or (norm is not None and not norm_fits):
        raise ModelError(f"partition: its record does not fit the model at layer {name!r}; run the command again")
    if channels:
        picks = [state.get(f"{name}.picks_{part_number}") for part_number in range(parts)]
        given = [pick.flatten() for pick in picks if pick is not None and pick.dtype == torch.int64]
        joined = torch.cat(given) if len(given) == parts else torch.empty(0)
        if not torch.equal(joined.sort().values, torch.arange(channels)):
            raise ModelError(f"layer {name!r}: the channels of its parts are not all channels once; run again")
