"""Stages executed in floats: batched, differentiable, with hooks for calibration and training with rounding.

Of a recurrent model, stages that no cell feeds back to run for all time steps at once. Only the loop around a cell runs
one time step after another. The products of its other inputs are made before, for all time steps. A section is such a
loop over the columns of maps.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.stages import (
    Addend,
    CellStage,
    Curve,
    EmbeddingStage,
    Factor,
    Matrix,
    Stages,
    StageSection,
    Window,
    arranged,
    reads,
)
from darb_prune.modules.masked import masked_weight

__all__ = ["Hooks", "folded", "gains", "padded", "run", "vectors"]

_FUNCTIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}


class Hooks:
    """What may be replaced while stages run; everything stays as it is here.

    Values have shape (samples, channels, height, width); of a recurrent model (samples * steps, ...) outside the
    loop around a cell, and (samples, ...) of one time step inside. In a section they are those of one column.
    """

    def weight(self, stage: Matrix, input_number: int, weight: Tensor) -> Tensor:
        """Weights that meet an input of ``stage``, as :func:`folded` gives them; called once a run."""
        return weight

    def bias(self, stage: Matrix, bias: Tensor) -> Tensor:
        """Bias of ``stage``, as :func:`folded` gives it; called once a run."""
        return bias

    def pre_activation(self, stage: Matrix | CellStage, function: str | Curve, values: Tensor) -> Tensor:
        """What the table of ``function`` is looked up with: rows of a matrix, or the c of a cell (n of a GRU)."""
        return values

    def stored(self, value: str, values: Tensor) -> Tensor:
        """The input, an embedding, or what one matrix writes to ``value``; not gates and not what cells write."""
        return values

    def gate(self, stage: Matrix, values: Tensor) -> Tensor:
        """The gates that ``stage`` writes, behind their functions."""
        return values

    def state(self, cell: CellStage, state: Tensor) -> Tensor:
        """New c of an LSTM, new h of a GRU before it is given out."""
        return state

    def cell_output(self, cell: CellStage, output: Tensor) -> Tensor:
        """What ``cell`` gives out, and reads itself in the next time step."""
        return output


def folded(stage: Matrix, dtype: torch.dtype | None = None) -> tuple[list[Tensor], Tensor]:
    """Weights and bias of ``stage`` with norm, factor and offset folded in, with gradient.

    Parameters
    ----------
    stage : Matrix
    dtype : torch.dtype, optional
        Of the fold and the result; that of the parameters if absent, float32 if there are none.

    Returns
    -------
    weights : list of tensors
        One an input, masked: (rows, columns); of a window (rows, channels, height, width), with those of its
        group: one if it is depthwise.
    bias : tensor of shape (rows,)
    """
    weights = []
    for weight in stage.weights:
        if weight.part is None:
            assert stage.window is not None, "only a window has taps"
            weights.append(torch.ones(stage.rows, 1, *stage.window.kernel, dtype=dtype))
            continue
        values = masked_weight(weight.part.module, weight.part.name)
        values = values if weight.rows is None else values[slice(*weight.rows)]
        values = values if weight.taps is None else _transposed(values, weight.taps, weight.groups)
        if weight.innermost:
            values = values[:, weight.columns(values.shape[1])]
        if values.dim() == 3:
            values = values.unsqueeze(2)
        elif values.dim() == 2 and stage.window is not None:
            values = values[:, :, None, None]
        values = values.to(dtype or values.dtype)
        weights.append(values if weight.symbols is None else values * _magnitudes(weight.symbols).to(values.dtype))
    kind = weights[0].dtype
    bias = torch.zeros(stage.rows, dtype=kind) if stage.bias is None else stage.bias().to(kind)
    scale, norm = gains(stage, kind), stage.norm
    if norm is not None:
        assert norm.running_mean is not None
        bias = (bias - norm.running_mean.to(kind)) * _gain(norm, kind)
        bias = bias if norm.bias is None else bias + norm.bias.to(kind)
        bias = bias * stage.factor
    elif stage.factor != 1:
        bias = bias * stage.factor
    if norm is not None or stage.factor != 1:
        weights = [weight * scale.reshape(-1, *[1] * (weight.dim() - 1)) for weight in weights]
    return weights, bias + stage.offset


def vectors(stage: EmbeddingStage) -> Tensor:
    """What ``stage`` gives for each symbol, with gradient: (symbols, features)."""
    table = stage.module.weight
    return table / _magnitudes(stage.module) if stage.unit else table


def _magnitudes(embedding: nn.Embedding) -> Tensor:
    """The greatest magnitude of each feature, without gradient; 1 for one that is 0 everywhere."""
    greatest = embedding.weight.detach().abs().amax(dim=0)
    return torch.where(greatest > 0, greatest, 1.0)


def _gain(norm: nn.BatchNorm1d | nn.BatchNorm2d, dtype: torch.dtype) -> Tensor:
    assert norm.running_var is not None, "capture refuses norms without statistics"
    deviation = (norm.running_var.to(dtype) + norm.eps).sqrt()
    return 1 / deviation if norm.weight is None else norm.weight.to(dtype) / deviation


def gains(stage: Matrix, dtype: torch.dtype) -> Tensor:
    """What norm and factor of ``stage`` multiply its weights with, with gradient: shape (rows,)."""
    if stage.norm is None:
        return torch.full((stage.rows,), stage.factor, dtype=dtype)
    return _gain(stage.norm, dtype) * stage.factor


def _transposed(values: Tensor, taps: tuple[tuple[int, ...], tuple[int, ...]], groups: int) -> Tensor:
    """Some taps of the weight of a transposed convolution, with its rows in front: (rows, channels of a group, height,
    width)."""
    values = values if values.dim() == 4 else values.unsqueeze(2)
    values = values.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return values[:, :, list(taps[0])][:, :, :, list(taps[1])]


def padded(x: Tensor, window: Window, positions: tuple[int, int]) -> Tensor:
    """``x``, (samples, channels, height, width), padded or cropped so that a convolution without padding gives
    exactly ``positions``."""
    pads = []
    for axis in (1, 0):  # as F.pad wants them: last dimension first
        before = window.padding[axis] - window.offset[axis]
        reach = (positions[axis] - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
        pads += [before, reach - before - x.shape[2 + axis]]
    return F.pad(x, pads) if any(pads) else x


def run(stages: Stages, x: Tensor, hooks: Hooks | None = None, rounds: bool = True) -> dict[str, Tensor]:
    """All values of a model.

    Parameters
    ----------
    stages : Stages
    x : tensor of shape (samples, ...), or (samples, steps, ...) for a recurrent model
        As the model takes it (``batch_first``); the elements of a sample or step are those of the input value.
        Everything is computed in its dtype, or in that of the embedding.
    hooks : Hooks, optional
    rounds : bool
        Whether values that have a grid are rounded to it; otherwise they are only clamped to its ends.

    Returns
    -------
    dict of value name to tensor of shape (samples, channels, height, width), or (samples, steps, channels, ...) for a
    recurrent model, whatever its ``emit`` is.

    Raises
    ------
    ModelError
        If ``x`` does not have the shape of the input.
    """
    value, dims = stages.values[stages.input], 1 + stages.recurrent
    lead, shape = x.shape[:dims], value.shape
    if len(lead) < dims or not all(lead) or x.numel() != lead.numel() * value.size:
        what = "samples, steps" if stages.recurrent else "samples"
        raise ModelError(f"{stages.name}: inputs of shape {tuple(x.shape)}; ({what}) and {shape} are needed")
    run = _Run(stages, hooks or Hooks(), _dtype(stages, x), lead[1] if stages.recurrent else 1, rounds)
    values = run.all(stages.as_input(x.flatten(0, dims - 1)))
    return {name: value.unflatten(0, lead) for name, value in values.items()} if stages.recurrent else values


def _steps(values: dict, steps: int) -> dict:
    """Values of all time steps, (samples * steps, ...), taken apart."""
    return {name: value.unflatten(0, (-1, steps)).unbind(1) for name, value in values.items()}


def _columns(maps: Tensor, backward: bool) -> Tensor:
    """Maps (samples, channels, height, width) -> columns in the order of a section (samples * width, channels, height,
    1)."""
    maps = maps.flip(3) if backward else maps
    return maps.movedim(3, 1).flatten(0, 1).unsqueeze(-1)


def _maps(columns: Tensor, width: int, backward: bool) -> Tensor:
    """The inverse of :func:`_columns`."""
    maps = columns.squeeze(-1).unflatten(0, (-1, width)).movedim(1, 3)
    return maps.flip(3) if backward else maps


def _dtype(stages: Stages, x: Tensor) -> torch.dtype:
    if x.is_floating_point():
        return x.dtype
    first = stages.stages[0]
    return first.module.weight.dtype if isinstance(first, EmbeddingStage) else torch.get_default_dtype()


@dataclass
class _Frame:
    """Values as far as they are known: of all time steps, or of one."""

    values: dict[str, Tensor]
    parts: dict[str, dict[int, Tensor]] = field(default_factory=dict)  # of a value being written: by first channel
    products: dict[tuple[str, int], Tensor] = field(default_factory=dict)  # of (stage, input number)
    state: dict[str, Tensor] = field(default_factory=dict)  # of cells


class _Run:
    def __init__(self, stages: Stages, hooks: Hooks, dtype: torch.dtype, steps: int, rounds: bool) -> None:
        self.stages, self.hooks, self.dtype, self.steps, self.rounds = stages, hooks, dtype, steps, rounds
        self.gates = {stage.gates for stage in stages.stages if isinstance(stage, CellStage)}
        self.weights: dict[tuple[str, int], Tensor] = {}
        self.biases: dict[str, Tensor] = {}
        for stage in stages.stages:
            if isinstance(stage, Matrix):
                weights, bias = folded(stage, dtype)
                for input_number, weight in enumerate(weights):
                    self.weights[stage.name, input_number] = hooks.weight(stage, input_number, weight)
                self.biases[stage.name] = hooks.bias(stage, bias)

    def all(self, x: Tensor) -> dict[str, Tensor]:
        stored = self._stored(self.stages.input, x if self._symbols() else x.to(self.dtype))
        frame = _Frame({self.stages.input: stored})
        samples, done = len(x) // self.steps, 0
        for section in self.stages.sections:
            self._range(frame, done, section.first)
            self._section(frame, section, samples)
            done = section.stop
        for first, last in () if self.stages.sections else self._loops():
            self._range(frame, done, first)
            self._loop(frame, first, last, samples, self.steps)
            done = last
        self._range(frame, done, len(self.stages.stages))
        return frame.values

    def _symbols(self) -> bool:
        return isinstance(self.stages.stages[0], EmbeddingStage)

    def _loops(self) -> list[tuple[int, int]]:
        """Ranges of stages, from the first that reads a delayed value to the one that writes it."""
        loops: list[tuple[int, int]] = []
        for name in self.stages.delayed:
            first = next(n for n, stage in enumerate(self.stages.stages) if name in reads(stage))
            last = self.stages.last_writer[name] + 1
            if loops and first < loops[-1][1]:
                first, last = loops[-1][0], max(last, loops.pop()[1])
            loops.append((first, last))
        return loops

    def _range(self, frame: _Frame, first: int, last: int) -> None:
        for stage_number in range(first, last):
            stage = self.stages.stages[stage_number]
            if isinstance(stage, Matrix):
                self._write(frame, stage_number, stage, self._matrix(frame, stage))
            elif isinstance(stage, CellStage):
                frame.values[stage.output] = self._cell(frame, stage)
            else:
                symbols = frame.values[self.stages.input].flatten(1).long()
                table = vectors(stage).to(self.dtype)
                values = arranged(F.embedding(symbols, table), self.stages.values[stage.output].shape, last=True)
                frame.values[stage.output] = self.hooks.stored(stage.output, values)

    def _section(self, frame: _Frame, section: StageSection, samples: int) -> None:
        """The stages of a section, one column after another."""
        inside = self.stages.stages[section.first : section.stop]
        written = {stage.output for stage in inside}
        width = self.stages.values[inside[0].output].shape[2]
        outside = {name for stage in inside for name in reads(stage)} - written
        columns = _Frame({name: _columns(frame.values[name], section.backward) for name in outside})
        self._loop(columns, section.first, section.stop, samples, width)
        frame.values |= {name: _maps(columns.values[name], width, section.backward) for name in written}

    def _loop(self, frame: _Frame, first: int, last: int, samples: int, steps: int) -> None:
        """Stages ``first .. last``, one time step after another."""
        inside = self.stages.stages[first:last]
        written = {stage.output for stage in inside}
        outside = {name: value for name, value in frame.values.items() if any(name in reads(stage) for stage in inside)}
        products = {
            (stage.name, input_number): self._product(stage, input_number, frame.values[name])
            for stage in inside
            if isinstance(stage, Matrix)
            for input_number, name in enumerate(stage.inputs)
            if name not in written
        }
        before = {name: self._initial(name, samples) for name in self.stages.delayed if name in written}
        state = {stage.name: self._state(stage, samples) for stage in inside if isinstance(stage, CellStage)}
        # All time steps are taken apart at once: a slice for each would make a gradient of the whole for each.
        outside, products = _steps(outside, steps), _steps(products, steps)
        parts = {name: _steps(frame.parts.pop(name), steps) for name in written if name in frame.parts}
        frames = []
        for step in range(steps):
            now = _Frame(
                {name: value[step] for name, value in outside.items()} | before,
                {name: {row: part[step] for row, part in rows.items()} for name, rows in parts.items()},
                {key: value[step] for key, value in products.items()},
                state,
            )
            self._range(now, first, last)
            before = {name: now.values[name] for name in before}
            frames.append(now)
        for name in written:
            if name in frames[0].values:
                frame.values[name] = torch.stack([now.values[name] for now in frames], dim=1).flatten(0, 1)
            else:
                rows = frames[0].parts[name]
                frame.parts[name] = {
                    row: torch.stack([now.parts[name][row] for now in frames], dim=1).flatten(0, 1) for row in rows
                }

    def _stored(self, name: str, values: Tensor) -> Tensor:
        grid = self.stages.grids.get(name)
        if grid is not None:
            values = grid.rounded(values) if self.rounds else grid.clamped(values)
        return self.hooks.stored(name, values)

    def _initial(self, name: str, samples: int) -> Tensor:
        shape = self.stages.values[name].shape[0], 1, 1
        initial = self.stages.initial.get(name)
        initial = torch.zeros(shape) if initial is None else initial.detach().reshape(shape)
        return initial.to(self.dtype).expand(samples, *shape)

    def _state(self, cell: CellStage, samples: int) -> Tensor:
        state = torch.zeros(cell.units) if cell.state is None else cell.state.detach()
        return state.to(self.dtype).reshape(-1, 1, 1).expand(samples, -1, 1, 1)

    def _write(self, frame: _Frame, stage_number: int, stage: Matrix, values: Tensor) -> None:
        parts = frame.parts.setdefault(stage.output, {})
        old = parts.get(stage.first)
        if stage.spread != (1, 1):
            size = self.stages.values[stage.output].shape[1:]
            whole = values.new_zeros(*values.shape[:2], *size) if old is None else old.clone()
            (down, across), (top, left) = stage.spread, stage.origin
            whole[:, :, top::down, left::across] = values
            values = whole
        parts[stage.first] = torch.maximum(old, values) if stage.maximum and old is not None else values
        if self.stages.last_writer[stage.output] == stage_number:
            rows = [part for _, part in sorted(frame.parts.pop(stage.output).items())]
            values = rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
            if stage.transposed:
                values = arranged(values, self.stages.values[stage.output].shape, last=True)
            frame.values[stage.output] = values

    def _product(self, stage: Matrix, input_number: int, x: Tensor) -> Tensor:
        """Weights times an input, without bias: (samples, rows, height, width)."""
        weight = self.weights[stage.name, input_number]
        x = x if stage.channels is None else x[:, slice(*stage.channels)]
        x = x if stage.picks is None else x[:, list(stage.picks)]
        if stage.window is None:
            return F.linear(x.flatten(1), weight)[:, :, None, None]
        positions = stage.positions(self.stages.values[stage.output].shape)
        window, groups = stage.window, stage.rows if stage.window.depthwise else stage.window.groups
        return F.conv2d(padded(x, window, positions), weight, None, window.stride, 0, window.dilation, groups)

    def _matrix(self, frame: _Frame, stage: Matrix) -> Tensor:
        values = self.biases[stage.name][:, None, None]
        for input_number, name in enumerate(stage.inputs):
            ready = frame.products.get((stage.name, input_number))
            values = values + (self._product(stage, input_number, frame.values[name]) if ready is None else ready)
        if any(function for function, _ in stage.functions):
            pieces = values.split([count for _, count in stage.functions], dim=1)
            names = [function for function, _ in stage.functions]
            values = torch.cat([self._function(stage, *pair) for pair in zip(names, pieces, strict=True)], dim=1)
        if stage.operand is not None:
            values = self._add(values, stage.operand, frame.values[stage.operand.value])
        if stage.low is not None or stage.high is not None:
            values = values.clamp(stage.low, stage.high)
        if stage.product is not None:
            values = self._multiply(values, stage.product, frame.values[stage.product.value])
        if stage.pool != (1, 1):
            values = F.max_pool2d(values, stage.pool)
        return self.hooks.gate(stage, values) if stage.output in self.gates else self._stored(stage.output, values)

    def _function(self, stage: Matrix | CellStage, function: str | Curve | None, values: Tensor) -> Tensor:
        if function is None:
            return values
        call = function.call if isinstance(function, Curve) else _FUNCTIONS[function]
        return call(self.hooks.pre_activation(stage, function, values))

    @staticmethod
    def _add(values: Tensor, operand: Addend, added: Tensor) -> Tensor:
        """Row ``r`` gets channel ``r - first`` of ``added``, if there is one."""
        down, right = operand.stride
        added = added[:, :, ::down, ::right][:, :, : values.shape[2], : values.shape[3]]
        first, rows = operand.first, values.shape[1]
        added = added[:, max(-first, 0) : max(rows - first, 0)]
        first = max(first, 0)
        return values + F.pad(added, (0, 0, 0, 0, first, rows - first - added.shape[1]))

    @staticmethod
    def _multiply(values: Tensor, product: Factor, factors: Tensor) -> Tensor:
        """Row ``r`` times channel ``r - first`` of ``factors``."""
        lines, columns = (
            torch.arange(size, device=values.device) * stride
            for size, stride in zip(values.shape[2:], product.stride, strict=True)
        )
        factors = factors[:, -product.first :][:, : values.shape[1]]
        return values * factors[:, :, lines][..., columns]

    def _cell(self, frame: _Frame, cell: CellStage) -> Tensor:
        hooks, state = self.hooks, frame.state[cell.name]
        gates = frame.values[cell.gates].split(cell.units, dim=1)
        if cell.kind == "lstm":
            i, f, g, o = gates
            state = hooks.state(cell, f * state + i * g)
            output = o * self._function(cell, "tanh", state)
        else:
            r, z, n_x, n_h = gates
            n = self._function(cell, "tanh", n_x + r * n_h)
            output = state = hooks.state(cell, n + z * (state - n))
        frame.state[cell.name] = state
        return hooks.cell_output(cell, output)
