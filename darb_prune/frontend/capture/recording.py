"""What a model does with an example input: a list of operators, recorded while it runs.

The model really runs, so shapes, states made of ``torch.zeros`` and conditions on shapes are plain numbers; only
what depends on the *values* of the input is an operator. Layers with weights are recorded whole, everything else
as the function or method that is called, wherever that happens.
"""

import inspect
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.capture.findings import Finding, Refusal
from darb_prune.modules.block_term import BlockTermConv2d, BlockTermGRU, BlockTermLinear, BlockTermLSTM
from darb_prune.modules.grids import Quantizer

__all__ = ["DROPPED", "LAYERS", "RECURRENT", "Node", "Recording", "TracedTensor", "first_of", "needed", "record"]

LAYERS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.BatchNorm1d, nn.BatchNorm2d,
    nn.Embedding, nn.LSTM, nn.GRU, nn.RNN, Quantizer, BlockTermLinear, BlockTermConv2d, BlockTermLSTM, BlockTermGRU,
)  # fmt: skip
CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
"""Layers of which a loop over time steps is recorded."""
SEQUENCES = (nn.LSTM, nn.GRU, nn.RNN, BlockTermLSTM, BlockTermGRU)
"""Layers that run over time steps."""
RECURRENT = (*SEQUENCES, *CELLS)
_SEQUENCES, _RECURRENT = (tuple(kind.__name__ for kind in kinds) for kinds in (SEQUENCES, RECURRENT))
# Modules of torch that are refused as a whole: what they do inside would be a misleading reason.
_REFUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_TORCH, _FRONTEND = (str(Path(file).parent) + os.sep for file in (torch.__file__, Path(__file__).parent))
DROPPED = ("softmax", "log_softmax", "argmax")
"""Operators at the end of a model that may be left out: the largest output says the class as well."""
SAMPLES = 3
"""Samples that a model is recorded with: few sizes in a model are 3 by chance."""

