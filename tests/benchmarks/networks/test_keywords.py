"""Weights of TensorFlow's cells in torch's: against TensorFlow's equations, written out."""

import numpy as np
import torch

from benchmarks.networks import keywords


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def arrays_of(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def tensors(arrays):
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


def test_lstm_with_projection():
    cell, units, projected = "lstm.rnn.lstm_cell.", 7, 4
    shapes = {f"{cell}kernel": (3 + projected, 4 * units), f"{cell}bias": (4 * units,)}
    arrays = arrays_of(shapes | {f"{cell}projection.kernel": (units, projected), "W_o": (projected, 5)})
    x = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    c, m = np.zeros(units), np.zeros(projected)
    for frame in x:
        gates = np.concatenate([frame, m]) @ arrays[f"{cell}kernel"] + arrays[f"{cell}bias"]
        i, j, f, o = np.split(gates, 4)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
        m = (sigmoid(o) * np.tanh(c)) @ arrays[f"{cell}projection.kernel"]
    found = keywords.lstm(tensors(arrays))(torch.from_numpy(x)[None])[0]
    assert np.allclose(found.detach().numpy(), m @ arrays["W_o"], atol=1e-5)


def test_gru_with_the_reset_gate_behind_the_matrix():
    cell, units = "rnn.multi_rnn_cell.cell_0.gru_cell.", 6
    shapes = {f"{cell}gates.kernel": (3 + units, 2 * units), f"{cell}gates.bias": (2 * units,)}
    shapes |= {f"{cell}candidate.kernel": (3 + units, units), f"{cell}candidate.bias": (units,)}
    arrays = arrays_of(shapes | {"W_o": (units, 5)})
    kernel = arrays[f"{cell}candidate.kernel"]
    x = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    h = np.zeros(units)
    for frame in x:
        gates = np.concatenate([frame, h]) @ arrays[f"{cell}gates.kernel"] + arrays[f"{cell}gates.bias"]
        r, u = np.split(sigmoid(gates), 2)
        n = np.tanh(frame @ kernel[:3] + arrays[f"{cell}candidate.bias"] + r * (h @ kernel[3:]))
        h = u * h + (1 - u) * n
    found = keywords.gru(tensors(arrays))(torch.from_numpy(x)[None])[0]
    assert np.allclose(found.detach().numpy(), h @ arrays["W_o"], atol=1e-5)
