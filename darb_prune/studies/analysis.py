"""The three observations that DARB rests on, measured for any model.

After irregular magnitude pruning: rows keep very different shares of their weights; dense rows suffer more from
pruning than sparse ones; the weights that stay are spread over the blocks of a row.
"""

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from rich.table import Table
from rich.text import Text
from scipy import stats
from torch import Tensor, nn

from darb_prune.encoded import BLOCK_BITS_MAX, Level
from darb_prune.errors import DarbError
from darb_prune.modules.layers import PrunableLayer, check_finite, layers
from darb_prune.modules.masked import refresh, restore_dense
from darb_prune.patterns.allocation import by_budget, by_density
from darb_prune.patterns.masks import irregular, level_mask, level_rows
from darb_prune.pruning.methods import BMWM
from darb_prune.pruning.one_shot import prune
from darb_prune.studies.sensitivity import MEASUREMENTS, SHARES, sensitivity

__all__ = ["BLOCKS", "QUANTILES", "analyze", "patterns", "positions", "row_densities", "summary_table"]

BLOCKS = (2, 4, 8, 16, 32, 64)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 20
GATES = {"lstm": ("input", "forget", "cell", "output"), "gru": ("reset", "update", "new")}
"""Order of the rows in torch."""


def analyze(
    model: nn.Module,
    ratio: float = 13,
    measure: Callable[[nn.Module], float] | None = None,
    metric: str = "accuracy",
    scope: str = "global",
    shares: Sequence[float] = SHARES,
    groups: int = 3,
    measurements: int = MEASUREMENTS,
    progress: bool = False,
) -> dict:
    """Densities of rows, their sensitivity, and positions of weights after irregular pruning of ``model``.

    The model stays as it is. If it is pruned, its dense shadow weights are analysed.

    Parameters
    ----------
    model : torch.nn.Module
        Any module with prunable layers (see :mod:`darb_prune.modules.layers`).
    ratio : float
        Of the irregular magnitude pruning.
    measure : callable (model) -> float, optional
        The metric of a copy of ``model`` on the validation split. Without it there is no ``sensitivity``.
    metric : str
        Which one it is: a key of ``darb_prune.encoded.metrics.METRICS``.
    scope : "global" or "layer"
        One magnitude threshold for the whole network, or one a layer.
    shares, groups, measurements, progress
        See :func:`darb_prune.studies.sensitivity.sensitivity`.

    Returns
    -------
    dict, ready for JSON
        ``ratio``, ``scope``, ``weights``, ``kept``, ``orders``; ``layers``, each with ``name``, ``kind``, ``rows``,
        ``columns``, ``segments``, ``kept``, ``densities`` (:func:`row_densities`), ``gates`` (density of each gate of
        a recurrent layer, else ``None``), ``positions`` (a dict from order to :func:`positions`) and ``patterns``
        (:func:`patterns`); and ``sensitivity``, or ``None``.

    Raises
    ------
    DarbError
        For a model without prunable layers, weights that are not finite, a ratio that keeps nothing, or an unknown
        option.
    """
    refresh(model)  # masked weights with a gradient cannot be copied
    trial = copy.deepcopy(model)
    of_model = layers(trial)
    check_finite(of_model)
    for layer in of_model:
        for part in layer.parts:
            restore_dense(part.module, part.name)
    matrices = [layer.matrix() for layer in of_model]
    masks = irregular(matrices, ratio, scope)
    kept = sum(int(mask.count_nonzero()) for mask in masks)
    if kept == 0:
        raise DarbError(f"ratio {ratio:g}: no weight is left; give a lower ratio")
    orders = _orders(trial)
    result = {
        "ratio": ratio,
        "scope": scope,
        "weights": sum(layer.weights for layer in of_model),
        "kept": kept,
        "orders": list(orders),
        "layers": [
            _layer(layer, matrix, mask, {name: tables[index] for name, tables in orders.items()})
            for index, (layer, matrix, mask) in enumerate(zip(of_model, matrices, masks, strict=True))
        ],
        "sensitivity": None,
    }
    if measure is not None:
        counts = [mask.sum(dim=1).numpy() for mask in masks]
        result["sensitivity"] = sensitivity(
            trial, of_model, counts, measure, metric, shares, groups, measurements, progress
        )
    return result


def _orders(model: nn.Module) -> dict[str, list[Tensor]]:
    """Storage order of the columns of each layer; of a model that cannot be captured, their own."""
    orders = {}
    for name in ("none", "spread"):
        trial = copy.deepcopy(model)
        try:
            prune(trial, 1, BMWM(order=name))
        except DarbError:
            return {"none": [torch.arange(layer.shape[1]) for layer in layers(model)]}
        orders[name] = [_order(layer) for layer in layers(trial)]
    return orders


def _order(layer: PrunableLayer) -> Tensor:
    starts = np.cumsum([0] + [part.columns for part in layer.parts])
    parts = zip(layer.parts, starts, strict=False)
    return torch.cat([getattr(part.module, f"{part.name}_order") + int(start) for part, start in parts])


