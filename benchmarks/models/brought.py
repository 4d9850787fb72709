"""A model as somebody would bring it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["BroughtModel", "Residual", "images", "normed", "sequences", "symbols", "vectors"]


@dataclass(frozen=True)
class BroughtModel:
    """A model with random weights.

    Parameters
    ----------
    kind : str
        What people would call it.
    make : callable
        Gives the model.
    inputs : callable (int) -> tensor
        So many random inputs of it.
    mended : callable, optional
        Gives the model with what the remedies of :func:`darb_prune.check` ask for, of the same inputs. Only needed if
        the model is refused.
    """

    kind: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    mended: Callable[[], nn.Module] | None = None


def images(*shape: int) -> Callable[[int], Tensor]:
    """Images of ``shape`` (channels, lines, columns)."""
    return lambda count: torch.randn(count, *shape)


def vectors(size: int) -> Callable[[int], Tensor]:
    """Vectors of ``size``."""
    return lambda count: torch.randn(count, size)


def sequences(*shape: int) -> Callable[[int], Tensor]:
    """Sequences of ``shape``: (time steps, features), or (channels, samples) for convolutions."""
    return lambda count: torch.randn(count, *shape)


def symbols(steps: int, count_of_symbols: int) -> Callable[[int], Tensor]:
    """Sequences of so many symbols out of so many."""
    return lambda count: torch.randint(0, count_of_symbols, (count, steps))


class Residual(nn.Module):
    """What ``body`` gives, added to ``skip`` of the same input."""

    def __init__(self, *body: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.skip = nn.Sequential(*body), skip or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


def normed(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int | None = None, groups: int = 1,
    dilation: int = 1,
) -> nn.Sequential:  # fmt: skip
    """A convolution with norm and ReLU; half a kernel of padding if not given."""
    around = kernel // 2 if padding is None else padding
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, around, dilation, groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
