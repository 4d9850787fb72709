"""The graph of a model file as an ordinary module of torch: what ONNX and TFLite files become."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from darb_prune.errors import ModelError

__all__ = ["Call", "GraphNetwork", "Operation", "chain", "first_line", "operate", "placed", "same"]

Call = Callable[[list[nn.Module], list[Any]], tuple[Tensor, ...]]
"""Computes the outputs of an operation from its modules and its inputs, nothing where an optional one is left out."""


@dataclass(frozen=True)
class Operation:
    """An operator of the graph.

    Parameters
    ----------
    modules : tuple of str
        Names of the modules that do it.
    call : Call
    inputs, outputs : tuple of str
        Names of tensors, ``""`` where an optional one is left out.
    """

    modules: tuple[str, ...]
    call: Call
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class GraphNetwork(nn.Module):
    """Takes the inputs of the graph and gives its outputs: a tensor, or a tuple of several.

    Parameters
    ----------
    modules : dict of str to torch.nn.Module
    operations : list of Operation
        In the order of execution.
    constants : dict of str to tensor
    sources : list of str
        Names of the inputs.
    outputs : list of str
    input_shape : tuple of int
        Of a sample, as far as the file says it; empty if not.
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        operations: list[Operation],
        constants: dict[str, Tensor],
        sources: list[str],
        outputs: list[str],
        input_shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self._operations, self._constants, self._sources, self._outputs = operations, constants, sources, outputs
        self.input_shape = input_shape

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        if len(inputs) != len(self._sources):
            raise ModelError(
                f"takes {len(self._sources)} inputs ({', '.join(self._sources)}) and got {len(inputs)}; "
                "darb_prune.JoinedInputs(model, channels) takes them as one tensor, side by side"
            )
        values = {**dict(zip(self._sources, inputs, strict=True)), "": None, **self._constants}
        for operation in self._operations:
            modules = [getattr(self, name) for name in operation.modules]
            made = operation.call(modules, [values[name] for name in operation.inputs])
            values.update(zip(operation.outputs, made, strict=False))
        outputs = tuple(values[name] for name in self._outputs)
        return outputs[0] if len(outputs) == 1 else outputs


def chain(modules: list[nn.Module], inputs: list[Any]) -> tuple[Tensor, ...]:
    """The first input through one module after the other."""
    x = inputs[0]
    for module in modules:
        x = module(x)
    return (x,)


def operate(modules: list[nn.Module], inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
    """What the only module gives for all inputs."""
    result = modules[0](*inputs)
    return result if isinstance(result, tuple) else (result,)


def same(modules: list[nn.Module], inputs: list[Any]) -> tuple[Tensor, ...]:
    """The first input as it is."""
    return (inputs[0],)


@contextmanager
def placed(place: str, what: str, remedy: str) -> Iterator[None]:
    """Let errors name the ``place`` in the file. What torch says to constants and options that do not go together
    becomes one of them: ``what``, what torch says, ``remedy``."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from None
    except Exception as error:
        raise ModelError(f"{place}: {what} ({first_line(error)}); {remedy}") from error


def first_line(error: Exception) -> str:
    """Of what an error says, for a message of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
