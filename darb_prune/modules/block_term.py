"""Block-term layers: Linear, convolution and LSTM whose weight matrix is a sum of Tucker terms.

With ``n_in = I_1 * ... * I_d`` inputs, ``n_out = J_1 * ... * J_d`` outputs, ``N`` terms and ranks ``R_k``::

    W[(j_1 .. j_d), (i_1 .. i_d)] = sum_n sum_{r_1 .. r_d} G_n[r_1 .. r_d] prod_k A_nk[r_k, j_k, i_k]

which takes ``N * (prod R_k + sum_k I_k J_k R_k)`` parameters (BT-Nets, arXiv 1712.05689). Indices count as a tensor
of torch does, the last mode fastest. The matrix is never multiplied out: an input passes through one mode product after
the other. Modes ``d .. 3`` expand their ``i_k`` to ``(r_k, j_k)``; the second mode meets the core and gathers these
ranks; the first one adds up all terms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.modules.decomposition import composed, decompose

__all__ = [
    "FIT_MAX", "MODES", "TERMS_MAX",
    "BlockTermConv2d", "BlockTermGRU", "BlockTermLSTM", "BlockTermLinear", "ModeProduct", "Modes", "Terms",
]  # fmt: skip

MODES = 2, 4
"""Fewest and most modes of a matrix."""
TERMS_MAX = 64
FIT_MAX = 4096
"""Elements of all cores that are fitted: the normal equations have as many rows and columns."""


@dataclass(frozen=True)
class Modes:
    """How a weight matrix is written as Tucker terms.

    Parameters
    ----------
    inputs, outputs : tuple of int
        ``I_1 .. I_d`` and ``J_1 .. J_d``, 2 to 4 of each.
    ranks : tuple of int
        ``R_1 .. R_d``; of a convolution two more, for the lines and the columns of the kernel. A rank is at most
        ``I_k * J_k``, or the lines or columns of the kernel.
    terms : int
        ``N``.
    kernel : (int, int), optional
        Of a convolution: lines and columns.

    Raises
    ------
    ModelError
        If these are no positive integers, or a rank is larger than its mode.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ranks: tuple[int, ...]
    terms: int = 2
    kernel: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        numbers = [self.inputs, self.outputs, self.ranks, *([self.kernel] if self.kernel else [])]
        whole = all(isinstance(each, tuple) and all(type(n) is int and n >= 1 for n in each) for each in numbers)
        if not whole or type(self.terms) is not int or self.terms < 1:
            raise ModelError(f"{self}: sizes, ranks and terms must be integers from 1 on")
        if self.terms > TERMS_MAX:
            raise ModelError(f"{self}: {self.terms} terms; {TERMS_MAX} is the most")
        count = len(self.inputs)
        if not MODES[0] <= count <= MODES[1] or len(self.outputs) != count:
            raise ModelError(f"{self}: inputs and outputs must have equally many modes, {MODES[0]} to {MODES[1]}")
        if len(self.ranks) != len(self.sizes):
            raise ModelError(f"{self}: {len(self.ranks)} ranks; {len(self.sizes)} are needed, one for each mode")
        for rank, size in zip(self.ranks, self.sizes, strict=True):
            if rank > size:
                raise ModelError(f"{self}: rank {rank} of a mode of {size} elements; it can be {size} at most")

    def __str__(self) -> str:
        sizes = [",".join(map(str, each)) for each in (self.inputs, self.outputs, self.ranks)]
        return f"block terms {sizes[0]} -> {sizes[1]}, ranks {sizes[2]}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Elements of each mode of the tensor that is decomposed."""
        return tuple(i * j for i, j in zip(self.inputs, self.outputs, strict=True)) + (self.kernel or ())

    @property
    def fan_in(self) -> int:
        """Weights that an output adds up."""
        return prod(self.inputs) * prod(self.kernel or ())

    @property
    def parameters(self) -> int:
        """Parameters of all terms."""
        return self.terms * (
            prod(self.ranks) + sum(size * rank for size, rank in zip(self.sizes, self.ranks, strict=True))
        )

    @property
    def multiplications(self) -> int:
        """Multiplications of all mode products of a Linear layer for one input."""
        (first, second, *_), (top, low, *rest), ranks = self.inputs, self.outputs, self.ranks
        total, done = 0, 1  # ranks and outputs of a term so far
        for mode in range(len(self.inputs) - 1, 1, -1):
            rows = ranks[mode] * self.outputs[mode]
            total += self.terms * rows * done * prod(self.inputs[: mode + 1])
            done *= rows
        others = prod(rest) * first * ranks[0]  # of the second mode's outputs
        return total + self.terms * others * low * (second * prod(ranks[2 : len(self.inputs)]) + top)

    @property
    def weights(self) -> int:
        """Weights of the whole matrix."""
        return prod(self.sizes)


