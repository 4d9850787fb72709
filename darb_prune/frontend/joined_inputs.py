"""A model of several inputs as a model of one."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.capture.recording import RECURRENT

__all__ = ["JoinedInputs"]


class JoinedInputs(nn.Module):
    """Takes the inputs of ``model`` as one tensor, side by side along their channels: ``torch.cat(inputs, dim)``.

    An engine takes one frame an inference; channels are outermost there, so the frames of the inputs follow each other
    in it. All inputs have one scale: bring them to a similar range before training.

    Parameters
    ----------
    model : torch.nn.Module
        Its inputs differ in nothing but the number of their channels: vectors, images of one size, or sequences.
    channels : sequence of int
        Of each input.
    dim : int
        Which dimension the channels are: 1, or the last one for sequences and images with channels last.

    Raises
    ------
    ModelError
        For channels that are not positive integers, and for an input that has another number of channels in all.

    Examples
    --------
    >>> joined = JoinedInputs(model, (3, 1))                # model(image, depth)
    >>> prune(joined, ratio=8, example=torch.cat([image, depth], 1))
    """

    def __init__(self, model: nn.Module, channels: Sequence[int], dim: int = 1) -> None:
        super().__init__()
        if not channels or not all(isinstance(count, int) and count > 0 for count in channels):
            raise ModelError(f"JoinedInputs: channels {channels!r}; give the channels of each input, as in (3, 1)")
        self.model, self.channels, self.dim = model, tuple(channels), dim
        self._steps = any(isinstance(module, RECURRENT) for module in model.modules())

    def forward(self, x: Tensor) -> Any:
        if not -x.dim() <= self.dim < x.dim() or x.shape[self.dim] != sum(self.channels):
            raise ModelError(
                f"JoinedInputs: an input of shape {tuple(x.shape)}; dimension {self.dim} must have "
                f"{' + '.join(map(str, self.channels))} channels"
            )
        if self._steps:
            return self.model(*x.split(self.channels, self.dim))
        # Channels in front first: so it is seen which dimension they are.
        parts = x.movedim(self.dim, 1).split(self.channels, 1)
        return self.model(*(part.movedim(1, self.dim) for part in parts))
