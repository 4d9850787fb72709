"""What stands in the way of a model, and what to do about it."""

import re
from dataclasses import dataclass, replace

from darb_prune.errors import DarbError, ModelError

__all__ = ["SUPPORTED", "Finding", "Refusal", "finding_of", "remedy_of"]

SUPPORTED = (
    "Linear, Conv1d and Conv2d, ConvTranspose1d and ConvTranspose2d, BatchNorm, ReLU, ReLU6, Hardtanh, Hardsigmoid, "
    "Sigmoid, Tanh, GELU, SiLU, ELU, LeakyReLU, PReLU and other functions of one value, arithmetic with numbers, max "
    "and average pooling, nearest-neighbour upsampling, flatten and reshape, additions, products, concatenation and "
    "parts of channels, Embedding, LSTM, GRU and RNN, LSTMCell, GRUCell and RNNCell in a loop, "
    "Dropout, Identity"
)

_NORM = "replace it by BatchNorm1d or BatchNorm2d and train again"
_ATTENTION = "attention multiplies tensors that all depend on the input; use an LSTM, a GRU or convolutions instead"
_LAYER = "call a module of torch itself (no subclass of it, no function with a weight of your own)"
_SEQUENCE = (
    "call it for every time step x[:, t], one after the other, with its own states of the step before; or use "
    "nn.LSTM, nn.GRU or nn.RNN over the whole sequence, whose weights have the same shapes"
)
_LAST = "leave it out of the model, and apply it to the outputs"
_REMEDIES: dict[str, str] = {
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"), _NORM),
    **dict.fromkeys(("batch_norm", "linear", "conv1d", "conv2d", "embedding"), _LAYER),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), _LAYER),
    **dict.fromkeys(("MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer"), _ATTENTION),
    **dict.fromkeys(("scaled_dot_product_attention", "matmul", "bmm", "baddbmm", "einsum", "mm"), _ATTENTION),
    "rrelu": "replace it by LeakyReLU and train again",
    **dict.fromkeys(("LSTMCell", "GRUCell", "RNNCell"), _SEQUENCE),
    **dict.fromkeys(("argmax", "topk"), _LAST),
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), "inside a model use a Sigmoid instead, and train again"),
}
_DROPPED = f"{_LAST}: the largest output stays the largest; drop_softmax=True, or --drop-softmax, does it for you"
_AT_THE_END: dict[str, str] = {
    **dict.fromkeys(("softmax", "log_softmax", "argmax"), _DROPPED),
    "softmin": f"{_LAST}: the largest output becomes the smallest",
}


def remedy_of(operator: str, last: bool) -> str:
    """What to do about an operator that is not supported; empty if nothing is known to help.

    ``last`` is whether nothing but the end of the model reads it.
    """
    return (last and _AT_THE_END.get(operator)) or _REMEDIES.get(operator, "")


@dataclass(frozen=True)
class Finding:
    """Something that stands in the way of a model, or that it is better to know.

    Parameters
    ----------
    path : str
        Of the module; empty for the model itself.
    operator : str
    problem, remedy : str
    line : str
        Of the code that calls the operator, ``file.py:12``; empty if it is not known.
    warning : bool
        Whether the model can be used all the same.
    """

    path: str
    operator: str
    problem: str
    remedy: str = ""
    line: str = ""
    warning: bool = False

    def __str__(self) -> str:
        line = f" ({self.line})" if self.line else ""
        return f"{self.path or 'model'}: {self.problem}{f'; {self.remedy}' if self.remedy else ''}{line}"


class Refusal(ModelError):
    """A finding that ends the capturing of a model."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding if finding.remedy else replace(finding, remedy=f"supported: {SUPPORTED}")))
        self.finding = finding


def finding_of(error: DarbError, name: str) -> Finding:
    """Any error about a model of class ``name`` as a finding.

    Messages may begin with the model or with a layer, and have the remedy behind a semicolon.
    """
    if isinstance(error, Refusal):
        return error.finding
    problem, _, remedy = str(error).removeprefix(f"{name}: ").partition("; ")
    layer = re.fullmatch(r"layer '(.*?)'[:,]? (.*)", problem)
    path, problem = layer.groups() if layer else ("", problem)
    return Finding(path, "", problem, remedy)
