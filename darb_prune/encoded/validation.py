"""What makes an encoded network legal: every check that its makers and readers rely on (docs/arithmetic.md)."""

from collections import Counter
from typing import Any

import numpy as np

from darb_prune.encoded.parts import FACTOR_RANGE, Layer, Operand, Tensor
from darb_prune.encoded.rows import (
    fail_row,
    is_integer,
    require,
    require_array,
    require_integers,
    validate_fields,
    validate_rows,
)
from darb_prune.encoded.sections import validate_sections
from darb_prune.encoded.tasks import validate_tasks
from darb_prune.encoded.unchecked import UncheckedNetwork
from darb_prune.errors import NetworkError

__all__ = ["validate"]

GATE_BITS = 16
"""Bits of the gates and of the state of a recurrent cell."""
SIZE_MAX = 1 << 24
"""Elements of a tensor: far beyond the memory of a device."""
PADDING_MAX = 1 << 18
"""Zeros around a tensor: as many as half of the largest device's memory holds at 8 bits."""
NO_PADDING = (0, 0, 0, 0)


def validate(network: UncheckedNetwork) -> None:
    """Raise :class:`NetworkError`, naming layer, row and field, unless ``network`` is legal in every respect."""
    require(bool(network.tensors and network.layers), "the network has no layers")
    require(isinstance(network.provenance, dict), "provenance must be a dictionary")
    _validate_names(network)
    for tensor in network.tensors:
        _validate_tensor(tensor)
    for function_number, table in enumerate(network.functions):
        require_array(f"function {function_number}", "table", table, (256,), -(1 << 15), (1 << 15) - 1)
    _validate_input(network)
    padded = {segment.tensor for layer in network.layers if layer.padding != NO_PADDING for segment in layer.segments}
    validate_sections(network, padded)
    _validate_cells(network)
    for layer in network.layers:
        _validate_layer(network, layer, padded)
    _validate_padding(network)
    source = network.tensor(network.input)
    require(
        source.zero == 0 or source.name not in padded,
        f"tensor {source.name!r}: zero {source.zero}, but a layer puts zeros around it; store it less its zero",
    )
    _validate_writers(network)
    _validate_output(network)
    _validate_readers(network)
    validate_tasks(network)
    for layer in network.layers:
        validate_rows(network, layer, f"layer {layer.name!r}")
    _validate_update_gates(network)


def _range(bits: int) -> tuple[int, int]:
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def _validate_names(network: UncheckedNetwork) -> None:
    embeddings = (network.embedding,) if network.embedding else ()
    runs = (*embeddings, *network.layers, *network.cells)
    for named in (network, *network.tensors, *runs):
        require(isinstance(named.name, str), f"name {named.name!r} must be a string")
    for kind, entries in (("tensors", network.tensors), ("layers, cells or embeddings", runs)):
        names = [entry.name for entry in entries]
        require(len(set(names)) == len(names), f"two {kind} of one name among {names}")
    tensors = {tensor.name for tensor in network.tensors}
    used = [(f"{role} of the network", getattr(network, role)) for role in ("input", "output")]
    used += [(f"embedding {entry.name!r}: output", entry.output) for entry in embeddings]
    used += [(f"cell {cell.name!r}: {role}", getattr(cell, role)) for cell in network.cells for role in _CELL_TENSORS]
    for layer in network.layers:
        used.append((f"layer {layer.name!r}: output", layer.output))
        used += [(f"layer {layer.name!r}: input", name) for name in layer.reads]
    for where, name in used:
        require(name in tensors, f"{where}: tensor {name!r} is not in the network")


_CELL_TENSORS = ("gates", "output")


