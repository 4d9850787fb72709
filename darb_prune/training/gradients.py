"""Gradients of the loss on a few mini-batches, for saliencies that need them."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from darb_prune.errors import DarbError, DataError, ModelError
from darb_prune.modules.recurrence import Carried
from darb_prune.patterns.saliency import Gradients

__all__ = ["collect"]


def collect(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    read: Callable[[], Sequence[Tensor]],
    batches: int = 20,
) -> Gradients:
    """Gradients of the loss on the first mini-batches of ``loader``, in evaluation mode.

    Parameters, gradients, buffers and modes of the model do not change. Its parameters must not be masked, or the
    masked weights seem to be worth nothing.

    Parameters
    ----------
    model : torch.nn.Module
        A model that returns ``(outputs, state)`` gets its state back with the next batch.
    loader : iterable of (inputs, labels)
        Small mini-batches come nearer to the Fisher information, because it is a mean over single samples.
    loss : callable (outputs, labels) -> scalar tensor
    read : callable () -> sequence of tensors of shape (rows, columns)
        Reads matrices from the ``.grad`` of the parameters.
    batches : int
        Most mini-batches to use.

    Returns
    -------
    Gradients: means over the mini-batches.

    Raises
    ------
    DarbError
        If ``batches`` is below 1.
    DataError
        If the loader has no mini-batches.
    ModelError
        If the loss of a mini-batch is not finite.
    """
    if batches < 1:
        raise DarbError(f"batches {batches}: gradients need at least 1")
    modes = {module: module.training for module in model.modules()}
    before = {parameter: parameter.grad for parameter in model.parameters()}
    absolute: list[Tensor] = []
    square: list[Tensor] = []
    seen = 0
    forward = Carried(model)
    model.eval()
    try:
        for inputs, labels in loader:
            if seen == batches:
                break
            for parameter in before:
                parameter.grad = None
            with torch.enable_grad():
                value = loss(forward(inputs), labels)
                value.backward()
            if not torch.isfinite(value):
                raise ModelError(
                    f"gradients: the loss of batch {seen} is {value.item()}; train again with a lower rate"
                )
            gradients = [gradient.detach() for gradient in read()]
            if not seen:
                absolute, square = ([torch.zeros_like(gradient) for gradient in gradients] for _ in range(2))
            for gradient, total, squares in zip(gradients, absolute, square, strict=True):
                total += gradient.abs()
                squares += gradient.square()
            seen += 1
    finally:
        for parameter, gradient in before.items():
            parameter.grad = gradient
        for module, training in modes.items():
            module.training = training
    if not seen:
        raise DataError("gradients: the loader has no batches; give it data")
    return Gradients([total / seen for total in absolute], [squares / seen for squares in square])
