"""What a model becomes before it is quantised: stages that read and write values, in order of execution.

This is the float side of the arithmetic in ``docs/arithmetic.md``: a stage is what one encoded layer, cell or
embedding will compute. Nothing is copied from the model: weights are found through their modules.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import torch
from torch import Tensor, nn

from darb_prune.modules.grids import Grid
from darb_prune.modules.layers import Part

__all__ = [
    "Addend",
    "CellStage",
    "Curve",
    "EmbeddingStage",
    "Factor",
    "Matrix",
    "StageSection",
    "Stages",
    "Value",
    "Weight",
    "Window",
    "arranged",
    "positions_of",
    "reads",
]


@dataclass(frozen=True)
class Value:
    """A tensor between stages, without its batch (and time) dimension.

    Parameters
    ----------
    name : str
    shape : (int, int, int)
        Channels, height, width; a vector is (n, 1, 1), a Conv1d's sequence (channels, 1, length).
    """

    name: str
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Window:
    """Where a stage reads its input at each output position (height, width each).

    Parameters
    ----------
    kernel, stride : (int, int)
        How many output positions there are is said by the shape of the output.
    padding : (int, int, int, int)
        Lines and columns of zeros around the image: top, left, bottom, right.
    depthwise : bool
        Row ``r`` reads channel ``r`` only.
    offset : (int, int)
        How far inside the padded image the first window begins: taps of a pooling.
    dilation : (int, int)
        Distance of the lines and columns of the kernel.
    groups : int
        Rows and channels are cut into so many groups; a row reads the channels of its own group.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    depthwise: bool = False
    offset: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class Addend:
    """A value that is added to the rows: row ``r`` at ``(y, x)`` gets channel ``r - first``, if there is one, at
    ``(y * stride[0], x * stride[1])``. It has the scale of the output."""

    value: str
    stride: tuple[int, int] = (1, 1)
    first: int = 0


@dataclass(frozen=True)
class Factor:
    """A value that the rows are multiplied by: row ``r`` at ``(y, x)`` by channel ``r - first`` at ``(y * stride[0],
    x * stride[1])``. With a stride of 0 that is the same line or column for all positions."""

    value: str
    stride: tuple[int, int] = (1, 1)
    first: int = 0


@dataclass(frozen=True, eq=False)
class Weight:
    """Weights that meet one input of a matrix.

    Parameters
    ----------
    part : Part, optional
        Where they are; absent: 1 at every tap of a depthwise window (copies, average pooling).
    rows : (int, int), optional
        Those rows of the parameter only (gates of a GRU); all of them if absent.
    taps : tuple of tuples of int, optional
        Those lines and columns of the kernel of a transposed convolution, in this order, whose parameter has the
        channels that are read in front.
    groups : int
        Of a transposed convolution.
    innermost : int
        Channels of a map whose pixels are flattened one after the other, so that they are the innermost of the columns
        of the parameter; 0 if they are the outermost, as in all other parameters.
    symbols : torch.nn.Embedding, optional
        Whose vectors are read in units of the greatest magnitude of each feature: columns are multiplied by it.
    """

    part: Part | None = None
    rows: tuple[int, int] | None = None
    taps: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    groups: int = 1
    innermost: int = 0
    symbols: nn.Embedding | None = None

    def columns(self, count: int) -> Tensor:
        """Of each of ``count`` columns of the parameter, in the order of the others: its number."""
        return torch.arange(count).reshape(-1, self.innermost or 1).T.reshape(-1)


@dataclass(frozen=True, eq=False)
class Curve:
    """A function of one value, for whose table calibration finds the range.

    Parameters
    ----------
    name : str
        Operator, for messages.
    call : callable
        Takes floats of any type, shape (samples, rows, height, width), and gives those of the function, with gradient.
    rising : bool
        Whether a greater value never gives less, so that a maximum may be taken before or behind.
    alike : bool
        Whether all rows have the same function; it takes any number of rows then.
    """

    name: str
    call: Callable[[Tensor], Tensor]
    rising: bool = False
    alike: bool = True


