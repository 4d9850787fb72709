"""Modules with other sizes: rows and columns are taken out of their parameters, and their attributes follow."""

from collections.abc import Mapping

from torch import Tensor, nn

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


def fit(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the parameters of ``model`` the sizes that those of ``state`` have; their values are not taken over.

    Parameters
    ----------
    model : torch.nn.Module
    state : dict of str to tensor
        A ``state_dict``, masks included. What has other dimensions than the model is left alone.
    """
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if not isinstance(module, _SIZED):
            continue
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            wanted = state.get(f"{prefix}{name}", state.get(f"{prefix}{name}_orig"))
            if wanted is not None and wanted.dim() == tensor.dim() and 0 not in wanted.shape:
                tensor.data = tensor.data.new_zeros(wanted.shape)
        take_sizes(module)
