"""Networks of several tasks: which layers each of them needs, and what makes tasks legal.

A subset of tasks is a number: bit ``n`` says whether it has task ``n``.
"""

from collections.abc import Iterable

import numpy as np

from darb_prune.encoded.parts import Layer
from darb_prune.encoded.rows import is_integer, require
from darb_prune.encoded.unchecked import UncheckedNetwork

__all__ = ["TASKS_MAX", "elements_of", "layers_of", "subsets_of", "tasks_of", "validate_tasks"]

TASKS_MAX = 4
"""Tasks of a network: the subsets grow with its power of two."""


def subsets_of(network: UncheckedNetwork) -> range:
    """All subsets that a frame can ask for, the empty one aside. A network without tasks has one task that is all."""
    return range(1, 1 << max(len(network.tasks), 1))


def tasks_of(network: UncheckedNetwork, subset: int) -> list[int]:
    """Numbers of the tasks of a subset, rising."""
    return [number for number in range(max(len(network.tasks), 1)) if subset >> number & 1]


def elements_of(network: UncheckedNetwork, subset: int) -> np.ndarray:
    """Elements of the output that a frame of a subset has, in its order, int64."""
    if not network.tasks:
        return np.arange(network.tensor(network.output).size)
    stops = np.cumsum([task.size for task in network.tasks])
    parts = [np.arange(stops[n] - network.tasks[n].size, stops[n]) for n in tasks_of(network, subset)]
    return np.concatenate(parts).astype(np.int64)


def layers_of(network: UncheckedNetwork, subset: int) -> tuple[int, ...]:
    """Numbers of the layers that a subset runs, rising: those that its outputs depend on. All tasks run all layers."""
    if subset == subsets_of(network)[-1]:
        return tuple(range(len(network.layers)))
    live = {tensor.name: np.zeros(tensor.channels, bool) for tensor in network.tensors}
    live[network.output][elements_of(network, subset)] = True
    cells = {cell.gates: cell for cell in network.cells}
    writers: dict[str, list[int]] = {}  # of the output of a cell, those of its gates
    for layer_number, layer in enumerate(network.layers):
        written = cells[layer.output].output if layer.output in cells else layer.output
        writers.setdefault(written, []).append(layer_number)
    needed: set[int] = set()
    asked = [network.output]  # tensors of which more is read than before
    while asked:
        for layer_number in writers.get(asked.pop(), ()):
            layer = network.layers[layer_number]
            if layer_number not in needed and _is_read(layer, live, cells):
                needed.add(layer_number)
                _read(network, layer, live)
                asked += dict.fromkeys(layer.reads)
    return tuple(sorted(needed))


def _is_read(layer: Layer, live: dict[str, np.ndarray], cells: dict) -> bool:
    """Whether anything that a layer writes is read, as far as ``live`` says. A cell needs all of its gates."""
    if layer.output in cells:
        return bool(live[cells[layer.output].output].any())
    written = live[layer.output]
    return bool(written.any() if layer.transposed else written[layer.first : layer.first + layer.rows].any())


def _read(network: UncheckedNetwork, layer: Layer, live: dict[str, np.ndarray]) -> None:
    """Mark the channels that a layer reads as read."""
    for name, places in _places(layer):
        tensor = network.tensor(name)
        order = np.arange(tensor.channels) if tensor.order is None else tensor.order
        for start, length in places:
            if length >= tensor.channels:
                live[name][:] = True
            else:
                live[name][order[np.arange(start, start + length) % tensor.channels]] = True
    if layer.operand:
        first, channels = layer.operand.first, network.tensor(layer.operand.tensor).channels
        live[layer.operand.tensor][max(-first, 0) : min(layer.rows - first, channels)] = True


def _places(layer: Layer) -> Iterable[tuple[str, set[tuple[int, int]]]]:
    """What a layer reads of each tensor: distinct stretches of elements, start and length."""
    places: dict[str, set[tuple[int, int]]] = {}
    for segment in layer.segments:
        places.setdefault(segment.tensor, set()).add((segment.start, segment.length))
    return places.items()


def validate_tasks(network: UncheckedNetwork) -> None:
    """Raise :class:`~darb_prune.errors.NetworkError`, naming the task, unless all tasks are legal."""
    tasks = network.tasks
    require(isinstance(tasks, tuple), "tasks must be a tuple")
    if not tasks:
        return
    require(2 <= len(tasks) <= TASKS_MAX, f"{len(tasks)} tasks; a network has none or 2 to {TASKS_MAX}")
    for task in tasks:
        require(isinstance(task.name, str), f"name {task.name!r} of a task must be a string")
        legal = is_integer(task.size) and task.size >= 1
        require(legal, f"task {task.name!r}: size {task.size!r} must be an integer from 1 on")
    names = [task.name for task in tasks]
    require(len(set(names)) == len(names), f"two tasks of one name among {names}")
    require(not network.sections, "the network has sections, and so it can have no tasks")
    output, total = network.tensor(network.output), sum(task.size for task in tasks)
    require(
        output.shape == (1, 1, total),
        f"tensor {output.name!r}: shape {output.shape}, but the outputs of the tasks are a vector of {total} elements",
    )
    for number, task in enumerate(tasks):
        layers = layers_of(network, 1 << number)
        once = network.emit == "last" and min(layers) >= network.tail
        require(not once, f"task {task.name!r}: nothing that it needs runs before the last time step")
