"""Modules with other sizes: rows and columns are taken out of their parameters, and their attributes follow."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from darb_prune.errors import ModelError

__all__ = ["fit", "keep", "take_sizes"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
_SIZED = (
    nn.Linear, nn.Conv1d, nn.Conv2d, *_TRANSPOSED, *_NORMS, nn.Embedding, nn.RNNBase, nn.RNNCellBase,
)  # fmt: skip
_GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}


def keep(module: nn.Module, name: str, dim: int, indices: Tensor) -> None:
    """Keep some indices of a dimension of a parameter, in place; :func:`take_sizes` has to follow.

    Parameters
    ----------
    module : torch.nn.Module
    name : str
        Of the parameter; ``"running_mean"`` stands for all that a normalisation holds of a channel.
    dim : int
    indices : int64 tensor
        Rising.
    """
    dims = {name: dim}
    if isinstance(module, _NORMS):
        dims = dict.fromkeys(("running_mean", "running_var", "weight", "bias"), 0)
    elif dim == (1 if isinstance(module, _TRANSPOSED) else 0):  # rows, which biases belong to
        dims[name.replace("weight", "bias")] = 0
    for each, along in dims.items():
        tensor = getattr(module, each, None)
        if isinstance(tensor, Tensor):
            tensor.data = tensor.data.index_select(along, indices)
            tensor.grad = None


def take_sizes(module: nn.Module) -> None:
    """Make the attributes of ``module`` say the sizes that its parameters have."""
    match module:
        case nn.Linear():
            module.out_features, module.in_features = module.weight.shape
        case nn.Conv1d() | nn.Conv2d():
            depthwise = module.groups == module.in_channels == module.out_channels > 1
            module.out_channels, channels = module.weight.shape[:2]
            module.groups = module.out_channels if depthwise else module.groups
            module.in_channels = channels * module.groups
        case nn.ConvTranspose1d() | nn.ConvTranspose2d():
            module.in_channels, channels = module.weight.shape[:2]
            module.out_channels = channels * module.groups
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            module.num_features = len(module.running_mean)  # pyright: ignore[reportArgumentType]
        case nn.Embedding():
            module.num_embeddings, module.embedding_dim = module.weight.shape
        case nn.RNNBase():
            shapes = {name: tensor.shape for name, tensor in module.named_parameters(recurse=False)}
            module.hidden_size = shapes["weight_hh_l0"][0] // _GATES.get(module.mode, 1)
            module.input_size = shapes["weight_ih_l0"][1]
            module.proj_size = shapes["weight_hr_l0"][0] if module.proj_size else 0
        case nn.RNNCellBase():
            module.hidden_size, module.input_size = module.weight_hh.shape[1], module.weight_ih.shape[1]


def fit(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give parameters and buffers of ``model`` these shapes, filled with zeros.

    Parameters
    ----------
    model : torch.nn.Module
    shapes : dict of str to sequence of int
        By the names of the ``state_dict``; no size is greater than it is now.

    Raises
    ------
    ModelError
        If a name or a shape does not fit the model.
    """
    modules = {path: module for path, module in model.named_modules() if isinstance(module, _SIZED)}
    changed: dict[nn.Module, None] = {}
    for name, shape in shapes.items():
        path, _, own = name.rpartition(".")
        tensor = getattr(modules.get(path), own, None)
        legal = isinstance(tensor, Tensor) and isinstance(shape, (list, tuple)) and len(shape) == tensor.dim()
        if not isinstance(tensor, Tensor) or not legal or not all(map(_fits, shape, tensor.shape)):
            raise ModelError(f"{name[:80]!r} of the model cannot have the saved shape; run the command again")
        tensor.data = tensor.data.new_zeros(shape)
        changed[modules[path]] = None
    for module in changed:
        take_sizes(module)


def _fits(size: object, most: int) -> bool:
    return type(size) is int and 1 <= size <= most