@dataclass(frozen=True, eq=False)
class Matrix:
    """Rows of weights, and what follows them::

        a = norm(weights . inputs + bias)
        v = function(a * factor + offset) + operand
        y = max over the pool of clamp(v, low, high)
        y = clamp(v, low, high) * product                   with a product, which leaves no pool and no addition

    Parameters
    ----------
    name : str
        Module path of the layer; parts of a GRU layer have ``.rz``, ``.n_x``, ``.n_h`` behind it, the projection of an
        LSTM layer has ``.projection``.
    output : str
        Value written.
    first : int
        Channel of ``output`` that row 0 writes, or row of all that write it if it is transposed.
    rows : int
    inputs : tuple of str
        Values read; their columns stand side by side. Two for the gates of a recurrent layer (input, hidden state).
    weights : tuple of Weight
        One for each input.
    bias : callable () -> tensor of shape (rows,), optional
        With gradient; before ``norm``.
    norm : BatchNorm1d or BatchNorm2d, optional
        Folded as it is in ``eval`` mode.
    window : Window, optional
        Of a convolution; absent: the whole input, flattened as torch does.
    channels : (int, int), optional
        Channels of the only input that it reads: the first, and the one behind the last. All of them if absent.
    picks : tuple of int, optional
        Of a copy: row ``r`` is channel ``picks[r]`` of the input. Of a layer without window: column ``c`` reads channel
        ``picks[c]`` of a vector, each of whose channels one such layer reads.
    factor, offset : float
    functions : tuple of (str, Curve or None, int)
        ``"sigmoid"``, ``"tanh"`` or nothing for so many rows, from row 0 on; empty: nothing for all rows. A curve is
        that of all rows.
    low, high : float, optional
        ReLU is ``low = 0``, ReLU6 also ``high = 6``.
    operand : Addend, optional
    product : Factor, optional
    pool : (int, int)
        Height and width of a max pooling (stride the same, no padding) of the result.
    maximum : bool
        The result is the maximum of this and what an earlier stage wrote to the same channels.
    spread, origin : (int, int)
        The result of position ``(y, x)`` is pixel ``(y, x) * spread + origin``; stages of all origins write one value.
        Such a stage has no operand, and neither pools nor takes a maximum.
    transposed : (int, int), optional
        These are its positions, height and width, and its results are those of one row after the other, of each line by
        line: ``output`` is what has these elements pixel by pixel, channels innermost. If that has a channel for each
        position, channels and pixels change places. Such a stage has no operand and no spread, and neither pools nor
        takes a maximum; all that write the value are such.
    """

    name: str
    output: str
    rows: int
    inputs: tuple[str, ...]
    weights: tuple[Weight, ...]
    bias: Callable[[], Tensor] | None = None
    first: int = 0
    norm: nn.BatchNorm1d | nn.BatchNorm2d | None = None
    window: Window | None = None
    channels: tuple[int, int] | None = None
    picks: tuple[int, ...] | None = None
    factor: float = 1.0
    offset: float = 0.0
    functions: tuple[tuple[str | Curve | None, int], ...] = ()
    low: float | None = None
    high: float | None = None
    operand: Addend | None = None
    product: Factor | None = None
    pool: tuple[int, int] = (1, 1)
    maximum: bool = False
    spread: tuple[int, int] = (1, 1)
    origin: tuple[int, int] = (0, 0)
    transposed: tuple[int, int] | None = None

    def positions(self, shape: tuple[int, int, int]) -> tuple[int, int]:
        """Output positions, height and width, before pooling, where the output has ``shape``."""
        return self.transposed or positions_of(shape[1:], self.pool, self.spread, self.origin)


@dataclass(frozen=True, eq=False)
class CellStage:
    """Element-wise update of a recurrent layer: runs when all its gates are written.

    Parameters
    ----------
    name : str
    kind : str
        ``"lstm"`` (gates i, f, g, o; their functions are applied already) or ``"gru"`` (r, z, n_x, n_h).
    gates : str
        Value of ``4 * units`` channels.
    output : str
        Value of ``units`` channels; stages before this one read its value of the time step before.
    units : int
    state : float tensor of shape (units,), optional
        Initial c of an LSTM, initial h of a GRU; zeros if absent.
    """

    name: str
    kind: str
    gates: str
    output: str
    units: int
    state: Tensor | None = None


@dataclass(frozen=True, eq=False)
class EmbeddingStage:
    """Rows of a table for symbols; always the first stage, and reads the input. Those of several symbols are a vector,
    or the columns of a map.

    Parameters
    ----------
    module : torch.nn.Embedding
    unit : bool
        Whether it gives its vectors in units of the greatest magnitude of each feature.
    """

    name: str
    output: str
    module: nn.Embedding
    unit: bool = False


@dataclass(frozen=True)
class StageSection:
    """Stages ``first .. stop - 1`` of a model without time steps, which run one after another for each column of maps.

    They read one column of each value, whole (``window`` absent: channels outermost, then lines), and write one column
    of values of shape (channels, 1, columns), which nobody else writes. What they read before they write it is that of
    the column before; at the first one it is ``Stages.initial``.

    Parameters
    ----------
    first, stop : int
    backward : bool
        Whether the last column is the first one.
    """

    first: int
    stop: int
    backward: bool = False


