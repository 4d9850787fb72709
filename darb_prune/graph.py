"""The symbolic graph of a model, which tells who reads what without an example input."""

from torch import fx, nn

from darb_prune.container import DarbError

__all__ = ["trace"]


def trace(model: nn.Module, remedy: str) -> tuple[nn.Module, fx.Graph]:
    """The graph of ``model`` as it runs in ``eval`` mode, and the module that its paths start from.

    Raises
    ------
    DarbError
        If the model cannot be traced; ``remedy`` is what to do about it.
    """
    # A bare layer would be traced into its own forward method.
    bare = type(model).__module__.startswith("torch.nn.") and not any(True for _ in model.children())
    root = nn.Sequential(model) if bare else model
    training = {module: module.training for module in root.modules()}
    root.eval()
    try:
        return root, fx.Tracer().trace(root)
    except Exception as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DarbError(f"{type(model).__name__}: cannot be traced ({text}); {remedy}") from error
    finally:
        for module, flag in training.items():
            module.training = flag
