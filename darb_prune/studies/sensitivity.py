"""What it costs to prune the sparse rows of a layer, and what to prune its dense ones."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from darb_prune.encoded import metrics
from darb_prune.errors import DarbError
from darb_prune.modules.layers import PrunableLayer

__all__ = ["MEASUREMENTS", "SHARES", "TOLERANCE", "sensitivity"]

SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
MEASUREMENTS = 120
TOLERANCE = 0.01
"""Relative loss of the metric up to which a group of rows tolerates pruning."""


@torch.no_grad()
def sensitivity(
    model: nn.Module,
    layers: Sequence[PrunableLayer],
    counts: Sequence[np.ndarray],
    measure: Callable[[nn.Module], float],
    metric: str = "accuracy",
    shares: Sequence[float] = SHARES,
    groups: int = 3,
    measurements: int = MEASUREMENTS,
    progress: bool = False,
) -> dict:
    """Prune the rows of one density at a time, without fine-tuning, and measure.

    The rows of a layer are sorted by the weights that irregular pruning keeps of them, and cut into ``groups`` of
    equal size. The weights of least magnitude of one group are removed, everything else stays dense. This is done
    with all layers at once first, then layer by layer, the largest first, as far as ``measurements`` allows.

    Parameters
    ----------
    model : torch.nn.Module
        Without masks. Its weights are changed, and are what they were when the function returns.
    layers : sequence of PrunableLayer
        The layers of ``model``.
    counts : sequence of int arrays of shape (rows,)
        Weights kept of each row.
    measure : callable (model) -> float
        The metric on the validation split.
    metric : str
        A key of ``darb_prune.encoded.metrics.METRICS``.
    shares : sequence of float
        Shares of the weights of a group to remove, rising, above 0 and at most 1.
    groups : int
        At least 2.
    measurements : int
        How often to measure at most; all layers at once are always measured.
    progress : bool
        Whether to draw a progress bar (on standard error).

    Returns
    -------
    dict, ready for JSON
        ``metric``, ``dense`` (its value), ``shares``, ``left_out`` (names of layers that were too many, or have fewer
        rows than groups) and ``scopes``. Each scope has ``name`` (of a layer, or ``all layers``) and ``groups``, from
        sparse to dense: ``name``, ``rows``, ``weights``, ``density``; for each share the weights ``removed``,
        ``values`` of the metric and ``loss`` relative to the dense model; ``mean_loss`` over the shares,
        ``mean_loss_at_count`` when every group loses as many weights as the smallest one does, and ``tolerates``:
        the share that may go for a relative loss of 1 %, linear between measurements.

    Raises
    ------
    DarbError
        For bad options, more groups than any layer has rows, or a dense model whose metric is 0.
    """
    _check(shares, groups, measurements)
    metrics.get(metric)
    fitting = [index for index, layer in enumerate(layers) if layer.shape[0] >= groups]
    if not fitting:
        raise DarbError(f"groups {groups}: no layer has as many rows; give a smaller number")
    fitting.sort(key=lambda index: -layers[index].weights)
    room = measurements // (len(shares) * groups) - 1
    single = sorted(fitting[: max(room, 0)]) if len(fitting) > 1 else []
    scopes = {"all layers" if len(fitting) > 1 else layers[fitting[0]].name: fitting}
    scopes |= {layers[index].name: [index] for index in single}
    seen = {index for index in fitting if layers[index].name in scopes}
    dense = float(measure(model))
    if dense == 0:
        raise DarbError(f"{metric} of the dense model is 0; give a trained model")
    parts = {index: np.array_split(np.argsort(counts[index], kind="stable"), groups) for index in fitting}
    work = [(scope, group, share) for scope in scopes for group in range(groups) for share in shares]
    measured: dict[str, list[list[tuple[int, float]]]] = {scope: [[] for _ in range(groups)] for scope in scopes}
    for scope, group, share in track(work, "prune rows", disable=not progress, console=Console(stderr=True)):
        before = {index: layers[index].matrix().clone() for index in scopes[scope]}
        try:
            removed = 0
            for index, weight in before.items():
                thinned = weight.clone()
                removed += _thin(thinned, parts[index][group], share)
                _write(layers[index], thinned)
            measured[scope][group].append((removed, float(measure(model))))
        finally:
            for index, weight in before.items():
                _write(layers[index], weight)
    return {
        "metric": metric,
        "dense": dense,
        "shares": list(shares),
        "left_out": [layer.name for index, layer in enumerate(layers) if index not in seen],
        "scopes": [
            {"name": scope, "groups": _curves(measured[scope], numbers, layers, counts, parts, metric, dense, shares)}
            for scope, numbers in scopes.items()
        ],
    }


def _check(shares: Sequence[float], groups: int, measurements: int) -> None:
    if not shares or any(not 0 < share <= 1 for share in shares) or list(shares) != sorted(set(shares)):
        raise DarbError(f"shares {tuple(shares)}: give rising numbers above 0 and at most 1")
    if groups < 2:
        raise DarbError(f"groups {groups} must be at least 2")
    if measurements < 1:
        raise DarbError(f"measurements {measurements} must be at least 1")


def _thin(weight: Tensor, rows: np.ndarray, share: float) -> int:
    """Set the least of ``rows`` to 0, in place; returns how many weights that are."""
    group = weight[torch.from_numpy(rows)]
    removed = round(share * group.numel())
    flat = group.flatten()
    flat[flat.abs().argsort(stable=True)[:removed]] = 0
    weight[torch.from_numpy(rows)] = flat.reshape(group.shape)
    return removed


def _write(layer: PrunableLayer, matrix: Tensor) -> None:
    for part, piece in zip(layer.parts, layer.split(matrix), strict=True):
        part.parameter.data.copy_(piece)


def _curves(
    measured: Sequence[Sequence[tuple[int, float]]],
    numbers: Sequence[int],
    layers: Sequence[PrunableLayer],
    counts: Sequence[np.ndarray],
    parts: dict[int, list[np.ndarray]],
    metric: str,
    dense: float,
    shares: Sequence[float],
) -> list[dict]:
    """The groups of a scope, from what was measured of each: weights removed and metric, for each share."""
    groups = len(parts[numbers[0]])
    sizes = [sum(len(parts[n][group]) * layers[n].shape[1] for n in numbers) for group in range(groups)]
    curves = []
    for group, size in enumerate(sizes):
        removed, values = zip(*measured[group], strict=True)
        loss = [metrics.loss_over(metric, value, dense) for value in values]
        at_count = np.interp([share * min(sizes) for share in shares], [0, *removed], [0.0, *loss])
        curves.append({
            "name": _name(group, groups),
            "rows": sum(len(parts[n][group]) for n in numbers),
            "weights": size,
            "density": sum(int(counts[n][parts[n][group]].sum()) for n in numbers) / size,
            "removed": list(removed),
            "values": list(values),
            "loss": loss,
            "mean_loss": float(np.mean(loss)),
            "mean_loss_at_count": float(np.mean(at_count)),
            "tolerates": _tolerated(shares, loss),
        })  # fmt: skip
    return curves


def _name(group: int, groups: int) -> str:
    known = {0: "sparsest", groups - 1: "densest"}
    return known.get(group, "middle" if groups == 3 else f"group {group + 1}")


def _tolerated(shares: Sequence[float], loss: Sequence[float]) -> float:
    """Share at which the loss first passes ``TOLERANCE``; the largest one measured if it never does."""
    share, value = 0.0, 0.0
    for next_share, next_value in zip(shares, loss, strict=True):
        if next_value > TOLERANCE:
            return share + (next_share - share) * (TOLERANCE - value) / (next_value - value)
        share, value = next_share, next_value
    return share