def positions_of(
    image: tuple[int, int], pool: tuple[int, int], spread: tuple[int, int], origin: tuple[int, int]
) -> tuple[int, int]:
    """Positions, before pooling, of a stage that writes every ``spread``-th line and column of ``image``."""
    height, width = (
        -(-(size * pooled - first) // each)
        for size, pooled, each, first in zip(image, pool, spread, origin, strict=True)
    )
    return height, width


def arranged(x: Tensor, shape: tuple[int, int, int], last: bool) -> Tensor:
    """``x``, as many elements a sample as a value of ``shape`` has, as (samples, channels, height, width).

    ``last`` is whether each sample has its channels in the last dimension.
    """
    channels, height, width = shape
    return x.reshape(len(x), height, width, channels).movedim(-1, 1) if last else x.reshape(len(x), *shape)


def reads(stage: Matrix | CellStage | EmbeddingStage) -> tuple[str, ...]:
    """Names of the values that a stage reads (an embedding reads the input of the model)."""
    if isinstance(stage, Matrix):
        return stage.inputs + tuple(read.value for read in (stage.operand, stage.product) if read)
    return (stage.gates,) if isinstance(stage, CellStage) else ()


@dataclass(frozen=True, eq=False)
class Stages:
    """A whole model.

    Parameters
    ----------
    name : str
        Class of the model.
    input, output : str
        Values. The output is written by matrices that neither pool nor take a maximum, and nobody reads it.
    values : dict of str to Value
        Without time: for a recurrent model, those of one time step.
    stages : tuple of Matrix, CellStage and EmbeddingStage
    recurrent : bool
        Whether inputs are sequences of shape (samples, steps, ...).
    emit : str
        ``"step"``, or ``"last"`` if the model looks at the last time step only. ``"step"`` if not recurrent.
    initial : dict of str to tensor
        Real values, of the shape of the value (of one column of it in a section), that delayed values have at the first
        time step; zeros if absent.
    time_first : bool
        Whether the model itself takes (steps, samples, ...).
    input_last, output_last : bool
        Whether the channels are the last dimension of what the model itself takes, and gives.
    outputs : tuple of int
        Channels of each output of the model, side by side in ``output``, if there are several.
    grids : dict of str to Grid
        Of values whose scale and integers the model brings along.
    sections : tuple of StageSection
        Of a model that is not recurrent; rising, not overlapping.
    columns_first : bool
        Whether the model gives (columns, samples, channels): the output is a map of one line then.
    """

    name: str
    input: str
    output: str
    values: dict[str, Value]
    stages: tuple[Matrix | CellStage | EmbeddingStage, ...]
    recurrent: bool = False
    emit: str = "step"
    initial: dict[str, Tensor] = field(default_factory=dict)
    time_first: bool = False
    input_last: bool = False
    output_last: bool = False
    outputs: tuple[int, ...] = ()
    grids: dict[str, Grid] = field(default_factory=dict)
    sections: tuple[StageSection, ...] = ()
    columns_first: bool = False

    def samples_first(self, x: Tensor) -> Tensor:
        """Inputs (or outputs of every time step) as the model takes (gives) them -> (samples, ...) or (samples, steps,
        ...)."""
        return x.transpose(0, 1) if self.time_first else x

    def as_input(self, x: Tensor) -> Tensor:
        """Samples (or time steps) as the model takes them -> (samples, channels, height, width)."""
        return arranged(x, self.values[self.input].shape, self.input_last)

    def as_given(self, output: Tensor) -> Tensor:
        """The output, shape (..., channels, height, width), with its dimensions as the model gives them."""
        if self.columns_first:
            return output.squeeze(-2).permute(2, 0, 1)
        if not self.output_last:
            return output.flatten(-3) if output.shape[-2:] == (1, 1) else output
        lines = output.shape[-2]
        return output.movedim(-3, -1).flatten(-3, -2) if lines == 1 else output.movedim(-3, -1)

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Those of the stages that have one, by name of the stage."""
        matrices = (stage for stage in self.stages if isinstance(stage, Matrix))
        pairs = ((stage.name, function) for stage in matrices for function, _ in stage.functions)
        return {name: function for name, function in pairs if isinstance(function, Curve)}

    @cached_property
    def last_writer(self) -> dict[str, int]:
        """Number of the last stage that writes each value."""
        return {stage.output: stage_number for stage_number, stage in enumerate(self.stages)}

    @cached_property
    def delayed(self) -> tuple[str, ...]:
        """Values that are read before they are written, and so are those of the time step before."""
        delayed = []
        for stage_number, stage in enumerate(self.stages):
            before = (name for name in reads(stage) if self.last_writer.get(name, -1) >= stage_number)
            delayed += [name for name in before if name not in delayed]
        return tuple(delayed)
