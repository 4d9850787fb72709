"""Networks of one task each -> one of all, in which a layer has neurons of one task and neurons that all share.

After pruning-aware merging (PAM, arXiv 1905.09676), whose abstract fixes the idea. How relevance is measured, how many
neurons are shared and how weights begin is a reconstruction.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor, nn

from darb_prune.errors import DataError, ModelError
from darb_prune.modules.layers import layers as prunable
from darb_prune.structure.merged import (
    SHARED,
    Merged,
    MergedSpeech,
    check_heads,
    layers_of_chain,
    outputs_of,
    pixels_of,
    reads_of,
)
from darb_prune.structure.norms import children_of, without_norms
from darb_prune.tasks.fsdd import Speech
from darb_prune.training.gradients import collect
from darb_prune.training.heads import IGNORED
from darb_prune.training.metrics import loss as cross_entropy

__all__ = ["merge", "relevance"]

_BATCH, _BATCHES = 32, 64
"""Samples of a batch from which gradients are taken, and how many batches at most."""
_TELLS = 0.5
"""A neuron is relevant to all tasks if it says of each at least this share of what it says of one."""

Neuron = tuple[str, int]
"""Task whose network it comes from, and its number in the layer there."""


def relevance(values: Tensor, labels: Tensor) -> Tensor:
    """What neurons say about a label: mutual information in nats, if a neuron has a normal distribution in each class.

    ``-log(1 - r) / 2``, where ``r`` is the share of the variance that lies between classes; the mean over the positions
    of a map.

    Parameters
    ----------
    values : float tensor of shape (samples, neurons, positions)
    labels : int64 tensor of shape (samples,)
        Classes; samples of ``IGNORED`` are left out.

    Returns
    -------
    float tensor of shape (neurons,)
    """
    known = labels != IGNORED
    values, labels = values[known].double(), labels[known]
    if not len(values):
        raise DataError("labels: a task has no samples; give samples of each task")
    total = values.var(dim=0, unbiased=False)
    classes, counts = labels.unique(return_counts=True)
    shares = counts.double() / len(values)
    means = torch.stack([values[labels == each].mean(dim=0) for each in classes])
    between = (shares[:, None, None] * (means - values.mean(dim=0)).square()).sum(dim=0)
    ratio = torch.where(total > 0, between / total.clamp(min=1e-30), torch.zeros_like(total)).clamp(0, 1 - 1e-9)
    return (-torch.log1p(-ratio) / 2).mean(dim=1).float()


def _layers(model: nn.Module) -> list[tuple[int, tuple[Tensor, ...], nn.Module]]:
    """Of each layer but the last: its neurons, the weights that make them, and the layer that reads them."""
    if isinstance(model, Speech):
        gru = model.gru
        weights = cast(Tensor, gru.weight_ih_l0), cast(Tensor, gru.weight_hh_l0)
        return [(gru.hidden_size, weights, model.output)]
    layers = [layer for _, layer in layers_of_chain(model)]
    return [(outputs_of(layer), (layer.weight,), behind) for layer, behind in pairwise(layers)]


@torch.no_grad()
def _values(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Neurons of each layer but the last, as the next one reads them: (samples, neurons, positions)."""
    seen: dict[nn.Module, Tensor] = {}
    layers, training = _layers(model), model.training
    hooks = [
        reader.register_forward_pre_hook(lambda module, args: seen.__setitem__(module, args[0].detach()))
        for _, _, reader in layers
    ]
    try:
        model.eval()
        model(inputs)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return [seen[reader].reshape(len(inputs), neurons, -1) for neurons, _, reader in layers]


def _worth(model: nn.Module, inputs: Tensor, labels: Tensor) -> list[Tensor]:
    """What each neuron is worth to the task of its network: the sum of ``w**2 * F`` over its weights, of which ``F`` is
    the diagonal of the Fisher information. Of every layer but the last."""
    known = labels != IGNORED
    batches = zip(inputs[known].split(_BATCH), labels[known].split(_BATCH), strict=True)
    layers = _layers(model)
    weights = [weight for _, some, _ in layers for weight in some]

    def gradients() -> list[Tensor]:
        return [cast(Tensor, weight.grad).flatten(1) for weight in weights]

    squares = iter(collect(model, batches, cross_entropy, gradients, _BATCHES).square)
    return [
        # Rows of a GRU are the neurons, once for each gate.
        torch.stack([(w.detach().flatten(1).square() * next(squares)).sum(1).view(-1, count).sum(0) for w in some]).sum(
            0
        )
        for count, some, _ in layers
    ]