class ModeProduct(nn.Module):
    """One step of a block-term layer as a convolution, whose ``weight`` follows from the parameters of the layer.

    Parameters
    ----------
    name : str
        ``"mode_4"`` and its like; with the number of the term behind it where each term has a step of its own.
    make : callable () -> tensor of shape (rows, channels, height, width)
        With gradient.
    image : (int, int)
        Height and width of what is read; the channels are those of the weight.
    start : int
        First line that is read.
    dilation : (int, int)
    positions : (int, int)
    first : int
        Row of the result that row 0 is.

    Attributes
    ----------
    rows, channels : int
    kernel : (int, int)
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Tensor],
        image: tuple[int, int],
        positions: tuple[int, int],
        dilation: tuple[int, int] = (1, 1),
        start: int = 0,
        first: int = 0,
    ) -> None:
        super().__init__()
        self.name, self.make, self.image, self.positions = name, make, image, positions
        self.start, self.first = start, first
        self.rows, self.channels, height, width = make().shape
        self.kernel = height, width
        self.dilation = dilation[0] if height > 1 else 1, dilation[1] if width > 1 else 1

    @property
    def weight(self) -> Tensor:
        """Shape (rows, channels, height, width); all ranks and outputs of a mode are rows, ranks outermost."""
        return self.make()


class Terms(nn.Module):
    """Cores and factors of a block-term layer."""

    def __init__(self, modes: Modes) -> None:
        super().__init__()
        self.modes = modes
        count = len(modes.inputs)
        shapes = [
            (modes.terms, rank, j, i)
            for rank, j, i in zip(modes.ranks[:count], modes.outputs, modes.inputs, strict=True)
        ]
        shapes += [
            (modes.terms, rank, size) for rank, size in zip(modes.ranks[count:], modes.kernel or (), strict=True)
        ]
        self.bias: nn.Parameter | None
        self.cores = nn.Parameter(torch.empty(modes.terms, *modes.ranks))
        self.factors = nn.ParameterList([nn.Parameter(torch.empty(shape)) for shape in shapes])
        self.reset_terms()

    def reset_terms(self) -> None:
        """Normal values, such that weights have the variance of those of torch's own layers, ``1 / (3 * fan_in)``."""
        modes = self.modes
        variance = 1 / (3 * modes.fan_in * modes.terms * prod(modes.ranks))
        for parameter in (self.cores, *self.factors):
            nn.init.normal_(parameter, std=variance ** (0.5 / (len(self.factors) + 1)))

    @property
    def weight(self) -> Tensor:
        """The whole matrix, multiplied out, with gradient: shape (n_out, n_in), or (n_out, n_in, height, width)."""
        modes, count = self.modes, len(self.modes.inputs)
        tensor = composed(self.cores, [factor.flatten(2).mT for factor in self.factors])
        sides = [side for pair in zip(modes.outputs, modes.inputs, strict=True) for side in pair]
        tensor = tensor.reshape(*sides, *(modes.kernel or ()))
        order = [*range(0, 2 * count, 2), *range(1, 2 * count, 2), *range(2 * count, tensor.dim())]
        return tensor.permute(order).reshape(prod(modes.outputs), prod(modes.inputs), *(modes.kernel or ()))

    @torch.no_grad()
    def fit(self, weight: Tensor, sweeps: int = 50) -> float:
        """Take the terms that are nearest to ``weight``, by alternating least squares in float64.

        Parameters
        ----------
        weight : tensor of the shape of its own
        sweeps : int
            At most.

        Returns
        -------
        float
            ``|W - W'|^2 / |W|^2``.

        Raises
        ------
        ModelError
            If the cores have more than 4,096 elements together.
        """
        if self.cores.numel() > FIT_MAX:
            raise ModelError(
                f"{self.modes}: its cores have {self.cores.numel():,} elements, and {FIT_MAX:,} can be fitted; take "
                "lower ranks or fewer modes, or begin from scratch"
            )
        modes, count = self.modes, len(self.modes.inputs)
        tensor = weight.detach().double().reshape(*modes.outputs, *modes.inputs, *(modes.kernel or ()))
        order = [side for mode in range(count) for side in (mode, count + mode)]
        tensor = tensor.permute(*order, *range(2 * count, tensor.dim())).reshape(modes.sizes)
        cores, factors = decompose(tensor, modes.terms, modes.ranks, sweeps)
        # All parameters of one size: training moves them at one rate.
        norms = [cores.norm(), *(factor.norm() for factor in factors)]
        mean = torch.stack(norms).clamp(min=1e-30).log().mean().exp()
        self.cores.copy_(cores * (mean / norms[0].clamp(min=1e-30)))
        for own, factor, norm in zip(self.factors, factors, norms[1:], strict=True):
            own.copy_((factor * (mean / norm.clamp(min=1e-30))).mT.reshape(own.shape))
        error = float((tensor - composed(cores, factors)).square().sum())
        return error / max(float(tensor.square().sum()), 1e-30)

    def _expanded(self, x: Tensor) -> Tensor:
        """``x`` of shape (samples, I_1, .., I_d, ...) behind the products of the modes d .. 3: (samples, terms,
        R_3, J_3, .., R_d, J_d, I_1, I_2, ...)."""
        count = len(self.modes.inputs)
        x = x[:, None].expand(-1, self.modes.terms, *x.shape[1:])
        for mode in range(count - 1, 1, -1):  # (samples, terms, ranks and outputs so far, I_1 .. I_k, ...)
            place = 2 + 2 * (count - 1 - mode) + mode
            made = torch.einsum("nrji,sn...i->sn...rj", self.factors[mode], x.movedim(place, -1))
            x = made.movedim((-2, -1), (2, 3))
        return x

    @property
    def biases(self) -> Tensor:
        """The bias of a layer that has one."""
        assert self.bias is not None
        return self.bias

    def _new_bias(self) -> nn.Parameter:
        bound = self.modes.fan_in**-0.5
        return nn.Parameter(torch.empty(prod(self.modes.outputs)).uniform_(-bound, bound))

    def _letters(self) -> tuple[str, str, str]:
        """Ranks and outputs of the modes from the third on in formulas; and both, in turn."""
        count = len(self.modes.inputs) - 2
        ranks, sides = "abcd"[:count], "klmo"[:count]
        return ranks, sides, "".join(rank + side for rank, side in zip(ranks, sides, strict=True))

    def _gathering(self) -> Tensor:
        """The second factor with the core: shape (terms, R_1, J_2, I_2, R_3 .. R_d, kernel ranks)."""
        ranks = "abcdef"[: self.cores.dim() - 1]
        return torch.einsum(f"n{ranks},n{ranks[1]}ji->n{ranks[0]}ji{ranks[2:]}", self.cores, self.factors[1])


