"""What commands share: options, and what they do with them. Loads nothing heavy."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from darb_prune.pruning.methods import METHODS, Method, encodable, methods_with, parse
from darb_prune.pruning.options import Options
from darb_prune.pruning.schedule import PruningSchedule

__all__ = [
    "METHOD_OPTIONS", "SCHEDULE", "ActivationBits", "DataDir", "Effort", "Epochs", "MethodName", "Quiet", "Ratio",
    "Seed", "TaskName", "WeightBits", "chosen_method", "one_thread", "partial", "present", "takes",
]  # fmt: skip

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Ratio = Annotated[float, typer.Option(help="Weights of the whole network per kept weight.")]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        help=f"{', '.join(encodable())}; to compare: {', '.join(name for name in METHODS if name not in encodable())}.",
    ),
]
TaskName = Annotated[
    str, typer.Option("--task", help="Built-in task: digits, mnist, chars, fsdd, ... (docs/tasks.md).")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of data sets, if not $DARB_DATA or the user cache.")
]
WeightBits = Annotated[int, typer.Option(help="Bits of a weight, 2 to 8.")]
ActivationBits = Annotated[int, typer.Option(help="Bits of an activation, 2 to 16.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs, if not those of the task.")]
Effort = Annotated[
    str,
    typer.Option(
        help="Share of the epochs of the task to fine-tune for: none, quick (1/4), normal (all), thorough (3 x)."
    ),
]

SCHEDULE = ("Schedule, if not that of the task", (PruningSchedule,))
METHOD_OPTIONS = ("Options of methods", tuple(METHODS.values()))


def takes(*panels: tuple[str, tuple[type[Options], ...]]) -> Callable[[Callable], Callable]:
    """Give a command the fields of classes as options, a panel of its help for each group of classes.

    The command gets them as ``**options``, ``None`` where nothing was typed: the classes have the defaults.
    """
    fields = {
        name: (panel, field)
        for panel, classes in panels
        for options in classes
        for name, field in options.model_fields.items()
    }

    def option(name: str, panel: str, field: FieldInfo) -> inspect.Parameter:
        text = field.description or ""
        if choices := _choices(field.annotation):
            text += f" One of {', '.join(choices)}."
        if methods := methods_with(name):
            text += f" [dim]({', '.join(methods)})[/dim]"
        default = field.default if isinstance(field.default, str) else False
        shown = typer.Option(help=text, show_default=default, rich_help_panel=panel)
        annotation = Annotated[_flag_type(field.annotation) | None, shown]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)

    def decorate(command: Callable) -> Callable:
        signature = inspect.signature(command)
        own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
        made = [option(name, *entry) for name, entry in fields.items()]
        vars(command)["__signature__"] = signature.replace(parameters=[*own, *made])
        return command

    return decorate


def _choices(annotation: Any) -> tuple[str, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _flag_type(annotation: Any) -> type:
    """What the command line itself turns a value into; the class parses all else from text."""
    kinds = {annotation, *get_args(annotation)}
    return next((kind for kind in (bool, int, float) if kind in kinds), str)


def chosen_method(name: str, typed: dict[str, Any], task: Any) -> Method:
    """The method that was typed; options that are absent are those of the task, if it has them."""
    return parse(name, typed, task.method_options)


def partial(output: Path) -> Path:
    """Checkpoint of a command that was stopped; the same command goes on there."""
    return output.with_name(f"{output.name}.partial")


def one_thread() -> None:
    """Sums of floats depend on how they are split over threads; the same inputs shall give the same bytes."""
    import torch

    torch.set_num_threads(1)


def present(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
