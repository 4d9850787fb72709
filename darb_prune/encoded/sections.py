"""What makes the sections of a network legal: layers that run for each column of maps."""

from darb_prune.encoded.parts import Layer, Section
from darb_prune.encoded.rows import is_integer, require
from darb_prune.encoded.unchecked import UncheckedNetwork
from darb_prune.errors import NetworkError

__all__ = ["validate_sections"]

_STEPS_MAX = 1 << 16
"""Columns times layers of a section."""
_PLAIN = {
    "positions": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0), "pool": (1, 1), "maximum": False,
    "spread": (1, 1), "origin": (0, 0), "transposed": False,
}  # fmt: skip
"""Fields that a layer of a section has no choice in."""


def validate_sections(network: UncheckedNetwork, padded: set[str]) -> None:
    """Raise :class:`NetworkError`, naming section and layer, unless all sections are legal. ``padded`` are the tensors
    that a layer puts zeros around."""
    stop = 0
    for section_number, section in enumerate(network.sections):
        where = f"section {section_number}"
        numbers = is_integer(section.first) and is_integer(section.stop) and isinstance(section.backward, bool)
        require(numbers, f"{where}: {section} must have two integers, and backward true or false")
        require(
            stop <= section.first < section.stop <= len(network.layers),
            f"{where}: layers {section.first} to {section.stop} must be some of the {len(network.layers)} layers, "
            "behind those of the section before",
        )
        stop = section.stop
        _validate_section(network, section, where)
    if not network.sections:
        return
    for cell in network.cells:
        require(cell.output in network.sectioned, f"cell {cell.name!r}: outside of the sections of the network")
    early = [name for name in network.delayed if name not in network.sectioned]
    require(not early, f"tensors {early}: read before they are written, outside of the sections of the network")
    for tensor in network.tensors:
        require(
            tensor.initial is None or tensor.name not in padded,
            f"tensor {tensor.name!r}: has initial values, and a layer puts zeros around it; copy the tensor",
        )


def _validate_section(network: UncheckedNetwork, section: Section, where: str) -> None:
    layers = network.layers[section.first : section.stop]
    columns = network.tensor(layers[0].output).shape[1]
    require(
        columns * len(layers) <= _STEPS_MAX,
        f"{where}: {len(layers)} layers for each of {columns} columns, at most {_STEPS_MAX} in all are possible",
    )
    written = dict.fromkeys(layer.output for layer in layers)
    cells = [cell for cell in network.cells if cell.gates in written]
    require(len(cells) <= 1, f"{where}: cells {[cell.name for cell in cells]}; it can have one only")
    for layer in layers:
        _validate_layer(network, layer, columns, f"{where}, layer {layer.name!r}")
    for name in [*written, *(cell.output for cell in cells)]:
        height, width, _ = network.tensor(name).shape
        require(
            (height, width) == (1, columns),
            f"{where}: writes columns of tensor {name!r}, which must be one line of {columns} pixels, not "
            f"{height} of {width}",
        )
    for layer_number, layer in enumerate(network.layers):
        inside = layer_number in section
        require(
            inside or layer.output not in written,
            f"layer {layer.name!r}: writes tensor {layer.output!r}, whose columns {where} writes",
        )
    outputs = {*written, *(cell.output for cell in cells)}
    # What anybody reads before it is written is a column before: of a tensor of the section, read in the section.
    for layer in network.layers[: section.first]:
        for name in layer.reads:
            require(name not in outputs, f"layer {layer.name!r}: reads tensor {name!r} before {where} writes it")
    known = {layer.output for layer in network.layers[: section.first]}
    known |= {cell.output for cell in network.cells if cell.gates in known}
    known |= {network.input, *([network.embedding.output] if network.embedding else [])}
    for layer in layers:
        for name in layer.reads:
            require(
                name in known | outputs, f"{where}, layer {layer.name!r}: reads tensor {name!r} before it is written"
            )


def _validate_layer(network: UncheckedNetwork, layer: Layer, columns: int, where: str) -> None:
    for name, usual in _PLAIN.items():
        value = getattr(layer, name)
        require(value == usual, f"{where}: {name} {value!r} must be {usual!r} in a section")
    require(layer.output != network.output, f"{where}: writes the output of the network; write a copy of the tensor")
    for name in layer.reads:
        width = network.tensor(name).shape[1]
        require(width == columns, f"{where}: reads tensor {name!r} of {width} columns, the section has {columns}")
    if layer.operand is not None:
        operand = layer.operand
        if operand.stride != (1, 1) or network.tensor(operand.tensor).shape[0] != 1:
            raise NetworkError(f"{where}: operand {operand.tensor!r} must be one line, and its stride (1, 1)")
