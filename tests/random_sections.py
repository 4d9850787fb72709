"""Random networks with sections: cells and other layers that run for each column of maps."""

from dataclasses import replace

import numpy as np

from darb_prune.encoded import Cell, Operand, Section, Segment, Tensor
from tests.random_layers import Builder, Plan

__all__ = ["Sections"]


class Sections:
    """Adds sections to what a builder has; all of their cells are of one kind.

    Parameters
    ----------
    builder : Builder
    kind : str
        ``"lstm"`` or ``"gru"``.
    cell : callable
        As ``random_graphs.gates_of``.
    """

    def __init__(self, builder: Builder, kind: str, cell):
        self._builder, self._kind, self._cell = builder, kind, cell
        self._bits = builder.draw.choice((8, 2, 3, 5, 8, 12, 15, 16))
        self.cells: list[Cell] = []
        self.sections: list[Section] = []

    def add(self) -> None:
        """A section that reads the last tensor, and perhaps another one of as many columns. Or several that read the
        same and not each other, and a layer that reads what they write."""
        builder, draw = self._builder, self._builder.draw
        source = builder.last
        width = source.shape[1]
        others = [tensor for tensor in builder.ready if tensor.shape[1] == width]
        sources = [source, draw.choice(others)] if draw.chance(25) else [source]
        written = [self._section(sources) for _ in range(draw.choice((1, 1, 2, 3)))]
        if len(written) > 1:
            number, first = len(self.sections), len(builder.layers)
            joined = builder.tensor(f"j{number}", (1, width, draw.integer(1, 5)))
            self._write(joined, written, width)
            self.sections.append(Section(first, first + 1, draw.chance(50)))

    def _section(self, sources: list[Tensor]) -> Tensor:
        """A section that reads ``sources``, and the tensor that it writes."""
        builder, draw = self._builder, self._builder.draw
        number, first, width = len(self.sections), len(builder.layers), sources[0].shape[1]
        plain, projected = draw.chance(25), draw.chance(30)
        units = draw.integer(1, 6)
        scale = 2.0 ** (1 - self._bits)
        output = state = None
        if not plain:
            output = state = builder.tensor(f"h{number}", (1, width, units), bits=self._bits, full=True, scale=scale)
        if plain or projected:
            state = builder.tensor(f"r{number}", (1, width, draw.integer(1, 6)), scale=draw.choice((1.0, scale)))
        builder.delayed = [state]
        if output is not None:
            made = self._cell(builder, self._kind, number, output, state, lambda chain: self._column(chain, sources))
            self.cells.append(made)
            builder.complete(output)
        if state is not output:
            read = sources if output is None else [output]
            self._write(state, [*read, state] if plain or draw.chance(30) else read, width)
        builder.delayed = []
        if draw.chance(25):
            extra = builder.tensor(f"s{number}", (1, width, draw.integer(1, 5)))
            self._write(extra, [builder.last, *(sources if draw.chance(30) else [])], width)
        self.sections.append(Section(first, len(builder.layers), draw.chance(50)))
        return builder.last

    def _write(self, target: Tensor, chain: list[Tensor], width: int) -> None:
        """A layer of the section that writes ``target``, perhaps with an operand of any scale that fits."""
        builder, draw = self._builder, self._builder.draw
        lines = [tensor for tensor in [*builder.ready, *builder.delayed] if tensor.shape[:2] == (1, width)]
        fitting = [tensor for tensor in lines if tensor.scale == target.scale and tensor is not target]
        factors = [tensor for tensor in lines if tensor.channels >= target.channels and tensor is not target]
        operand = False
        if factors and draw.chance(25):
            factor = draw.choice(factors)
            operand = Operand(factor.name, first=-draw.integer(0, factor.channels - target.channels), product=True)
        elif fitting and draw.chance(40):
            operand = Operand(draw.choice(fitting).name)
        builder.layer(replace(self._column(chain), rows=target.channels), target=target, operand=operand)
        builder.finish()

    def _column(self, chain: list[Tensor], sources: list[Tensor] | None = None) -> Plan:
        """A layer that reads a column of each tensor; ``sources`` stand for the first of them."""
        builder = self._builder
        chain = chain if sources is None or chain[0] is not sources[0] else [*sources, *chain[1:]]
        segments = [
            Segment(tensor.name, 0, tensor.channels, line) for tensor in chain for line in range(tensor.shape[0])
        ]
        return Plan(builder.cut(segments), 1)


def with_initial(builder: Builder, tensor: Tensor) -> Tensor:
    """The tensor with values in front of its first column, if nobody puts zeros around it."""
    if tensor.name in builder.padded or not builder.draw.chance(60):
        return tensor
    initial = builder.draw.rng.integers(tensor.qmin, tensor.qmax + 1, tensor.channels).astype(np.int32)
    return replace(tensor, initial=initial)
