"""Gradual pruning: masks in steps, with fine-tuning after each."""

import math
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial

from torch import Tensor, nn

from darb_prune.errors import DarbError
from darb_prune.modules.layers import layers
from darb_prune.modules.masked import load_pruned, regrowing
from darb_prune.pruning.admm import Admm
from darb_prune.pruning.one_shot import Pruned, prune
from darb_prune.pruning.ordering import KEEP
from darb_prune.training.checkpoint import Checkpoint
from darb_prune.training.loop import cosine, finetune, steps_of

__all__ = ["gradual", "ratios"]


def ratios(target: float, steps: int) -> list[float]:
    """Pruning ratios of a cubic schedule from dense to ``target``: ``s = s_end * (1 - (1 - t)**3)``.

    ``s = 1 - 1/ratio`` is the sparsity and ``t`` runs over ``1/steps .. 1`` (Zhu and Gupta, 2017).
    """
    end = 1 - 1 / target
    return [1 / (1 - end * (1 - (1 - step / steps) ** 3)) for step in range(1, steps)] + [target]


def gradual(
    model: nn.Module,
    loader: Iterable,
    ratio: float = 13,
    steps: int = 8,
    epochs: int = 4,
    final_epochs: int = 30,
    rate: float = 2e-3,
    final_rate: float = 2e-3,
    seed: int = 0,
    progress: bool = True,
    rewind: bool = True,
    regrow: float = 0.0,
    admm: float = 0.0,
    training: dict | None = None,
    checkpoint: Checkpoint | None = None,
    **options,
) -> tuple[Pruned, list[dict]]:
    """Prune ``model`` in place to ``ratio`` in steps, with fine-tuning after each.

    The masks of each step are computed from the dense shadow weights. The storage order is chosen once, for the
    last step, so that the blocks of the steps are nested.

    Parameters
    ----------
    model, loader
        As for :func:`train`.
    ratio : float
    steps : int
        Masks computed, the last one at ``ratio``; the ratios between rise as in :func:`ratios`.
    epochs, final_epochs : int
        Epochs of fine-tuning after each step but the last, and after the last.
    rate, final_rate : float
        Learning rates of the same.
    seed : int
    progress : bool
    rewind : bool
        Whether the learning rate starts again at ``rate`` after each step (Renda et al., 2020), or falls once
        from the first step to the last.
    regrow : float
        If above 0, masked weights are trained too before the last step, as if they were not masked, and masks
        computed anew in every epoch: weights that were masked too early come back. ``regrow / 2 * |w|**2`` over the
        masked weights is added to the loss, or they would grow without end (SR-STE; Zhou et al., 2021).
    admm : float
        If above 0, the steps before the last prune nothing: ``admm / 2 * |W - Z + U|**2`` is added to the loss,
        which pulls the weights ``W`` towards their own pruned copy ``Z``; ``Z`` and the dual variable ``U`` are
        updated at each step (Zhang et al., 2018).
    training : dict, optional
        More options of :func:`train` (loss, weight_decay, clip).
    checkpoint : Checkpoint, optional
        Where to go on from, and to save to.
    **options
        Of :func:`darb_prune.prune` (method, allocation, order, levels, ...).

    Returns
    -------
    What the last step left, and a history: ratio asked for, ratio reached and loss of each step.
    """
    if steps < 1:
        raise DarbError(f"steps {steps} must be at least 1")
    for name, value in (("admm", admm), ("regrow", regrow)):
        if not (value >= 0 and math.isfinite(value)):
            raise DarbError(f"{name} {value} must be a number from 0 up")
    if admm and regrow:
        raise DarbError("admm and regrow exclude each other; choose one")
    options = {"samples": loader, "seed": seed} | options
    common = {"progress": False, **(training or {})}
    schedule = ratios(ratio, steps) if ratio > 1 else [ratio]
    saved = dict(checkpoint.state) if checkpoint else {}
    if saved:
        load_pruned(model, saved["model"])
        loader.restore(saved["loader"])
    else:
        prune(model, ratio, **options)  # what cannot be reached is refused now, not after an hour
    if not admm and any(part.ordered for layer in layers(model) for part in layer.parts):
        options["order"] = KEEP
    history = list(saved.get("steps", []))
    left = Pruned(**saved["left"]) if saved.get("left") else None
    pulled = Admm(model, ratio, admm, options) if admm else None
    if pulled and saved.get("admm"):
        pulled.restore(saved["admm"])
    total = max(epochs * (len(schedule) - 1) + final_epochs, 1)
    for number in steps_of(len(schedule), "prune", progress, len(history)):
        last = number == len(schedule) - 1
        wanted, length = schedule[number], final_epochs if last else epochs
        pulling = pulled is not None and not last
        if saved.get("pruned") != number:  # else we go on in the middle of this step
            if pulling:
                pulled.update()
            left = prune(model, wanted, **options | ({"method": "dense"} if pulling else {}))
            if checkpoint:
                checkpoint.update(
                    model=model.state_dict(),
                    left=asdict(left),
                    loader=loader.state(),
                    steps=list(history),
                    pruned=number,
                    admm=pulled.state() if pulled else None,
                    train=None,
                )
        again = partial(prune, model, wanted, **options) if regrow and not last else None
        with regrowing(model) if again else nullcontext():
            losses = finetune(
                model,
                loader,
                length,
                final_rate if last else rate,
                seed=(seed + number) % (1 << 32),
                before_epoch=again,
                penalty=pulled.penalty if pulling else partial(_masked_energy, model, regrow) if again else None,
                rates=None if rewind else partial(_part_of_cosine, number * epochs / total, length / total),
                checkpoint=checkpoint,
                **common,
            )
        history.append({"wanted": wanted, "ratio": left.ratio, "loss": losses[-1] if losses else None})
    return left, history


def _masked_energy(model: nn.Module, strength: float) -> Tensor:
    parts = [part for layer in layers(model) for part in layer.parts]
    masked = (part.parameter * (1 - getattr(part.module, f"{part.name}_mask")) for part in parts if part.masked)
    return strength / 2 * sum(weights.square().sum() for weights in masked)


def _part_of_cosine(start: float, length: float, done: float) -> float:
    return cosine(start + length * done)
