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
    "refresh",
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
        setattr(module, name, getattr(module, name).detach())
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
    refresh(linear)


def refresh(model: nn.Module) -> None:
    """Make ``weight`` of every masked layer the product of weights and mask as they are now, detached.

    The hook of torch does so only at the next forward pass, and then with a gradient, of which
    ``copy.deepcopy`` makes no copies.
    """
    for module in model.modules():
        if hasattr(module, "weight_mask"):
            module.weight = masked_weight(module).detach()


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

    Nothing is changed unless names, shapes, masks, levels and orders are right.

    Raises
    ------
    DarbError
        Naming what does not fit the model or is damaged.
    """
    _check_state(model, state)
    # Masks and buffers are made first, because load_state_dict fills what exists and makes nothing.
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
    refresh(model)


def _check_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    def require(condition: bool, message: str) -> None:
        if not condition:
            raise DarbError(f"the saved weights do not fit the model: {message}")

    expected = {}
    for name, shape in _dense_shapes(model).items():
        masked = f"{name}_mask" in state
        expected |= {f"{name}_orig": shape, f"{name}_mask": shape} if masked else {name: shape}
        if f"{name}_level" in state or f"{name}_order" in state:
            expected |= {f"{name}_level": (shape[0], 2), f"{name}_order": (shape[1],)}
    missing, unknown = expected.keys() - state.keys(), state.keys() - expected.keys()
    require(not missing, f"{min(missing, default='')} is missing")
    require(not unknown, f"{min(unknown, default='')} is not in the model")
    for name, shape in expected.items():
        value = state[name]
        require(value.shape == shape, f"{name} has shape {tuple(value.shape)}, not {tuple(shape)}")
        if name.endswith("weight_mask"):
            require(bool(((value == 0) | (value == 1)).all()), f"{name} is not 0 or 1 everywhere")
        elif name.endswith(_BUFFERS):
            require(not value.is_floating_point(), f"{name} holds no integers")
            if name.endswith("weight_order"):
                right = torch.equal(value.sort().values, torch.arange(len(value), dtype=value.dtype))
                require(right, f"{name} is no permutation")
            else:
                for bits, kept in torch.unique(value, dim=0).tolist():
                    Level(bits, kept)


def _dense_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of the ``state_dict`` that ``model`` has without masks."""
    return {
        name.replace("weight_orig", "weight"): value.shape
        for name, value in model.state_dict().items()
        if not name.endswith(("weight_mask", *_BUFFERS))
    }