def _validate_tensor(tensor: Tensor) -> None:
    where = f"tensor {tensor.name!r}"
    shape = tensor.shape
    legal = isinstance(shape, tuple) and len(shape) == 3 and all(is_integer(side) and side >= 1 for side in shape)
    require(legal, f"{where}: shape {shape!r} must be height, width and channels, each at least 1")
    require(tensor.size <= SIZE_MAX, f"{where}: {tensor.size} elements, at most {SIZE_MAX} are possible")
    require_integers(where, bits=tensor.bits, qmin=tensor.qmin, qmax=tensor.qmax)
    require(2 <= tensor.bits <= 16, f"{where}: bits {tensor.bits} must be 2 to 16")
    low, high = _range(tensor.bits)
    require(
        low <= tensor.qmin <= 0 < tensor.qmax <= high,
        f"{where}: range {tensor.qmin}..{tensor.qmax} must hold 0 and lie in {low}..{high}",
    )
    positive = isinstance(tensor.scale, (int, float, np.number)) and bool(
        np.isfinite(tensor.scale) and tensor.scale > 0
    )
    require(positive, f"{where}: scale {tensor.scale!r} must be a positive number")
    require_integers(where, zero=tensor.zero)
    require(low <= tensor.zero <= high, f"{where}: zero {tensor.zero} must lie in {low}..{high}")
    if tensor.order is not None:
        require_array(where, "order", tensor.order, (tensor.channels,))
        legal = np.array_equal(np.sort(tensor.order), np.arange(tensor.channels))
        require(legal, f"{where}: order is no permutation of its {tensor.channels} channels")
    if tensor.initial is not None:
        column = np.shape(tensor.initial) == (tensor.channels,)  # of a map whose columns a section writes
        count = tensor.channels if column else tensor.size
        require_array(where, "initial", tensor.initial, (count,), tensor.qmin, tensor.qmax)


def _validate_input(network: UncheckedNetwork) -> None:
    source, embedding = network.tensor(network.input), network.embedding
    for tensor in network.tensors:
        legal = tensor.zero == 0 or (tensor.name == network.input and embedding is None)
        require(legal, f"tensor {tensor.name!r}: zero {tensor.zero}; only an input of numbers has another than 0")
    if embedding is None:
        low, high = _range(source.bits)
        require(
            (source.qmin, source.qmax) == (low, high),
            f"tensor {source.name!r}: nothing clamps an input, so its range must be all of {low}..{high}",
        )
        return
    where, output = f"embedding {embedding.name!r}", network.tensor(embedding.output)
    require_array(where, "table", embedding.table, (None, None), output.qmin, output.qmax)
    symbols, features = embedding.table.shape
    require(
        (source.qmin, source.qmax) == (0, symbols - 1),
        f"tensor {source.name!r}: range {source.qmin}..{source.qmax} must be that of its symbols, 0..{symbols - 1}",
    )
    require(
        source.shape[:2] == (1, 1), f"tensor {source.name!r}: shape {source.shape} of symbols must be that of a vector"
    )
    expected = (1, 1, source.channels * features), (1, source.channels, features)
    require(
        output.shape in expected,
        f"{where}: its output has the shape {output.shape}, its table gives {expected[0]} or {expected[1]}",
    )


def _validate_cells(network: UncheckedNetwork) -> None:
    require(network.emit in ("step", "last"), f"emit {network.emit!r} must be 'step' or 'last'")
    require(network.recurrent or network.emit == "step", "emit is 'last', but the network has no time steps")
    for cell in network.cells:
        where = f"cell {cell.name!r}"
        require(cell.kind in ("lstm", "gru"), f"{where}: kind {cell.kind!r} must be 'lstm' or 'gru'")
        first = network.cells[0]
        require(cell.kind == first.kind, f"{where}: kind {cell.kind!r}, but cell {first.name!r} is {first.kind!r}")
        gates, output, same = (network.tensor(name) for name in (cell.gates, cell.output, first.output))
        require(gates.bits == GATE_BITS, f"tensor {gates.name!r}: gates of {where} must have {GATE_BITS} bits")
        vector = bool(network.sections) or output.shape[:2] == (1, 1)
        require(vector, f"tensor {output.name!r}: the output of {where} must be a vector")
        expected = (*output.shape[:2], 4 * output.channels)
        require(gates.shape == expected, f"tensor {gates.name!r}: gates of {where} have the shape {expected}")
        require(
            output.bits == same.bits,
            f"tensor {output.name!r}: {output.bits} bits, but the output of cell {first.name!r} has {same.bits}",
        )
        full, scale = _range(output.bits), 2.0 ** (1 - output.bits)
        require(
            (output.qmin, output.qmax) == full,
            f"tensor {output.name!r}: the range of a cell's output must be all of {full[0]}..{full[1]}",
        )
        require(output.scale == scale, f"tensor {output.name!r}: the scale of a cell's output must be {scale}")
        if cell.state is not None:
            require_array(where, "state", cell.state, (output.channels,), *_range(GATE_BITS))


