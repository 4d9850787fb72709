"""Tables for the terminal."""

from collections.abc import Callable

from rich.table import Table
from rich.text import Text

from darb_prune.encoded import EncodedNetwork, Layer, Tensor
from darb_prune.modules.block_term import Modes
from darb_prune.text import printable

__all__ = ["accuracy_table", "is_accuracy", "layer_table", "level_table", "network_table", "terms_table", "units_table"]

CELL_LENGTH = 2000
"""Most letters of a cell: the provenance of a network is longer than a name."""


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _add(table: Table, *cells: str) -> None:
    """Add a row of plain text: brackets in names are no markup."""
    table.add_row(*(Text(printable(cell, CELL_LENGTH)) for cell in cells))


def is_accuracy(value: object) -> bool:
    """Whether ``value`` is ``{model: {split: share}}``."""
    return isinstance(value, dict) and all(
        isinstance(shares, dict) and all(isinstance(share, (int, float)) for share in shares.values())
        for shares in value.values()
    )


def accuracy_table(
    accuracy: dict[str, dict[str, float]], metric: str = "accuracy", text: Callable[[float], str] = _percent
) -> Table:
    """One row a model (dense, pruned, integer), one column a split; ``text`` writes a value of ``metric``."""
    splits = list(dict.fromkeys(split for shares in accuracy.values() for split in shares))
    table = _table(metric, "model", *splits)
    for model, shares in accuracy.items():
        _add(table, model, *(text(shares[split]) if split in shares else "" for split in splits))
    return table


def network_table(network: EncodedNetwork) -> Table:
    """Summary and provenance."""
    codes = sum(len(layer.index) for layer in network.layers)
    table = _table("network", "", "value")
    table.columns[1].justify = "left"
    source, sink = network.tensor(network.input), network.tensor(network.output)
    _add(table, "name", network.name)
    _add(table, "digest", network.digest)
    _add(table, "input", f"{_shape(source)} x {source.bits} bits")
    _add(table, "output", f"{_shape(sink)} x {sink.bits} bits")
    if network.tasks:
        _add(table, "tasks", ", ".join(f"{task.name} of {task.size}" for task in network.tasks))
    if network.recurrent:
        cells = ", ".join(f"{cell.kind.upper()} of {network.tensor(cell.output).size}" for cell in network.cells)
        _add(table, "cells", f"{cells}; output at {'every' if network.emit == 'step' else 'the last'} step")
    _add(table, "weights", f"{network.weights:,} dense, {network.kept:,} kept")
    if network.depthwise_weights:
        _add(table, "depthwise layers", f"{network.depthwise_weights:,} weights besides")
    _add(table, "codes", f"{codes:,}")
    _add(table, "multiplications", f"{network.macs:,} a {'step' if network.recurrent else 'sample'}")
    _add(table, "pruning ratio", f"{network.ratio:.2f}")
    for key, value in network.provenance.items():
        if key != "accuracy" or not is_accuracy(value):
            text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
            _add(table, key, text)
    return table


def _shape(tensor: Tensor) -> str:
    """Height, width and channels of a map; the size of a vector."""
    return str(tensor.size) if tensor.shape[:2] == (1, 1) else " x ".join(map(str, tensor.shape))


def layer_table(network: EncodedNetwork) -> Table:
    """One row a layer, and the total."""
    table = _table(
        "layers", "layer", "rows", "columns", "kept", "ratio", "codes", "positions", "weight bits", "code bits"
    )
    totals = [0, 0, 0]
    for layer in network.layers:
        bits = _code_bits(layer)
        values = (layer.kept, len(layer.index), bits)
        totals = [total + value for total, value in zip(totals, values, strict=True)]
        ratio = "" if layer.depthwise else f"{layer.dense_weights / max(layer.kept, 1):.2f}"
        _add(
            table, layer.name, str(layer.rows), str(layer.columns), f"{layer.kept:,}", ratio,
            f"{len(layer.index):,}", f"{layer.position_count:,}", str(layer.weight_bits), f"{bits:,}",
        )  # fmt: skip
    table.add_section()
    kept, codes, bits = totals
    _add(table, "all", "", "", f"{kept:,}", f"{network.ratio:.2f}", f"{codes:,}", "", "", f"{bits:,}")
    return table


def _code_bits(layer: Layer) -> int:
    """Bits of all codes: weight and index each, without what a ROM adds."""
    return sum(
        len(layer.rows_of(level_number)) * layer.stored_codes(level) * (layer.weight_bits + level.bits)
        for level_number, level in enumerate(layer.levels)
    )


def level_table(network: EncodedNetwork) -> Table:
    """One row for every level of every layer."""
    table = _table("levels (b, m): m kept in each block of 2**b", "layer", "level", "rows", "codes", "share")
    for layer in network.layers:
        for level_number, level in enumerate(layer.levels):
            rows = len(layer.rows_of(level_number))
            codes = rows * layer.stored_codes(level)
            _add(table, layer.name, str(level), str(rows), f"{codes:,}", _percent(codes / max(len(layer.index), 1)))
        table.add_section()
    return table


def terms_table(modes: dict[str, Modes], errors: dict[str, float]) -> Table:
    """One row a block-term layer; ``errors`` are those of fitted ones."""
    table = _table("block-term layers", "layer", "inputs", "outputs", "ranks", "weights", "parameters", "left by fit")
    for name, own in modes.items():
        sizes = [" x ".join(map(str, each)) for each in (own.inputs, own.outputs, own.ranks)]
        error = _percent(errors[name]) if name in errors else ""
        _add(table, name, *sizes, f"{own.weights:,}", f"{own.parameters:,}", error)
    return table


def units_table(units: dict[str, list[int]]) -> Table:
    """One row a layer: how many of its units are left, out of how many."""
    table = _table("units", "written by", "left", "before", "share")
    for writer, (left, before) in units.items():
        _add(table, writer, f"{left:,}", f"{before:,}", _percent(left / before))
    return table