def merge(
    models: Mapping[str, nn.Module], inputs: Tensor, labels: Tensor, share: float | None = None
) -> Merged | MergedSpeech:
    """Merge trained networks of one architecture, whose last layers may differ, into one of all their tasks.

    Each layer gets as many neurons for a task as a network of one task has: shared ones and the task's own. Shared are
    those that say most about all tasks, as many of each network; of the others a task keeps those of its own network
    that are worth most to it. The rest goes. Weights between neurons of one network are what they were; those between
    networks begin at 0. Fine-tune it then, with all tasks together.

    Parameters
    ----------
    models : mapping of str to torch.nn.Sequential, or to Speech
        Networks of Linear and Conv2d layers, or of a GRU with a Linear layer behind its last time step
        (:class:`darb_prune.tasks.fsdd.Speech`), by the names of their tasks; 2 to 4. They do not change. Batch
        normalisation behind a layer becomes part of it (:func:`darb_prune.structure.norms.without_norms`).
    inputs : float tensor, samples first
        Some samples of all tasks.
    labels : int64 tensor of shape (samples, tasks)
        Classes; ``darb_prune.training.heads.IGNORED`` where a sample says nothing of a task.
    share : float, optional
        Share of each layer, 0 to 1, that tasks have in common. By default it follows from the neurons: from how many
        say of each task at least half of what they say of the one that they say most of.

    Returns
    -------
    Merged or MergedSpeech
        Its outputs are those of all tasks, side by side.

    Raises
    ------
    DarbError
        If the networks are not alike, or there are no samples of a task.
    """
    parts = [part for model in models.values() for layer in prunable(model) for part in layer.parts]
    if not all(isinstance(getattr(part.module, part.name), nn.Parameter) for part in parts):
        raise ModelError("merge takes networks that are not pruned; merge first, then prune what comes out")
    models = {task: without_norms(model) for task, model in models.items()}
    heads = _alike(models)
    if share is not None and not (isinstance(share, Real) and 0 <= share <= 1):
        raise ModelError(f"share {share!r} must be 0 to 1")
    if labels.shape != (len(inputs), len(models)) or labels.is_floating_point():
        raise DataError(f"labels of shape {tuple(labels.shape)}; give integers of shape {(len(inputs), len(models))}")
    _check_labels(labels, heads)
    said = {
        task: [torch.stack([relevance(each, label) for label in labels.unbind(1)]) for each in _values(model, inputs)]
        for task, model in models.items()
    }
    pairs = zip(models.items(), labels.unbind(1), strict=True)
    worth = {task: _worth(model, inputs, label) for (task, model), label in pairs}
    chosen: list[dict[str, list[Neuron]]] = []
    for of_layer in zip(*said.values(), *worth.values(), strict=True):
        tells, values = (
            dict(zip(models, part, strict=True)) for part in (of_layer[: len(models)], of_layer[len(models) :])
        )
        # Shared neurons read shared ones only.
        chosen.append(_parts(tells, values, share if not chosen or SHARED in chosen[-1] else 0.0))
    template = next(iter(models.values()))
    widths = [{part: len(neurons) for part, neurons in parts.items()} for parts in chosen]
    if isinstance(template, Speech):
        merged = MergedSpeech(template, heads, widths[0])
        _fill_speech(merged, {task: cast(Speech, model) for task, model in models.items()}, chosen[0])
    else:
        merged = Merged(template, heads, widths)
        _fill(merged, {task: layers_of_chain(model) for task, model in models.items()}, chosen)
    return merged.train(template.training)


def _alike(models: Mapping[str, nn.Module]) -> dict[str, int]:
    """Outputs of each network, which are alike but for that."""
    sizes, shapes = {}, {}
    for task, model in models.items():
        spoken = isinstance(model, Speech)
        last, behind = ("output", model.output) if spoken else layers_of_chain(model)[-1]
        sizes[task] = outputs_of(behind)
        shapes[task] = [
            # Sizes, strides and the like stand in what a module says of itself.
            (name, type(module), [tuple(p.shape[1:]) for p in module.parameters()] if name == last else str(module))
            for name, module in children_of(model)
        ]
    check_heads(sizes)
    first, *others = models
    for task in others:
        if shapes[task] != shapes[first]:
            raise ModelError(f"networks {first!r} and {task!r} are not alike: merge takes one architecture")
    return sizes


def _check_labels(labels: Tensor, heads: Mapping[str, int]) -> None:
    """Raise :class:`DataError` unless all labels are classes of their task, or ``IGNORED``."""
    for (task, classes), label in zip(heads.items(), labels.unbind(1), strict=True):
        wrong = label[(label != IGNORED) & ((label < 0) | (label >= classes))]
        if len(wrong):
            raise DataError(
                f"labels: {int(wrong[0])} is no class of task {task!r}, which has {classes}; give 0 to {classes - 1}, "
                f"or {IGNORED} where a sample says nothing of it"
            )