# What a tensor may be asked without an answer that depends on its values; what is made in its image.
_QUERIES = {
    "shape", "size", "dim", "ndim", "ndimension", "numel", "nelement", "dtype", "device", "layout", "stride",
    "is_floating_point", "is_complex", "is_contiguous", "is_cuda", "is_leaf", "is_nested", "is_sparse", "is_quantized",
    "requires_grad", "element_size", "itemsize", "get_device", "__len__", "__hash__", "__repr__", "__format__",
    "_version", "grad_fn", "result_type", "is_same_size",
    "new_zeros", "new_ones", "new_full", "new_tensor", "zeros_like", "ones_like", "full_like",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class TracedTensor:
    """A tensor that depends on the input: an output of ``node``, or the input itself (no node)."""

    shape: tuple[int, ...]
    floating: bool
    node: "Node | None" = None
    output_number: int = 0


@dataclass(eq=False)
class Node:
    """One operator.

    Parameters
    ----------
    name : str
        Class of a layer, or name of a function or method, without the underscore of those that work in place.
    path : str
        Module path of the layer, or of the module in whose ``forward`` the function is called.
    owner : torch.nn.Module
        The module there.
    layer : bool
        Whether the whole module is the operator.
    function : callable
    args, kwargs : tuple and dict
        As called, a :class:`TracedTensor` in the place of each tensor that depends on the input.
    outputs : list of TracedTensor
    line : str
        Of the code that calls it, ``file.py:12``; empty if it is a module of torch.
    """

    name: str
    path: str
    owner: nn.Module
    layer: bool
    function: Any
    args: tuple
    kwargs: dict
    outputs: list[TracedTensor] = field(default_factory=list)
    line: str = ""

    @property
    def sources(self) -> list[TracedTensor]:
        """Tensors it reads."""
        leaves = tree_leaves((self.args, self.kwargs), is_leaf=lambda leaf: isinstance(leaf, TracedTensor))
        return [leaf for leaf in leaves if isinstance(leaf, TracedTensor)]


@dataclass(frozen=True, eq=False)
class Recording:
    """All operators that the outputs of a model need, in order.

    Parameters
    ----------
    root : torch.nn.Module
        What paths start from.
    nodes : tuple of Node
    input, output : TracedTensor
    example, result : tensors
        What the model was given, and its output, not rounded to grids.
    outputs : tuple of int
        Elements of each output of the model, if they were joined to one.
    """

    root: nn.Module
    nodes: tuple[Node, ...]
    input: TracedTensor
    output: TracedTensor
    example: Tensor
    result: Tensor
    outputs: tuple[int, ...] = ()

    @property
    def recurrent(self) -> tuple[Node, ...]:
        """Layers that run over time steps."""
        return tuple(node for node in self.nodes if node.layer and node.name in _SEQUENCES)


def record(
    model: nn.Module, example: Tensor, findings: list[Finding] | None = None, drop_softmax: bool = False
) -> Recording:
    """Run ``model`` in ``eval`` mode on ``example``, a batch of at least one sample.

    Several outputs that are vectors are joined to one, as by ``torch.cat``. Of others the first counts.

    Parameters
    ----------
    model : torch.nn.Module
    example : tensor
    findings : list of Finding, optional
        Takes what cannot be recorded, instead of an error, if the model can go on; and warnings.
    drop_softmax : bool
        Whether a softmax, log-softmax or argmax at the end is left out.

    Raises
    ------
    ModelError
        If the model does not run, or does something with values that cannot be recorded.
    """
    if not isinstance(example, Tensor) or example.dim() == 0 or example.numel() == 0:
        raise ModelError("example: give a tensor, a batch of at least one sample")
    # A bare layer has no path.
    root = nn.Sequential(model) if type(model) in LAYERS else model
    _check_inputs(root)
    example = _samples(root, example)
    kept = example.clone()  # the model may work in place
    recorder = _Recorder(root, findings)
    source = recorder.track(example, TracedTensor(tuple(example.shape), example.is_floating_point()))
    flags = {module: module.training for module in root.modules()}
    quantizers = {module: module.rounds for module in root.modules() if isinstance(module, Quantizer)}
    root.eval()
    for module in quantizers:
        module.rounds = False
    try:
        with torch.no_grad(), recorder.modules(), recorder:
            result = root(example)
    except DarbError:
        raise
    except Exception as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Refusal(
            Finding(
                recorder.path or type(model).__name__,
                "forward",
                f"does not run on the example, {tuple(example.shape)} ({text})",
                "give a batch of inputs as the model takes them",
                _line_of(error),
            )
        ) from error
    finally:
        for module, flag in flags.items():
            module.training = flag
        for module, rounds in quantizers.items():
            module.rounds = rounds
    first = first_of(result)
    if not isinstance(first, Tensor) or recorder.find(first) is None:
        raise ModelError(f"{type(model).__name__}: its first output is not a tensor that depends on the input")
    results, warnings = recorder.outputs(result), []
    if drop_softmax:
        results = [recorder.without_softmax(output, warnings) for output in results]
    joined = len(results) > 1 and all(_is_vector(output, results[0], recorder) for output in results)
    warnings += _of_outputs(results, joined)
    if findings is not None:
        findings += warnings
    outputs = tuple(output.shape[-1] for output in results) if joined else ()
    result = recorder.join(results) if joined else results[0]
    output = recorder.find(result)
    assert output is not None, "all outputs depend on the input"
    return Recording(root, needed(recorder.nodes, output), source, output, kept, result, outputs)


def _check_inputs(root: nn.Module) -> None:
    variable = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = inspect.signature(root.forward).parameters.values()
    names = [entry.name for entry in parameters if entry.default is entry.empty and entry.kind not in variable]
    if len(names) > 1:
        raise Refusal(
            Finding(
                "",
                "forward",
                f"takes {len(names)} inputs ({', '.join(names)})",
                "darb_prune.JoinedInputs(model, channels) takes them as one tensor, side by side; channels are those "
                "of each input",
            )
        )


def _is_own(filename: str) -> bool:
    """Whether a file is the user's, and neither torch nor the front end."""
    return not filename.startswith((_TORCH, _FRONTEND, "<"))


def _line(filename: str, number: int) -> str:
    """``file.py:12``, as it is seen from the working directory if it is in there."""
    try:
        relative = os.path.relpath(filename)
    except OSError:  # the working directory is gone
        relative = ".."
    return f"{filename if relative.startswith('..') else relative}:{number}"


def _line_of(error: Exception) -> str:
    """The last line of the model's own code that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [_line(frame.filename, frame.lineno) for frame in frames if frame.lineno and _is_own(frame.filename)]
    return lines[-1] if lines else ""


def _calling_line() -> str:
    """The line of the model's own code that calls an operator."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not record.__code__:
        if _is_own(frame.f_code.co_filename):
            return _line(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""


def _kind(module: nn.Module) -> type[nn.Module] | None:
    """The layer that ``module`` is; parametrised ones have a class of their own."""
    for kind in (*LAYERS, *CELLS, *_REFUSED):
        if type(module) is kind or (is_parametrized(module) and isinstance(module, kind)):
            return kind
    return None


def _samples(root: nn.Module, example: Tensor) -> Tensor:
    """``SAMPLES`` samples; more than one time step, if there may be time steps."""
    example = example.detach().repeat(-(-SAMPLES // len(example)), *[1] * (example.dim() - 1))[:SAMPLES]
    recurrent = any(isinstance(module, RECURRENT) for module in root.modules())
    if recurrent and example.dim() in (2, 3, 5) and example.shape[1] == 1:  # of 4 dimensions it is an image
        example = example.repeat(1, 2, *[1] * (example.dim() - 2))
    kind = next((parameter.dtype for parameter in root.parameters() if parameter.is_floating_point()), None)
    return example.to(kind) if kind and example.is_floating_point() else example.clone()


def first_of(result: Any) -> Any:
    """The first of what a model gives, which may be several tensors."""
    while isinstance(result, (tuple, list, dict)) and result:
        result = next(iter(result.values())) if isinstance(result, dict) else result[0]
    return result


def _is_vector(output: Tensor, first: Tensor, recorder: "_Recorder") -> bool:
    """Whether an output is a vector a sample (or time step), as the first one is."""
    recurrent = any(node.layer and node.name in _RECURRENT for node in recorder.nodes)
    return output.dim() == first.dim() <= 2 + recurrent and output.dim() > 1 and output.shape[:-1] == first.shape[:-1]


def _of_outputs(results: list[Tensor], joined: bool) -> list[Finding]:
    """A warning if there are several outputs."""
    if len(results) == 1:
        return []
    if joined:
        sizes = ", ".join(str(output.shape[-1]) for output in results)
        problem, remedy = f"its outputs become one vector, of {sizes} elements", "return only those that you need"
    else:
        count = len(results) - 1
        problem = f"{count} outputs behind the first are dropped" if count > 1 else "a second output is dropped"
        remedy = "join them, as in torch.cat([a, b], dim=1), if you need them"
    return [Finding("", "output", problem, remedy, warning=True)]


def _plain(name: str) -> str:
    """``add`` for ``add_``, ``__add__``, ``__iadd__`` and ``__radd__``."""
    if name.startswith("__"):
        name = name.strip("_")
        return name[1:] if name[1:] in ("add", "sub", "mul", "truediv") else name
    return name.rstrip("_")


def _in_place(name: str) -> bool:
    """Whether an operator of that name overwrites what it reads first."""
    return name.startswith("__i") if name.startswith("__") else name.endswith("_")


def needed(nodes: Sequence[Node], output: TracedTensor) -> tuple[Node, ...]:
    """Those of the ``nodes`` on which ``output`` depends, in order."""
    read, kept = {output}, []
    for node in reversed(nodes):
        if read.intersection(node.outputs):
            read.update(node.sources)
            kept.append(node)
    return tuple(reversed(kept))


def _unrounded(source: TracedTensor | None) -> Node | None:
    """The operator that gives ``source``, in front of roundings to a grid."""
    while source and source.node and source.node.name == "Quantizer":
        source = source.node.sources[0]
    return source.node if source else None


class _Recorder(TorchFunctionMode):
    def __init__(self, root: nn.Module, findings: list[Finding] | None) -> None:
        super().__init__()
        self.findings = findings
        self.paths = {module: path for path, module in reversed(list(root.named_modules()))}
        self.stack: list[nn.Module] = []
        self.inside = 0  # layers that are running
        self.nodes: list[Node] = []
        self.tracked: dict[
            int, tuple[Tensor, int, TracedTensor]
        ] = {}  # by id; keeps the tensor, so that no other gets it

    @property
    def path(self) -> str:
        return self.paths.get(self.stack[-1], type(self.stack[-1]).__name__) if self.stack else ""

    def track(self, tensor: Tensor, source: TracedTensor) -> TracedTensor:
        self.tracked[id(tensor)] = tensor, tensor._version, source
        return source

    def find(self, tensor: Tensor) -> TracedTensor | None:
        if id(tensor) not in self.tracked:
            return None
        _, version, source = self.tracked[id(tensor)]
        if tensor._version != version:
            problem = "a tensor was changed in place through another view of it"
            self.refuse("", problem, "use operators that do not work in place")
        return source

    def outputs(self, result: Any) -> list[Tensor]:
        """Tensors of a result that depend on the input: the first, and those behind it that are no states of recurrent
        layers."""
        outputs: dict[TracedTensor, Tensor] = {}
        for tensor in tree_leaves(result):
            source = self.find(tensor) if isinstance(tensor, Tensor) else None
            if source and not (outputs and source.node and source.node.name in _RECURRENT):
                outputs.setdefault(source, tensor)
        return list(outputs.values())

    def without_softmax(self, output: Tensor, warnings: list[Finding]) -> Tensor:
        """What a softmax, log-softmax or argmax at the end reads; its output may be rounded to a grid."""
        node = _unrounded(self.find(output))
        while node and node.name in DROPPED:
            problem = f"{node.name} at the end is dropped: the outputs are what it reads"
            warnings.append(Finding(node.path, node.name, problem, "", node.line, warning=True))
            source = node.sources[0]
            output = next(tensor for tensor, _, known in self.tracked.values() if known is source)
            node = _unrounded(source)
        return output

    def join(self, outputs: list[Tensor]) -> Tensor:
        result = torch.cat(outputs, dim=-1)
        self.add("cat", torch.cat, False, self.sources((outputs, -1), {}), result)
        return result

    def refuse(self, operator: str, problem: str, remedy: str) -> None:
        finding = Finding(self.path, operator, problem, remedy, _calling_line())
        if self.findings is None:
            raise Refusal(finding)
        self.findings.append(finding)

    @contextmanager
    def modules(self) -> Iterator[None]:
        """Inside, calls of modules are seen."""
        calls: list[tuple | None] = []  # of each call under way: what a layer reads, nothing for other modules
        seen: set[nn.Module] = set()

        def before(module: nn.Module, args: tuple) -> None:
            if module not in seen:
                seen.add(module)
                # Behind the module's own hooks: what they do belongs to the layer.
                handles.enter_context(module.register_forward_hook(after, with_kwargs=True))
            self.stack.append(module)
            layer = _kind(module) is not None and module in self.paths and not self.inside
            calls.append(self.sources(args, {})[0] if layer else None)
            self.inside += layer

        def after(module: nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
            sources = calls.pop()
            if sources is not None:
                self.inside -= 1
                kind = _kind(module)
                assert kind is not None, "only those are layers"
                self.add(kind.__name__, module, True, (sources, self.sources((), kwargs)[1]), result)
            self.stack.pop()

        with ExitStack() as handles:
            handles.enter_context(register_module_forward_pre_hook(before))
            yield

    def sources(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return tree_map_only(Tensor, lambda tensor: self.find(tensor) or tensor, (tuple(args), dict(kwargs)))

    def add(self, name: str, function: Any, layer: bool, sources: tuple[tuple, dict], result: Any) -> None:
        owner = self.stack[-1] if self.stack else next(iter(self.paths))
        node = Node(name, self.path, owner, layer, function, *sources, line=_calling_line())
        if node.sources:
            self.nodes.append(node)
            for output_number, tensor in enumerate(tree_leaves(result)):
                source = TracedTensor(tuple(tensor.shape), tensor.is_floating_point(), node, output_number)
                node.outputs.append(self.track(tensor, source))

    def __torch_function__(
        self, function: Any, types: Iterable[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", str(function))
        if name == "__get__":
            name = function.__self__.__name__
        if self.inside or name in _QUERIES:
            return function(*args, **kwargs)
        if args and isinstance(args[0], Tensor) and self.find(args[0]) is None and _in_place(name):
            sources = self.sources((args[0].clone(), *args[1:]), kwargs)  # it will be overwritten
        else:
            sources = self.sources(args, kwargs)
        leaves = tree_leaves(sources, is_leaf=lambda leaf: isinstance(leaf, TracedTensor))
        if not any(isinstance(leaf, TracedTensor) for leaf in leaves):
            return function(*args, **kwargs)
        result = function(*args, **kwargs)
        if name == "__iter__":
            result = list(result)
        leaves = tree_leaves(result)
        if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
            problem = f"{name} makes what the model does depend on values of its input, or writes into another tensor"
            self.refuse(name, problem, "decide on shapes or constants; only a fixed graph of operators can be captured")
            return iter(result) if name == "__iter__" else result
        self.add(_plain(name), function, False, sources, result)
        return iter(result) if name == "__iter__" else result
