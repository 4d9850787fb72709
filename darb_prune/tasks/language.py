"""A recurrent language model, and texts as splits."""

import numpy as np
import torch
from torch import Tensor, nn

from darb_prune.errors import DataError
from darb_prune.tasks import Split

__all__ = ["LanguageModel", "text_split"]


class LanguageModel(nn.Module):
    """Embedding, LSTM layers, and a Linear layer that gives the logits of the next symbol.

    Parameters
    ----------
    symbols : int
        Size of the vocabulary.
    features : int
        Width of the embedding.
    units, layers : int
        Units of a layer, and layers, of the LSTM.
    dropout : float
        On the embedding, between the LSTM layers and on their output (Zaremba et al., 2014).
    uniform : float, optional
        Initial weights are uniform in -uniform to uniform (ibid.). Those of torch if absent.
    """

    def __init__(
        self,
        symbols: int,
        features: int,
        units: int,
        layers: int = 1,
        dropout: float = 0.0,
        uniform: float | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, features)
        self.dropout_in = nn.Dropout(dropout)
        self.lstm = nn.LSTM(features, units, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout_out = nn.Dropout(dropout)
        self.output = nn.Linear(units, symbols)
        if uniform is not None:
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -uniform, uniform)

    def forward(
        self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Logits of the symbol after each token, and the state after the last.

        Parameters
        ----------
        tokens : int64 tensor of shape (streams, steps)
        state : as returned, optional
            The state after the tokens before these; zeros if absent.

        Returns
        -------
        Logits of shape (streams, steps, symbols), and the state of the LSTM. ``steps`` are time steps.
        """
        values, last = self.lstm(self.dropout_in(self.embedding(tokens)), state)
        return self.output(self.dropout_out(values)), last


def text_split(tokens: np.ndarray, what: str) -> Split:
    """All tokens but the last as inputs, all tokens but the first as labels.

    Parameters
    ----------
    tokens : int array of shape (symbols,)
    what : str
        Name of the text in the message of a :class:`DataError`, which is raised if there are no two tokens.
    """
    if len(tokens) < 2:
        raise DataError(f"{what}: {len(tokens)} tokens, at least 2 are needed; give a longer text")
    symbols = torch.from_numpy(tokens.astype(np.int64))
    return Split(symbols[:-1], symbols[1:])
