"""Models that are named on the command line: run folders, ONNX and TFLite files, Python files."""

import importlib.util
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.frontend.onnx.load import load_onnx
from darb_prune.frontend.tflite.load import load_tflite
from darb_prune.runs.folder import RunFolder
from darb_prune.runs.pipeline import example_of_task

__all__ = ["example_of_shape", "load_model"]


def load_model(name: str, data: tasks.DataSets) -> tuple[nn.Module, Tensor | None]:
    """The model that ``name`` stands for, and an input if there is one at hand.

    Parameters
    ----------
    name : str
        A run folder, an ONNX or TFLite file, or ``FILE.py:NAME``: a module, or a class or function without arguments
        that gives one.
    data : DataSets

    Raises
    ------
    DarbError
        If there is no such model.
    """
    path, _, attribute = name.rpartition(":")
    if path.endswith(".py"):
        return _python(Path(path), attribute), None
    if name.endswith(".onnx"):
        return load_onnx(name), None
    if name.endswith(".tflite"):
        return load_tflite(name), None
    if name.endswith(".py"):
        raise DarbError(f"{name}: say which model of the file is meant, as in {name}:Net")
    run, model = RunFolder.load(name, data)
    return model, example_of_task(tasks.get(run.task, data))


def example_of_shape(model: nn.Module, text: str) -> Tensor:
    """A random input of the shape ``text``, ``"3,32,32"``, behind one sample; symbols if ``model`` has an embedding."""
    try:
        shape = (1, *(int(size) for size in text.split(",")))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise DarbError(f'shape {text!r}: write sizes without the batch, for example "3,32,32"')
    random = torch.Generator().manual_seed(0)
    embedding = next((module for module in model.modules() if isinstance(module, nn.Embedding)), None)
    if embedding is not None:
        return torch.randint(embedding.num_embeddings, shape, generator=random)
    return torch.randn(shape, generator=random)


def _python(path: Path, attribute: str) -> nn.Module:
    if not path.is_file():
        raise DarbError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None, "the name ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as python does with a script
    try:
        spec.loader.exec_module(module)
        made = getattr(module, attribute)
        made = made if isinstance(made, nn.Module) else made()
    except Exception as error:  # whatever the code of a user raises
        text = (str(error).strip().splitlines() or [""])[0]
        raise DarbError(
            f"{path}:{attribute}: {type(error).__name__}: {text}; give a module, or what makes one"
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    if not isinstance(made, nn.Module):
        raise DarbError(f"{path}:{attribute}: is no torch.nn.Module, and gives none; give a module, or what makes one")
    return made
