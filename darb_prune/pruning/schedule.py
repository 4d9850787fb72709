"""The schedule of gradual pruning: how many steps, how long each is trained, and how. No torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from darb_prune.errors import DarbError
from darb_prune.pruning.options import Options

__all__ = ["PruningSchedule", "PruningStep", "Strength", "check_ratio", "ratios"]


def _check(legal: Callable[[float], bool], words: str) -> AfterValidator:
    def check(value: float) -> float:
        if not (legal(value) and math.isfinite(value)):
            raise ValueError(f"{value} must be a number {words}")
        return value

    return AfterValidator(check)


Rate = Annotated[float, _check(lambda value: value > 0, "above 0")]
Strength = Annotated[float, _check(lambda value: value >= 0, "from 0 up")]


@dataclass(frozen=True)
class PruningStep:
    """One step of a schedule.

    Parameters
    ----------
    number : int
        From 0.
    ratio : float
        That masks are computed for.
    epochs : int
        Of fine-tuning after it.
    rate : float
        Learning rate.
    last : bool
    start, share : float
        Where in the fine-tuning of all steps that of this one begins, 0 to 1, and what part of it this is.
    """

    number: int
    ratio: float
    epochs: int
    rate: float
    last: bool
    start: float
    share: float


class PruningSchedule(Options):
    """Steps of pruning and the fine-tuning between them."""

    steps: int = Field(
        default=8,
        ge=1,
        strict=True,
        description="Pruning steps, the last one at the ratio; those between rise cubically.",
    )
    epochs: int = Field(default=4, ge=0, strict=True, description="Epochs of fine-tuning after each step but the last.")
    final_epochs: int = Field(default=30, ge=0, strict=True, description="Epochs after the last step.")
    rate: Rate = Field(default=2e-3, description="Learning rate after each step but the last.")
    final_rate: Rate = Field(default=2e-3, description="Learning rate after the last step.")
    rewind: bool = Field(
        default=True,
        description="Whether the learning rate starts again after each step (Renda et al., 2020), or falls once from "
        "the first step to the last.",
    )
    regrow: Strength = Field(
        default=0.0,
        description="If above 0, masked weights are trained too until the last step, with this pull to 0, and masks "
        "are computed anew in every epoch: weights that were masked too early come back (SR-STE; Zhou et al., 2021).",
    )
    admm: Strength = Field(
        default=0.0,
        description="If above 0, the strength of ADMM: the steps before the last prune nothing, weights are pulled "
        "towards their own pruned copy (Zhang et al., 2018).",
    )

    @model_validator(mode="after")
    def _check_exclusion(self) -> "PruningSchedule":
        if self.admm and self.regrow:
            raise DarbError("admm and regrow exclude each other; choose one")
        return self

    @property
    def all_epochs(self) -> int:
        """Of fine-tuning, after all steps together."""
        return (self.steps - 1) * self.epochs + self.final_epochs

    def to(self, ratio: float) -> list[PruningStep]:
        """The steps that lead to ``ratio``; one step if that is 1."""
        check_ratio(ratio)
        targets = ratios(ratio, self.steps) if ratio > 1 else [ratio]
        total = max(self.epochs * (len(targets) - 1) + self.final_epochs, 1)
        steps = []
        for number, target in enumerate(targets):
            last = number == len(targets) - 1
            epochs, rate = (self.final_epochs, self.final_rate) if last else (self.epochs, self.rate)
            steps.append(PruningStep(number, target, epochs, rate, last, number * self.epochs / total, epochs / total))
        return steps


def check_ratio(ratio: float) -> None:
    """Raise :class:`DarbError` for a pruning ratio that nothing can have."""
    if not (isinstance(ratio, Real) and ratio >= 1 and math.isfinite(ratio)):
        raise DarbError(f"ratio {ratio!r} must be a number from 1 up")


def ratios(target: float, steps: int) -> list[float]:
    """Pruning ratios of a cubic schedule from dense to ``target``: ``s = s_end * (1 - (1 - t)**3)``.

    ``s = 1 - 1/ratio`` is the sparsity and ``t`` runs over ``1/steps .. 1`` (Zhu and Gupta, 2017).
    """
    end = 1 - 1 / target
    return [1 / (1 - end * (1 - (1 - step / steps) ** 3)) for step in range(1, steps)] + [target]
