"""Stages of a model for which no example is at hand: an input that it takes is made up from its layers, or has
the shape that its file says."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from darb_prune.errors import ModelError
from darb_prune.frontend.capture import capture, refusals
from darb_prune.frontend.capture.recording import RECURRENT
from darb_prune.frontend.graph import GraphNetwork
from darb_prune.frontend.stages import Stages
from darb_prune.modules.block_term import BlockTermConv2d, BlockTermLinear
from darb_prune.modules.partitioned import PartitionedLinear

__all__ = ["example_of", "stages_of"]

STEPS = 8
"""Time steps of a sequence."""
# Lines and columns of images that are usual, then all others.
_USUAL = (32, 28, 64, 224, 96, 128, 16, 8)
_SIZES = (*_USUAL, *(size for size in range(1, 257) if size not in _USUAL))


def stages_of(model: nn.Module, example: Tensor | None = None, drop_softmax: bool = False) -> Stages:
    """What ``model`` is captured as.

    Parameters
    ----------
    model : torch.nn.Module
    example : tensor, optional
    drop_softmax : bool
        As for :func:`~darb_prune.frontend.capture.capture`. The example is that of :func:`example_of` if absent.

    Raises
    ------
    ModelError
        If the model cannot be captured: the first reason, and how many more there are. Or if no input that it takes is
        found.
    """
    tried = example_of(model) if example is None else example
    try:
        return capture(model, tried, drop_softmax)
    except ModelError as error:
        more = len(refusals(model, tried, drop_softmax)) - 1
        shape = tuple(tried.shape) if isinstance(tried, Tensor) else ()
        others = f"; {more} more problems, darb_prune.check lists them" if more > 0 else ""
        source = "" if example is not None else f" (tried with an input of shape {shape}; if yours differ, give one)"
        raise ModelError(f"{error}{others}{source}") from error


def example_of(model: nn.Module) -> Tensor:
    """A random input, of one sample, that ``model`` takes: one with which it can be captured, if there is one.

    Raises
    ------
    ModelError
        If none is found.
    """
    first: Tensor | None = None
    for made in islice(_inputs(model), len(_USUAL)):
        first = made if first is None else first
        try:
            capture(model, made, drop_softmax=True)
        except ModelError:
            continue
        return made
    if first is None:
        raise ModelError(f"{type(model).__name__}: no input that it takes was found; give an example of one")
    return first


@torch.no_grad()
def _inputs(model: nn.Module) -> Iterator[Tensor]:
    """Inputs, one sample each, that ``model`` runs on."""
    random = torch.Generator().manual_seed(0)
    modes = {module: module.training for module in model.modules()}
    recurrent = any(isinstance(module, RECURRENT) for module in modes)
    tried = set()
    for layer in modes:
        for shape in _shapes(layer, recurrent):
            if shape in tried:
                continue
            tried.add(shape)
            if isinstance(layer, nn.Embedding):
                made = torch.randint(layer.num_embeddings, shape, generator=random)
            else:
                made = torch.randn(shape, generator=random).to(next(layer.parameters(), torch.empty(0)).dtype)
            model.eval()
            try:
                result = tree_leaves(model(made.clone()))
            except Exception:  # whatever a model says about a shape
                continue
            finally:
                for module, training in modes.items():
                    module.training = training
            # A reshape may have made several samples of a larger image.
            if result and isinstance(result[0], Tensor) and (recurrent or result[0].shape[:1] == (1,)):
                yield made


def _shapes(layer: nn.Module, recurrent: bool) -> Iterator[tuple[int, ...]]:
    """Shapes of one sample that ``layer`` may read."""
    if isinstance(layer, GraphNetwork):
        yield from [(1, *layer.input_shape)] if layer.input_shape else []
    elif isinstance(layer, (nn.Linear, PartitionedLinear)):
        yield from [] if recurrent else [(1, layer.in_features)]
        yield (1, STEPS, layer.in_features)
    elif isinstance(layer, BlockTermLinear):
        yield from [] if recurrent else [(1, layer.in_features)]
    elif isinstance(layer, RECURRENT):
        yield (1, STEPS, layer.input_size)
    elif isinstance(layer, nn.Embedding):
        yield from [(1, STEPS)] if recurrent else [(1, size) for size in _SIZES]
    elif isinstance(layer, (nn.Conv2d, BlockTermConv2d)):
        yield from ((1, layer.in_channels, size, size) for size in _SIZES)
    elif isinstance(layer, nn.Conv1d):
        yield from ((1, layer.in_channels, size) for size in _SIZES)
