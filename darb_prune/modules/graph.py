"""The symbolic graph of a model, which tells who reads what without an example input."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn

from darb_prune.errors import ModelError

__all__ = ["trace"]


class _Tracer(fx.Tracer):
    """Modules that say so with ``whole = True`` are not traced into; constants given to them do not matter."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return getattr(m, "whole", False) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        if getattr(m, "whole", False):
            args = tuple(None if isinstance(argument, Tensor) else argument for argument in args)
        return super().call_module(m, forward, args, kwargs)


def trace(model: nn.Module, remedy: str) -> tuple[nn.Module, fx.Graph]:
    """The graph of ``model`` as it runs in ``eval`` mode, and the module that its paths start from.

    Raises
    ------
    ModelError
        If the model cannot be traced; ``remedy`` is what to do about it.
    """
    # A bare layer would be traced into its own forward method.
    bare = type(model).__module__.startswith("torch.nn.") and not any(True for _ in model.children())
    root = nn.Sequential(model) if bare else model
    training = {module: module.training for module in root.modules()}
    root.eval()
    try:
        return root, _Tracer().trace(root)
    except Exception as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{type(model).__name__}: cannot be traced ({text}); {remedy}") from error
    finally:
        for module, flag in training.items():
            module.training = flag
