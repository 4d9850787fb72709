"""Block-term layers in place of those of a model: chosen by a budget of parameters or named, from scratch or fitted."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import floor, prod
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.example import stages_of
from darb_prune.modules.block_term import (
    FIT_MAX,
    MODES,
    TERMS_MAX,
    BlockTermConv2d,
    BlockTermGRU,
    BlockTermLinear,
    BlockTermLSTM,
    Modes,
    Terms,
)
from darb_prune.modules.layers import check_finite, layers
from darb_prune.pruning.schedule import check_ratio
from darb_prune.structure.shapes import modes_of, ranks_of
from darb_prune.training.loop import seeded

__all__ = ["BLOCK_TERMS", "Replacement", "again", "block_term", "term_parameters"]

BLOCK_TERMS = "block-term"
"""Name of this pass in a record."""
WORTH = {"parameters": 2, "multiplications": 1}
"""Budgets. A layer is replaced if that takes so many times less of it, at least."""
RANK_MAX = 64
_RECURRENT = {nn.LSTM: BlockTermLSTM, nn.GRU: BlockTermGRU}


@dataclass(frozen=True, eq=False)
class Replacement:
    """What :func:`block_term` has done.

    Parameters
    ----------
    modes : dict of str to Modes
        Of the layers that were replaced.
    errors : dict of str to float
        ``|W - W'|^2 / |W|^2`` of those that were fitted.
    before, after : int
        Weights of all layers of the model that can be pruned, and parameters of block terms.
    """

    modes: dict[str, Modes]
    errors: dict[str, float]
    before: int
    after: int

    @property
    def record(self) -> dict[str, Any]:
        """For :mod:`darb_prune.structure.record`."""
        return {"pass": BLOCK_TERMS, "layers": {name: asdict(modes) for name, modes in self.modes.items()}}


def term_parameters(model: nn.Module) -> int:
    """Parameters of all block terms of a model."""
    return sum(module.modes.parameters for module in model.modules() if isinstance(module, Terms))


def block_term(
    model: nn.Module,
    ratio: float = 10.0,
    *,
    budget: str = "parameters",
    named: Mapping[str, Modes] | None = None,
    exclude: Sequence[str] = (),
    terms: int = 2,
    modes: int = 3,
    fit: bool = True,
    example: Tensor | None = None,
    seed: int = 0,
) -> Replacement:
    """Put block-term layers in the place of layers of ``model``, in place.

    Parameters
    ----------
    model : torch.nn.Module
        Without masks.
    ratio : float
        Weights of the model per parameter that is left; not used if layers are ``named``. Linear layers, and LSTM and
        GRU of one layer and direction with ``batch_first``, get the largest rank, one for all of them, with which that
        is reached and all can be fitted. Those that would not become half as large stay as they are.
    budget : str
        ``"parameters"``, or ``"multiplications"``: the ratio is then that of the multiplications of these layers with
        their whole matrices, for one input, and a layer that would take more of them stays as it is.
    named : dict of str to Modes, optional
        Paths of the layers to replace, and their shapes and ranks; convolutions too.
    exclude : sequence of str
        Paths of layers that stay.
    terms, modes : int
        Terms of each layer, and modes of each matrix, 2 to 4; not used if layers are ``named``.
    fit : bool
        Whether the terms are fitted to the weights as they are; else they begin anew.
    example : tensor, optional
        A batch of at least one input. One that fits the model if absent.
    seed : int
        Of values that begin anew.

    Raises
    ------
    DarbError
        For a ratio that cannot be reached, layers that are not there or cannot be replaced, and models that cannot be
        encoded afterwards. The model is as it was.
    """
    found = {name: module for name, module in model.named_modules() if name and _size(module)}
    prunable = layers(model)
    check_finite(prunable)
    before = sum(layer.weights for layer in prunable) + term_parameters(model)
    if named is not None and exclude:
        raise DarbError("block-term: layers are named, so all others stay; leave out what is excluded")
    for name in (*exclude, *(named or ())):
        if name not in found:
            raise ModelError(f"layer {name!r}: no such layer to replace; the model has {', '.join(found) or 'none'}")
    if named is None:
        chosen = _by_budget(
            {k: v for k, v in found.items() if k not in exclude}, before, ratio, budget, terms, modes, fit
        )
    else:
        chosen = dict(named)
    twin = copy.deepcopy(model).eval()
    _replaced(twin, chosen, fit=False, seed=seed)
    stages_of(twin, example)
    new, errors = _replaced(model, chosen, fit, seed)
    after = sum(layer.weights for layer in layers(model)) + term_parameters(model)
    return Replacement({name: chosen[name] for name in new}, errors, before, after)


def _size(module: nn.Module) -> tuple[int, int, int] | None:
    """Inputs, outputs and gates of a layer that can be replaced; none for others."""
    if type(module) is nn.Linear:
        return module.in_features, module.out_features, 1
    if type(module) is nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros":
        return module.in_channels, module.out_channels, 1
    if type(module) in _RECURRENT:
        assert isinstance(module, (nn.LSTM, nn.GRU))
        plain = module.num_layers == 1 and not (module.bidirectional or module.proj_size)
        if plain and module.batch_first and module.bias:
            gates = _RECURRENT[type(module)].gates
            return module.input_size, gates * module.hidden_size, gates
    return None


def _by_budget(
    found: Mapping[str, nn.Module], before: int, ratio: float, budget: str, terms: int, modes: int, fit: bool
) -> dict[str, Modes]:
    """The layers that are replaced, with the largest rank of all with which the ratio is reached."""
    check_ratio(ratio)
    if budget not in WORTH:
        raise DarbError(f"budget {budget!r}: choose one of {', '.join(WORTH)}")
    for what, number, (least, most) in (("modes", modes, MODES), ("terms", terms, (1, TERMS_MAX))):
        if not (isinstance(number, Integral) and least <= number <= most):
            raise DarbError(f"{what} {number!r} must be {least} to {most}")
    sizes = {name: _size(module) for name, module in found.items() if not isinstance(module, nn.Conv2d)}
    shapes = {name: modes_of(size[0], size[1], modes, size[2]) for name, size in sizes.items() if size}
    if budget == "multiplications":
        before = sum(ranks_of(*shape, 1, terms).weights for shape in shapes.values())
    best: dict[str, Modes] | None = None
    least = before
    for rank in range(1, RANK_MAX + 1):
        tried = {name: ranks_of(*shape, rank, terms) for name, shape in shapes.items()}
        tried = {name: own for name, own in tried.items() if WORTH[budget] * _cost(own, budget) <= own.weights}
        left = before - sum(own.weights - _cost(own, budget) for own in tried.values())
        least = min(least, left)
        fitted = all(own.terms * prod(own.ranks) <= FIT_MAX for own in tried.values()) or not fit
        if not tried or left > before / ratio or not fitted:
            break
        best = tried
    if best is None and least == before:
        raise ModelError(
            "no layer gets smaller with block terms of rank 1; exclude fewer layers, or take fewer terms or more modes"
        )
    if best is None:
        reached = floor(100 * before / max(least, 1)) / 100  # a number that works, so it is not rounded up
        raise ModelError(
            f"ratio {ratio}: block terms of rank 1 leave {least:,} of {before:,} {budget}; ask for {reached:.2f} at "
            "most, exclude fewer layers, or take fewer terms or more modes"
        )
    return best


def _cost(modes: Modes, budget: str) -> int:
    return modes.parameters if budget == "parameters" else modes.multiplications


def _replaced(
    model: nn.Module, chosen: Mapping[str, Modes], fit: bool, seed: int
) -> tuple[dict[str, nn.Module], dict[str, float]]:
    """The new layers of ``model``, and how far the fitted ones are away."""
    new: dict[str, nn.Module] = {}
    errors: dict[str, float] = {}
    with seeded(seed):
        for name, modes in chosen.items():
            old = model.get_submodule(name)
            new[name] = _new(name, old, modes)
            if fit:
                errors[name] = _fitted(new[name], old)
    for name, module in new.items():
        module.to(next(model.parameters()).dtype).train(model.training)
        old = model.get_submodule(name)  # perhaps used under several names
        for path in [path for path, used in model.named_modules(remove_duplicate=False) if used is old]:
            parent, _, own = path.rpartition(".")
            setattr(model.get_submodule(parent), own, module)
    return new, errors


def _new(name: str, old: nn.Module, modes: Modes) -> nn.Module:
    """A block-term layer in the place of ``old``."""
    size = _size(old)
    if size is None or (prod(modes.inputs), prod(modes.outputs)) != size[:2]:
        wanted = "cannot be replaced" if size is None else f"reads {size[0]} and gives {size[1]}"
        raise ModelError(f"layer {name!r}: {wanted}, so it cannot be {modes}; the products of both must be these")
    kernel = old.kernel_size if isinstance(old, nn.Conv2d) else None
    if modes.kernel != kernel:
        raise ModelError(f"layer {name!r}: its kernel is {kernel}, not {modes.kernel}")
    if any(key.endswith("_orig") for key in old._parameters):
        raise ModelError(f"layer {name!r} is pruned; replace layers first, and prune what is left")
    if isinstance(old, nn.Linear):
        return BlockTermLinear(modes.inputs, modes.outputs, modes.ranks, modes.terms, old.bias is not None)
    if isinstance(old, nn.Conv2d):
        assert kernel is not None
        padding = old.padding
        if isinstance(padding, str):
            raise ModelError(f"layer {name!r}: padding {padding!r}; give its numbers")
        sides = [(int(pair[0]), int(pair[1])) for pair in (old.stride, padding, old.dilation)]
        return BlockTermConv2d(
            modes.inputs, modes.outputs, kernel, modes.ranks, modes.terms, *sides, bias=old.bias is not None
        )
    return _RECURRENT[type(old)](modes.inputs, modes.outputs, modes.ranks, modes.terms)


@torch.no_grad()
def _fitted(new: nn.Module, old: nn.Module) -> float:
    """Let ``new`` do about the same as ``old``."""
    if isinstance(new, Terms):
        bias = old.bias
        if new.bias is not None and isinstance(bias, Tensor):
            new.bias.copy_(bias)
        weight = old.weight
        assert isinstance(weight, Tensor)
        return new.fit(weight)
    assert isinstance(new, (BlockTermLSTM, BlockTermGRU))
    pairs = (new.hidden.weight, "weight_hh_l0"), (new.hidden.bias, "bias_hh_l0"), (new.input.biases, "bias_ih_l0")
    for own, name in pairs:
        own.copy_(getattr(old, name))
    return new.input.fit(old.weight_ih_l0)  # pyright: ignore[reportArgumentType]


def again(model: nn.Module, record: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """A pass of a run folder: ``model`` with the block-term layers of ``record``, as large as those of ``state``."""
    entries = record.get("layers")
    if not isinstance(entries, dict):
        raise ModelError("the record of its block terms names no layers; run the command again")
    chosen = {}
    for name, entry in entries.items():
        modes = _recorded(name, entry)
        module = dict(model.named_modules()).get(name)
        if not name or module is None:
            raise ModelError(f"layer {name!r} of its block terms is not in the model; run the command again")
        inside = f"{name}.input" if type(module) in _RECURRENT else name
        cores = state.get(f"{inside}.cores")
        if cores is None or tuple(cores.shape) != (modes.terms, *modes.ranks):  # so sizes are those of the file
            raise ModelError(f"layer {name!r}: the saved cores are not those of its {modes}; run the command again")
        chosen[name] = modes
    _replaced(model, chosen, fit=False, seed=0)
    return model


def _recorded(name: Any, entry: Any) -> Modes:
    try:
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, (list, tuple)) else value for key, value in entry.items()
        }
        return Modes(**fields)
    except (AttributeError, TypeError) as error:
        raise ModelError(f"layer {name!r}: the record of its block terms is damaged ({error})") from error
