"""Networks of several tasks whose layers have parts: neurons of one task, and neurons that all share."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.modules.layers import layers as prunable
from darb_prune.structure.norms import children_of, without_norms
from darb_prune.tasks.fsdd import Speech

__all__ = [
    "MERGE",
    "SHARED",
    "InParts",
    "Merged",
    "MergedSpeech",
    "Widths",
    "again",
    "check_heads",
    "layers_of_chain",
    "outputs_of",
    "pixels_of",
    "reads_of",
    "record_of",
]  # fmt: skip

MERGE = "merge"
"""The name of the pass in records."""
SHARED = "shared"
"""Name of the part of a layer that all tasks need; the others have the names of their tasks."""
_TASKS_MAX = 4
"""Tasks of an encoded network."""
_STATELESS = (nn.ReLU, nn.ReLU6, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, nn.Dropout, nn.Identity, nn.Sigmoid, nn.Tanh)
"""What may stand between layers: it has no weights, and works on each channel alone."""

Layer = nn.Linear | nn.Conv2d
Widths = dict[str, int]
"""Neurons of each part of a layer; a part without neurons has no entry."""


class InParts(nn.Module):
    """What networks of several tasks have in common: layers whose parts are a ``torch.nn.ModuleDict``, and heads."""

    heads: dict[str, int]

    @property
    def subsets(self) -> int:
        """Subsets of the tasks, without the empty one."""
        return (1 << len(self.heads)) - 1

    def uses(self) -> dict[str, int]:
        """In how many of the subsets of the tasks each layer that can be pruned is run, by its name."""
        return {
            layer.name: self.subsets if layer.name.split(".")[1:2] == [SHARED] else (self.subsets + 1) // 2
            for layer in prunable(self)
        }


class Merged(InParts):
    """Layers in parts: ``shared``, and one for each task. Shared neurons read shared ones only, those of a task read
    their own and shared ones. So what other tasks need can be left out.

    Parameters
    ----------
    template : torch.nn.Sequential
        Linear and Conv2d layers, and modules without weights between them: a network of one task.
    heads : mapping of str to int
        Outputs of each task.
    widths : sequence of dict of str to int
        Neurons of each part of each layer, the last one aside, which has the outputs of the tasks.

    Raises
    ------
    ModelError
        If the template is something else, or a part has nothing to read.
    """

    def __init__(self, template: nn.Module, heads: Mapping[str, int], widths: Sequence[Widths]) -> None:
        super().__init__()
        layers = layers_of_chain(template)
        check_heads(heads)
        if len(widths) != len(layers) - 1:
            raise ModelError(f"widths of {len(widths)} layers; the network has {len(layers)}, the last one aside")
        self.heads, self.widths = dict(heads), tuple(dict(each) for each in widths)
        before: Widths | None = None
        behind = [*self.widths, self.heads]
        for name, module in children_of(template):
            if not isinstance(module, nn.Linear | nn.Conv2d):
                self.add_module(name, type(module)() if isinstance(module, nn.Flatten) else copy.deepcopy(module))
                continue
            number = [each for each, _ in layers].index(name)
            pixels = pixels_of(layers, number)
            parts = nn.ModuleDict()
            for part, rows in behind[number].items():
                if part not in (SHARED, *self.heads) or rows < 1:
                    raise ModelError(f"layer {name!r}: part {part!r} of {rows} neurons; name a task, and at least 1")
                read = 0 if before is None else sum(before.get(each, 0) for each in reads_of(part, self.heads))
                columns = _inputs(module) if before is None else read * pixels
                if not columns:
                    raise ModelError(f"layer {name!r}: part {part!r} has nothing to read")
                parts[part] = _like(module, columns, rows)
            self.add_module(name, parts)
            before = behind[number]

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of all tasks, side by side, for inputs as the networks of the tasks take them."""
        values: Mapping[str, Tensor] = dict.fromkeys((SHARED, *self.heads), x)
        first, flatten = True, None
        for module in self.children():
            if isinstance(module, nn.ModuleDict):
                read = values if first else _read(values, self.heads)
                if flatten is not None:
                    read = {part: flatten(read[part]) for part in module}
                values, first, flatten = {part: layer(read[part]) for part, layer in module.items()}, False, None
            elif isinstance(module, nn.Flatten):
                flatten = module  # of parts side by side
            elif first:
                x = module(x)
                values = dict.fromkeys(values, x)
            else:
                values = {part: module(value) for part, value in values.items()}
        return torch.cat([values[head] for head in self.heads], 1)