class BlockTermLinear(Terms):
    """A Linear layer whose weight is a sum of Tucker terms.

    Parameters
    ----------
    inputs, outputs, ranks : sequences of int
        See :class:`Modes`.
    terms : int
    bias : bool

    Raises
    ------
    ModelError
        See :class:`Modes`.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: Sequence[int], ranks: Sequence[int], terms: int = 2, bias: bool = True
    ) -> None:
        super().__init__(Modes(tuple(inputs), tuple(outputs), tuple(ranks), terms))
        self.in_features, self.out_features = prod(inputs), prod(outputs)
        self.register_parameter("bias", self._new_bias() if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if x.shape[-1] != self.in_features:
            raise ModelError(f"{self.modes}: reads {self.in_features} features, not the {x.shape[-1]} of its input")
        t = self._expanded(x.reshape(-1, *self.modes.inputs))
        ranks, sides, pairs = self._letters()
        t = torch.einsum(f"sn{pairs}yi,nrji{ranks}->snrj{sides}y", t, self._gathering())
        t = torch.einsum(f"snrj{sides}y,nrzy->szj{sides}", t, self.factors[0])
        t = t.reshape(*x.shape[:-1], self.out_features)
        return t if self.bias is None else t + self.bias

    def products(self) -> list[list[ModeProduct]]:
        """The steps, one behind the other; those of one list write the parts of one tensor.

        A step is a convolution over what was written before it. Its result, rows outermost, then its positions line by
        line, is the image of the next step, channels innermost.
        """
        modes, terms = self.modes, self.modes.terms
        count, first, second = len(modes.inputs), modes.inputs[0], modes.inputs[1]
        # Lines are the ranks and outputs of the third mode, columns those of the fourth and the inputs of the first.
        (high, wide), kernel = (*modes.outputs[2:], 1, 1)[:2], (*modes.ranks[2:], 1, 1)[:2]
        steps, done = [], 1  # ranks and outputs of a term so far
        for mode in range(count - 1, 1, -1):
            image, rows = (done, prod(modes.inputs[:mode])), modes.ranks[mode] * modes.outputs[mode]
            steps.append(self._of_terms(mode, self._factor(mode), rows, image, image))
            done *= rows
        image, positions = (kernel[0] * high, kernel[1] * wide * first), (high, wide * first)

        def gathering() -> Tensor:
            return self._gathering().reshape(terms, -1, second, *kernel)

        def last() -> Tensor:
            return self.factors[0].permute(2, 3, 0, 1).reshape(-1, first, terms * modes.ranks[0], 1)

        rows = modes.ranks[0] * modes.outputs[1]
        steps.append(self._of_terms(1, gathering, rows, image, positions, positions))
        lines, columns = modes.outputs[1], high * wide
        image = terms * modes.ranks[0] * lines, columns
        steps.append([ModeProduct("mode_1", last, image, (lines, columns), (lines, 1))])
        return steps

    def _factor(self, mode: int) -> Callable[[], Tensor]:
        return lambda: self.factors[mode].flatten(1, 2)[..., None, None]

    def _of_terms(
        self,
        mode: int,
        make: Callable[[], Tensor],
        rows: int,
        image: tuple[int, int],
        positions: tuple[int, int],
        dilation: tuple[int, int] = (1, 1),
    ) -> list[ModeProduct]:
        """The product of a mode, ``make`` giving (terms, rows, channels, height, width): that of all terms in one step
        where they read the input, else a step for each term, of its own lines."""
        name, terms, (lines, columns) = f"mode_{mode + 1}", self.modes.terms, image
        if mode == len(self.modes.inputs) - 1:
            return [ModeProduct(name, lambda: make().flatten(0, 1), image, positions, dilation)]
        return [
            ModeProduct(
                f"{name}.{term}" if terms > 1 else name, lambda term=term: make()[term], (terms * lines, columns),
                positions, dilation, term * lines, term * rows,
            )
            for term in range(terms)
        ]  # fmt: skip


class BlockTermConv2d(Terms):
    """A Conv2d layer whose weight is a sum of Tucker terms. Lines and columns of the kernel are two modes more; they
    meet the core with the second mode.

    Parameters
    ----------
    inputs, outputs : sequences of int
        The channels, as in :class:`Modes`.
    kernel : (int, int)
    ranks : sequence of int
        Of the modes of the channels, then of lines and columns of the kernel.
    terms : int
    stride, padding, dilation : (int, int)
    bias : bool

    Raises
    ------
    ModelError
        See :class:`Modes`.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        kernel: Sequence[int],
        ranks: Sequence[int],
        terms: int = 2,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        bias: bool = True,
    ) -> None:
        high, wide = kernel
        super().__init__(Modes(tuple(inputs), tuple(outputs), tuple(ranks), terms, (high, wide)))
        self.in_channels, self.out_channels, self.kernel_size = prod(inputs), prod(outputs), (high, wide)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups, self.padding_mode = 1, "zeros"
        self.register_parameter("bias", self._new_bias() if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """(samples, in_channels, height, width) -> (samples, out_channels, height, width)."""
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ModelError(f"{self.modes}: reads (samples, {self.in_channels}, height, width), not {tuple(x.shape)}")
        ranks, sides, pairs = self._letters()
        t = self._expanded(x.unflatten(1, self.modes.inputs))
        t = torch.einsum(f"sn{pairs}yihw->s{sides}yni{ranks}hw", t)
        lead = t.shape[: 2 + len(sides)]
        weight = torch.einsum(f"nrji{ranks}uv,nuh,nvw->nrji{ranks}hw", self._gathering(), *self.factors[-2:])
        t = F.conv2d(
            t.flatten(0, len(lead) - 1).flatten(1, -3), weight.flatten(0, 2).flatten(1, -3), None, self.stride,
            self.padding, self.dilation, self.modes.terms,
        )  # fmt: skip
        t = t.unflatten(1, weight.shape[:3]).unflatten(0, lead)
        t = torch.einsum(f"s{sides}ynrjhw,nrzy->szj{sides}hw", t, self.factors[0])
        t = t.flatten(1, -3)
        return t if self.bias is None else t + self.bias[:, None, None]


class _Recurrent(nn.Module):
    """One layer of LSTM or GRU over (samples, steps, features), whose input matrix is a sum of Tucker terms.

    Parameters
    ----------
    inputs, outputs, ranks : sequences of int
        See :class:`Modes`; the outputs are all gates, which are in the first mode.
    terms : int
    """

    gates = 0

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int], ranks: Sequence[int], terms: int = 2) -> None:
        super().__init__()
        if not outputs or outputs[0] % self.gates:
            raise ModelError(f"outputs {tuple(outputs)}: the first mode holds {self.gates} gates; make it a multiple")
        self.input = BlockTermLinear(inputs, outputs, ranks, terms)
        self.input_size, self.hidden_size = self.input.in_features, self.input.out_features // self.gates
        self.hidden = nn.Linear(self.hidden_size, self.input.out_features)
        nn.init.uniform_(self.hidden.weight, -(self.hidden_size**-0.5), self.hidden_size**-0.5)

    def _steps(self, x: Tensor, *states: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """States (samples, units) -> all outputs, and the states behind the last step."""
        outputs = []
        for given in self.input(x).unbind(1):
            states = self._step(given, *states)
            outputs.append(states[0])
        return torch.stack(outputs, 1), states

    def _step(self, given: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError


class BlockTermLSTM(_Recurrent):
    __doc__ = _Recurrent.__doc__

    gates = 4

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As torch's LSTM of one layer with ``batch_first``: (samples, steps, units), (h, c) of (1, samples, units)."""
        zeros = x.new_zeros(1, len(x), self.hidden_size)
        h, c = (zeros, zeros) if state is None else state
        outputs, (h, c) = self._steps(x, h[0], c[0])
        return outputs, (h[None], c[None])

    def _step(self, given: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        h, c = states
        i, f, g, o = (given + self.hidden(h)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class BlockTermGRU(_Recurrent):
    __doc__ = _Recurrent.__doc__

    gates = 3

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As torch's GRU of one layer with ``batch_first``: (samples, steps, units), h of (1, samples, units)."""
        h = x.new_zeros(1, len(x), self.hidden_size) if state is None else state
        outputs, (h,) = self._steps(x, h[0])
        return outputs, h[None]

    def _step(self, given: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        (h,) = states
        (r, z, n), (r_h, z_h, n_h) = given.chunk(3, -1), self.hidden(h).chunk(3, -1)
        n = (n + (r + r_h).sigmoid() * n_h).tanh()
        return (n + (z + z_h).sigmoid() * (h - n),)