def _parts(said: Mapping[str, Tensor], worth: Mapping[str, Tensor], share: float | None) -> dict[str, list[Neuron]]:
    """The neurons of each part of a layer. ``said`` is of shape (tasks, neurons), ``worth`` of shape (neurons,)."""
    width = len(next(iter(worth.values())))
    least = {task: values.min(dim=0).values for task, values in said.items()}
    if share is None:
        several = [(least[task] >= _TELLS * values.max(dim=0).values).float().mean() for task, values in said.items()]
        share = float(torch.stack(several).mean())
    common = round(share * width)
    parts: dict[str, list[Neuron]] = {SHARED: []}
    for number, task in enumerate(said):
        count = common // len(said) + (number < common % len(said))
        order = least[task].argsort(descending=True, stable=True).tolist()
        parts[SHARED] += [(task, neuron) for neuron in sorted(order[:count])]
    taken = set(parts[SHARED])
    for task, values in worth.items():
        left = [n for n in values.argsort(descending=True, stable=True).tolist() if (task, n) not in taken]
        parts[task] = [(task, neuron) for neuron in sorted(left[: width - common])]
    return {part: neurons for part, neurons in parts.items() if neurons}


def _outputs(sizes: Mapping[str, int]) -> dict[str, list[Neuron]]:
    """The outputs of all tasks, which are the neurons of the last layer."""
    return {task: [(task, row) for row in range(size)] for task, size in sizes.items()}


def _taken(original: Tensor, task: str, read: Sequence[Neuron]) -> Tensor:
    """The weights of a neuron of ``task`` for what it reads now: 0 for neurons of other networks."""
    own = torch.tensor([of == task for of, _ in read])
    weights = original[torch.tensor([neuron for _, neuron in read])]
    return torch.where(own.view(-1, *(1,) * (original.dim() - 1)), weights, torch.zeros_like(weights))


@torch.no_grad()
def _fill(
    merged: Merged, chains: Mapping[str, Sequence[tuple[str, nn.Linear | nn.Conv2d]]],
    chosen: Sequence[Mapping[str, Sequence[Neuron]]],
) -> None:  # fmt: skip
    """Give the layers of ``merged`` the weights that the chosen neurons have in their networks."""
    rows_of = [*chosen, _outputs(merged.heads)]
    for number, (name, _) in enumerate(next(iter(chains.values()))):
        for part, layer in cast(nn.ModuleDict, merged.get_submodule(name)).items():
            weight, bias = cast(Tensor, layer.weight), cast("Tensor | None", layer.bias)
            read = (
                [neuron for each in reads_of(part, merged.heads) for neuron in chosen[number - 1].get(each, ())]
                if number
                else []
            )
            for row, (task, source) in enumerate(rows_of[number][part]):
                original = chains[task][number][1]
                if bias is not None:
                    bias[row] = cast(Tensor, original.bias)[source]
                columns = original.weight[source]
                if number:  # neurons of the layer before, each with its pixels
                    columns = columns.unflatten(0, (-1, pixels_of(chains[task], number)))
                    columns = _taken(columns, task, read).flatten(0, 1)
                weight[row] = columns


@torch.no_grad()
def _fill_speech(merged: MergedSpeech, models: Mapping[str, Speech], chosen: Mapping[str, Sequence[Neuron]]) -> None:
    """The same for a GRU. Of a shared unit, a unit of a task now reads what this time step gives, and no frames."""
    shared = chosen.get(SHARED, ())
    for part, gru in merged.gru.items():
        units = chosen[part]
        new: Any = gru
        for row, (task, source) in enumerate(units):
            old: Any = models[task].gru
            for gate in range(3):
                to, of = gate * len(units) + row, gate * old.hidden_size + source
                before = old.weight_hh_l0[of]
                of_frames = part == SHARED or not shared
                new.weight_ih_l0[to] = old.weight_ih_l0[of] if of_frames else _taken(before, task, shared)
                new.weight_hh_l0[to] = _taken(before, task, units)
                new.bias_ih_l0[to], new.bias_hh_l0[to] = old.bias_ih_l0[of], old.bias_hh_l0[of]
    for head, layer in merged.output.items():
        output: Any = layer
        last = models[head].output
        read = [neuron for part in reads_of(head, merged.heads) for neuron in chosen.get(part, ())]
        output.weight[:] = torch.stack([_taken(row, head, read) for row in last.weight])
        output.bias[:] = last.bias