class MergedSpeech(InParts):
    """A GRU in parts, and a Linear layer for each task. Shared units read the frames and shared units, those of a task
    the shared ones of the same time step and their own; the frames if there are no shared ones.

    Parameters
    ----------
    template : Speech
        A network of one task.
    heads : mapping of str to int
        Outputs of each task.
    widths : dict of str to int
        Units of each part.

    Raises
    ------
    ModelError
        If a part is not known, or a task has nothing to read.
    """

    def __init__(self, template: Speech, heads: Mapping[str, int], widths: Widths) -> None:
        super().__init__()
        check_heads(heads)
        self.heads, self.widths = dict(heads), (dict(widths),)
        bands, shared = template.gru.input_size, widths.get(SHARED, 0)
        self.gru, self.output = nn.ModuleDict(), nn.ModuleDict()
        for part, units in widths.items():
            if part not in (SHARED, *heads) or units < 1:
                raise ModelError(f"layer 'gru': part {part!r} of {units} neurons; name a task, and at least 1")
            self.gru[part] = nn.GRU(shared if shared and part != SHARED else bands, units, batch_first=True)
        for head, size in heads.items():
            if not (read := sum(widths.get(part, 0) for part in reads_of(head, heads))):
                raise ModelError(f"layer 'output': part {head!r} has nothing to read")
            self.output[head] = nn.Linear(read, size)

    def forward(self, frames: Tensor) -> Tensor:
        """Outputs of all tasks, side by side, for frames as the networks of the tasks take them."""
        last, read = {}, frames
        if SHARED in self.gru:
            read, _ = self.gru[SHARED](frames)
            last[SHARED] = read[:, -1]
        for head in self.heads:
            if head in self.gru:
                last[head] = self.gru[head](read)[0][:, -1]
        states = _read(last, self.heads)
        return torch.cat([self.output[head](states[head]) for head in self.heads], 1)


def reads_of(part: str, heads: Iterable[str]) -> tuple[str, ...]:
    """Parts of the layer before that a part reads, in the order of its inputs."""
    if part == SHARED:
        return (SHARED,)
    return (part, SHARED) if part == next(iter(heads)) else (SHARED, part)


def _read(values: Mapping[str, Tensor], heads: Iterable[str]) -> dict[str, Tensor]:
    """What each part reads of the parts of the layer before.

    Vectors of the first task, of all, and of the second one stand side by side once, and each of them reads a stretch
    of that: an engine copies nothing then. Else a part has what it reads side by side for itself.
    """
    parts = {part: [each for each in reads_of(part, heads) if each in values] for part in (SHARED, *heads)}
    first, second, *_ = heads
    row = [part for part in (first, SHARED, second) if part in values]
    stretches = {part for part in (first, SHARED, second) if values[row[0]].dim() == 2} if row else set()
    whole = torch.cat([values[part] for part in row], 1) if len(row) > 1 and stretches else None
    read = {}
    for part, names in parts.items():
        if len(names) > 1 and (whole is None or part not in stretches):
            read[part] = torch.cat([values[each] for each in names], 1)
        elif names and whole is not None and part in stretches:
            start = sum(values[each].shape[1] for each in row[: row.index(names[0])])
            length = sum(values[each].shape[1] for each in names)
            read[part] = whole if length == whole.shape[1] else whole[:, start : start + length]
        elif names:
            read[part] = values[names[0]]
    return read


