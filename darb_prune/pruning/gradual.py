"""Gradual pruning: masks in steps, with fine-tuning after each; it can stop anywhere and go on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from darb_prune.modules.layers import layers
from darb_prune.modules.masked import load_pruned
from darb_prune.pruning.admm import Admm
from darb_prune.pruning.methods import Darb, Method, as_method
from darb_prune.pruning.one_shot import Pruned, prune
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.pruning.strategies import FallingRate, Regrowth, RewoundRate, StepMasks
from darb_prune.training.checkpoint import Checkpoint
from darb_prune.training.loop import finetune, resumable, steps_of
from darb_prune.training.metrics import loss as cross_entropy

__all__ = ["Gradual", "gradual"]


class Gradual:
    """Prunes a model in place to a ratio in steps, with fine-tuning after each.

    The masks of each step are computed from the dense shadow weights. The storage order is chosen once, for the
    last step, so that the blocks of the steps are nested.

    Parameters
    ----------
    model, loader
        As for :func:`darb_prune.train`.
    ratio : float
        Of the last step.
    method : Method or str
        As for :func:`darb_prune.prune`.
    schedule : PruningSchedule
    exclude, weight_bits, example, drop_softmax, uses
        As for :func:`darb_prune.prune`.
    seed : int
        Of the search for an order, and of fine-tuning.
    training : dict, optional
        More options of :func:`darb_prune.train` (loss, weight_decay, clip). The loss is that of the gradients for
        ``taylor`` and ``fisher`` too.
    progress : bool
        Whether to draw a progress bar (on standard error).
    checkpoint : Checkpoint, optional
        Where to go on from, and to save to, in the middle of a step too.

    Attributes
    ----------
    history : list of dict
        Of each finished step the ratio asked for (``wanted``), the ratio reached and the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[tuple[Tensor, Tensor]],
        ratio: float = 13,
        method: Method | str = Darb(),
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
        uses: Mapping[str, int] | None = None,
    ) -> None:
        self.model, self.loader, self.ratio, self.method = model, loader, ratio, as_method(method)
        self.exclude, self.weight_bits, self.example, self.seed = exclude, weight_bits, example, seed
        self.training, self.progress, self.checkpoint = training or {}, progress, checkpoint
        self.drop_softmax, self.uses = drop_softmax, uses
        self.steps = schedule.to(ratio)
        self.history: list[dict] = []
        self._left: Pruned | None = None
        self._pruned = -1  # number of the last step that has its masks
        if schedule.admm:
            self._masks: StepMasks = Admm(model, self._prune_to, ratio, schedule.admm)
        elif schedule.regrow:
            self._masks = Regrowth(model, self._prune_to, schedule.regrow)
        else:
            self._masks = StepMasks(model, self._prune_to)
        self._rate = RewoundRate() if schedule.rewind else FallingRate()
        if checkpoint and checkpoint.state:
            self.restore(checkpoint.state)

    def run(self) -> tuple[Pruned, list[dict]]:
        """Do the steps that are left.

        Returns
        -------
        What the last step left, and the history.

        Raises
        ------
        DarbError
            If the ratio cannot be reached (before anything is trained), or the loss is not finite.
        """
        if self._pruned < 0:
            self._prune_to(self.ratio)
            self._keep_order()
        for _ in steps_of(len(self.steps), "prune", self.progress, len(self.history)):
            self._step()
        assert self._left is not None  # there is one step at least
        return self._left, self.history

    def _step(self) -> None:
        step = self.steps[len(self.history)]
        if self._pruned != step.number or self._left is None:  # else we go on in the middle of this step
            self._left = self._masks.prune(step)
            self._pruned = step.number
            if self.checkpoint:
                self.checkpoint.update(**self.state(), train=None)
        with self._masks.training(step):
            losses = finetune(
                self.model,
                self.loader,
                step.epochs,
                step.rate,
                seed=(self.seed + step.number) % (1 << 32),
                before_epoch=self._masks.before_epoch(step),
                penalty=self._masks.penalty(step),
                rates=self._rate.shape(step),
                checkpoint=self.checkpoint,
                drop_softmax=self.drop_softmax,
                check=False,  # prune has refused what cannot be encoded, unless the method has no encoding
                **{"progress": False, **self.training},
            )
        self.history.append({"wanted": step.ratio, "ratio": self._left.ratio, "loss": losses[-1] if losses else None})

    def _prune_to(self, ratio: float) -> Pruned:
        return prune(
            self.model, ratio, self.method, exclude=self.exclude, weight_bits=self.weight_bits, samples=self.loader,
            example=self.example, seed=self.seed, drop_softmax=self.drop_softmax, uses=self.uses,
            loss=self.training.get("loss", cross_entropy),
        )  # fmt: skip

    def _keep_order(self) -> None:
        ordered = any(part.ordered for layer in layers(self.model) for part in layer.parts)
        if ordered and self._masks.nested:
            self.method = self.method.updated({"order": "keep"})

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`restore` needs to go on after the last finished step, or after its masks."""
        return {
            "model": self.model.state_dict(),
            "left": None if self._left is None else asdict(self._left),
            "loader": resumable(self.loader).state(),
            "steps": list(self.history),
            "pruned": self._pruned,
            "admm": self._masks.state(),  # nothing else has a state; older checkpoints have this name
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``, that of a run with the same arguments."""
        load_pruned(self.model, state["model"])
        resumable(self.loader).restore(state["loader"])
        self.history, self._pruned = list(state["steps"]), state["pruned"]
        self._left = Pruned(**state["left"]) if state["left"] else None
        self._masks.restore(state["admm"] or {})
        self._keep_order()


def gradual(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    ratio: float = 13,
    method: Method | str = Darb(),
    schedule: PruningSchedule = PruningSchedule(),
    **options: Any,
) -> tuple[Pruned, list[dict]]:
    """Prune ``model`` in place to ``ratio`` in steps: :class:`Gradual` with the same arguments, run to its end."""
    return Gradual(model, loader, ratio, method, schedule, **options).run()