def _layer(layer: PrunableLayer, matrix: Tensor, mask: Tensor, orders: dict[str, Tensor]) -> dict:
    rows, columns = layer.shape
    kept = int(mask.count_nonzero())
    return {
        "name": layer.name,
        "kind": layer.kind,
        "rows": rows,
        "columns": columns,
        "segments": list(layer.segments),
        "kept": kept,
        "densities": row_densities(mask),
        "gates": _gates(layer.kind, mask),
        "positions": {name: positions(mask[:, order], layer.segments) for name, order in orders.items()},
        "patterns": [
            {"order": name, **entry}
            for name, order in orders.items()
            for entry in patterns(matrix, kept, order, layer.segments)
        ],
    }


def _gates(kind: str, mask: Tensor) -> dict[str, float] | None:
    """Density of the rows of each gate of a recurrent layer."""
    if kind not in GATES:
        return None
    parts = mask.double().chunk(len(GATES[kind]))
    return {gate: float(part.mean()) for gate, part in zip(GATES[kind], parts, strict=True)}


def row_densities(mask: Tensor) -> dict:
    """How the share of kept weights differs from row to row.

    Chance means that each weight is kept with the density of the matrix, whatever its row: binomial counts.

    Parameters
    ----------
    mask : bool tensor of shape (rows, columns)

    Returns
    -------
    dict
        ``mean``, ``deviation`` (of all rows, not an estimate from a sample), ``least``, ``greatest``, ``quantiles``;
        ``empty`` and ``empty_chance``, shares of rows; ``variation`` = deviation / mean, ``variation_chance``, and
        ``variation_ratio`` of the two (``None`` if all or no weights are kept); ``histogram`` with ``edges`` and
        shares of ``rows``; ``blocks``: for each power of two the share of ``rows`` whose 1 / density is nearest to
        it (in log scale), and that by ``chance``; block 0 stands for empty rows.
    """
    rows, columns = mask.shape
    counts = mask.sum(dim=1).numpy()
    density = counts / columns
    mean, deviation = float(density.mean()), float(density.std())
    variation = deviation / mean if mean else None
    chance = math.sqrt((1 - mean) / (mean * columns)) if mean else None
    edges = np.linspace(0, max(float(density.max()), 1 / columns), BINS + 1)
    blocks = _nearest_block(columns)
    by_chance = stats.binom.pmf(np.arange(columns + 1), columns, mean)
    wanted = [0, *(1 << bits for bits in range((columns - 1).bit_length() + 1))]
    return {
        "mean": mean,
        "deviation": deviation,
        "least": float(density.min()),
        "greatest": float(density.max()),
        "quantiles": {f"{share:g}": float(np.quantile(density, share)) for share in QUANTILES},
        "empty": float((counts == 0).mean()),
        "empty_chance": float(by_chance[0]),
        "variation": variation,
        "variation_chance": chance,
        "variation_ratio": variation / chance if variation is not None and chance else None,
        "histogram": {"edges": edges.tolist(), "rows": (np.histogram(density, edges)[0] / rows).tolist()},
        "blocks": [
            {
                "block": block,
                "rows": float((blocks[counts] == block).mean()),
                "chance": float(by_chance[blocks == block].sum()),
            }
            for block in wanted
        ],
    }


def _nearest_block(columns: int) -> np.ndarray:
    """Power of two nearest to 1 / density of a row that keeps 0 (then it is 0), 1, .. ``columns`` weights."""
    inverse = columns / np.arange(1, columns + 1)
    return np.array([0, *(1 << np.round(np.log2(inverse)).astype(np.int64))])


