"""Selection of units: which of them a model needs is learned, the others are taken out.

What is left is an ordinary module with fewer units. Reconstructed from RNN neuron selection (arXiv 1906.06847) and
adaptive channel and layer pruning, with the baselines group lasso (intrinsic sparse structures, Wen et al., 2018),
network slimming (Liu et al., 2017) and the same share of each layer (docs/systems/units.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.example import example_of, stages_of
from darb_prune.modules.layers import check_finite, layers
from darb_prune.pruning.methods import Channels, Neurons, Selection, Unpruned
from darb_prune.pruning.one_shot import Pruned, bits_of
from darb_prune.pruning.schedule import PruningSchedule, check_ratio
from darb_prune.structure.criteria import criterion
from darb_prune.structure.gates import WeightCount, fold
from darb_prune.structure.removal import rehearsed, remove
from darb_prune.structure.units import Units, units_of
from darb_prune.training.batches import inputs_of
from darb_prune.training.checkpoint import Checkpoint
from darb_prune.training.loop import finetune, resumable

__all__ = ["UnitSelection", "select_channels", "select_neurons", "units_left"]


class UnitSelection:
    """Takes units out of a model, in place.

    The units are chosen while the model is trained, for as many epochs as the steps of ``schedule`` but the last have;
    then they are taken out, and what is left is trained for those of the last step.

    Parameters
    ----------
    model, loader, exclude, weight_bits, example, seed, training, progress, checkpoint, drop_softmax
        As for :class:`darb_prune.pruning.gradual.Gradual`. A layer that is excluded keeps its own units.
    ratio : float
        Weights of the prunable layers per weight that is left.
    method : Selection
    schedule : PruningSchedule

    Attributes
    ----------
    history : list of dict
        Of both trainings the loss; behind them the ratio reached, and how many units of each layer are left (``units``:
        pairs of numbers, left and before; a residual block is one of one), and the ``record`` of the pass.

    Raises
    ------
    DarbError
        For a ratio that cannot be reached, and a model that is masked, has no units to select, or does not run with
        fewer of them. The model is as it was.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[tuple[Tensor, Tensor]],
        ratio: float,
        method: Selection,
        schedule: PruningSchedule = PruningSchedule(),
        *,
        exclude: Sequence[str] = (),
        weight_bits: int = 8,
        example: Tensor | None = None,
        seed: int = 0,
        training: dict[str, Any] | None = None,
        progress: bool = True,
        checkpoint: Checkpoint | None = None,
        drop_softmax: bool = False,
    ) -> None:
        check_ratio(ratio)
        self.model, self.loader, self.ratio, self.method, self.schedule = model, loader, ratio, method, schedule
        self.weight_bits, self.seed, self.checkpoint = weight_bits, seed, checkpoint
        self.history: list[dict] = []
        self._options: dict[str, Any] = {
            "progress": progress, "checkpoint": checkpoint, "drop_softmax": drop_softmax, "check": False,
            **(training or {}),
        }  # fmt: skip
        prunable = layers(model)
        check_finite(prunable)
        for layer in prunable:
            if layer.parts[0].masked:
                raise ModelError(f"layer {layer.name!r} is pruned; select units first, and prune what is left")
        if example is None:
            example = inputs_of(loader)
        if example is None:
            example = example_of(model)
        units = units_of(stages_of(model, example, drop_softmax), prunable, exclude)
        mapped = any(units.mapped)
        units = units if isinstance(method, Channels) else units.only([not mapped for mapped in units.mapped])
        if not units.count:
            others = "method channels takes those of maps" if mapped else "exclude fewer layers, or prune weights"
            raise ModelError(f"{type(model).__name__}: no units to select with method {method.name}; {others}")
        self.units = units if method.criterion == "gates" else replace(units, blocks=())
        self.units = rehearsed(model, self.units, example[:1], drop_softmax)
        self.count = WeightCount(prunable, self.units)
        units_left(self.units, self.count, torch.zeros(self.units.size), ratio)

    def run(self) -> tuple[Pruned, list[dict]]:
        """Choose, take out, train; or what is left of that after an interruption.

        Returns
        -------
        What is left, and the history.

        Raises
        ------
        DarbError
            If the loss is not finite.
        """
        state, total = self.checkpoint.state if self.checkpoint else {}, round(self.count.total)
        chosen = "there" in state
        there, loss = (state["there"], state["loss"]) if chosen else self._choose()
        record = remove(self.model, self.units, there)
        self.model.eval()
        self.history = [{"loss": loss}]
        if chosen:
            self.model.load_state_dict(state["model"])
            resumable(self.loader).restore(state["loader"])
        elif self.checkpoint:
            loader = resumable(self.loader).state()
            self.checkpoint.update(
                model=self.model.state_dict(), there=there, loader=loader, loss=loss, train=None, force=True
            )
        losses = finetune(
            self.model, self.loader, self.schedule.final_epochs, self.schedule.final_rate,
            seed=(self.seed + 1) % (1 << 32), **self._options,
        )  # fmt: skip
        prunable = layers(self.model)
        kept = sum(layer.weights for layer in prunable)
        bits = bits_of(prunable, Unpruned(), self.weight_bits)
        units = {
            writer.removesuffix(".cell"): [int(there[own].sum()), len(own)]
            for writer, own in self.units.by_writer().items()
        }
        for block, stays in zip(self.units.blocks, there[self.units.count :].tolist(), strict=True):
            units[f"block that ends with {block.name}"] = [int(stays), 1]
        loss = losses[-1] if losses else None
        self.history.append({"loss": loss, "ratio": total / kept, "units": units, "record": record})
        return Pruned(total, kept, bits), self.history

    def _choose(self) -> tuple[Tensor, float | None]:
        """Train; gives the units and blocks that are worth their weights, and the loss."""
        epochs = self.schedule.epochs * (self.schedule.steps - 1)
        selected = criterion(self.method, self.model, self.units, self.count, 1 / self.ratio, epochs)
        losses = finetune(
            selected.trained, self.loader, epochs, self.schedule.rate, seed=self.seed, label="select",
            before_epoch=selected.before_epoch, penalty=selected.penalty, **self._options,
        )  # fmt: skip
        there = units_left(self.units, self.count, selected.scores(), self.ratio)
        fold(self.units, selected.gates())
        return there, losses[-1] if losses else None


