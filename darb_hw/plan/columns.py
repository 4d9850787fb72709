"""How addresses follow the columns of maps in sections: what a layer reads and writes moves on by a pixel each time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from darb_prune.encoded import EncodedNetwork, Section

__all__ = ["NO_COLUMNS", "Column", "Columns", "Sweep", "columns_of", "sweeps_of"]


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
class Sweep:
    """Sections that run together, a step of each in turn: neighbours of as many columns that do not read each other.
    While one waits for what its step before has written, another one computes.

    Parameters
    ----------
    first, stop : int
        Numbers of the first layer of all, and of the one behind the last.
    steps : int
    sections : tuple of Section
    """

    first: int
    stop: int
    steps: int
    sections: tuple[Section, ...]

    def __contains__(self, layer_number: int) -> bool:
        return self.first <= layer_number < self.stop


@dataclass(frozen=True)
class Columns:
    """The columns of all sections of a network.

    Parameters
    ----------
    moves : tuple of int
        Distinct moves of an address from one step to the next.
    sweeps : tuple of Sweep
    cells : tuple of (str, int)
        Outputs of all cells, and how an address in them moves.
    written : mapping of str to Column
        By the tensor that is written.
    reads : mapping of (int, str) to Column
        By number of the layer and tensor.
    """

    moves: tuple[int, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    cells: tuple[tuple[str, int], ...] = ()
    written: Mapping[str, Column] = field(default_factory=dict)
    reads: Mapping[tuple[int, str], Column] = field(default_factory=dict)

    def sweep(self, layer_number: int) -> Sweep | None:
        """The sweep that a layer is in."""
        return next((sweep for sweep in self.sweeps if layer_number in sweep), None)

    def read(self, layer_number: int, tensor: str) -> Column:
        """What a layer reads of a tensor."""
        return self.reads.get((layer_number, tensor), _NONE)

    def write(self, tensor: str) -> Column:
        """Where a tensor is written."""
        return self.written.get(tensor, _NONE)

    def before(self, layer_number: int) -> list[str]:
        """Tensors of which a layer reads the column of the step before."""
        return [tensor for (reader, tensor), column in self.reads.items() if reader == layer_number and column.before]

    def sides(self, tensor: str) -> int:
        """Columns that a map needs on either side: one, if a first step reads it outside."""
        return int(any(column.before for (_, name), column in self.reads.items() if name == tensor))


NO_COLUMNS = Columns()
"""Those of a network without sections."""


def sweeps_of(network: EncodedNetwork) -> tuple[Sweep, ...]:
    """The sections of a network, those together that can run together."""
    sweeps: list[Sweep] = []
    written: set[str] = set()  # by the last sweep
    for section in network.sections:
        layers = network.layers[section.first : section.stop]
        steps = network.times(section.first)
        last = sweeps[-1] if sweeps else None
        reads = {name for layer in layers for name in layer.reads}
        if last and (last.stop, last.steps) == (section.first, steps) and not reads & written:
            sweeps[-1] = replace(last, stop=section.stop, sections=(*last.sections, section))
        else:
            written = set()
            sweeps.append(Sweep(section.first, section.stop, steps, (section,)))
        outputs = {layer.output for layer in layers}
        written |= outputs | {cell.output for cell in network.cells if cell.gates in outputs}
    return tuple(sweeps)


def columns_of(network: EncodedNetwork) -> Columns:
    """The columns of all sections."""
    moves: dict[int, int] = {}
    written: dict[str, Column] = {}
    reads: dict[tuple[int, str], Column] = {}

    def column(section: Section, tensor: str, before: bool = False) -> Column:
        _, width, channels = network.tensor(tensor).shape
        follow = moves.setdefault(-channels if section.backward else channels, len(moves) + 1)
        return Column(follow, section.column(-1 if before else 0, width), before)

    for section in network.sections:
        layers = range(section.first, section.stop)
        outputs = dict.fromkeys(network.layers[layer_number].output for layer_number in layers)
        fired = [cell for cell in network.cells if cell.gates in outputs]
        own = {name: name for name in outputs} | {cell.output: cell.gates for cell in fired}
        gates = {cell.gates for cell in fired}
        written |= {name: column(section, name) for name in own if name not in gates}
        last = {network.layers[layer_number].output: layer_number for layer_number in layers}
        for layer_number in layers:
            for name in network.layers[layer_number].reads:
                before = name in own and layer_number <= last[own[name]]
                reads[layer_number, name] = column(section, name, before)
    by_number = tuple(moves)
    outputs = [cell.output for cell in network.cells if network.sections]
    cells = tuple((output, by_number[written[output].follow - 1]) for output in outputs)
    return Columns(by_number, sweeps_of(network), cells, MappingProxyType(written), MappingProxyType(reads))
