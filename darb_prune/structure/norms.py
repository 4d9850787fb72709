"""Chains of modules: what stands in them, and batch normalisation that becomes part of the layer in front of it."""

import copy
from collections import OrderedDict

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["children_of", "without_norms"]

_BEHIND = {nn.Linear: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d}


def children_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Names and modules of a chain; one that stands in it twice, as a ReLU may, is there twice."""
    named = model.named_modules(remove_duplicate=False)
    return [(name, module) for name, module in named if name and "." not in name]


def without_norms(model: nn.Module) -> nn.Module:
    """A chain that computes in evaluation mode what ``model`` does, without the normalisation behind its layers.

    Modules keep their names. Normalisation without running statistics, or behind something else than a Linear or Conv2d
    of as many outputs, stays.

    Parameters
    ----------
    model : torch.nn.Module
        It does not change. What is no ``torch.nn.Sequential`` is given back as it is.

    Returns
    -------
    torch.nn.Module
        It shares with ``model`` what has no normalisation behind it.
    """
    if not isinstance(model, nn.Sequential):
        return model
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    last = ""
    for name, module in children_of(model):
        layer = modules.get(last)
        if isinstance(layer, nn.Linear | nn.Conv2d) and _follows(module, layer):
            modules[last] = _folded(layer, module)
        else:
            modules[name], last = module, name
    chain = nn.Sequential(modules)
    chain.training = model.training
    return chain


def _follows(norm: nn.Module, layer: nn.Linear | nn.Conv2d) -> bool:
    return (
        isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        and type(norm) is _BEHIND.get(type(layer))
        and norm.num_features == len(layer.weight)
        and norm.running_mean is not None
    )


def _folded(layer: nn.Linear | nn.Conv2d, norm: nn.Module) -> nn.Module:
    made = copy.deepcopy(layer)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # Of the two functions of torch this one also takes a normalisation without weights; shapes of Linear fit it too.
    made.weight, made.bias = fuse_conv_bn_weights(
        layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return made
