"""Masks on modules, the PyTorch way: pruning methods, the buffers that describe them, loading them back.

A pruned parameter carries, beside ``NAME_orig`` and ``NAME_mask`` of :mod:`torch.nn.utils.prune`, two
persistent buffers that encoding needs and that outlive ``prune.remove``:

``NAME_level``
    int16, shape (rows, 2): the level ``(b, m)`` of each row.
``NAME_order``
    int64, shape (columns,): ``NAME_order[position]`` is the column of the matrix stored at ``position``.

``NAME`` is ``weight``, or ``weight_ih_l0`` and its like in recurrent modules.
"""

# As in torch, ``apply`` of each method has options of its own; torch declares that ``compute_mask`` returns nothing.
# pyright: reportIncompatibleMethodOverride=false

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from darb_prune.encoded import Level
from darb_prune.errors import ModelError
from darb_prune.modules.matrix import as_matrix, as_parameter, segments, taps_apart
from darb_prune.patterns.masks import level_mask

__all__ = [
    "LevelPruning",
    "Masking",
    "apply_mask",
    "load_pruned",
    "masked_weight",
    "refresh",
    "regrowing",
    "restore_dense",
    "shadow_weight",
]

_TABLES = ("_level", "_order")
_REGROWING = "_darb_regrowing"


class Masking(torch_prune.BasePruningMethod):
    """Any mask on one parameter, computed elsewhere.

    Parameters
    ----------
    mask : tensor of the shape of the parameter
    """

    # Single weights are removed, but blocks need the matrix whole: a container of methods hands
    # "unstructured" ones a flat vector of what is left, and only "global" ones the tensor itself.
    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask * self.mask.to(default_mask.dtype)

    def apply_mask(self, module: nn.Module) -> Tensor:
        """What the module computes with: kept weights, and 0."""
        return masked_weight(module, self._tensor_name)

    @classmethod
    def apply(cls, module: nn.Module, name: str, *options: Any, **more: Any) -> torch_prune.BasePruningMethod:
        method = super().apply(module, name, *options, **more)
        setattr(module, name, getattr(module, name).detach())
        return method


class LevelPruning(Masking):
    """Regular-block pruning: each row keeps ``m`` weights in each block of ``2**b`` columns.

    Parameters
    ----------
    levels : integer tensor of shape (rows, 2)
    order : int64 tensor of shape (columns,), optional
        Over the columns of the parameter seen as a matrix (see :mod:`darb_prune.modules.matrix`).
    apart : bool
        Whether each tap of a kernel is a segment of its own.
    """

    def __init__(self, levels: Tensor, order: Tensor | None = None, apart: bool = False) -> None:
        self.levels = levels
        self.order = order
        self.apart = apart

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        mask = level_mask(as_matrix(t * default_mask), self.levels, self.order, segments(t.shape, self.apart))
        return as_parameter(mask, t.shape).to(default_mask.dtype) * default_mask

    @classmethod
    def apply(
        cls, module: nn.Module, name: str, levels: Tensor, order: Tensor | None = None, worth: Tensor | None = None
    ) -> torch_prune.BasePruningMethod:
        """Prune ``module.<name>`` by ``levels`` per row, and leave both tables on the module as buffers.

        A block keeps the weights of the largest ``worth``, a tensor of the shape of the parameter; of the largest
        magnitude if it is absent.
        """
        levels = levels.to(torch.int16)
        method = super().apply(module, name, levels, order, taps_apart(module), importance_scores=worth)
        columns = sum(segments(getattr(module, name).shape))
        module.register_buffer(f"{name}_level", levels)
        module.register_buffer(f"{name}_order", torch.arange(columns) if order is None else order.clone())
        return method


def shadow_weight(module: nn.Module, name: str = "weight") -> Tensor:
    """The dense weights behind the mask, detached; the weights themselves if there is no mask."""
    shadow = getattr(module, f"{name}_orig", None)
    return (getattr(module, name) if shadow is None else shadow).detach()


def masked_weight(module: nn.Module, name: str = "weight") -> Tensor:
    """The effective weights, with gradient to the parameter behind them.

    The gradient reaches kept weights only, or all of them while the model is in :func:`regrowing`.
    """
    if not hasattr(module, f"{name}_orig"):
        return getattr(module, name)
    dense, mask = getattr(module, f"{name}_orig"), getattr(module, f"{name}_mask")
    if getattr(module, _REGROWING, False):
        return (dense * mask).detach() + (dense - dense.detach())  # exactly the masked weights
    return dense * mask


