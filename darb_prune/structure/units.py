"""Units of a model: what is written, carried and read together, and so can only be taken out together.

A unit is a channel of a map, an element of a vector, or a unit of a recurrent layer, in all the places where it stands:
the rows that write it (four of an LSTM), their biases and normalisation, the depthwise layers it goes through, the
other side of a residual addition, and the columns of everything that reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from darb_prune.frontend.stages import CellStage, Curve, EmbeddingStage, Matrix, Stages, Weight
from darb_prune.modules.layers import Part, PrunableLayer, select
from darb_prune.structure.blocks import Branch, blocks_of

__all__ = ["STAYS", "Place", "Units", "units_of"]

STAYS = -1
"""Number of what belongs to no unit: it cannot be taken out."""


@dataclass(frozen=True)
class Place:
    """A dimension of a parameter.

    Parameters
    ----------
    module : torch.nn.Module
    name : str
        Of the parameter; of a normalisation ``"running_mean"``.
    dim : int
    """

    module: nn.Module
    name: str
    dim: int


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a model.

    Parameters
    ----------
    count : int
    places : dict of Place to int64 tensor
        Unit of each index of a dimension, or ``STAYS``.
    readers : tuple of Place
        Columns that read: a unit whose weights there are all 0 changes nothing.
    blocks : tuple of Branch
        Residual blocks that can be taken out as well; they are numbered behind the units.
    writers : tuple of str
        Of each unit, the layer that writes it first.
    mapped : tuple of bool
        Of each unit, whether it is a channel of a map somewhere.
    equal : tuple of tuples of int64 tensors
        Units of the layers and directions of one recurrent module, which must keep as many units each.
    """

    count: int
    places: dict[Place, Tensor]
    readers: tuple[Place, ...]
    blocks: tuple[Branch, ...]
    writers: tuple[str, ...]
    mapped: tuple[bool, ...]
    equal: tuple[tuple[Tensor, ...], ...]

    def along(self, part: Part, dim: int, size: int) -> Tensor:
        """Unit of each index of a dimension of a parameter, int64, shape (size,)."""
        found = self.places.get(Place(part.module, part.name, dim))
        return torch.full((size,), STAYS) if found is None else found

    @property
    def size(self) -> int:
        """Number of units and blocks."""
        return self.count + len(self.blocks)

    def gates(self, gates: Tensor) -> dict[tuple[nn.Module, str], Tensor]:
        """What parameters are multiplied by if units and blocks have gates, in their shapes: columns of what reads a
        unit, and all of what a block ends with.

        Parameters
        ----------
        gates : float tensor of shape (size,)
        """
        gates = torch.cat([gates, gates.new_ones(1)])  # STAYS is the last one
        made: dict[tuple[nn.Module, str], Tensor] = {}
        for place in self.readers:
            shape = Part(place.module, place.name).parameter.shape
            along = [-1 if dim == place.dim else 1 for dim in range(len(shape))]
            made[place.module, place.name] = gates[self.places[place]].reshape(along).expand(shape)
        for block, gate in zip(self.blocks, gates[self.count :], strict=False):
            for name in ("weight", "bias"):
                key = block.last, name
                if getattr(block.last, name, None) is not None or key in made:
                    made[key] = made.get(key, torch.ones_like(Part(*key).parameter.detach())) * gate
        return made

    def by_writer(self) -> dict[str, Tensor]:
        """Units of each layer, int64, rising."""
        numbers: dict[str, list[int]] = {}
        for number, writer in enumerate(self.writers):
            numbers.setdefault(writer, []).append(number)
        return {writer: torch.tensor(own) for writer, own in numbers.items()}

    def best(self, scores: Tensor) -> Tensor:
        """Units without which a dimension could be empty, bool, shape (units,): those with the highest score of each.

        Parameters
        ----------
        scores : float tensor of shape (units,)
        """
        best = torch.zeros(self.count, dtype=torch.bool)
        for numbers in self.places.values():
            if not (numbers == STAYS).any():
                best[numbers[scores[numbers].argmax()]] = True
        return best

    def only(self, wanted: Sequence[bool]) -> "Units":
        """Those units that are wanted; all others stay, and blocks."""
        chosen = torch.tensor([*wanted, False])
        numbers = torch.where(chosen, chosen.cumsum(0) - 1, STAYS)
        equal = (tuple(numbers[units] for units in layers) for layers in self.equal)
        return Units(
            int(chosen.sum()),
            {place: numbers[units] for place, units in self.places.items()},
            self.readers,
            (),
            tuple(compress(self.writers, wanted)),
            tuple(compress(self.mapped, wanted)),
            tuple(sides for sides in equal if not bool((sides[0] == STAYS).any())),
        )


