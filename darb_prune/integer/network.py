"""The oracle: an integer network, executed exactly as ``docs/arithmetic.md`` says."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from darb_prune.encoded import EncodedNetwork, TestVectors
from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.stages import StageSection, arranged
from darb_prune.integer.arithmetic import IntegerCell, IntegerEmbedding, IntegerMatrix, IntegerTensor

__all__ = ["IntegerNetwork"]

Stage = IntegerMatrix | IntegerCell | IntegerEmbedding

CHUNK = 1 << 21  # elements of all tensors of a frame, over samples: bounds memory


class IntegerNetwork(nn.Module):
    """The oracle.

    Parameters
    ----------
    name : str
    input, output : str
    tensors : iterable of IntegerTensor
    stages : iterable of IntegerMatrix, IntegerCell and IntegerEmbedding
        In order of execution.
    recurrent : bool
    emit : str
    input_last : bool
        As in :class:`darb_prune.frontend.stages.Stages`.
    outputs : tuple of int
        Channels of each output of the model, side by side in ``output``, if there are several.
    limits : (int, int), optional
        Least and greatest integer that real inputs become; the range of the input if absent.
    sections : tuple of StageSection
        As in :class:`darb_prune.frontend.stages.Stages`.

    Raises
    ------
    ModelError
        If the accumulator of a layer may grow beyond what is computed exactly.
    """

    def __init__(
        self,
        name: str,
        input: str,
        output: str,
        tensors: Iterable[IntegerTensor],
        stages: Iterable[Stage],
        recurrent: bool = False,
        emit: str = "step",
        input_last: bool = False,
        outputs: tuple[int, ...] = (),
        limits: tuple[int, int] | None = None,
        sections: tuple[StageSection, ...] = (),
    ) -> None:
        super().__init__()
        self.limits, self.sections = limits, sections
        self.name, self.input, self.output, self.recurrent, self.emit = name, input, output, recurrent, emit
        self.input_last, self.outputs = input_last, outputs
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.stages = tuple(stages)
        for matrix in self.matrices:
            ends = [max(-self.tensors[name].qmin, self.tensors[name].qmax) for name in matrix.inputs]
            most = sum(
                int(weight.flatten(1).abs().sum(1).max()) * end
                for weight, end in zip(matrix.weights, ends, strict=True)
            )
            if most >= 1 << 53:
                raise ModelError(f"layer {matrix.name!r}: a sum may reach {most}; use fewer bits")

    @property
    def matrices(self) -> list[IntegerMatrix]:
        return [stage for stage in self.stages if isinstance(stage, IntegerMatrix)]

    @property
    def delayed(self) -> list[str]:
        """Tensors that are read before they are written."""
        written: set[str] = {self.input}
        delayed: list[str] = []
        for stage in self.stages:
            delayed += [name for name in _reads(stage) if name not in written and name not in delayed]
            written.add(stage.output)
        return delayed

    def quantize_input(self, x: Tensor) -> Tensor:
        """Real inputs, samples (and steps) first -> int64 of shape (samples[, steps], size), rounded and clamped.

        Channels become the outermost dimension of a sample, wherever the model has them.
        Symbols (a tensor of integers) stay what they are.
        """
        source = self.tensors[self.input]
        lead = x.shape[: 1 + self.recurrent]
        if self.input_last:
            x = arranged(x.reshape(lead.numel(), -1), source.shape, True)
        x = x.reshape(*lead, -1)
        if not x.is_floating_point():
            return x.to(torch.int64)
        low, high = self.limits or (source.qmin, source.qmax)
        # In the type of the input, if others have quantised the model: they divide in float32.
        real = x.double() / source.scale if self.limits is None else x / torch.tensor(source.scale, dtype=x.dtype)
        return (real.round() + source.zero).clamp(low, high).to(torch.int64)

    def trace(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """All tensors by name, in logical order.

        Parameters
        ----------
        x : integer tensor of shape (samples, size); of a recurrent network (samples, steps, size)
        lengths : integer tensor of shape (samples,), optional
            Time steps of each sequence, the rest being fill; all of them if absent.

        Returns
        -------
        dict of str to int64 tensor of shape (frames, size)
            A frame is a sample, or a time step of a sequence; the frames of a sequence follow each other. The tail
            of a network that emits at the last time step is computed in every frame.
        """
        lengths = self._check(x, lengths)
        parts: dict[str, list[Tensor]] = {name: [] for name in self.tensors}
        for piece, count in zip(x.split(self._chunk), lengths.split(self._chunk), strict=True):
            taken = torch.arange(x.shape[1])[None] < count[:, None] if self.recurrent else slice(None)
            frames = [{name: value.flatten(1) for name, value in step.items()} for step, _ in self._steps(piece)]
            for name, pieces in parts.items():
                values = [frame[name] for frame in frames]
                pieces.append((torch.stack(values, 1) if self.recurrent else values[0])[taken])
        return {name: torch.cat(pieces) for name, pieces in parts.items()}

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Integers of the output tensor for integers of the input tensor; arguments as for :meth:`trace`.

        Returns
        -------
        int64 tensor of shape (samples, size), or (samples, steps, size) if the network emits at every time step.
        """
        lengths = self._check(x, lengths)
        pieces = zip(x.split(self._chunk), lengths.split(self._chunk), strict=True)
        return torch.cat([self._emitted(self.run(piece)[0], count) for piece, count in pieces])

    def run(self, x: Tensor, state: dict | None = None) -> tuple[Tensor, dict]:
        """Output at every time step of ``x``, and the state behind it, which the next call goes on from."""
        outputs, left = [], state or {}
        for values, left in self._steps(x, state):  # noqa: B007
            outputs.append(values[self.output].flatten(1))
        return torch.stack(outputs, 1) if self.recurrent else outputs[0], left

    def vectors(self, encoded: EncodedNetwork, x: Tensor, labels: Tensor | None = None) -> TestVectors:
        """Test vectors of ``encoded``, which was made of this network.

        Parameters
        ----------
        encoded : EncodedNetwork
        x : tensor
            As for :meth:`quantize_input`.
        labels : integer tensor, optional
        """
        x = self.quantize_input(x)
        traced = {name: values.numpy().astype(np.int32) for name, values in self.trace(x).items()}
        lengths = np.full(len(x), x.shape[1], np.int32) if self.recurrent else None
        made = TestVectors(encoded.digest, traced, None if labels is None else labels.flatten().numpy(), lengths)
        made.check(encoded)
        return made

    def _emitted(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        if self.recurrent and self.emit == "last":
            return outputs[torch.arange(len(outputs)), lengths - 1]
        return outputs

    @property
    def _chunk(self) -> int:
        """Samples at a time."""
        return max(CHUNK // sum(tensor.size for tensor in self.tensors.values()), 1)

    def _check(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        source = self.tensors[self.input]
        shape = f"(samples, {'steps, ' if self.recurrent else ''}{source.size})"
        if x.is_floating_point() or x.dim() != 2 + self.recurrent or x.shape[-1] != source.size:
            raise DarbError(f"integer inputs of shape {shape} are needed; use quantize_input")
        if x.numel() and not (source.qmin <= int(x.min()) and int(x.max()) <= source.qmax):
            raise DarbError(f"an input leaves the range {source.qmin}..{source.qmax}")
        steps = x.shape[1] if self.recurrent else 1
        lengths = torch.full((len(x),), steps) if lengths is None else torch.as_tensor(lengths)
        if lengths.shape != (len(x),) or not bool(((lengths >= 1) & (lengths <= steps)).all()):
            raise DarbError(f"lengths must be {len(x)} numbers from 1 to {steps}")
        return lengths

    def _steps(self, x: Tensor, state: dict | None = None) -> Iterator[tuple[dict[str, Tensor], dict]]:
        """All tensors, int64 of shape (samples, channels, height, width), and the state behind it: each time step."""
        delayed = [] if self.sections else self.delayed
        if state is None:
            state = {name: self._initial(len(x), name, self.tensors[name].initial) for name in delayed}
            for stage in self.stages:
                if isinstance(stage, IntegerCell) and not self.sections:
                    state[stage] = self._initial(len(x), stage.output, stage.state).flatten(1)
        for frame in x.unbind(1) if self.recurrent else (x,):
            values = {self.input: frame.to(torch.int64).view(len(x), *self.tensors[self.input].shape)}
            values |= {name: state[name].clone() for name in delayed}  # layers write into it
            state, done = dict(state), 0
            for section in self.sections:
                self._run(self.stages[done : section.first], values, state, self.tensors)
                self._columns(section, values)
                done = section.stop
            self._run(self.stages[done:], values, state, self.tensors)
            state |= {name: values[name] for name in delayed}
            yield values, state

    def _run(
        self, stages: tuple[Stage, ...], values: dict[str, Tensor], state: dict, tensors: dict[str, IntegerTensor]
    ) -> None:
        """Let ``stages`` write what they make of ``values`` there, as ``tensors``, and the new states of cells."""
        for stage in stages:
            target = tensors[stage.output]
            if isinstance(stage, IntegerMatrix):
                stage.run(values, target)
            elif isinstance(stage, IntegerCell):
                output, state[stage] = stage.run(values[stage.gates].flatten(1), state[stage], target)
                values[stage.output] = output.view(len(output), *target.shape)
            else:
                symbols = values[self.input].flatten(1)
                values[stage.output] = arranged(stage.table[symbols], target.shape, last=True)

    def _columns(self, section: StageSection, values: dict[str, Tensor]) -> None:
        """Run the stages of a section, one column after another, from the left, or from the right."""
        inside = self.stages[section.first : section.stop]
        written = {stage.output for stage in inside}
        read = {name for stage in inside for name in _reads(stage)} - written
        delayed = [name for name in self.delayed if name in written]
        column = {name: replace(tensor, shape=(tensor.shape[0], 1, 1)) for name, tensor in self.tensors.items()}
        samples = len(values[self.input])
        before = {name: self._initial(samples, name, self.tensors[name].initial) for name in delayed}
        state = {
            stage: self._initial(samples, stage.output, stage.state).flatten(1)
            for stage in inside
            if isinstance(stage, IntegerCell)
        }
        made: dict[str, list[Tensor]] = {name: [] for name in written}
        steps = range(self.tensors[inside[0].output].shape[2])
        for step in reversed(steps) if section.backward else steps:
            now = {name: values[name][..., step : step + 1] for name in read}
            now |= {name: value.clone() for name, value in before.items()}  # layers write into it
            self._run(inside, now, state, column)
            before = {name: now[name] for name in delayed}
            for name, columns in made.items():
                columns.append(now[name])
        for name, columns in made.items():
            values[name] = torch.cat(columns[::-1] if section.backward else columns, dim=3)

    def _initial(self, samples: int, name: str, values: Tensor | None) -> Tensor:
        """What a tensor holds, or a cell, in front of the first step: (samples, channels, 1, 1); zeros if not given."""
        channels = self.tensors[name].shape[0]
        values = torch.zeros(channels, dtype=torch.int64) if values is None else values
        return values.view(1, channels, 1, 1).repeat(samples, 1, 1, 1)


def _reads(stage: Stage) -> list[str]:
    """Tensors that a stage reads."""
    reads = [*stage.inputs]
    if isinstance(stage, IntegerMatrix):
        reads += [read.value for read in (stage.operand, stage.product) if read]
    return reads
