"""Masks on modules, the PyTorch way: pruning methods, the buffers that describe them, loading them back.

A pruned Linear carries, beside ``weight_orig`` and ``weight_mask`` of :mod:`torch.nn.utils.prune`, two
persistent buffers that encoding needs and that outlive ``prune.remove``:

``weight_level``
    int16, shape (rows, 2): the level ``(b, m)`` of each row.
``weight_order``
    int64, shape (columns,): ``weight_order[position]`` is the column stored at ``position``.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from darb_prune.container import DarbError
from darb_prune.encoded import Level
from darb_prune.masks import level_mask, level_rows, power_of_two

__all__ = [
    "BMWM",
    "NM",
    "BankBalanced",
    "LevelPruning",
    "apply_mask",
    "load_pruned",
    "masked_weight",
    "restore_dense",
    "shadow_weight",
]

_BUFFERS = ("weight_level", "weight_order")


class LevelPruning(torch_prune.BasePruningMethod):
    """Regular-block pruning: each row keeps ``m`` weights in each block of ``2**b`` columns.

    Parameters
    ----------
    levels : integer tensor of shape (rows, 2)
    order : int64 tensor of shape (columns,), optional
    """

    # Single weights are removed, but blocks need the matrix whole: a container of methods hands
    # "unstructured" ones a flat vector of what is left, and only "global" ones the tensor itself.
    PRUNING_TYPE = "global"

    def __init__(self, levels: Tensor, order: Tensor | None = None):
        self.levels = levels
        self.order = order

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        mask = level_mask(t * default_mask, self.levels, self.order)
        return mask.to(default_mask.dtype) * default_mask

    @classmethod
    def apply(cls, module: nn.Module, name: str, levels: Tensor, order: Tensor | None = None):
        """Prune ``module.<name>`` by ``levels`` per row, and leave both tables on the module as buffers."""
        levels = levels.to(torch.int16)
        method = super().apply(module, name, levels, order)
        columns = getattr(module, name).shape[1]
        module.register_buffer(f"{name}_level", levels)
        module.register_buffer(f"{name}_order", torch.arange(columns) if order is None else order.clone())
        return method


class BMWM(LevelPruning):
    """Block-max weight masking with one block size for all rows."""

    @classmethod
    def apply(cls, module: nn.Module, name: str, k: int, order: Tensor | None = None):
        level = Level(power_of_two(k, "block size"), 1)
        return super().apply(module, name, level_rows(level, len(getattr(module, name))), order)


class BankBalanced(LevelPruning):
    """``kept`` weights in each bank of ``bank`` columns."""

    @classmethod
    def apply(cls, module: nn.Module, name: str, bank: int, kept: int, order: Tensor | None = None):
        level = Level(power_of_two(bank, "bank size"), kept)
        return super().apply(module, name, level_rows(level, len(getattr(module, name))), order)


class NM(LevelPruning):
    """N:M sparsity: ``n`` of every ``m`` columns."""

    @classmethod
    def apply(cls, module: nn.Module, name: str, n: int, m: int, order: Tensor | None = None):
        level = Level(power_of_two(m, "N:M group of"), n)
        return super().apply(module, name, level_rows(level, len(getattr(module, name))), order)


def shadow_weight(linear: nn.Linear) -> Tensor:
    """The dense weights behind the mask, detached; the weights themselves if there is no mask."""
    return getattr(linear, "weight_orig", linear.weight).detach()


def masked_weight(linear: nn.Linear) -> Tensor:
    """The effective weights, with gradient to the parameter behind them."""
    if hasattr(linear, "weight_orig"):
        return linear.weight_orig * linear.weight_mask
    return linear.weight


def apply_mask(linear: nn.Linear, mask: Tensor) -> None:
    """Put an arbitrary ``mask`` on ``linear`` (no levels: such a layer cannot be encoded)."""
    torch_prune.custom_from_mask(linear, "weight", mask.to(linear.weight.dtype))


def restore_dense(linear: nn.Linear) -> None:
    """Take mask and levels away and give the dense shadow weights back (``prune.remove`` would zero them).

    The parameter object stays the same, so that optimisers keep working.
    """
    if hasattr(linear, "weight_orig"):
        for key, hook in list(linear._forward_pre_hooks.items()):
            if isinstance(hook, torch_prune.BasePruningMethod) and hook._tensor_name == "weight":
                del linear._forward_pre_hooks[key]
        original = linear._parameters.pop("weight_orig")
        del linear.weight
        del linear.weight_mask
        linear.register_parameter("weight", original)
    for name in _BUFFERS:
        if name in linear._buffers:
            delattr(linear, name)


def load_pruned(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a ``state_dict`` of a pruned model into ``model``, freshly built or pruned in another way.

    Masks and buffers are made first, because ``load_state_dict`` fills what exists and makes nothing.

    Raises
    ------
    DarbError
        If names or shapes do not fit the model.
    """
    try:
        for path, module in model.named_modules():
            prefix = f"{path}." if path else ""
            keys = {key for key in ("weight_mask", *_BUFFERS) if prefix + key in state}
            if not keys and not hasattr(module, "weight_mask"):
                continue
            restore_dense(module)
            if "weight_mask" in keys:
                apply_mask(module, state[prefix + "weight_mask"])
            for key in keys & set(_BUFFERS):
                module.register_buffer(key, state[prefix + key].clone())
        model.load_state_dict(state)
        for module in model.modules():
            if hasattr(module, "weight_mask"):
                # The hook refreshes the product at the next forward pass; readers should not have to wait.
                module.weight = module.weight_orig * module.weight_mask
    except (RuntimeError, AssertionError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise DarbError(f"the saved weights do not fit the model: {text}") from error