def check_heads(heads: Mapping[str, int]) -> None:
    if not 2 <= len(heads) <= _TASKS_MAX:
        raise ModelError(f"{len(heads)} tasks; merge takes 2 to {_TASKS_MAX} networks")
    for name, size in heads.items():
        if name == SHARED or not name.isidentifier() or hasattr(nn.ModuleDict, name) or size < 1:
            raise ModelError(
                f"task {name!r} of {size} outputs: a name is a word other than {SHARED!r}, outputs are 1 or more"
            )


def layers_of_chain(model: nn.Module) -> list[tuple[str, Layer]]:
    """Names and modules of the layers of a chain.

    Raises
    ------
    ModelError
        If the model is no chain.
    """
    if not isinstance(model, nn.Sequential):
        raise ModelError(f"merge takes networks that are a torch.nn.Sequential of layers, not {type(model).__name__}")
    layers: list[tuple[str, Layer]] = []
    for name, module in children_of(model):
        if isinstance(module, nn.Linear | nn.Conv2d):
            if isinstance(module, nn.Conv2d) and (module.groups != 1 or isinstance(module.padding, str)):
                raise ModelError(f"layer {name!r}: merge takes convolutions without groups, and padding in numbers")
            if any(module is layer for _, layer in layers):
                raise ModelError(f"layer {name!r} stands in the network twice; merge takes layers of their own")
            layers.append((name, module))
        elif not isinstance(module, _STATELESS):
            raise ModelError(
                f"layer {name!r}: merge does not know {type(module).__name__} there; it takes Linear and Conv2d, batch "
                f"normalisation right behind them, and {', '.join(known.__name__ for known in _STATELESS)}"
            )
    if len(layers) < 2:
        raise ModelError(f"merge takes networks of 2 layers or more, not {len(layers)}")
    return layers


def _inputs(layer: Layer) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def outputs_of(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def pixels_of(layers: Sequence[tuple[str, Layer]], number: int) -> int:
    """Columns that a layer has for each neuron of the layer before: more than one behind a flattened map."""
    name, layer = layers[number]
    if not number:
        return 1
    pixels, rest = divmod(_inputs(layer), outputs_of(layers[number - 1][1]))
    if rest:
        raise ModelError(f"layer {name!r}: its {_inputs(layer)} inputs are not those of the layer before")
    return pixels


def _like(layer: nn.Linear | nn.Conv2d, columns: int, rows: int) -> nn.Module:
    """A layer of other sizes."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(columns, rows, bias)
    size, stride, padding = (cast(Any, value) for value in (layer.kernel_size, layer.stride, layer.padding))
    return nn.Conv2d(columns, rows, size, stride, padding, cast(Any, layer.dilation), bias=bias)


def record_of(merged: Merged | MergedSpeech) -> dict[str, Any]:
    """The record of a merged network for its run folder."""
    return {"pass": MERGE, "heads": merged.heads, "widths": [dict(each) for each in merged.widths]}


def again(model: nn.Module, record: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """The merged network of a record. Its parts have no more neurons than the layers of ``model``, the network that the
    task builds, whose last layer has the outputs of all tasks: what ``state`` has of them, later passes may have made
    smaller."""
    heads: Any = record.get("heads")
    widths: Any = record.get("widths")
    model = without_norms(model)
    spoken = isinstance(model, Speech)
    if isinstance(model, Speech):
        sizes = {"gru": model.gru.hidden_size, "output": model.output.out_features}
    else:
        sizes = {name: outputs_of(layer) for name, layer in layers_of_chain(model)}
    lists = isinstance(heads, dict) and isinstance(widths, list)
    if not lists or len(widths) != len(sizes) - 1 or not all(isinstance(each, dict) for each in widths):
        raise ModelError("pass 'merge' of its structure has no heads or widths; run darb merge again")
    for (name, most), parts in zip(sizes.items(), [*widths, heads], strict=True):
        for part, rows in parts.items():
            if part not in (SHARED, *heads) or type(rows) is not int or not 1 <= rows <= most:
                raise ModelError(
                    f"pass 'merge' of its structure: layer {name!r} has no part {part!r} of {rows!r} neurons; "
                    "run darb merge again"
                )
    return MergedSpeech(model, heads, widths[0]) if spoken else Merged(model, heads, widths)
