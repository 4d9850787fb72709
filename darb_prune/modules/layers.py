"""The layers of any ``nn.Module`` that can be pruned, as matrices."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, product

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from darb_prune.errors import ModelError
from darb_prune.modules.block_term import Terms
from darb_prune.modules.masked import shadow_weight
from darb_prune.modules.matrix import as_matrix, as_parameter, segments, taps_apart

__all__ = ["PRUNABLE", "Part", "PrunableLayer", "check_finite", "inside", "layers", "select"]

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LSTM, nn.GRU, nn.RNN)
_CELLS = {nn.LSTMCell: "lstm", nn.GRUCell: "gru", nn.RNNCell: "rnn"}
PRUNABLE = "Linear, Conv1d and Conv2d (not depthwise), LSTM, GRU and RNN, LSTMCell, GRUCell and RNNCell"


@dataclass(frozen=True, eq=False)
class Part:
    """One weight parameter of a layer.

    Parameters
    ----------
    module : torch.nn.Module
        Its owner; the module itself, not a copy.
    name : str
        Of the parameter: ``"weight"``, ``"weight_ih_l0"``, ...
    """

    module: nn.Module
    name: str

    @property
    def shadow(self) -> Tensor:
        """The dense parameter behind the mask, detached, in its own shape."""
        return shadow_weight(self.module, self.name)

    @property
    def segments(self) -> tuple[int, ...]:
        """Widths of the segments of a row."""
        return segments(self.shadow.shape, taps_apart(self.module))

    @property
    def columns(self) -> int:
        """Columns of the matrix."""
        return sum(self.segments)

    @property
    def masked(self) -> bool:
        """Whether it has a mask."""
        return hasattr(self.module, f"{self.name}_mask")

    @property
    def ordered(self) -> bool:
        """Whether its mask was cut in a storage order."""
        return hasattr(self.module, f"{self.name}_order")

    @property
    def order(self) -> Tensor:
        """Storage order of the columns: int64, shape (columns,); their own if the mask has none."""
        kept = getattr(self.module, f"{self.name}_order", None)
        return torch.arange(self.columns) if kept is None else kept

    @property
    def computed(self) -> bool:
        """Whether it is no parameter, but follows from others."""
        return not {self.name, f"{self.name}_orig"} & self.module._parameters.keys()

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that an optimiser moves."""
        return getattr(self.module, f"{self.name}_orig", getattr(self.module, self.name))


@dataclass(frozen=True, eq=False)
class PrunableLayer:
    """Rows that are computed together: a Linear, a convolution, one layer of an LSTM, GRU or RNN.

    Parameters
    ----------
    name : str
        Module path; layers of a recurrent module of several layers have their number behind it (``"lstm.0"``), the
        second of two directions has ``.reverse``, and the projection of an LSTM has ``.projection``.
    kind : str
        ``"linear"``, ``"conv"``, ``"lstm"``, ``"gru"`` or ``"rnn"``.
    parts : tuple of Part
        One; for a recurrent layer two, input and hidden state, side by side in each row.
    """

    name: str
    kind: str
    parts: tuple[Part, ...]

    @property
    def segments(self) -> tuple[int, ...]:
        """Widths of the segments of a row."""
        return sum((part.segments for part in self.parts), ())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.parts[0].shadow), sum(self.segments)

    @property
    def weights(self) -> int:
        """Number of weights, masked or not."""
        rows, columns = self.shape
        return rows * columns

    def matrix(self) -> Tensor:
        """The dense shadow weights, shape (rows, columns)."""
        return self.join(part.shadow for part in self.parts)

    def mask(self) -> Tensor:
        """Which weights are kept: bool, shape (rows, columns)."""
        masks = (getattr(part.module, f"{part.name}_mask", torch.ones_like(part.shadow)) for part in self.parts)
        return self.join(masks).bool()

    def levels(self) -> Tensor | None:
        """Level table of the rows, int16 of shape (rows, 2); ``None`` if the mask has none."""
        return getattr(self.parts[0].module, f"{self.parts[0].name}_level", None)

    @property
    def masked(self) -> bool:
        """Whether it has a mask."""
        return self.parts[0].masked

    @property
    def order(self) -> Tensor:
        """Storage order of the columns, of all parts together: int64, shape (columns,)."""
        return self.join_orders([part.order for part in self.parts])

    def join_orders(self, orders: Sequence[Tensor]) -> Tensor:
        """The order of the columns from that of each part."""
        starts = accumulate((part.columns for part in self.parts), initial=0)
        return torch.cat([order + start for order, start in zip(orders, starts, strict=False)])

    def join(self, values: Iterable[Tensor]) -> Tensor:
        """One tensor a part, in the shapes of the parameters -> matrix."""
        return torch.cat([as_matrix(value) for value in values], dim=1)

    def split(self, matrix: Tensor) -> list[Tensor]:
        """The inverse of :meth:`join`."""
        pieces = matrix.split([part.columns for part in self.parts], dim=1)
        return [as_parameter(piece, part.shadow.shape) for piece, part in zip(pieces, self.parts, strict=True)]


