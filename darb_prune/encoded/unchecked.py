"""The contents of an encoded network, and what follows from them, before anything is checked."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from darb_prune.encoded.parts import Cell, Embedding, Layer, Section, TaskOutput, Tensor

__all__ = ["UncheckedNetwork"]


@dataclass(frozen=True, eq=False)
class UncheckedNetwork:
    """Tensors, layers and cells, not checked; an :class:`~darb_prune.encoded.EncodedNetwork` once checked.

    Parameters
    ----------
    name : str
    input, output : str
        Names of the tensors that the engine receives and sends.
    tensors : tuple of Tensor
    layers : tuple of Layer
        In order of execution; a layer reads tensors written before it, or in the time step before.
    cells : tuple of Cell
        Without sections, a network with a cell is recurrent; with sections, all cells are in them.
    embedding : Embedding, optional
    functions : tuple of numpy.ndarray of int16, shape (256,)
        Tables; entry ``i`` is the value of ``i - 128``.
    emit : str
        ``"step"`` or ``"last"``: whether a sequence gives an output at every time step or at its last.
    provenance : dict
        Anything JSON: package versions, seed, task, accuracies. Never read by the generator.
    sections : tuple of Section
        Layers that run for each column of maps; rising.
    tasks : tuple of TaskOutput
        If each input frame says which of several outputs it wants: these.
    """

    name: str
    input: str
    output: str
    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    cells: tuple[Cell, ...] = ()
    embedding: Embedding | None = None
    functions: tuple[np.ndarray, ...] = ()
    emit: str = "step"
    provenance: dict = field(default_factory=dict)
    sections: tuple[Section, ...] = ()
    tasks: tuple[TaskOutput, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    def tensor(self, name: str) -> Tensor:
        return self._by_name[name]

    @property
    def recurrent(self) -> bool:
        """Whether inputs are time steps of sequences, of which it keeps something from one to the next."""
        return bool(self.cells or self.delayed) and not self.sections

    @cached_property
    def delayed(self) -> tuple[str, ...]:
        """Tensors that are read before they are written, and so hold their value of the time step before, or in a
        section of the column before."""
        written: set[str] = {self.input}
        delayed: list[str] = []
        if self.embedding:
            written.add(self.embedding.output)
        cells = {cell.gates: cell for cell in self.cells}
        last = {layer.output: layer_number for layer_number, layer in enumerate(self.layers)}
        for layer_number, layer in enumerate(self.layers):
            delayed += [name for name in layer.reads if name not in written and name not in delayed]
            if last[layer.output] == layer_number:
                written.add(layer.output)
                if layer.output in cells:
                    written.add(cells[layer.output].output)
        return tuple(delayed)

    @cached_property
    def sectioned(self) -> frozenset[str]:
        """Tensors whose columns a section writes: outputs of its layers, and of the cells that they fire."""
        inside = (self.layers[n] for section in self.sections for n in range(section.first, section.stop))
        names = {layer.output for layer in inside}
        return frozenset(names | {cell.output for cell in self.cells if cell.gates in names})

    def section_of(self, layer_number: int) -> Section | None:
        """The section that a layer is in."""
        return next((section for section in self.sections if layer_number in section), None)

    def times(self, layer_number: int) -> int:
        """How often a layer runs: once, or for each column."""
        return self.tensor(self.layers[layer_number].output).shape[1] if self.section_of(layer_number) else 1

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """Delayed tensors that a layer writes, not a cell."""
        outputs = {cell.output for cell in self.cells}
        return tuple(name for name in self.delayed if name not in outputs)

    @cached_property
    def tail(self) -> int:
        """Number of the first layer of the tail: no cell and no delayed tensor depends on it or those behind it."""
        keeps = {cell.gates for cell in self.cells} | set(self.delayed)
        return max(
            (layer_number + 1 for layer_number, layer in enumerate(self.layers) if layer.output in keeps), default=0
        )

    @property
    def weights(self) -> int:
        """Weights of the dense layers, as far as pruning takes any: not those of depthwise layers."""
        return sum(layer.dense_weights for layer in self.layers if not layer.depthwise)

    @property
    def kept(self) -> int:
        """Those of them that pruning has kept."""
        return sum(layer.kept for layer in self.layers if not layer.depthwise)

    @property
    def ratio(self) -> float:
        """Pruning ratio: weights / kept weights; 1 where there are none that pruning takes."""
        return self.weights / max(self.kept, 1) if self.weights else 1.0

    @property
    def depthwise_weights(self) -> int:
        """Stored weights of depthwise layers: convolutions, averages, poolings, copies."""
        return sum(layer.kept for layer in self.layers if layer.depthwise)

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates of one run."""
        return sum(layer.macs * self.times(layer_number) for layer_number, layer in enumerate(self.layers))

    def accumulator_bounds(self, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest ``acc + bias`` of each row over all legal inputs, int64, shape (rows,).

        Every partial sum of a row lies within the bounds of the row without its bias, widened to contain 0.
        """
        low, high = layer.bias.astype(np.int64), layer.bias.astype(np.int64)
        for level_number, level in enumerate(layer.levels):
            rows = layer.rows_of(level_number)
            if level.is_empty or not len(rows):
                continue
            segment = layer.code_layout(level)[:, 0]
            ranges = [self.tensor(s.tensor) for s in layer.segments]
            qmin = np.array([t.qmin for t in ranges], np.int64)[segment]  # 0 lies in every range: padding is legal
            qmax = np.array([t.qmax for t in ranges], np.int64)[segment]
            weight = layer.codes_of(rows)[1].astype(np.int64)
            positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
            low[rows] += positive @ qmin + negative @ qmax
            high[rows] += positive @ qmax + negative @ qmin
        return low, high