def _validate_layer(network: UncheckedNetwork, layer: Layer, padded: set[str]) -> None:
    """Everything about a layer but the values of its rows."""
    where = f"layer {layer.name!r}"
    validate_fields(layer, where)
    output = network.tensor(layer.output)
    for name, least in (("positions", 1), ("stride", 1), ("pool", 1), ("spread", 1), ("origin", 0)):
        _require_tuple(where, name, getattr(layer, name), least)
    _require_stride(where, layer.stride)
    _require_tuple(where, "padding", layer.padding, 0, 4)
    for name in ("maximum", "depthwise", "transposed"):
        value = getattr(layer, name)
        require(isinstance(value, bool), f"{where}: {name} {value!r} must be true or false")
    if layer.transposed:
        _validate_transposed(network, layer, padded, where)
    elif layer.spread != (1, 1) or layer.origin != (0, 0):
        _validate_spread(network, layer, where)
    elif layer.output not in network.sectioned:
        pixels = tuple(np.floor_divide(layer.positions, layer.pool).tolist())
        require(
            pixels == output.shape[:2] and not any(np.remainder(layer.positions, layer.pool)),
            f"{where}: positions {layer.positions} in pools of {layer.pool} do not give the {output.shape[:2]} pixels "
            f"of tensor {output.name!r}",
        )
    require_integers(where, first=layer.first, groups=layer.groups)
    _validate_segments(network, layer, padded, where)
    _validate_groups(network, layer, where)
    if layer.clamp is not None:
        _require_tuple(where, "clamp", layer.clamp, None)
        low, high = layer.clamp
        least, greatest = FACTOR_RANGE if layer.multiplies else (output.qmin, output.qmax)
        what = "what is multiplied" if layer.multiplies else "its output"
        require(
            least <= low <= high <= greatest,
            f"{where}: clamp {low}..{high} must lie in {least}..{greatest}, the range of {what}",
        )
    if layer.operand is not None:
        _validate_operand(network, layer, layer.operand, where)


