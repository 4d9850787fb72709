"""Trained keyword-spotting weights (TensorFlow, ``weights/ml_kws`` of $DARB_DATA) in the layers of torch.

They serve as real distributions of weights. So it does no harm that parts of their equations are left out (below), and
no accuracy is claimed.
"""

import numpy as np
import torch
from torch import Tensor, nn

from darb_prune.errors import DataError
from darb_prune.tasks.data import DataSets
from darb_prune.tasks.mlperf import read_clips

__all__ = ["STEPS", "Keywords", "clips", "gru", "lstm", "weights"]

STEPS, FEATURES = 49, 10  # of a clip: MFCC every 20 ms
_CELL = "rnn.multi_rnn_cell.cell_0.gru_cell."
_LSTM = "lstm.rnn.lstm_cell."


class Keywords(nn.Module):
    """One recurrent layer, and a Linear layer on its output after the last time step."""

    def __init__(self, recurrent: nn.LSTM | nn.GRU, classes: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.output = nn.Linear(recurrent.hidden_size, classes, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits of shape (clips, classes) for float frames of shape (clips, time steps, features)."""
        return self.output(self.recurrent(frames)[0][:, -1])


def weights(name: str) -> dict[str, Tensor]:
    """Arrays of ``NAME.npz``, float32."""
    path = DataSets().find("weights/ml_kws") / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: torch.from_numpy(file[key]) for key in file}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{path}: not an archive of weights ({error}); get it again") from error


def _set(module: nn.Module, name: str, values: Tensor) -> None:
    """Copy values into a parameter."""
    module.get_parameter(name).copy_(values)


@torch.no_grad()
def gru(arrays: dict[str, Tensor]) -> Keywords:
    """``GRU_L``. TensorFlow's candidate is ``tanh(W [x, r h] + b)``, torch's (and the engine's) ``tanh(W_x x + b +
    r (W_h h))``; the gates and ``h' = z h + (1 - z) n`` are the same."""
    kernel, bias = arrays[f"{_CELL}gates.kernel"], arrays[f"{_CELL}gates.bias"]
    candidate = arrays[f"{_CELL}candidate.kernel"]
    units = candidate.shape[1]
    inputs = len(kernel) - units
    model = Keywords(nn.GRU(inputs, units, batch_first=True), arrays["W_o"].shape[1])
    columns = torch.cat([kernel, candidate], dim=1).T
    _set(model.recurrent, "weight_ih_l0", columns[:, :inputs])
    _set(model.recurrent, "weight_hh_l0", columns[:, inputs:])
    _set(model.recurrent, "bias_ih_l0", torch.cat([bias, arrays[f"{_CELL}candidate.bias"]]))
    nn.init.zeros_(model.recurrent.get_parameter("bias_hh_l0"))
    model.output.weight.copy_(arrays["W_o"].T)
    return model.eval()


@torch.no_grad()
def lstm(arrays: dict[str, Tensor]) -> Keywords:
    """``LSTM_L``: 500 units, whose output goes through a projection to 188 values before anything reads it. That
    matrix is multiplied into those that read it, which gives the same function without a projection. The three
    diagonals from the cell state to the gates (peepholes) are left out. TensorFlow orders the gates i, g, f, o and
    adds 1 to those of f."""
    kernel, bias = arrays[f"{_LSTM}kernel"], arrays[f"{_LSTM}bias"]
    projection = arrays[f"{_LSTM}projection.kernel"]
    units, projected = projection.shape
    inputs = len(kernel) - projected
    model = Keywords(nn.LSTM(inputs, units, batch_first=True), arrays["W_o"].shape[1])
    i, g, f, o = kernel.T.split(units)
    columns = torch.cat([i, f, g, o])
    i, g, f, o = bias.split(units)
    _set(model.recurrent, "weight_ih_l0", columns[:, :inputs])
    _set(model.recurrent, "weight_hh_l0", columns[:, inputs:] @ projection.T)
    _set(model.recurrent, "bias_ih_l0", torch.cat([i, f + 1, g, o]))
    nn.init.zeros_(model.recurrent.get_parameter("bias_hh_l0"))
    model.output.weight.copy_(arrays["W_o"].T @ projection.T)
    return model.eval()


def clips(count: int) -> Tensor:
    """``count`` clips of ``kws01-mfcc`` at equal distances: float32 of shape (count, STEPS, FEATURES), the integers as
    they are."""
    values, _ = read_clips(DataSets().find("kws01-mfcc"))
    return torch.from_numpy(values[np.arange(count) * len(values) // count].astype(np.float32))
