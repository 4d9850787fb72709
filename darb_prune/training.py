"""Training, fine-tuning (with quantisation awareness) and gradual pruning; the same seed gives the same model."""

import math
from collections.abc import Callable, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from darb_prune.admm import Admm
from darb_prune.checkpoint import Checkpoint
from darb_prune.container import DarbError
from darb_prune.layers import check_finite, layers
from darb_prune.metrics import loss as cross_entropy
from darb_prune.pruned import load_pruned, refresh, regrowing
from darb_prune.pruning import KEEP, Pruned, prune
from darb_prune.qat import FakeQuantized
from darb_prune.recurrence import Carried

__all__ = ["check_training", "evaluate", "finetune", "gradual", "ratios", "seeded", "train"]

Loss = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def seeded(seed: int):
    """Fix torch's random numbers (initial weights, dropout) inside, leave the caller's untouched outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def check_training(epochs: int = 0, rate: float = 1.0, seed: int = 0) -> None:
    """Raise :class:`DarbError` for a setting that no training can have."""
    if epochs < 0:
        raise DarbError(f"epochs {epochs} must be at least 0")
    if not (rate > 0 and math.isfinite(rate)):
        raise DarbError(f"rate {rate} must be a number above 0")
    if not 0 <= seed < 1 << 32:
        raise DarbError(f"seed {seed} must be 0 to {(1 << 32) - 1}")


def _steps(count: int, label: str, progress: bool, done: int = 0) -> Iterable[int]:
    return track(range(done, count), label, count, done, disable=not progress, console=Console(stderr=True))


def train(
    model: nn.Module,
    loader: Iterable,
    epochs: int = 60,
    rate: float = 2e-3,
    weight_decay: float = 1e-4,
    loss: Loss = cross_entropy,
    seed: int = 0,
    progress: bool = True,
    label: str = "train",
    before_epoch: Callable[[], None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    clip: float | None = None,
    rates: Callable[[float], float] | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[float]:
    """Train ``model`` in place with AdamW and a cosine schedule down to a hundredth of the rate.

    A model that returns ``(outputs, state)`` gets its state back with the next batch; each epoch starts without.

    Parameters
    ----------
    model : torch.nn.Module
    loader : iterable of (inputs, labels)
        Iterated once an epoch; its order is the caller's to fix (see :mod:`darb_prune.batches`).
    epochs : int
    rate : float
        First learning rate.
    weight_decay : float
    loss : callable (outputs, labels) -> scalar tensor
    seed : int
        Of dropout.
    progress : bool
        Whether to draw a progress bar (on standard error).
    label : str
        Of the progress bar.
    before_epoch : callable, optional
    penalty : callable () -> scalar tensor, optional
        Added to the loss of each batch.
    clip : float, optional
        Largest norm of the gradient.
    rates : callable, optional
        Share of ``rate`` as a function of the share of the training done, instead of the cosine.
    checkpoint : Checkpoint, optional
        Where to go on from, and to save to after an epoch. The loader must have ``state`` and ``restore``.

    Returns
    -------
    list of float: mean loss of each epoch.

    Raises
    ------
    DarbError
        If the loader is empty or the loss leaves the finite numbers.
    """
    check_training(epochs, rate, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=weight_decay, fused=True)
    if rates is None:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs, 1), eta_min=rate / 100)
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: rates(epoch / max(epochs, 1)))
    history = []
    forward = Carried(model)
    model.train()
    with seeded(seed):
        if checkpoint and checkpoint.state.get("train"):
            history = _resume(model, optimizer, schedule, loader, checkpoint.state)
        for epoch in _steps(epochs, label, progress, len(history)):
            if before_epoch:
                before_epoch()
            forward.reset()
            total, samples = 0.0, 0
            for inputs, labels in loader:
                optimizer.zero_grad()
                value = loss(forward(inputs), labels)
                (value + penalty() if penalty else value).backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                total += float(value.detach()) * len(inputs)
                samples += len(inputs)
            if not samples:
                raise DarbError("loader: no batches; give a loader that can be iterated once an epoch")
            if not math.isfinite(total):
                raise DarbError(f"{label}: the loss is {total} after epoch {epoch + 1}; lower the learning rate")
            history.append(total / samples)
            schedule.step()
            if checkpoint and checkpoint.due:
                checkpoint.update(model=model.state_dict(), train=_state(model, optimizer, schedule, loader, history))
    refresh(model)
    model.eval()
    return history


def _cosine(done: float) -> float:
    """Share of the first learning rate: 1 falling to 0.01."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, schedule, loader, history: list[float]) -> dict:
    # By name: masks change the order of the parameters.
    moments = {name: dict(optimizer.state[parameter]) for name, parameter in model.named_parameters()}
    return {
        "history": list(history),
        "moments": moments,
        "rate": optimizer.param_groups[0]["lr"],
        "schedule": {key: value for key, value in schedule.state_dict().items() if key != "lr_lambdas"},
        "random": torch.get_rng_state(),
        "loader": loader.state(),
    }


def _resume(model: nn.Module, optimizer, schedule, loader, state: dict) -> list[float]:
    """Put everything back as :func:`_state` saw it; the losses so far."""
    saved = state["train"]
    model.load_state_dict(state["model"])
    [group] = optimizer.state_dict()["param_groups"]
    moments = {
        number: saved["moments"][name]
        for number, (name, _) in enumerate(model.named_parameters())
        if saved["moments"][name]
    }
    optimizer.load_state_dict({"state": moments, "param_groups": [group | {"lr": saved["rate"]}]})
    schedule.__dict__.update(saved["schedule"])
    torch.set_rng_state(saved["random"])
    loader.restore(saved["loader"])
    return list(saved["history"])


def finetune(
    model: nn.Module,
    loader: Iterable,
    epochs: int = 20,
    rate: float = 1e-3,
    weight_bits: int | None = None,
    activation_bits: int = 8,
    percentile: float = 100.0,
    calibration: Tensor | Iterable | None = None,
    **options,
) -> list[float]:
    """Train the kept weights of a pruned model on, in place; masked weights stay as they are.

    Parameters
    ----------
    model, loader, epochs, rate
        As for :func:`train`.
    weight_bits : int, optional
        If given, training is quantisation-aware: forward passes round weights and activations as
        :func:`darb_prune.quantize` will with the same arguments. All ranges are taken anew in each epoch. Batch
        normalisation works as in ``eval`` mode, dropout does nothing, recurrent models start every batch with their
        initial state.
    activation_bits, percentile
        For quantisation-aware training.
    calibration : tensor, or iterable of tensors or of (inputs, labels), optional
        For quantisation-aware training: what activation ranges are calibrated on, the same data as for
        ``quantize``. If absent, all inputs of one pass over the loader.
    **options
        Of :func:`train`.
    """
    check_finite(layers(model))
    options = {"label": "fine-tune", "weight_decay": 0.0} | options
    if weight_bits is None:
        return train(model, loader, epochs, rate, **options)
    inputs = loader if calibration is None else calibration
    rounded = FakeQuantized(model, inputs, weight_bits, activation_bits, percentile)
    try:
        return train(rounded, loader, epochs, rate, before_epoch=rounded.update, **options)
    finally:
        model.eval()


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
    for number in _steps(len(schedule), "prune", progress, len(history)):
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
    return _cosine(start + length * done)


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest output is the right one (the first of equals)."""
    model.eval()
    return float((model(inputs).argmax(dim=1) == labels).double().mean())