def _validate_spread(network: UncheckedNetwork, layer: Layer, where: str) -> None:
    """Positions of a layer that writes pixels with a distance are all that there are from its origin on."""
    shape = network.tensor(layer.output).shape
    inside = [first < min(each, size) for first, each, size in zip(layer.origin, layer.spread, shape, strict=False)]
    require(all(inside), f"{where}: origin {layer.origin} must be less than spread {layer.spread}, and in the image")
    count = [-(-(size - first) // each) for first, each, size in zip(layer.origin, layer.spread, shape, strict=False)]
    require(
        layer.positions == tuple(count),
        f"{where}: positions {layer.positions} are not all pixels of the {shape[:2]} of tensor {layer.output!r} from "
        f"{layer.origin} on, {layer.spread} apart",
    )
    plain = layer.pool == (1, 1) and not layer.maximum and layer.operand is None and layer.output != network.output
    require(
        plain,
        f"{where}: spread {layer.spread}, and so it can neither pool, take a maximum, add an operand nor write the "
        "output of the network; copy its result",
    )


def _validate_transposed(network: UncheckedNetwork, layer: Layer, padded: set[str], where: str) -> None:
    """Positions of a layer are neighbours in its output: its channels, or any others in a tensor without padding."""
    output, count = network.tensor(layer.output), layer.position_count
    require(
        output.size % count == 0 and output.order is None,
        f"{where}: transposed, so its {count} positions must divide the {output.size} elements of tensor "
        f"{output.name!r}, which has its channels in their own order",
    )
    require(
        count == output.channels or output.name not in padded,
        f"{where}: transposed, and its {count} positions are not the {output.channels} channels of tensor "
        f"{output.name!r}, which a layer pads; copy the tensor",
    )
    plain = (layer.pool, layer.spread, layer.origin) == ((1, 1), (1, 1), (0, 0)) and not layer.maximum
    later = {network.output, *network.delayed, *(cell.gates for cell in network.cells)}
    require(
        plain and layer.operand is None and output.name not in later,
        f"{where}: transposed, and so it can neither pool, take a maximum, have a spread or an operand, nor write the "
        "output of the network, gates of a cell or what is read before it is written; copy its result",
    )


def _validate_groups(network: UncheckedNetwork, layer: Layer, where: str) -> None:
    """Rows and pixels can be cut into groups."""
    require(layer.groups >= 1, f"{where}: groups {layer.groups} must be at least 1")
    if layer.groups == 1:
        return
    require(not layer.depthwise, f"{where}: depthwise, so it can have no groups")
    require(layer.rows % layer.groups == 0, f"{where}: {layer.rows} rows are not {layer.groups} groups of one size")
    for segment in layer.segments:
        channels = network.tensor(segment.tensor).channels
        require(
            segment.length == channels and segment.start % channels == 0 == channels % layer.groups,
            f"{where}, {segment}: must be one pixel whose {channels} channels are {layer.groups} groups of one size",
        )


def _require_tuple(where: str, name: str, value: Any, least: int | None, length: int = 2) -> None:
    legal = isinstance(value, tuple) and len(value) == length and all(map(is_integer, value))
    legal = legal and (least is None or min(value) >= least)
    count = {2: "two", 4: "four"}[length]
    require(
        legal, f"{where}: {name} {value!r} must be {count} integers" + ("" if least is None else f" from {least} on")
    )


def _require_stride(where: str, stride: tuple[int, int]) -> None:
    """Where a layer has a single position, nothing else bounds it."""
    require(max(stride) <= SIZE_MAX, f"{where}: stride {stride} must be at most {SIZE_MAX}")


def _validate_padding(network: UncheckedNetwork) -> None:
    """Every tensor has the widest padding on each side that a layer puts around it."""
    widest: dict[str, tuple[int, ...]] = {}
    for layer in network.layers:
        for segment in layer.segments:
            sides = zip(layer.padding, widest.get(segment.tensor, NO_PADDING), strict=True)
            widest[segment.tensor] = tuple(max(pair) for pair in sides)
            tensor, (top, left, bottom, right) = network.tensor(segment.tensor), widest[segment.tensor]
            height, width, channels = tensor.shape
            zeros = (top + height + bottom) * (left + width + right) * channels - tensor.size
            require(
                zeros <= PADDING_MAX,
                f"layer {layer.name!r}: padding {layer.padding} puts {zeros} zeros around tensor {tensor.name!r}, at "
                f"most {PADDING_MAX} are possible",
            )


def _validate_segments(network: UncheckedNetwork, layer: Layer, padded: set[str], where: str) -> None:
    require(bool(layer.segments), f"{where}: no segments")
    tensors = sorted({segment.tensor for segment in layer.segments})
    require(
        layer.position_count == 1 or len(tensors) == 1,
        f"{where}: reads {tensors}; at several positions it can read one only",
    )
    for segment in layer.segments:
        here = f"{where}, {segment}"
        require_integers(here, start=segment.start, length=segment.length, line=segment.line)
        require(segment.start >= 0 and segment.line >= 0, f"{here}: start and line must be at least 0")
        require(segment.length >= 1, f"{here}: length must be at least 1")
        height, width, channels = network.tensor(segment.tensor).shape
        if layer.output in network.sectioned:
            inside = segment.line < height and segment.start + segment.length <= channels
            require(inside, f"{here}: leaves the pixels of a column of its tensor of shape {(height, width, channels)}")
            continue
        # The last position reaches furthest: image line, and elements from the left end of the line with its padding.
        line = (layer.positions[0] - 1) * layer.stride[0] + segment.line
        end = (layer.positions[1] - 1) * layer.stride[1] * channels + segment.start + segment.length
        leaves = f"{here}: leaves its tensor of shape {(height, width, channels)} at the last position"
        top, left, bottom, right = layer.padding
        require(line < top + height + bottom, leaves)
        if end > (left + width + right) * channels:
            flat = f"{here}: runs past the end of its image row in a tensor that a layer pads; copy the tensor"
            require(segment.tensor not in padded or height == 1, flat if height > 1 else leaves)
            require(segment.tensor not in padded and line * width * channels + end <= height * width * channels, leaves)


def _validate_operand(network: UncheckedNetwork, layer: Layer, operand: Operand, where: str) -> None:
    output, added = network.tensor(layer.output), network.tensor(operand.tensor)
    where = f"{where}, operand {added.name!r}"
    require(
        layer.pool == (1, 1) and not layer.maximum,
        f"{where}: a layer with an operand neither pools nor takes a maximum",
    )
    require(isinstance(operand.product, bool), f"{where}: product {operand.product!r} must be true or false")
    _require_tuple(where, "stride", operand.stride, 0 if operand.product else 1)
    _require_stride(where, operand.stride)
    require_integers(where, first=operand.first)
    if operand.product:
        gates = {cell.gates for cell in network.cells}
        require(output.name not in gates, f"{where}: gates of a cell are no products; copy the product")
        every = operand.first <= 0 and layer.rows - operand.first <= added.channels
        require(every, f"{where}: first {operand.first} leaves a row without a factor")
    else:
        require(
            added.scale == output.scale,
            f"{where}: its scale {added.scale} differs from {output.scale}, that of tensor {output.name!r}",
        )
    reach = [(count - 1) * stride for count, stride in zip(layer.positions, operand.stride, strict=True)]
    require(
        reach[0] < added.shape[0] and reach[1] < added.shape[1],
        f"{where}: leaves its tensor of shape {added.shape} at the last position",
    )
    require(-added.channels < operand.first < layer.rows, f"{where}: first {operand.first} leaves no row to add to")


def _validate_writers(network: UncheckedNetwork) -> None:
    """Every tensor has its writers: each channel one, and after it perhaps layers that take the maximum."""
    sources = [("the network's input", network.input)]
    sources += [(f"embedding {network.embedding.name!r}", network.embedding.output)] if network.embedding else []
    sources += [(f"cell {cell.name!r}", cell.output) for cell in network.cells]
    writer: dict[str, str] = {}
    for who, name in sources:
        require(name not in writer, f"tensor {name!r}: written by {writer.get(name)} and by {who}")
        writer[name] = who
    gates = {}
    for cell in network.cells:
        require(cell.gates not in gates, f"cell {cell.name!r}: its gates are those of cell {gates.get(cell.gates)!r}")
        gates[cell.gates] = cell.name
    written: dict[str, list[Layer]] = {tensor.name: [] for tensor in network.tensors if tensor.name not in writer}
    for layer in network.layers:
        where = f"layer {layer.name!r}"
        require(layer.output not in writer, f"{where}: its output {layer.output!r} is {writer.get(layer.output)}'s")
        if layer.output in gates or layer.output == network.output:
            role = "the gates of a cell" if layer.output in gates else "the output of the network"
            plain = layer.pool == (1, 1) and not layer.maximum
            require(plain, f"{where}: writes {role}, and so can neither pool nor take a maximum; copy its result")
        written[layer.output].append(layer)
    for name, layers in written.items():
        _validate_coverage(network.tensor(name), layers)


def _validate_coverage(tensor: Tensor, layers: list[Layer]) -> None:
    """The layers that write a tensor write each element once, those that take a maximum aside."""
    image = tensor.shape[:2] if any(layer.spread != (1, 1) for layer in layers) else (1, 1)
    transposed = any(layer.transposed for layer in layers)
    require(
        all(layer.transposed == transposed for layer in layers),
        f"tensor {tensor.name!r}: transposed layers write it, and others; copy what the others write",
    )
    what, count = "channel", tensor.channels
    if transposed:
        counts = sorted({layer.position_count for layer in layers})
        require(len(counts) == 1, f"tensor {tensor.name!r}: layers of {counts} positions write it, transposed")
        what, count = "row", tensor.size // counts[0]
    covered = np.zeros((count, *image), bool)
    for layer in layers:
        where, end = f"layer {layer.name!r}", layer.first + layer.rows
        require(
            layer.first >= 0 and end <= len(covered),
            f"{where}: writes {what}s {layer.first}..{end - 1} of the {len(covered)} of tensor {tensor.name!r}",
        )
        (top, left), (down, across) = layer.origin, layer.spread
        mine = covered[layer.first : end, top::down, left::across]
        wrong = np.flatnonzero((mine != layer.maximum).any(axis=(1, 2))) + layer.first
        if len(wrong):
            problem = "takes the maximum with what nobody wrote before" if layer.maximum else "is written twice"
            raise NetworkError(f"{where}: {what} {wrong[0]} of tensor {tensor.name!r} {problem}")
        mine[:] = True
    whole = covered.all(axis=(1, 2))
    require(bool(whole.all()), f"tensor {tensor.name!r}: nobody writes {what} {np.argmin(whole)}")


def _validate_readers(network: UncheckedNetwork) -> None:
    gates = {cell.gates for cell in network.cells}
    single = _single(network)
    for layer in network.layers:
        for name in layer.reads:
            where = f"layer {layer.name!r}: reads tensor {name!r}"
            require(name not in network.carried or name in single, f"{where} before it is written")
            require(name not in gates, f"{where}, the gates of a cell; read the output of the cell")
            require(name != network.output, f"{where}, the output of the network; write a copy for it")
            symbols = network.embedding is not None and name == network.input
            require(not symbols, f"{where}, symbols; read the output of the embedding")
    for tensor in network.tensors:
        if tensor.initial is None:
            continue
        where = f"tensor {tensor.name!r}"
        delayed = tensor.name in network.delayed
        require(delayed, f"{where}: initial values, but nobody reads it before it is written")
        count = tensor.channels if tensor.name in network.sectioned else tensor.size
        require_array(where, "initial", tensor.initial, (count,))
    read = {name for layer in network.layers for name in layer.reads} | gates | {network.output}
    read |= {network.input} if network.embedding else set()
    unread = sorted({tensor.name for tensor in network.tensors} - read)
    require(not unread, f"nobody reads the tensors {unread}; remove them and what writes them")


def _single(network: UncheckedNetwork) -> set[str]:
    """Tensors that one layer writes at its only position: what they hold may go on to the next time step."""
    writers = Counter(layer.output for layer in network.layers)
    return {layer.output for layer in network.layers if layer.position_count == writers[layer.output] == 1}


def _validate_output(network: UncheckedNetwork) -> None:
    require(network.output != network.input, "the output of the network is its input")
    writers = [layer_number for layer_number, layer in enumerate(network.layers) if layer.output == network.output]
    of_layers = bool(writers) and network.output not in {cell.gates for cell in network.cells}
    require(of_layers, f"tensor {network.output!r}: no layer writes the output of the network; write a copy for it")
    if network.emit == "last":
        name = network.layers[writers[0]].name
        require(
            writers[0] >= network.tail, f"layer {name!r}: writes the output, emit is 'last', but a cell comes later"
        )


def _validate_update_gates(network: UncheckedNetwork) -> None:
    """z of a GRU is never negative, so that the state stays between what it was and n."""
    units = {cell.gates: network.tensor(cell.output).channels for cell in network.cells if cell.kind == "gru"}
    for layer in network.layers:
        low = (layer.clamp or (network.tensor(layer.output).qmin,))[0]
        if layer.output in units and low < 0:
            least = np.array([low] + [max(low, int(table.min())) for table in network.functions])[layer.row_function]
            least = least if layer.operand is None else np.full(layer.rows, low)
            update = (np.arange(layer.rows) + layer.first) // units[layer.output] == 1
            fail_row(
                update & (least < 0), f"layer {layer.name!r}", "gate z of a GRU may become negative; give it a sigmoid"
            )