@contextmanager
def regrowing(model: nn.Module) -> Iterator[None]:
    """Inside, masked weights get gradients too (as if their mask were 1), so that later masks can bring them back."""
    modules = list(model.modules())
    for module in modules:
        setattr(module, _REGROWING, True)
    try:
        yield
    finally:
        for module in modules:
            delattr(module, _REGROWING)


def apply_mask(module: nn.Module, mask: Tensor, name: str = "weight", order: Tensor | None = None) -> None:
    """Put an arbitrary ``mask`` on ``module`` (no levels: such a layer cannot be encoded).

    The storage order that its blocks were cut in is left beside it, if there is one.
    """
    Masking.apply(module, name, mask)
    if order is not None:
        module.register_buffer(f"{name}_order", order.clone())


def refresh(model: nn.Module) -> None:
    """Make every masked weight the product of weights and mask as they are now, detached.

    The hook of torch does so only at the next forward pass, and then with a gradient, of which
    ``copy.deepcopy`` makes no copies.
    """
    for module in model.modules():
        for name in _masked_names(module):
            setattr(module, name, masked_weight(module, name).detach())


def _masked_names(module: nn.Module) -> list[str]:
    return [name.removesuffix("_mask") for name in module._buffers if name.endswith("_mask")]


def restore_dense(module: nn.Module, name: str = "weight") -> None:
    """Take mask and levels away and give the dense shadow weights back (``prune.remove`` would zero them).

    The parameter object stays the same, so that optimisers keep working.
    """
    if hasattr(module, f"{name}_orig"):
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, torch_prune.BasePruningMethod) and hook._tensor_name == name:
                del module._forward_pre_hooks[key]
        original = module._parameters.pop(f"{name}_orig")
        delattr(module, name)
        delattr(module, f"{name}_mask")
        setattr(module, name, original)  # not register_parameter: recurrent modules keep a list of their weights
    for ending in _TABLES:
        if f"{name}{ending}" in module._buffers:
            delattr(module, f"{name}{ending}")


def load_pruned(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a ``state_dict`` of a pruned model into ``model``, freshly built or pruned in another way.

    Nothing is changed unless names, shapes, masks, levels and orders are right.

    Raises
    ------
    ModelError
        Naming what does not fit the model or is damaged.
    """
    _check_state(model, state)
    # Masks and buffers are made first, because load_state_dict fills what exists and makes nothing.
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        own = {key.removeprefix(prefix) for key in state if key.startswith(prefix)}
        masked = {key.removesuffix("_mask") for key in own if key.endswith("_mask") and "." not in key}
        tables = [key for key in own if key.endswith(_TABLES) and "." not in key]
        for name in {*masked, *_masked_names(module)}:
            restore_dense(module, name)
        for name in sorted(masked):
            apply_mask(module, state[f"{prefix}{name}_mask"], name)
        for key in sorted(tables):
            module.register_buffer(key, state[prefix + key].clone())
    model.load_state_dict(state)
    refresh(model)


def _check_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    def require(condition: bool, message: str) -> None:
        if not condition:
            raise ModelError(f"the saved weights do not fit the model: {message}")

    expected = {}
    for name, shape in _dense_shapes(model).items():
        masked = f"{name}_mask" in state
        expected |= {f"{name}_orig": shape, f"{name}_mask": shape} if masked else {name: shape}
        if f"{name}_level" in state:
            expected[f"{name}_level"] = (shape[0], 2)
        if f"{name}_level" in state or f"{name}_order" in state:
            expected[f"{name}_order"] = (sum(segments(shape)),)
    missing, unknown = expected.keys() - state.keys(), state.keys() - expected.keys()
    require(not missing, f"{min(missing, default='')} is missing")
    require(not unknown, f"{min(unknown, default='')} is not in the model")
    for name, shape in expected.items():
        value = state[name]
        require(value.shape == shape, f"{name} has shape {tuple(value.shape)}, not {tuple(shape)}")
        if name.endswith("_mask"):
            require(bool(((value == 0) | (value == 1)).all()), f"{name} is not 0 or 1 everywhere")
        elif name.endswith(_TABLES):
            require(not value.is_floating_point(), f"{name} holds no integers")
            if name.endswith("_order"):
                right = torch.equal(value.sort().values, torch.arange(len(value), dtype=value.dtype))
                require(right, f"{name} is no permutation")
            else:
                for bits, kept in torch.unique(value, dim=0).tolist():
                    Level(bits, kept)


def _dense_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of the ``state_dict`` that ``model`` has without masks."""
    tables = ("_mask", *_TABLES)
    return {
        name.removesuffix("_orig"): value.shape
        for name, value in model.state_dict().items()
        if not name.endswith(tables)
    }
