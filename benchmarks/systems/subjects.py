"""What is compared: trials, and the ways to a network of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from benchmarks.systems.arms import Arm, block_terms, darb, merged, parts, selected, selected_darb, tuned
from benchmarks.systems.measure import small
from benchmarks.systems.networks import SpokenLstm, head, padded, residual
from benchmarks.systems.trial import Trial
from darb_prune import tasks
from darb_prune.encoded import metrics
from darb_prune.encoded.metrics import Metric
from darb_prune.pruning.methods import Channels, Neurons
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks import Task, of_one_size
from darb_prune.tasks.chars import SYMBOLS
from darb_prune.tasks.language import LanguageModel
from darb_prune.training.batches import Split

__all__ = ["SUBJECTS", "Comparison"]


@dataclass(frozen=True)
class Comparison:
    """A trial, and the ways to a network that are compared on it.

    Parameters
    ----------
    system : str
        What it is compared for: a page of docs/systems/.
    title : str
    trial : callable (int) -> Trial
        Of a seed.
    arms : sequence of Arm
    """

    system: str
    title: str
    trial: Callable[[int], Trial]
    arms: Sequence[Arm]

    @property
    def metric(self) -> Metric:
        return metrics.get(self.trial(0).task.metric)


def _trial(
    name: str,
    seed: int,
    task: str = "",
    build: Callable[[], nn.Module] | None = None,
    change: Callable[[Callable[[], dict[str, Split]]], dict[str, Split]] | None = None,
    joined: Sequence[str] = (),
    epochs: int | None = None,
    schedule: Mapping[str, int] | None = None,
) -> Trial:
    """A trial on ``task``, by default that of its name; what is given replaces what the task says: its model, what it
    loads, epochs of the dense training, fields of the schedule of pruning."""
    own = _plain(tasks.get(task or name))
    training = own.training if epochs is None else {**own.training, "epochs": epochs}
    made = own.build if build is None else of_one_size(name, build)
    changed = replace(own, build=made, training=training, pruning=own.pruning.updated(schedule or {}))
    if change:
        changed = replace(changed, load=partial(change, own.load))
    return Trial(name, changed, seed, tuple(_trial(part, seed, epochs=epochs, schedule=schedule) for part in joined))


_AS_MEASURED: dict[str, dict[str, Any]] = {
    "chars": {"pruning": PruningSchedule(steps=8, epochs=1, final_epochs=12, rate=3e-3, final_rate=3e-3)},
    "cifar10": {
        "pruning": PruningSchedule(steps=6, epochs=1, final_epochs=6, rate=1e-3, final_rate=1e-3),
        "quantization": {"epochs": 2, "rate": 2e-4},
    },
    "fsdd": {},
    "fsdd-speaker": {},
    "fsdd-both": {},
    **{
        name: {"pruning": PruningSchedule(steps=6, epochs=1, final_epochs=8, rate=2e-3, final_rate=2e-3)}
        for name in ("mnist-lenet5", *(f"fashion-mnist-{part}" for part in ("lenet5", "low", "high", "both")))
    },
}
"""What these tasks have otherwise here: structure is compared as it was first, without teachers, in fewer epochs."""


def _plain(task: Task) -> Task:
    if task.name not in _AS_MEASURED:
        return task
    return replace(task, distillation={}, method_options={}, **_AS_MEASURED[task.name])


_SHORT = partial(_trial, epochs=8, schedule={"steps": 4, "final_epochs": 6})
"""Of networks that take long: 8 epochs dense, 3 and 6 behind."""

SUBJECTS = {
    "fsdd": Comparison(
        "units", "GRU of 128 units, spoken digits", partial(_trial, "fsdd"),
        [
            tuned(),
            *(selected(Neurons(), ratio) for ratio in (4, 8, 16, 32)),
            *(selected(Neurons(criterion=name), ratio) for ratio in (8, 16) for name in ("lasso", "uniform")),
            *(small(selected(Neurons(), ratio)) for ratio in (8, 16)),
            *(darb(ratio) for ratio in (8, 16, 32, 64)),
            *(selected_darb(Neurons(), ratio, whole) for ratio, whole in ((4, 16), (4, 32), (8, 64))),
        ],
    ),
    "chars-256": Comparison(
        "units", "LSTM of 256 units, characters",
        partial(_trial, "chars-256", task="chars", build=partial(LanguageModel, SYMBOLS, 64, 256)),
        [
            tuned(), *(selected(Neurons(), ratio) for ratio in (4, 2)), selected(Neurons(criterion="lasso"), 4),
            small(selected(Neurons(), 4)),
            darb(16), selected_darb(Neurons(), 4, 16),
        ],
    ),
    "cifar10": Comparison(
        "units", "ResNet-20, CIFAR-10 subset", partial(_trial, "cifar10"),
        [
            tuned(),
            *(selected(Channels(criterion=name), 2) for name in ("gates", "slimming", "uniform")),
            darb(4), selected_darb(Channels(), 2, 4),
        ],
    ),
    "fashion-mnist-residual": Comparison(
        "units", "five residual blocks of 8 to 32 channels, Fashion-MNIST",
        partial(_SHORT, "fashion-mnist-residual", task="fashion-mnist-lenet5", build=residual),
        [
            tuned(),
            *(selected(Channels(criterion=name), 2) for name in ("gates", "slimming", "uniform")),
            darb(4), selected_darb(Channels(), 2, 4),
        ],
    ),
    "mnist": Comparison(
        "partitions", "LeNet-300-100, MNIST",
        partial(_trial, "mnist", epochs=12, schedule={"steps": 4, "final_epochs": 8}),
        [
            tuned(), parts(4), parts(8), darb(4), darb(8), *(parts(4, ratio) for ratio in (2, 4)),
            *(darb(ratio) for ratio in (16,)),
        ],
    ),
    "mnist-head": Comparison(
        "partitions", "1024-1024-1024-10, MNIST with an edge of two",
        partial(
            _trial, "mnist-head", task="mnist-lenet5", build=head, change=padded, epochs=4,
            schedule={"steps": 3, "final_epochs": 3},
        ),
        [tuned(), parts(4), parts(8), parts(4, 4)],
    ),
    "fsdd-speaker": Comparison(
        "merged-tasks", "GRU of 128 units, speakers", partial(_trial, "fsdd-speaker"), [darb(8)]
    ),
    "fsdd-both": Comparison(
        "merged-tasks", "GRU of 128 units, digits and speakers",
        partial(_trial, "fsdd-both", joined=("fsdd", "fsdd-speaker")), [merged(0.8, 8)],
    ),
    **{
        f"fashion-mnist-{half}": Comparison(
            "merged-tasks", f"LeNet-5, Fashion-MNIST, {half} five classes",
            partial(_SHORT, f"fashion-mnist-{half}"), [darb(8)],
        )
        for half in ("low", "high")
    },
    "fashion-mnist-both": Comparison(
        "merged-tasks", "LeNet-5, Fashion-MNIST, both halves of the classes",
        partial(_SHORT, "fashion-mnist-both", joined=("fashion-mnist-low", "fashion-mnist-high")),
        [merged(None, 8), merged(0.8, 8), merged(0.95, 8)],
    ),
    "mnist-lenet5": Comparison(
        "block-term-layers", "LeNet-5, MNIST", partial(_SHORT, "mnist-lenet5"),
        [tuned(), block_terms(10), block_terms(1.5, "multiplications"), darb(4), darb(10)],
    ),
    "fsdd-lstm": Comparison(
        "block-term-layers", "LSTM of 128 units, spoken digits",
        partial(_trial, "fsdd-lstm", task="fsdd", build=SpokenLstm),
        [tuned(), block_terms(1.2), darb(1.2), darb(8)],
    ),
}  # fmt: skip
