"""Models that hand a state from one batch to the next."""

from torch import Tensor, nn

__all__ = ["Carried"]

State = Tensor | tuple["State", ...]


class Carried:
    """Calls a model batch after batch; a state that it returns beside its outputs goes into the next call.

    A model is recurrent over batches if it returns ``(outputs, state)`` and takes ``(inputs, state)``, as language
    models do. States are detached: gradients end at the border of a batch. Other models are called as they are.

    Parameters
    ----------
    model : torch.nn.Module
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.state: State | None = None

    def reset(self) -> None:
        """Forget the state: the next batch starts a text."""
        self.state = None

    def __call__(self, inputs: Tensor) -> Tensor:
        outputs = self.model(inputs) if self.state is None else self.model(inputs, self.state)
        if isinstance(outputs, tuple):
            outputs, state = outputs
            self.state = _detached(state)
        return outputs


def _detached(state: State) -> State:
    return tuple(_detached(part) for part in state) if isinstance(state, tuple) else state.detach()