def units_left(units: Units, count: WeightCount, scores: Tensor, ratio: float) -> Tensor:
    """What stays so that the ratio is reached: units and blocks with the highest scores, and a unit of each dimension.

    Parameters
    ----------
    units : Units
    count : WeightCount
    scores : float tensor of shape (units and blocks,)
    ratio : float

    Returns
    -------
    bool tensor of shape (units and blocks,)

    Raises
    ------
    DarbError
        If too little is left to take out.
    """
    scores = scores.clone()
    for sides in units.equal:  # the best of each side go together, then the second
        ranks = torch.stack([side[scores[side].argsort(descending=True)] for side in sides])
        scores[ranks] = scores[ranks].max(0).values.expand(ranks.shape)
    scores[: units.count][units.best(scores)] = torch.inf
    borders = scores.unique()  # units with less than a border go
    low, high = 0, len(borders) - 1
    room = count.total / ratio
    if float(count((scores >= borders[high]).float())) > room:
        least = count.total / float(count((scores >= borders[high]).float()))
        raise DarbError(
            f"ratio {ratio:g} cannot be reached: with one unit of each layer it is {least:.2f}; ask for less, or "
            "exclude fewer layers"
        )
    while low < high:
        middle = (low + high) // 2
        if float(count((scores >= borders[middle]).float())) <= room:
            high = middle
        else:
            low = middle + 1
    return scores >= borders[high]


def select_neurons(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    ratio: float = 4,
    method: Neurons = Neurons(),
    schedule: PruningSchedule = PruningSchedule(),
    **options: Any,
) -> tuple[Pruned, list[dict]]:
    """Select hidden units of vectors and recurrent layers: :class:`UnitSelection` with the same arguments, run to its
    end."""
    return UnitSelection(model, loader, ratio, method, schedule, **options).run()


def select_channels(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    ratio: float = 2,
    method: Channels = Channels(),
    schedule: PruningSchedule = PruningSchedule(),
    **options: Any,
) -> tuple[Pruned, list[dict]]:
    """Select channels of maps, and these: :class:`UnitSelection` with the same arguments, run to its end."""
    return UnitSelection(model, loader, ratio, method, schedule, **options).run()