def layers(model: nn.Module) -> tuple[PrunableLayer, ...]:
    """All prunable layers of ``model``, in the order of its modules.

    Other modules (embeddings, normalisation, depthwise convolutions, block terms) are left out: they stay dense, and
    their parameters are not counted. A model of nothing but block terms has none.

    Raises
    ------
    ModelError
        If there is no prunable layer, two layers share a parameter, or a weight is computed by something
        else than a mask.
    """
    prunable = []
    for path, module in model.named_modules():
        prunable += _of(path, module)
    if not prunable and not any(isinstance(module, Terms) for module in model.modules()):
        raise ModelError(f"{type(model).__name__}: no layer to prune; {PRUNABLE} can be pruned")
    owner: dict[int, str] = {}
    for layer in prunable:
        for part in layer.parts:
            other = owner.setdefault(id(part.parameter), layer.name)
            if other != layer.name:
                raise ModelError(f"layer {layer.name!r} shares its weight with layer {other!r}; give each its own")
    return tuple(prunable)


def _of(path: str, module: nn.Module) -> list[PrunableLayer]:
    if isinstance(module, (*_KINDS, *_CELLS)) and is_parametrized(module):
        raise ModelError(f"layer {path!r}: its weight is computed (weight or spectral norm); remove that")
    if type(module) is nn.Linear:
        return [PrunableLayer(path, "linear", (Part(module, "weight"),))]
    if isinstance(module, (nn.Conv1d, nn.Conv2d)) and type(module) in _KINDS[1:3]:
        # Of groups of one channel nothing can be left out but whole taps.
        prunable = module.groups == 1 or module.groups < module.in_channels
        return [PrunableLayer(path, "conv", (Part(module, "weight"),))] if prunable else []
    if type(module) in _CELLS:
        return [PrunableLayer(path, _CELLS[type(module)], (Part(module, "weight_ih"), Part(module, "weight_hh")))]
    if isinstance(module, nn.RNNBase) and type(module) in _KINDS[3:]:
        kind = type(module).__name__
        made, directions = [], ("", "_reverse") if module.bidirectional else ("",)
        for layer_number, direction in product(range(module.num_layers), directions):
            name = f"{path}.{layer_number}" if module.num_layers > 1 else path
            name += direction.replace("_", ".")
            parts = [Part(module, f"weight_{side}_l{layer_number}{direction}") for side in ("ih", "hh", "hr")]
            made.append(PrunableLayer(name, kind.lower(), (parts[0], parts[1])))
            if module.proj_size:
                made.append(PrunableLayer(f"{name}.projection", "linear", (parts[2],)))
        return made
    return []


def select(prunable: Sequence[PrunableLayer], exclude: Sequence[str]) -> list[bool]:
    """Whether each layer is to be pruned; ``exclude`` holds names of layers or of modules around them."""
    left_out = [layer for name in exclude for layer in inside(prunable, name, "exclude")]
    return [layer not in left_out for layer in prunable]


def inside(prunable: Sequence[PrunableLayer], path: str, option: str) -> list[PrunableLayer]:
    """The layer called ``path``, or those of the module of that name.

    Raises
    ------
    ModelError
        If there is none: ``option`` names what was given.
    """
    found = [layer for layer in prunable if layer.name == path or layer.name.startswith(f"{path}.")]
    if not found:
        known = ", ".join(layer.name for layer in prunable)
        raise ModelError(f"{option} {path!r}: no such layer; the model has {known}")
    return found


def check_finite(prunable: Sequence[PrunableLayer]) -> None:
    """Raise :class:`ModelError` naming the layer and the row of the first weight that is not finite."""
    for layer in prunable:
        bad = ~torch.isfinite(layer.matrix()).all(dim=1)
        for part in layer.parts:
            bias = getattr(part.module, part.name.replace("weight", "bias"), None)
            if isinstance(bias, Tensor):
                bad |= ~torch.isfinite(bias.detach())
        if bad.any():
            row = int(bad.nonzero()[0])
            raise ModelError(
                f"layer {layer.name!r}, row {row}: weight or bias is NaN or infinite; train again with a lower rate"
            )