class _Space:
    """Numbers for everything that has channels, and which of them belong together."""

    def __init__(self) -> None:
        self._starts: dict[object, tuple[int, int]] = {}
        self._size = 0
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self._fixed: list[np.ndarray] = []

    def numbers(self, key: object, size: int) -> np.ndarray:
        """Those of the ``size`` channels of ``key``."""
        start, known = self._starts.setdefault(key, (self._size, size))
        assert known == size, "a dimension has one size"
        self._size = max(self._size, start + size)
        return np.arange(start, start + size)

    def join(self, left: np.ndarray, right: np.ndarray) -> None:
        self._pairs.append((left, right))

    def fix(self, numbers: np.ndarray) -> None:
        self._fixed.append(numbers)

    def labels(self) -> np.ndarray:
        """Unit of each number, ``STAYS`` for those that have to stay."""
        left, right = (np.concatenate(side) for side in zip(*self._pairs, strict=True))
        graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(self._size, self._size))
        _, labels = connected_components(graph, directed=False)
        fixed = np.unique(labels[np.concatenate(self._fixed)])
        movable = ~np.isin(labels, fixed)
        result = np.full(self._size, STAYS)
        result[movable] = np.unique(labels[movable], return_inverse=True)[1]
        return result


class _Search:
    """Goes over the stages of a model."""

    def __init__(self, stages: Stages) -> None:
        self.stages, self.space = stages, _Space()
        self.places: dict[Place, np.ndarray] = {}
        self.readers: dict[Place, None] = {}
        self.first: dict[str, str] = {}  # the stage that writes a value first
        for name in (stages.input, stages.output, *stages.initial):
            self.space.fix(self.value(name))
        for stage in stages.stages:
            self.first.setdefault(stage.output, stage.name)
            if isinstance(stage, Matrix):
                self._matrix(stage)
            elif isinstance(stage, CellStage):
                self._cell(stage)
            else:
                self._embedding(stage)

    def value(self, name: str) -> np.ndarray:
        return self.space.numbers(name, self.stages.values[name].shape[0])

    def place(self, module: nn.Module, name: str, dim: int) -> np.ndarray:
        place = Place(module, name, dim)
        return self.places.setdefault(place, self.space.numbers(place, Part(module, name).parameter.shape[dim]))

    def _matrix(self, stage: Matrix) -> None:
        output = self.value(stage.output)
        if stage.transposed:  # rows are pixels, and channels positions
            self.space.fix(output)
        rows = None if stage.transposed else output[stage.first : stage.first + stage.rows]
        depthwise = stage.window is not None and stage.window.depthwise
        grouped = stage.window is not None and stage.window.groups > 1
        for name, weight in zip(stage.inputs, stage.weights, strict=True):
            source = self.value(name)
            source = source if stage.channels is None else source[slice(*stage.channels)]
            picked = stage.picks is not None and not depthwise  # the module has the numbers of what it reads
            if grouped or picked or (depthwise and rows is None):
                self.space.fix(source)
            elif depthwise and rows is not None:
                picks = np.arange(stage.rows) if stage.picks is None else np.array(stage.picks)
                self.space.join(source[picks], rows)
            if weight.part is None:
                continue
            if weight.part.computed:
                self.space.fix(source)
                if rows is not None:
                    self.space.fix(rows)
                continue
            self._writes(stage, weight, weight.part, rows, grouped or weight.groups > 1)
            if not depthwise:
                self._reads(stage, weight, weight.part, source, grouped or picked or weight.groups > 1)
        for read in (stage.operand, stage.product):
            if read is not None:
                self._meets(read.value, read.first, stage, rows)
        if rows is None:
            return
        if stage.norm is not None:
            self.space.join(self.place(stage.norm, "running_mean", 0), rows)
        if any(isinstance(function, Curve) and not function.alike for function, _ in stage.functions):
            self.space.fix(rows)  # a function of its own for each channel

    def _writes(self, stage: Matrix, weight: Weight, part: Part, rows: np.ndarray | None, fixed: bool) -> None:
        own = self.place(part.module, part.name, 0 if weight.taps is None else 1)
        own = own if weight.rows is None else own[slice(*weight.rows)]
        if fixed or rows is None:
            self.space.fix(own)
        if rows is not None:
            self.space.join(own[: len(rows)], rows)
            self.space.fix(own[len(rows) :])

    def _reads(self, stage: Matrix, weight: Weight, part: Part, source: np.ndarray, fixed: bool) -> None:
        place = Place(part.module, part.name, 1 if weight.taps is None else 0)
        own = self.place(part.module, part.name, place.dim)
        self.readers[place] = None
        if fixed or part.name.startswith("weight_hr"):  # torch wants more units than a projection has elements
            self.space.fix(own)
            self.space.fix(source)
            return
        # A flattened map: channels outermost, or innermost; of a kernel the dimension is that of the channels.
        flat = stage.window is None and not weight.innermost
        lines = own.reshape(len(source), -1) if flat else own.reshape(-1, len(source)).T
        self.space.join(lines.ravel(), np.repeat(source, lines.shape[1]))

    def _meets(self, name: str, first: int, stage: Matrix, rows: np.ndarray | None) -> None:
        """An operand or a product: channel ``r - first`` meets row ``r``."""
        source = self.value(name)
        if rows is None:
            self.space.fix(source)
            return
        count = min(len(source), stage.rows - first)
        self.space.join(source[:count], rows[first : first + count])
        self.space.fix(source[count:])
        self.space.fix(rows[:first])  # channels of zeros on the other side, as many as the code says
        self.space.fix(rows[first + count :])

    def _cell(self, stage: CellStage) -> None:
        gates, output = self.value(stage.gates).reshape(4, -1), self.value(stage.output)
        for gate in gates:
            self.space.join(gate, output)
        if stage.state is not None:
            self.space.fix(output)

    def _embedding(self, stage: EmbeddingStage) -> None:
        output, own = self.value(stage.output), self.place(stage.module, "weight", 1)
        self.space.join(output, np.resize(own, len(output)))

    def written(self, labels: np.ndarray, count: int) -> tuple[list[str], list[bool]]:
        """Of each unit the layer that writes it first, and whether it is a channel of a map."""
        writers, mapped = [""] * count, [False] * count
        for name, value in self.stages.values.items():
            for unit in labels[self.value(name)]:
                if unit != STAYS:
                    mapped[unit] |= value.shape[1:] != (1, 1)
                    writers[unit] = writers[unit] or self.first.get(name, "")
        return writers, mapped

    def equal(self) -> list[list[np.ndarray]]:
        """What the layers and directions of each recurrent module hand on to their next step: their units, or the
        elements of their projections."""
        sides: dict[nn.Module, list[np.ndarray]] = {}
        for place, numbers in self.places.items():
            if isinstance(place.module, nn.RNNBase) and place.name.startswith("weight_hh") and place.dim == 1:
                sides.setdefault(place.module, []).append(numbers)
        return [layers for layers in sides.values() if len(layers) > 1]

    def labels(self) -> np.ndarray:
        """Unit of each number; where a layer of a recurrent module has to stay as it is, all of the module has."""
        while True:
            labels = self.space.labels()
            uneven = [layers for layers in self.equal() if not _even([labels[numbers] for numbers in layers])]
            if not uneven:
                return labels
            self.space.fix(np.concatenate([numbers for layers in uneven for numbers in layers]))


