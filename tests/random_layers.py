"""Random legal layers, one after another: windows, segments, operands, functions, clamps."""

from dataclasses import dataclass, replace

import numpy as np

from darb_prune.encoded import DENSE, Layer, Level, Operand, Segment, Tensor
from tests.random_rows import LEVELS, draw_codes, edge_requantisation, make_layer, matrix_of, requantisation
from tests.reference import SIGMOID, TANH

BUDGET = 3000
"""Codes of all layers, if all rows were dense."""


@dataclass(frozen=True)
class Plan:
    """Where a layer reads, before its rows are drawn; ``taps`` is the column of each row of a depthwise one."""

    segments: tuple[Segment, ...]
    rows: int
    positions: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    pool: tuple[int, int] = (1, 1)
    taps: tuple[int, ...] | None = None

    @property
    def pixels(self) -> tuple[int, int]:
        return self.positions[0] // self.pool[0], self.positions[1] // self.pool[1]


class Builder:
    """Collects tensors, layers and dense matrices.

    ``last`` is the tensor that somebody has still to read; ``ready`` are those that anybody may read, ``delayed``
    the outputs of cells, which may be read before they are written. With ``products`` many rows are multiplied.
    """

    def __init__(self, draw, levels: tuple[Level, ...] | None, extreme: bool, products: bool = False):
        self.draw, self.levels, self.extreme, self.products = draw, levels, extreme, products
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.matrices = []
        self.functions = [SIGMOID.astype(np.int16), TANH.astype(np.int16)]
        self.ready: list[Tensor] = []
        self.delayed: list[Tensor] = []
        self.last: Tensor | None = None
        self._open: Tensor | None = None
        self.padded: set[str] = set()
        self._flat: set[str] = set()
        self._left = BUDGET
        for _ in range(draw.integer(0, 2)):
            self.functions.append(draw.rng.integers(-32768, 32768, 256).astype(np.int16))

    def tensor(self, name: str, shape, *, bits=None, full=False, limits=None, scale: float = 1.0) -> Tensor:
        """A tensor of random bits, range and order, unless arguments say which."""
        draw, rng = self.draw, self.draw.rng
        bits = bits or draw.choice((8, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 12, 16))
        low, high = limits or (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        style = "full" if full or limits else draw.choice(("full", "relu", "within"))
        if style == "relu":
            low = 0
        elif style == "within":
            low, high = int(rng.integers(low, 1)), int(rng.integers(1, high + 1))
        order = rng.permutation(shape[2]).astype(np.int32) if draw.chance(70) else None
        made = self.tensors[name] = Tensor(name, tuple(shape), bits, low, high, scale, order)
        return made

    def output(self, shape, final: bool, scale: float = 1.0) -> Tensor:
        return self.tensor("y" if final else f"t{len(self.tensors)}", shape, scale=scale)

    def start(self, tensor: Tensor) -> None:
        """``tensor`` is what the layers begin with."""
        self.complete(tensor)

    def complete(self, tensor: Tensor) -> None:
        """``tensor`` is written: the next layer reads it."""
        self.last = tensor
        self.ready.append(tensor)

    def finish(self) -> None:
        """The layers of the tensor at hand are all there."""
        self.complete(self._open)
        self._open = None

    def can_flatten(self, tensor: Tensor) -> bool:
        return tensor.shape[0] == 1 or tensor.name not in self.padded

    def sources(self, first: Tensor) -> list[Tensor]:
        """``first`` and perhaps another tensor, side by side."""
        others = [tensor for tensor in [*self.ready, *self.delayed] if self.can_flatten(tensor)]
        return [first, self.draw.choice(others)] if others and self.draw.chance(25) else [first]

    def cut(self, segments: list[Segment]) -> tuple[Segment, ...]:
        """The same columns, perhaps in more segments."""
        if not self.draw.chance(25):
            return tuple(segments)
        parts = []
        for segment in segments:
            cut = self.draw.integer(0, segment.length - 1)
            parts += [replace(segment, length=cut)] if cut else []
            parts.append(replace(segment, start=segment.start + cut, length=segment.length - cut))
        return tuple(parts)

    def _rows(self, columns: int, positions: int) -> int:
        return self.draw.integer(1, int(np.clip(self._left // (positions * max(columns, 8)), 1, 9)))

    def flat(self, sources: list[Tensor]) -> Plan:
        """A Linear layer behind whole tensors."""
        self._flat |= {tensor.name for tensor in sources if tensor.shape[0] > 1}
        segments = self.cut([Segment(tensor.name, 0, tensor.size) for tensor in sources])
        return Plan(segments, self._rows(sum(segment.length for segment in segments), 1))

    def window(self, source: Tensor, *, depthwise=False, pixels=(None, None), pooled=True) -> Plan:
        """A convolution, whose output has the given pixels or any number."""
        height, width, channels = source.shape
        may_pad = height == 1 or source.name not in self._flat
        down = self._axis(height, pixels[0], may_pad and height > 1, pooled)
        across = self._axis(width, pixels[1], may_pad, pooled)
        taps, stride, before, behind, positions, pool = zip(down, across, strict=True)
        padding = before + behind
        if any(padding):
            self.padded.add(source.name)
        lines, columns = taps
        if depthwise:
            segments = tuple(Segment(source.name, x * channels, channels, y) for y in lines for x in columns)
            own = tuple(source_position(source)[channel] for channel in range(channels))
            return Plan(segments, channels, positions, stride, padding, pool, own)
        # Taps beside each other are one segment.
        length, starts = (len(columns), columns[:1]) if columns.step == 1 else (1, columns)
        segments = self.cut([Segment(source.name, x * channels, length * channels, y) for y in lines for x in starts])
        rows = self._rows(sum(segment.length for segment in segments), positions[0] * positions[1])
        return Plan(segments, rows, positions, stride, padding, pool)

    def _axis(
        self, size: int, pixels: int | None, may_pad: bool, pooled: bool
    ) -> tuple[range, int, int, int, int, int]:
        """Taps of the kernel, stride, zeros before and behind, positions and pool along one axis."""
        draw = self.draw
        before = draw.integer(1, 2) if may_pad and draw.chance(50) else 0
        behind = draw.integer(0, 3) if may_pad and draw.chance(35) else before
        if pixels is not None:  # the image alone may be too small
            least = -(-(pixels - size) // 2)
            before, behind = max(before, least), max(behind, least)
        total = before + size + behind
        kernel = draw.integer(1, min(11 if draw.chance(15) else 3, total))
        stride = draw.integer(1, 4)
        pool = draw.choice((1, 1, 2, 3)) if pooled else 1
        dilation = draw.integer(2, 3) if draw.chance(15) else 1
        if pixels is None:
            positions = (total - kernel) // stride + 1
            pool = min(pool, positions)
            positions = positions // pool * pool
        else:
            pool = min(pool, total // pixels)
            positions = pixels * pool
            kernel = min(kernel, total - (positions - 1))
            if positions > 1:
                stride = min(stride, (total - kernel) // (positions - 1))
        room = total - (positions - 1) * stride  # for a window
        dilation = max(min(dilation, (room - 1) // max(kernel - 1, 1)), 1)
        return range(0, kernel * dilation, dilation), stride, before, behind, positions, pool

    def layer(
        self,
        plan: Plan,
        *,
        target=None,
        first=0,
        final=False,
        operand: bool | Operand = True,
        maximum=False,
        functions=None,
        saturated=False,
    ) -> Tensor:
        """Draw the rows of a layer, and the tensor it writes if there is none yet.

        Most rows of a ``saturated`` layer stay at an end of their range, whatever they read.
        """
        draw, rng = self.draw, self.draw.rng
        added = operand if isinstance(operand, Operand) else None
        if operand is True and plan.pool == (1, 1):
            # What is written to the gates of a cell is no product.
            if self.products and functions is None and draw.chance(60):
                added = self._factor(plan)
            elif draw.chance(35):
                added = self._operand(plan, target)
        multiplies = added is not None and added.product
        if target is None:
            scale = 1.0 if added is None or multiplies else self.tensors[added.tensor].scale
            target = self.output((*plan.pixels, plan.rows), final, scale)
        self._open = target
        weight_bits = draw.choice((8, 2, 3, 4, 5, 6, 7, 8))
        if plan.taps is None:
            levels = self.levels or tuple(draw.choice(LEVELS) for _ in range(draw.integer(1, 4)))
        else:
            channels = len(plan.taps)
            levels = (Level((channels - 1).bit_length(), 1) if channels > 1 else DENSE,)
        row_level = rng.integers(0, len(levels), plan.rows)
        codes = draw_codes(rng, plan.segments, levels, row_level, weight_bits, self.extreme, plan.taps)
        dense, index, weight = codes
        matrix = matrix_of(dense, plan.segments, self.tensors)
        function = self._function(plan.rows, functions)
        clamp = None
        least, most = (-32768, 32767) if multiplies else (target.qmin, target.qmax)
        if draw.chance(20):
            low = int(rng.integers(least, most // 2 + 1))
            clamp = (low, int(rng.integers((low + most) // 2, most + 1)))
        parameters = self._requantisation(plan, dense, most, function)
        if saturated:
            chosen = rng.random(plan.rows) < 0.7
            parameters["bias"][chosen] = rng.choice([-(1 << 30), 1 << 30], chosen.sum())
            parameters["mult"][chosen], parameters["shift"][chosen] = 65535, 8
        made = make_layer(
            f"layer{len(self.layers)}", target.name, plan.segments, weight_bits, levels, row_level, index, weight,
            **parameters, function=function, first=first,
            positions=plan.positions, stride=plan.stride, padding=plan.padding, pool=plan.pool, maximum=maximum,
            operand=added, clamp=clamp, depthwise=plan.taps is not None,
        )  # fmt: skip
        self.layers.append(made)
        self.matrices.append(matrix)
        self._left -= plan.positions[0] * plan.positions[1] * dense.size
        return target

    def _requantisation(self, plan: Plan, dense: np.ndarray, most: int, function) -> dict[str, np.ndarray]:
        rng = self.draw.rng
        if self.draw.chance(6):
            return edge_requantisation(rng, plan.rows)
        columns = np.concatenate(
            [[max(-self.tensors[s.tensor].qmin, self.tensors[s.tensor].qmax)] * s.length for s in plan.segments]
        )
        sums = np.sqrt((dense * columns) ** 2 @ np.ones(len(columns)))
        greatest = np.full(plan.rows, float(most))
        if function is not None:
            greatest[function > 0] = 127.0
        return requantisation(rng, sums, greatest)

    def _function(self, rows: int, wanted: list[str | None] | None) -> np.ndarray | None:
        if wanted is not None:
            return np.array([{None: 0, "sigmoid": 1, "tanh": 2}[name] for name in wanted], np.uint8)
        if not self.draw.chance(25):
            return None
        return self.draw.rng.integers(0, len(self.functions) + 1, rows).astype(np.uint8)

    def _factor(self, plan: Plan) -> Operand | None:
        """What all rows are multiplied by: positions of their own, or the same line or column for all."""
        draw = self.draw
        fitting = [tensor for tensor in [*self.ready, *self.delayed] if tensor.channels >= plan.rows]
        if not fitting:
            return None
        factor = draw.choice(fitting)
        stride = []
        for size, count in zip(factor.shape, plan.positions, strict=False):
            steps = [step for step in (1, 2, 3) if (count - 1) * step < size]
            stride.append(draw.choice((0, *steps)))
        first = -draw.integer(0, factor.channels - plan.rows)
        return Operand(factor.name, tuple(stride), first, product=True)

    def _operand(self, plan: Plan, target: Tensor | None) -> Operand | None:
        draw = self.draw
        fitting = [
            tensor
            for tensor in [*self.ready, *self.delayed]
            if all(np.greater_equal(tensor.shape[:2], plan.positions)) and (not target or tensor.scale == target.scale)
        ]
        if not fitting:
            return None
        added = draw.choice(fitting)
        room = [(size - 1) // max(count - 1, 1) for size, count in zip(added.shape, plan.positions, strict=False)]
        stride = tuple(draw.integer(1, int(np.clip(most, 1, 3))) for most in room)
        first = draw.integer(1 - added.channels, plan.rows - 1) if draw.chance(40) else 0
        return Operand(added.name, stride, first)


def source_position(tensor: Tensor) -> list[int]:
    """Position of each channel, found by looking for it."""
    order = list(range(tensor.channels)) if tensor.order is None else tensor.order.tolist()
    return [order.index(channel) for channel in range(tensor.channels)]
