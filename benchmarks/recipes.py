"""How to train while pruning: one choice at a time, measured on validation data.

    python -m benchmarks.recipes                       # all tasks: hours; stopped, it goes on where it was
    python -m benchmarks.recipes digits --jobs 2
    python -m benchmarks.recipes --page                # docs/results/recipes.md from what was measured

The recipe is that of the task's experiment (examples/experiments), with DARB at 13x. Every other line changes one thing
of it; all but the one that says so have the same epochs. Test data are not looked at.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks.builds import ROOT
from benchmarks.command import JOBS, PageOnly, chosen, command, measured
from darb_prune import tasks
from darb_prune.encoded import write_atomic
from darb_prune.encoded.metrics import get
from darb_prune.modules.layers import layers
from darb_prune.pruning.effort import effort_schedule
from darb_prune.pruning.methods import Darb
from darb_prune.studies import markdown
from darb_prune.studies.experiment import spec
from darb_prune.studies.experiment.results import collect
from darb_prune.studies.experiment.run import run
from darb_prune.studies.experiment.spec import Experiment
from darb_prune.studies.experiment.statistics import Spread

FILE = ROOT / "docs" / "results" / "recipes.json"
RATIO = 13.0
RECIPE = "the recipe"
TASKS = {"digits": 3, "mnist": 2, "fsdd": 2}
"""Seeds of each task."""


class Recipe:
    """What a choice is made from: the fields of an experiment, with all settings of the task written out."""

    def __init__(self, name: str, seeds: int) -> None:
        self.task = tasks.get(name)
        experiment = spec.load(ROOT / "examples" / "experiments" / f"{name}.toml")
        planned = next(run for run in spec.plan(experiment, self.task) if run.method == Darb.name)
        pruning = planned.pruning()
        self.schedule, self.distillation, self.saliency = pruning["schedule"], pruning["distillation"], planned.saliency
        self.darb: Darb = pruning["method"]
        own = experiment.methods[Darb.name].method.explicit()
        self.fields: dict[str, Any] = {
            "name": name, "task": name, "seeds": seeds, "ratios": [RATIO], "saliency": self.saliency,
            "methods": {Darb.name: own}, "training": planned.settings["training"],
            "pruning": self.schedule.explicit(), "distillation": self.distillation or False,
        }  # fmt: skip

    def but(self, **others: Any) -> dict[str, Any]:
        """The fields, with others instead."""
        return self.fields | others

    def pruned(self, **others: Any) -> dict[str, Any]:
        """With another schedule."""
        return self.but(pruning=self.schedule.updated(others).explicit())

    def method(self, **others: Any) -> dict[str, Any]:
        """With other options of the method."""
        return self.but(methods={"darb": self.fields["methods"]["darb"] | others})

    @property
    def epochs(self) -> int:
        """Of fine-tuning."""
        return self.schedule.all_epochs

    def weights(self, size: float = 1.0) -> int:
        """Of the dense network."""
        with torch.device("meta"):
            return sum(layer.weights for layer in layers(self.task.build(size)))


_Choice = Callable[[Recipe], dict[str, Any] | None]


def _rate(factor: float) -> _Choice:
    return lambda recipe: recipe.pruned(
        rate=recipe.schedule.rate * factor, final_rate=recipe.schedule.final_rate * factor
    )


def _final(share: float) -> _Choice:
    def choice(recipe: Recipe) -> dict[str, Any]:
        between = max(round(recipe.epochs * (1 - share) / (recipe.schedule.steps - 1)), 1)
        left = recipe.epochs - between * (recipe.schedule.steps - 1)
        return recipe.pruned(epochs=between, final_epochs=left)

    return choice


def _steps(recipe: Recipe) -> dict[str, Any] | None:
    """Twice as many steps, half as long; not if they are of one epoch."""
    if recipe.schedule.epochs < 2:
        return None
    between = recipe.schedule.epochs // 2
    steps = 2 * (recipe.schedule.steps - 1)
    return recipe.pruned(steps=steps + 1, epochs=between, final_epochs=recipe.epochs - steps * between)


def _teacher(recipe: Recipe) -> dict[str, Any]:
    return recipe.but(distillation=False if recipe.distillation else {"share": 0.7, "temperature": 4.0})


def _saliency(name: str) -> _Choice:
    return lambda recipe: None if name == recipe.saliency else recipe.but(saliency=name)


def _order(name: str) -> _Choice:
    return lambda recipe: None if name == recipe.darb.order else recipe.method(order=name)


def _output(recipe: Recipe) -> dict[str, Any]:
    return recipe.method(exclude=[layers(recipe.task.build())[-1].name])


def _together(recipe: Recipe) -> dict[str, Any]:
    """All epochs, those of the dense training too, go to pruning; an untrained model teaches nothing."""
    epochs = recipe.epochs + recipe.task.training.get("epochs", 0)
    between = round(epochs / 2 / (recipe.schedule.steps - 1))
    final = epochs - between * (recipe.schedule.steps - 1)
    schedule = recipe.schedule.updated({"epochs": between, "final_epochs": final})
    return recipe.but(training={"epochs": 0}, pruning=schedule.explicit(), distillation=False)


def _sized(size: float) -> _Choice:
    def choice(recipe: Recipe) -> dict[str, Any] | None:
        ratio = RATIO * recipe.weights(size) / recipe.weights()
        return recipe.but(sizes=[size], ratios=[round(ratio, 2)], teacher=1.0) if ratio > 1.2 else None

    return choice


CHOICES: dict[str, _Choice] = {
    RECIPE: lambda recipe: recipe.fields,
    "three times the epochs (`--effort thorough`)": lambda recipe: recipe.but(
        pruning=effort_schedule(recipe.schedule, "thorough").explicit()
    ),
    "one step": lambda recipe: recipe.pruned(steps=1, final_epochs=recipe.epochs),
    "twice the steps": _steps,
    "a quarter of the epochs after the last step": _final(0.25),
    "three quarters of the epochs after the last step": _final(0.75),
    "half the rate": _rate(0.5),
    "twice the rate": _rate(2.0),
    "four times the rate": _rate(4.0),
    "the rate falls once": lambda recipe: recipe.pruned(rewind=False),
    "weights grow back (`regrow` 0.0002)": lambda recipe: recipe.pruned(regrow=2e-4),
    "weights grow back (`regrow` 0.01)": lambda recipe: recipe.pruned(regrow=1e-2),
    "ADMM (0.01)": lambda recipe: recipe.pruned(admm=1e-2),
    "pruned while it is trained": _together,
    "a teacher, or none": _teacher,
    **{f"saliency `{name}`": _saliency(name) for name in ("magnitude", "mean", "row", "taylor", "fisher")},
    **{f"order `{name}`": _order(name) for name in ("none", "spread", "search")},
    "output layer dense": _output,
    "half the units, the same weights left": _sized(0.5),
    "twice the units, the same weights left": _sized(2.0),
}


def measure(name: str, seeds: int, jobs: int, console: Console) -> dict[str, list[float]]:
    """Choice -> validation metric of each seed; one that is impossible has none."""
    recipe, work, found = Recipe(name, seeds), ROOT / "build" / "experiments" / name, {}
    for words, choice in CHOICES.items():
        fields = choice(recipe)
        if fields is None:
            continue
        experiment = Experiment.model_validate(fields)
        run(experiment, work, jobs, progress=False)
        results = collect(experiment, work)
        (variant,) = results.variants
        records = results.of(variant, experiment.ratios[0])
        found[words] = [record["values"]["validation"] for record in records]
        console.print(f"{name}: {words}: {found[words]}")
    return found


def page(results: dict[str, dict[str, list[float]]]) -> str:
    """The page of all choices."""
    text = _HEAD
    for name, choices in results.items():
        recipe, metric = Recipe(name, 1), get(tasks.get(name).metric)
        sign = metric.scale if metric.higher else -metric.scale
        gains = {
            words: Spread.of([sign * (value - base) for value, base in zip(values, choices[RECIPE], strict=True)])
            for words, values in choices.items()
            if values
        }
        rows = [
            [words, Spread.of(choices[words]).text(scale=metric.scale), "" if words == RECIPE else gain.text(sign=True)]
            for words, gain in sorted(gains.items(), key=lambda item: -item[1].mean)
        ]
        text += f"\n## {name}\n\n{recipe.task.title}, {len(choices[RECIPE])} seeds. The recipe: {_said(recipe)}.\n\n"
        text += markdown.table(["choice", f"validation, {metric.unit}", "better by"], rows, left=1)
    return text


def _said(recipe: Recipe) -> str:
    schedule, taught = recipe.schedule, recipe.distillation
    teacher = (
        f"teacher ({taught['share']:g} of the labels, temperature {taught['temperature']:g})" if taught else "none"
    )
    return (
        f"{schedule.steps - 1} steps of {schedule.epochs} epochs and {schedule.final_epochs} after the last one, rate "
        f"{schedule.rate:g} anew for each, {teacher}, saliency `{recipe.saliency}`, order `{recipe.darb.order}`"
    )


_HEAD = """# Results: how to train while pruning

    python -m benchmarks.recipes

One choice at a time is changed in the recipe of a task's experiment ([experiments](../experiments.md)): DARB at 13x,
seed by seed with the same dense model. Figures are of *validation* data, before weights are rounded; differences are
above 0 where the choice is better. All have the same epochs, but for the line that says so.
"""


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="TASK", help=f"Any of {', '.join(TASKS)}.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Trainings at the same time.")] = JOBS,
    page_only: PageOnly = False,
) -> None:
    """Measure choices of training; write docs/results/recipes.md.

    Examples:

    [bold]python -m benchmarks.recipes digits[/bold]
    """
    console = Console()
    asked = [] if page_only else chosen(names, TASKS)
    results = measured(FILE, asked, lambda name: measure(name, TASKS[name], jobs, console))
    write_atomic(FILE.with_suffix(".md"), page(results).encode())


app = command(main)

if __name__ == "__main__":
    app()