def _even(layers: Sequence[np.ndarray]) -> bool:
    """Whether layers have as many units each, or nothing of any can be taken out."""
    stays = np.concatenate(layers) == STAYS
    return bool(stays.all()) or (not stays.any() and len({len(np.unique(units)) for units in layers}) == 1)


def units_of(stages: Stages, prunable: Sequence[PrunableLayer] = (), exclude: Sequence[str] = ()) -> Units:
    """Find the units of a model.

    Belongs to no unit: what the input and the output of the model have, initial states, units in front of a projection,
    layers of groups, block-term layers, layers whose channels and positions change places, and channels that have a
    function of their own (PReLU).

    Parameters
    ----------
    stages : Stages
    prunable : sequence of PrunableLayer
        Of the model; needed if ``exclude`` is given.
    exclude : sequence of str
        Layers (or modules that hold them) all of whose rows stay.

    Raises
    ------
    ModelError
        If ``exclude`` names no layer.
    """
    search = _Search(stages)
    for layer, chosen in zip(prunable, select(prunable, exclude), strict=True):
        for part in layer.parts:
            place = Place(part.module, part.name, 0)
            if not chosen and place in search.places:
                search.space.fix(search.places[place])
    labels = search.labels()
    count = int(labels.max(initial=STAYS)) + 1
    places = {place: torch.from_numpy(labels[numbers]) for place, numbers in search.places.items()}
    writers, mapped = search.written(labels, count)
    equal = (tuple(torch.from_numpy(labels[numbers]) for numbers in layers) for layers in search.equal())
    return Units(
        count, places, tuple(search.readers), blocks_of(stages), tuple(writers), tuple(mapped),
        tuple(sides for sides in equal if not bool((sides[0] == STAYS).any())),
    )  # fmt: skip
