"""How addresses follow the columns of maps in sections: what a layer reads and writes moves on by a pixel each time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from darb_prune.encoded import EncodedNetwork, Section

__all__ = ["NO_COLUMNS", "Column", "Columns", "columns_of"]


class Column(NamedTuple):
    """What a layer reads or writes of a map in a step of a section.

    ``follow`` : the number of the move, from 1 on, that leads to the next step's; 0 outside of sections.
    ``first`` : column of the first step. What is read of the step before has one outside of the map there.
    ``before`` : whether it is that of the step before.
    """

    follow: int = 0
    first: int = 0
    before: bool = False


_NONE = Column()


@dataclass(frozen=True)
class Columns:
    """The columns of all sections of a network.

    Parameters
    ----------
    moves : tuple of int
        Distinct moves of an address from one step to the next.
    steps : tuple of int
        Steps of each section.
    cells : tuple of str
        Output of the cell of each section; empty for none.
    written : mapping of str to Column
        By the tensor that is written.
    reads : mapping of (int, str) to Column
        By number of the layer and tensor.
    """

    moves: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    cells: tuple[str, ...] = ()
    written: Mapping[str, Column] = field(default_factory=dict)
    reads: Mapping[tuple[int, str], Column] = field(default_factory=dict)

    def read(self, layer_number: int, tensor: str) -> Column:
        """What a layer reads of a tensor."""
        return self.reads.get((layer_number, tensor), _NONE)

    def write(self, tensor: str) -> Column:
        """Where a tensor is written."""
        return self.written.get(tensor, _NONE)

    def before(self, layer_number: int) -> list[str]:
        """Tensors of which a layer reads the column of the step before."""
        return [tensor for (reader, tensor), column in self.reads.items() if reader == layer_number and column.before]

    @staticmethod
    def column(network: EncodedNetwork, layer_number: int, step: int) -> int:
        """The column that a layer writes in a step of its section; 0 outside of sections."""
        section = network.section_of(layer_number)
        return section.column(step, network.times(layer_number)) if section else 0

    def sides(self, tensor: str) -> int:
        """Columns that a map needs on either side: one, if a first step reads it outside."""
        return int(any(column.before for (_, name), column in self.reads.items() if name == tensor))


NO_COLUMNS = Columns()
"""Those of a network without sections."""


def columns_of(network: EncodedNetwork) -> Columns:
    """The columns of all sections."""
    moves: dict[int, int] = {}
    steps, cells = [], []
    written: dict[str, Column] = {}
    reads: dict[tuple[int, str], Column] = {}

    def column(section: Section, tensor: str, before: bool = False) -> Column:
        _, width, channels = network.tensor(tensor).shape
        follow = moves.setdefault(-channels if section.backward else channels, len(moves) + 1)
        return Column(follow, section.column(-1 if before else 0, width), before)

    for section in network.sections:
        layers = range(section.first, section.stop)
        outputs = {network.layers[layer_number].output for layer_number in layers}
        steps.append(network.times(section.first))
        fired = [cell for cell in network.cells if cell.gates in outputs]
        cells.append(fired[0].output if fired else "")
        own = {name: name for name in outputs} | {cell.output: cell.gates for cell in fired}
        written |= {name: column(section, name) for name in own if name not in {cell.gates for cell in fired}}
        last = {network.layers[layer_number].output: layer_number for layer_number in layers}
        for layer_number in layers:
            for name in network.layers[layer_number].reads:
                before = name in own and layer_number <= last[own[name]]
                reads[layer_number, name] = column(section, name, before)
    return Columns(tuple(moves), tuple(steps), tuple(cells), MappingProxyType(written), MappingProxyType(reads))