def positions(mask: Tensor, segments: Sequence[int]) -> list[dict]:
    """How many blocks hold 0, 1, 2, .. of the kept weights.

    Chance means that a row keeps as many weights as it does, at random positions: how many a block of ``k`` columns
    holds is hypergeometric, row by row. Partial blocks are left out.

    Parameters
    ----------
    mask : bool tensor of shape (rows, columns)
        Columns in storage order.
    segments : sequence of int
        Widths of the segments of a row.

    Returns
    -------
    list of dict, one for each size in ``BLOCKS`` that fits into a segment
        ``block``; ``blocks``, how many there are; ``held`` and ``chance``, shares of the blocks that hold 0, 1, ..
        ``block`` weights; ``variance_ratio``: squared deviations from what a block of that row holds on average,
        over what chance gives. Below 1 weights are spread more evenly than by chance, above 1 they cluster;
        ``None`` if rows are full or empty, so that there is no choice.
    """
    columns = mask.shape[1]
    counts = mask.sum(dim=1).numpy()
    sizes, row_of = np.unique(counts, return_inverse=True)
    result = []
    for block in BLOCKS:
        whole = [
            part[:, : width // block * block].reshape(len(mask), -1, block)
            for part, width in zip(mask.split(list(segments), dim=1), segments, strict=True)
        ]
        held = torch.cat(whole, dim=1).sum(dim=2).numpy()
        if not held.size:
            continue
        chance = stats.hypergeom.pmf(np.arange(block + 1), columns, sizes[:, None], block)
        chance = (chance * np.bincount(row_of)[:, None]).sum(axis=0) / len(mask)
        share = counts / columns
        variance = block * share * (1 - share) * (columns - block) / max(columns - 1, 1)
        expected = float(variance.sum()) * held.shape[1]
        deviations = float(np.square(held - block * share[:, None]).sum())
        result.append({
            "block": block,
            "blocks": held.size,
            "held": (np.bincount(held.ravel(), minlength=block + 1) / held.size).tolist(),
            "chance": chance.tolist(),
            "variance_ratio": deviations / expected if expected > 0 else None,
        })  # fmt: skip
    return result


def patterns(weight: Tensor, kept: int, order: Tensor, segments: Sequence[int]) -> list[dict]:
    """What regular blocks keep of what irregular pruning of the same matrix to the same number of weights keeps.

    Parameters
    ----------
    weight : tensor of shape (rows, columns)
    kept : int
        Weights that irregular pruning keeps; ``bmwm`` takes the block nearest to it (in log scale), ``darb`` keeps as
        many or a few less. Each is compared with irregular pruning to *its own* number of weights.
    order : int64 tensor of shape (columns,)
        Storage order of the columns.
    segments : sequence of int

    Returns
    -------
    list of dict
        ``method`` (``bmwm``, ``darb by density``, ``darb by budget``); ``kept``; ``shared``, the share of irregularly
        kept weights that it keeps too, and ``shared_chance`` of weights taken anywhere; ``energy``, its sum of
        ``w**2`` over that of irregular pruning. Empty if nothing is kept.
    """
    if kept == 0:
        return []
    stored, widths = [weight[:, order]], [tuple(segments)]
    bits = round(math.log2(weight.numel() / kept))
    tables = {
        "bmwm": level_rows(Level(min(bits, BLOCK_BITS_MAX), 1), len(weight)),
        "darb by density": by_density(stored, kept, segments=widths)[0],
        "darb by budget": by_budget(stored, kept, segments=widths)[0],
    }
    best = weight.abs().flatten().argsort(descending=True, stable=True)
    result = []
    for method, levels in tables.items():
        mask = level_mask(weight, levels, order, segments)
        count = int(mask.count_nonzero())
        if count:
            free = torch.zeros(weight.numel(), dtype=torch.bool)
            free[best[:count]] = True
            free = free.reshape(weight.shape)
            squares = weight.double().square()
            result.append({
                "method": method,
                "kept": count,
                "shared": int((mask & free).count_nonzero()) / count,
                "shared_chance": count / weight.numel(),
                "energy": float(squares[mask].sum() / (squares[free].sum() or 1.0)),
            })  # fmt: skip
    return result


def summary_table(result: dict) -> Table:
    """What the terminal shows of an analysis: one row a layer."""
    orders = "\n".join(result["orders"])
    curves = {scope["name"]: scope for scope in result["sensitivity"]["scopes"]} if result["sensitivity"] else {}
    headings = ["layer", "density\n%", "rows\n5..95 %", "spread\n/ chance", f"blocks\n/ chance\n{orders}"]
    headings += [f"DARB\nkeeps, %\n{orders}", *(["loss, %\nsparse\n:dense"] if curves else [])]
    title = f"irregular pruning, ratio {result['ratio']:g}, {result['kept']:,} of {result['weights']:,} weights kept"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = "spread of row densities; variance of kept weights in a block; share of squared weights DARB keeps"
    if curves:
        table.caption += f"; loss of {result['sensitivity']['metric']} when only those rows are pruned"
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for layer in result["layers"]:
        density = layer["densities"]
        kept = [f"{100 * entry['energy']:.0f}" for entry in layer["patterns"] if entry["method"] == "darb by budget"]
        cells = [
            layer["name"],
            f"{100 * density['mean']:.1f}",
            f"{100 * density['quantiles']['0.05']:.0f}..{100 * density['quantiles']['0.95']:.0f}",
            _number(density["variation_ratio"]),
            " ".join(_number(nearest(layer, order)) for order in result["orders"]),
            " ".join(kept),
        ]
        cells += [_losses(curves.get(layer["name"]))] if curves else []
        table.add_row(*map(Text, cells))
    if "all layers" in curves:
        table.add_row(Text("all layers"), *[""] * (len(headings) - 2), Text(_losses(curves["all layers"])))
    return table


def nearest(layer: dict, order: str) -> float | None:
    """``variance_ratio`` at the block size nearest to 1 / density of a layer of the result, if there is one."""
    inverse = layer["rows"] * layer["columns"] / max(layer["kept"], 1)
    known = [entry for entry in layer["positions"][order] if entry["variance_ratio"] is not None]
    best = min(known, key=lambda entry: abs(math.log2(entry["block"] / inverse)), default=None)
    return best and best["variance_ratio"]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _losses(scope: dict | None) -> str:
    if scope is None:
        return ""
    first, *_, last = scope["groups"]
    return f"{100 * first['mean_loss']:.1f}:{100 * last['mean_loss']:.1f}"
