"""The job that estimates the engine of a network: plan and model, no synthesis."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.errors import PlanError
from darb_hw.estimate.estimate import Estimate, estimate
from darb_hw.estimate.front import SweepChoice
from darb_hw.estimate.model import MODEL, Model
from darb_hw.jobs.job import JobFailure
from darb_hw.plan.resources import fitting_plan
from darb_hw.sweep.engine_job import EngineJob
from darb_hw.sweep.generation import facts_of
from darb_hw.sweep.points import accuracy_of
from darb_prune.encoded import EncodedNetwork
from darb_prune.encoded.metrics import METRICS

__all__ = ["Estimation", "read_choice"]

_CHOICE = "choice.json"


@dataclass(frozen=True)
class Estimation(EngineJob):
    """``network.darb`` and ``model.json`` -> ``choice.json`` (see :func:`read_choice`) and ``network.json`` (see
    :func:`~darb_hw.sweep.generation.facts_of`)."""

    kind: ClassVar[str] = "estimate"
    words: ClassVar[str] = "estimate"

    def made(self, folder: Path) -> Mapping[str, bytes]:
        network = EncodedNetwork.load(folder / "network.darb")
        try:
            plan = fitting_plan(network, self.config)
        except PlanError as error:
            raise JobFailure(str(error)) from None
        choice = {
            "network": network.digest,
            "task": network.provenance.get("task"),
            "accuracy": _validated(network.provenance),
            "estimate": estimate(plan, Model.load(folder / MODEL)).as_dict(),
        }
        return {_CHOICE: json.dumps(choice).encode(), "network.json": facts_of(network)}


def read_choice(files: Mapping[str, bytes], label: str) -> SweepChoice:
    """The choice of an :class:`Estimation`; ``label`` is that of its point."""
    values = json.loads(files[_CHOICE])
    return SweepChoice(label, **values | {"estimate": Estimate.from_dict(values["estimate"])})


def _validated(provenance: Mapping[str, Any]) -> float | None:
    """Accuracy on validation data. No choice is made on test data, so that these stay a fair measure."""
    name = provenance.get("metric", "accuracy")
    if name not in METRICS or not METRICS[name].higher:
        return None
    return accuracy_of(provenance.get("accuracy", {}), "validation")
