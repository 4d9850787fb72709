"""The encoded network: everything the hardware generator needs from pruning, and nothing else.

What it computes is in ``docs/arithmetic.md``.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from darb_prune.encoded.container import digest, pack_container, read_container
from darb_prune.encoded.fields import pack_parts, unpack_parts
from darb_prune.encoded.parts import Cell, Embedding, Layer, Level, Tensor
from darb_prune.encoded.validation import validate
from darb_prune.errors import DarbError
from darb_prune.files import write_atomic

__all__ = ["EncodedNetwork"]

FORMAT_VERSION = 2
_HEADER = ("name", "input", "output", "emit", "provenance")


@dataclass(frozen=True, eq=False)
class EncodedNetwork:
    """A pruned, quantised and encoded network; checked in full whenever one is made or loaded.

    Parameters
    ----------
    name : str
    input, output : str
        Names of the tensors that the engine receives and sends.
    tensors : tuple of Tensor
    layers : tuple of Layer
        In order of execution; a layer reads tensors written before it, or in the step before.
    cells : tuple of Cell
        A network with a cell is recurrent.
    embedding : Embedding, optional
    functions : tuple of numpy.ndarray of int16, shape (256,)
        Tables; entry ``i`` is the value of ``i - 128``.
    emit : str
        ``"step"`` or ``"last"``: whether a sequence gives an output at every step or at its last.
    provenance : dict
        Anything JSON: package versions, seed, task, accuracies. Never read by the generator.

    Raises
    ------
    DarbError
        Naming the layer, the row and the field that is wrong.
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

    def __post_init__(self):
        validate(self)

    @cached_property
    def _by_name(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    def tensor(self, name: str) -> Tensor:
        return self._by_name[name]

    @property
    def recurrent(self) -> bool:
        """Whether it keeps something from step to step."""
        return bool(self.cells or self.delayed)

    @cached_property
    def delayed(self) -> tuple[str, ...]:
        """Tensors that are read before they are written, and so hold their value of the step before."""
        written, delayed = {self.input}, []
        if self.embedding:
            written.add(self.embedding.output)
        cells = {cell.gates: cell for cell in self.cells}
        last = {layer.output: number for number, layer in enumerate(self.layers)}
        for number, layer in enumerate(self.layers):
            reads = [segment.tensor for segment in layer.segments] + ([layer.operand.tensor] if layer.operand else [])
            delayed += [name for name in reads if name not in written and name not in delayed]
            if last[layer.output] == number:
                written.add(layer.output)
                if layer.output in cells:
                    written.add(cells[layer.output].output)
        return tuple(delayed)

    @cached_property
    def tail(self) -> int:
        """Number of the first layer of the tail: no cell and no delayed tensor depends on it or those behind it."""
        keeps = {cell.gates for cell in self.cells} | set(self.delayed)
        return max((number + 1 for number, layer in enumerate(self.layers) if layer.output in keeps), default=0)

    def dense_weights(self, layer: Layer) -> int:
        """Weights of ``layer`` before pruning; of a depthwise layer (copies and pooling too) one a row and segment."""
        channels = {self.tensor(segment.tensor).channels for segment in layer.segments}
        if layer.levels == (Level((layer.rows - 1).bit_length(), 1),) and channels == {layer.rows}:
            place = self.tensor(layer.segments[0].tensor).channel_position
            index, _ = layer.codes_of(np.arange(layer.rows))
            if index.shape[1] == len(layer.segments) and (index == place[:, None]).all():
                return layer.rows * len(layer.segments)
        return layer.rows * layer.columns

    @property
    def weights(self) -> int:
        """Weights of the dense layers."""
        return sum(self.dense_weights(layer) for layer in self.layers)

    @property
    def kept(self) -> int:
        """Weights kept by pruning."""
        return sum(layer.kept for layer in self.layers)

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates of one run."""
        return sum(layer.macs for layer in self.layers)

    def accumulator_bounds(self, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest ``acc + bias`` of each row over all legal inputs, int64, shape (rows,).

        Every partial sum of a row lies within the bounds of the row without its bias, widened to contain 0.
        """
        low, high = layer.bias.astype(np.int64), layer.bias.astype(np.int64)
        low, high = low.copy(), high.copy()
        for number, level in enumerate(layer.levels):
            rows = layer.rows_of(number)
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

    def _parts(self) -> tuple[dict, dict[str, np.ndarray]]:
        embeddings = (self.embedding,) if self.embedding else ()
        parts, arrays = pack_parts(
            {"tensor": self.tensors, "layer": self.layers, "cell": self.cells, "embedding": embeddings}
        )
        arrays |= {f"function.{number}": table.astype(np.int16) for number, table in enumerate(self.functions)}
        header = {name: getattr(self, name) for name in _HEADER} | parts | {"functions": len(self.functions)}
        return json.loads(json.dumps(header)), arrays

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the contents: the identity of this network in manifests and test vectors."""
        return digest(*self._parts())

    def pack(self) -> bytes:
        """The bytes of the ``.darb`` file."""
        return pack_container("encoded network", FORMAT_VERSION, *self._parts())

    def save(self, path: str | Path) -> None:
        """Write the ``.darb`` file (temporary name, then moved into place)."""
        write_atomic(path, self.pack())

    @classmethod
    def load(cls, path: str | Path) -> "EncodedNetwork":
        """Load and check a ``.darb`` file.

        Raises
        ------
        DarbError
            If the file is truncated or altered, or what it holds is not a legal network.
        """
        header, arrays = read_container(path, "encoded network", FORMAT_VERSION)
        try:
            parts = unpack_parts(header, arrays)
            tables = tuple(arrays.pop(f"function.{number}") for number in range(header["functions"]))
            if arrays:
                raise KeyError(next(iter(arrays)))
            return cls(
                tensors=parts["tensor"],
                layers=parts["layer"],
                cells=parts["cell"],
                embedding=parts["embedding"][0] if parts["embedding"] else None,
                functions=tables,
                **{key: header[key] for key in _HEADER},
            )
        except DarbError as error:
            raise DarbError(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise DarbError(f"{path}: missing or malformed field {error}; make the file again") from error
