"""Where the networks of a sweep come from: a task, a run folder, files. What is missing is made by jobs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darb_hw.jobs.command import OUTPUT, Command
from darb_hw.jobs.flow import Flow
from darb_hw.sweep.points import SweepPoint
from darb_hw.sweep.spec import SweepSpec
from darb_prune.encoded import DarbError

__all__ = ["Networks", "read_run"]

_RUN = ("model.safetensors", "run.json")
_VECTORS = 256
"""Samples of test vectors beside a compiled network: enough to simulate it."""


class Networks:
    """The networks of a sweep.

    Parameters
    ----------
    sweep : SweepSpec

    Raises
    ------
    DarbError
        If there is no such run folder.
    """

    def __init__(self, sweep: SweepSpec) -> None:
        self._sweep = sweep
        self._run = None if sweep.run is None else read_run(sweep.run)

    def files(self, point: SweepPoint) -> Flow[Mapping[str, bytes]]:
        """The flow of a network: ``network.darb``, and with it ``network.vectors`` if it was compiled here.

        Raises
        ------
        DarbError
            If a command refuses it.
        """
        if point.file is not None:
            return {"network.darb": point.file.read_bytes()}
        choice, run, title = point.choice, self._run, point.network
        if run is None:
            assert self._sweep.task is not None
            arguments = ["train", "--task", self._sweep.task, *_typed(choice, "seed"), *_options(self._sweep.train)]
            (trained,) = yield [_command({}, arguments, OUTPUT, self._sweep.task)]
            if choice.get("size", 1) != 1:
                arguments += [*_typed(choice, "size"), "--teacher", "run"]
                (trained,) = yield [_command(trained.files, arguments, OUTPUT, title)]
            run = trained.files
        if choice.get("ratio", 1) > 1:
            chosen = _typed(choice, "ratio", "method", "levels", "seed")
            (pruned,) = yield [_command(run, ["prune", "run", *chosen, *_options(self._sweep.prune)], OUTPUT, title)]
            run = pruned.files
        arguments = ["compile", "run", *_typed(choice, "weight_bits", "activation_bits"), "--vectors", str(_VECTORS)]
        arguments += _options(self._sweep.compile)
        (compiled,) = yield [_command(run, arguments, f"{OUTPUT}/network.darb", title)]
        return compiled.files

    def resizable(self) -> Flow[bool]:
        """The flow of whether the model can have other sizes than 1: not if it is given."""
        if self._sweep.task is None:
            return False
        untrained = ["train", "--task", self._sweep.task, "--size", "0.5", "--epochs", "0"]
        try:
            yield [_command({}, untrained, OUTPUT, self._sweep.task)]
        except DarbError:
            return False
        return True


def _command(run: Mapping[str, bytes], arguments: list[str], output: str, title: str) -> Command:
    inputs = {f"run/{name}": data for name, data in run.items()}
    return Command(inputs, (*arguments, "-o", output, "--quiet"), title)


def _typed(choice: Mapping[str, Any], *names: str) -> list[str]:
    return _options({name: choice[name] for name in names if name in choice})


def _options(values: Mapping[str, Any]) -> list[str]:
    """Options as they are typed: a flag if the value is true, and its opposite if it is false."""
    words = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return words


def read_run(folder: Path) -> dict[str, bytes]:
    """The files of a run folder.

    Raises
    ------
    DarbError
        If it is none.
    """
    for name in _RUN:
        if not (folder / name).is_file():
            raise DarbError(f"{folder}: no {name} here; give a run folder of darb train or darb prune")
    return {name: (folder / name).read_bytes() for name in _RUN}
