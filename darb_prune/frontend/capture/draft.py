"""Stages while they are being made: what may still be changed in them, copies, and the rules they end up with."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor

from darb_prune.frontend.capture.axes import Axis, Ref, whole
from darb_prune.frontend.stages import (
    CellStage,
    EmbeddingStage,
    Matrix,
    Stages,
    StageSection,
    Value,
    Weight,
    Window,
    reads,
)
from darb_prune.modules.grids import Grid

__all__ = ["INPUT", "Draft", "span"]

INPUT = "input"
_ASSUMED = "assumed "  # no module has such a path
_DEFAULTS = Matrix("", "", 0, (), ())


def span(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Lines and columns from the first to the last tap of a kernel."""
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


class Draft:
    """A list of stages that grows, and the values they read and write.

    Parameters
    ----------
    reserved : set of str
        Names of layers, which stages that are put in between do not get.
    """

    def __init__(self, reserved: set[str]) -> None:
        self.stages: list[Matrix | CellStage | EmbeddingStage] = []
        self.shapes: dict[str, tuple[int, int, int]] = {}
        self.axes: dict[str, tuple[Axis, ...]] = {}
        self.initial: dict[str, Tensor] = {}
        self.grids: dict[str, Grid] = {}
        self.sections: list[tuple[set[str], bool]] = []  # names of their stages, and whether they run backward
        self.reserved = reserved
        self.names: set[str] = set()

    def value(self, name: str, shape: tuple[int, int, int], axes: tuple[Axis, ...] | None = None) -> str:
        """A new value."""
        self.shapes[name] = shape
        self.axes[name] = whole(shape) if axes is None else axes
        return name

    def assumed(self, shape: tuple[int, int, int]) -> str:
        """A value that nothing is known of."""
        return self.value(f"{_ASSUMED}{len(self.shapes)}", shape)

    def is_assumed(self, value: str) -> bool:
        """Whether ``value``, or what it is a copy or a pooling of, is one of :meth:`assumed`."""
        return value.startswith(_ASSUMED) or any(
            self.is_assumed(stage.inputs[0])
            for stage in self.stages
            if isinstance(stage, Matrix) and stage.output == value and stage.window and stage.window.depthwise
        )

    def free(self, base: str) -> str:
        """``base``, or with a number behind it if there is such a stage."""
        suffix, name = 1, base
        while name in self.names or name in self.reserved:
            suffix += 1
            name = f"{base}.{suffix}"
        self.names.add(name)
        return name

    def writers(self, ref: Ref, *untouched: str, on_grid: bool = False) -> list[int] | None:
        """Numbers of the stages that write the value of ``ref``, if what follows can become a part of them: nothing
        looks at the value, neither another stage nor the next time step, their fields ``untouched`` are not in use yet,
        their results are not transposed, and the value has no grid. ``on_grid``: what follows makes values of a grid to
        such of the same grid, and so may become a part all the same."""
        numbers = [stage_number for stage_number, stage in enumerate(self.stages) if stage.output == ref.value]
        free = all(
            isinstance(self.stages[stage_number], Matrix)
            and all(
                getattr(self.stages[stage_number], name) == getattr(_DEFAULTS, name)
                for name in ("transposed", *untouched)
            )
            for stage_number in numbers
        )
        free &= on_grid or ref.value not in self.grids
        free &= not any(ref.value in reads(stage) for stage in self.stages[: max(numbers, default=0)])
        return numbers if numbers and free and ref.sole and ref.plain else None

    def writer(self, ref: Ref, *untouched: str) -> int:
        """The only one of :meth:`writers`; -1 if there is none, or there are several."""
        numbers = self.writers(ref, *untouched)
        return numbers[0] if numbers and len(numbers) == 1 else -1

    def fresh(self, ref: Ref) -> list[int]:
        """Numbers of the stages that write a copy, which nobody else looks at yet."""
        numbers = self.writers(ref)
        assert numbers is not None, "a copy is a stage of its own"
        return numbers

    def matrix(self, stage_number: int) -> Matrix:
        """A stage, one of :meth:`writers`."""
        stage = self.stages[stage_number]
        assert isinstance(stage, Matrix), "only a matrix can take something over"
        return stage

    def behind(self, stage_number: int, value: str) -> None:
        """Let a stage run behind those that write ``value``; nobody reads what it writes yet."""
        if any(stage.output == value for stage in self.stages[stage_number:]):
            self.stages.append(self.stages.pop(stage_number))

    def section(self, first: int, backward: bool) -> None:
        """The stages from ``first`` on are a section."""
        self.sections.append(({stage.name for stage in self.stages[first:]}, backward))

    def change(self, numbers: list[int], **fields: Any) -> None:
        for stage_number in numbers:
            self.stages[stage_number] = replace(self.stages[stage_number], **fields)

    def channels(self, ref: Ref) -> int:
        """How many channels of a value ``ref`` looks at."""
        return self.shapes[ref.value][0] if ref.channels is None else ref.channels[1] - ref.channels[0]

    def order(self, ref: Ref) -> tuple[Axis, ...]:
        """The axes of ``ref``, if it is not permuted."""
        if ref.channels is None:
            return self.axes[ref.value]
        return whole((self.channels(ref), *self.shapes[ref.value][1:]))

    def depthwise(
        self,
        name: str,
        ref: Ref,
        size: tuple[int, int],
        kernel: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
        before: tuple[int, int] = (0, 0),
        factor: float = 1.0,
        picks: tuple[int, ...] | None = None,
    ) -> str:
        """A stage that sums each channel of ``ref`` over a window, and the value it makes.

        Parameters
        ----------
        size : (int, int)
            Height and width of the result.
        before : (int, int)
            Zeros before the image.
        factor : float
            What the sums are multiplied with.
        picks : tuple of int, optional
            The channels of the value itself, in this order, in place of those of ``ref``.
        """
        channels, (height, width) = len(picks or ()) or self.channels(ref), self.shapes[ref.value][1:]
        shape = (channels, *size)
        same = shape == self.shapes[ref.value]
        name = self.free(name)
        output = self.value(f"{name}.out", shape, self.axes[ref.value] if same else None)
        window = self.window(kernel, stride, before, (height, width), size, True)
        self.stages.append(
            Matrix(
                name,
                output,
                channels,
                (ref.value,),
                (Weight(),),
                window=window,
                channels=None if picks else ref.channels,
                picks=picks,
                factor=factor,
            )
        )
        return output

    @staticmethod
    def window(
        kernel: tuple[int, int],
        stride: tuple[int, int],
        before: tuple[int, int],
        image: tuple[int, int],
        size: tuple[int, int],
        depthwise: bool,
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> Window:
        """A window that gives ``size`` positions on ``image``, with ``before`` zeros above and to the left; so many
        lines or columns are left out if it is negative."""
        bottom, right = (
            max((size[axis] - 1) * stride[axis] + span(kernel, dilation)[axis] - before[axis] - image[axis], 0)
            for axis in (0, 1)
        )
        top, left = (max(zeros, 0) for zeros in before)
        offset = max(-before[0], 0), max(-before[1], 0)
        return Window(kernel, stride, (top, left, bottom, right), depthwise, offset, dilation, groups)

    def copy(self, name: str, ref: Ref) -> Ref:
        """``ref`` as a value of its own, stored as it is looked at (without channels of zeros)."""
        sizes = {axis.name: axis.size for axis in ref.axes}
        before = ref.before[0] * ref.stride[0], ref.before[1] * ref.stride[1]
        size = (sizes.get("h", 1), sizes.get("w", 1)) if not ref.direct else self.shapes[ref.value][1:]
        output = self.depthwise(name, ref, size, stride=ref.stride, before=before)
        return replace(ref, value=output, sole=True, stride=(1, 1), before=(0, 0), after=(0, 0), channels=None)

    def transpose(self, name: str, ref: Ref, shape: tuple[int, int, int]) -> Ref:
        """``ref`` as a value of ``shape``, whose channels are the pixels of the former: the stages that write it do
        that, or else a copy."""
        numbers = self.writers(ref, "pool", "maximum", "spread", "operand", "product", on_grid=True)
        if numbers is None:
            ref = self.copy(name, ref)
            numbers = self.fresh(ref)
        size = self.shapes[ref.value][1:]
        self.change(numbers, transposed=size)
        self.value(ref.value, shape)
        return ref

    def side_by_side(self, values: Sequence[str]) -> str:
        """Copies of values of one image, as the channels of one value."""
        first, channels = 0, sum(self.shapes[value][0] for value in values)
        names = [value.removesuffix(".out").removesuffix(".h") for value in values]
        joined = self.value(f"{self.free(f'{names[0]}.joined')}.out", (channels, *self.shapes[values[0]][1:]))
        for value, name in zip(values, names, strict=True):
            copied = self.copy(f"{name}.copy", Ref(value, ())).value
            self.change(self.fresh(Ref(copied, (), sole=True)), output=joined, first=first)
            first += self.shapes[value][0]
        return joined

    def crop(self, numbers: list[int], start: tuple[int, int], size: tuple[int, int]) -> None:
        """Let the stages that write a value, and neither add anything nor read all of their input, compute a part of
        its image only: ``size`` lines and columns from ``start`` on."""
        for stage_number in numbers:
            stage = self.matrix(stage_number)
            window = stage.window
            assert window is not None, "an image has a window"
            top, left = (
                window.padding[axis] - window.offset[axis] - start[axis] * stage.pool[axis] * window.stride[axis]
                for axis in (0, 1)
            )
            positions = size[0] * stage.pool[0], size[1] * stage.pool[1]
            image = self.shapes[stage.inputs[0]][1:]
            cropped = self.window(
                window.kernel, window.stride, (top, left), image, positions, window.depthwise, window.dilation,
                window.groups,
            )  # fmt: skip
            self.change([stage_number], window=cropped)
        output = self.matrix(numbers[0]).output
        self.value(output, (self.shapes[output][0], *size))

    def from_zero(self, value: str) -> bool:
        """Whether no element of ``value`` is negative."""
        writers = [stage for stage in self.stages if stage.output == value]
        if self.is_assumed(value):
            return True
        return bool(writers) and all(self._from_zero(stage) for stage in writers)

    def _from_zero(self, stage: Matrix | CellStage | EmbeddingStage) -> bool:
        if not isinstance(stage, Matrix) or stage.product is not None:
            return False
        if stage.low is not None and stage.low >= 0:
            return True
        if stage.norm is not None or stage.operand is not None:
            return False
        if stage.functions:
            return all(name == "sigmoid" for name, _ in stage.functions)
        sums = all(weight.part is None for weight in stage.weights)
        return sums and stage.bias is None and min(stage.factor, stage.offset) >= 0 and self.from_zero(stage.inputs[0])

    def separate(self) -> None:
        """Give layers that read a map flattened a copy of it, if another layer reads it with zeros around."""
        for value, shape in list(self.shapes.items()):
            readers = [
                (stage_number, stage)
                for stage_number, stage in enumerate(self.stages)
                if isinstance(stage, Matrix) and value in stage.inputs
            ]
            pads = any(stage.window is not None and any(stage.window.padding) for _, stage in readers)
            inside = set().union(*(names for names, _ in self.sections))  # they read columns of it
            flat = [n for n, stage in readers if stage.window is None and stage.name not in inside]
            if not pads or not flat or prod(shape[1:]) == 1:
                continue
            copied = self.copy(f"{value}.copy", Ref(value, ())).value
            for stage_number in flat:
                inputs = self.matrix(stage_number).inputs
                self.change([stage_number], inputs=tuple(copied if name == value else name for name in inputs))
            self.stages.insert(flat[0], self.stages.pop())

    def finished(self, name: str, output: str, **fields: Any) -> Stages:
        """All of it, without values that nobody uses."""
        self._drop_unread(output)
        self._drop_picks()
        numbers = {stage.name: stage_number for stage_number, stage in enumerate(self.stages)}
        places = [(sorted(numbers[each] for each in names), backward) for names, backward in self.sections]
        sections = tuple(StageSection(inside[0], inside[-1] + 1, backward) for inside, backward in places)
        used = {INPUT} | {stage.output for stage in self.stages} | {v for stage in self.stages for v in reads(stage)}
        values = {value: Value(value, shape) for value, shape in self.shapes.items() if value in used}
        initial = {value: tensor for value, tensor in self.initial.items() if tensor.any()}
        grids = {value: grid for value, grid in self.grids.items() if value in used}
        return Stages(
            name, INPUT, output, values, tuple(self.stages), initial=initial, grids=grids, sections=sections, **fields
        )

    def _drop_picks(self) -> None:
        """Let layers pick their own channels of a vector, if all that read it are such layers, and each channel has one
        reader: what they read is stored side by side then. Copies that picked channels for them are left out."""
        copies = {
            stage.output: stage
            for stage in self.stages
            if isinstance(stage, Matrix) and stage.picks is not None and self._is_copy(stage)
        }
        for value, shape in self.shapes.items():
            of_value = {name for name, stage in copies.items() if stage.inputs == (value,)}
            numbers = [
                stage_number
                for stage_number, stage in enumerate(self.stages)
                if of_value.union((value,)).intersection(reads(stage)) and stage.output not in of_value
            ]
            picks = [self._picked(self.stages[stage_number], value, copies) for stage_number in numbers]
            each_once = sorted(channel for own in picks for channel in own) == list(range(shape[0]))
            if len(picks) > 1 and all(picks) and shape[1:] == (1, 1) and each_once and self._settled(value, numbers):
                for stage_number, own in zip(numbers, picks, strict=True):
                    self.change([stage_number], inputs=(value,), channels=None, picks=own)
                self.stages = [stage for stage in self.stages if stage.output not in of_value]

    def _settled(self, value: str, readers: list[int]) -> bool:
        """Whether ``value`` is the input, or written by layers without window before anybody reads it, and nobody
        reads it in a section."""
        writers = [stage_number for stage_number, stage in enumerate(self.stages) if stage.output == value]
        inside = set().union(*(names for names, _ in self.sections))
        return (
            all(isinstance(stage, Matrix) and stage.window is None for stage in (self.stages[n] for n in writers))
            and (bool(writers) or value == INPUT)
            and max(writers, default=-1) < min(readers)
            and not any(self.stages[stage_number].name in inside for stage_number in readers)
        )

    @staticmethod
    def _is_copy(stage: Matrix) -> bool:
        """Whether a depthwise stage does nothing else."""
        fields = ("norm", "factor", "offset", "functions", "low", "high", "operand", "product", "pool", "maximum")
        return all(getattr(stage, name) == getattr(_DEFAULTS, name) for name in fields)

    def _picked(
        self, stage: Matrix | CellStage | EmbeddingStage, value: str, copies: dict[str, Matrix]
    ) -> tuple[int, ...]:
        """Channels of ``value``, or of a copy of some of them, that a layer without window reads; none if it reads
        anything else."""
        if not isinstance(stage, Matrix) or len(reads(stage)) > 1 or (stage.window or stage.picks) is not None:
            return ()
        source = stage.inputs[0]
        picks = tuple(range(self.shapes[value][0])) if source == value else copies[source].picks or ()
        return picks if stage.channels is None else picks[slice(*stage.channels)]

    def _drop_unread(self, output: str) -> None:
        """Take out copies that nobody reads, as those of states behind the last step."""
        while True:
            read = {output} | {name for stage in self.stages for name in reads(stage)}
            kept = [
                stage
                for stage in self.stages
                if stage.output in read
                or not isinstance(stage, Matrix)
                or not stage.window
                or not stage.window.depthwise
            ]
            if len(kept) == len(self.stages):
                return
            self.stages = kept
