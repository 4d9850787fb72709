"""What operators of a recording have in common: how they read tensors, and how they fail."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NoReturn

from darb_prune.errors import ModelError
from darb_prune.frontend.capture.axes import Axis, Dims, Ref, exchanged, whole
from darb_prune.frontend.capture.draft import INPUT, Draft
from darb_prune.frontend.capture.findings import Finding, Refusal, remedy_of
from darb_prune.frontend.capture.recording import Node, Recording, TracedTensor
from darb_prune.frontend.stages import Matrix

__all__ = ["Context", "pair"]

_PLAIN = (
    "make it a plain parameter: torch.nn.utils.parametrize.remove_parametrizations, remove_weight_norm or prune.remove"
)


def pair(value: int | Sequence[int], dims: int, missing: int) -> tuple[int, int]:
    """Numbers for height and width, of one number or of one for each of ``dims`` dimensions."""
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    values = values * dims if len(values) == 1 else values
    height, width = (missing,) * (2 - dims) + values
    return height, width


class Context:
    """The draft, and what every tensor of the recording is in it.

    Parameters
    ----------
    recording : Recording
    columns : bool
        Whether the time steps of LSTM, GRU and RNN are the columns of maps; else they are those of the input, which
        come one after the other.

    Attributes
    ----------
    draft : Draft
    recurrent : bool
        Whether inputs are sequences of time steps.
    columns : bool
    batch : str or None
        The leading axis of the input that is the samples; none if it is not known yet.
    input_last : bool
        Whether the channels are the last dimension of the input.
    """

    def __init__(self, recording: Recording, columns: bool = False) -> None:
        self.columns = columns
        self.recurrent = bool(recording.recurrent) and not columns
        self.batch = None if self.recurrent else "0"
        # A BatchNorm that becomes a stage gets the name of its module as well.
        self.draft = Draft({node.path for node in recording.nodes if node.layer and "Norm" not in node.name})
        self._users = Counter(source for node in recording.nodes for source in node.sources)
        self._users[recording.output] += 1
        self._recording = recording
        self._owner: dict[int, str] = {}  # of parameters
        self._known = False  # whether the shape of the input is
        self.input_last = False
        self._refs = {recording.input: self._input(recording.input)}

    def _input(self, source: TracedTensor) -> Ref:
        shape, lead = source.shape, 1 + self.recurrent
        if len(shape) < lead:
            raise ModelError(f"example of shape {shape}: a recurrent model needs (samples, steps, ...)")
        names = [str(n) if n < lead else f"x{n}" for n in range(len(shape))]
        dims = tuple((Axis(name, size),) if size > 1 else () for name, size in zip(names, shape, strict=True))
        self.draft.value(INPUT, (prod(shape[lead:]), 1, 1))
        return Ref(INPUT, dims, sole=True)

    def fail(self, node: Node | None, what: str) -> NoReturn:
        """Refuse ``node``, or the end of the model: ``what`` is the problem and, behind a semicolon, the remedy."""
        problem, _, remedy = what.partition("; ")
        if node is None:
            raise Refusal(Finding("", "output", problem, remedy))
        raise Refusal(Finding(node.path, node.name, problem, remedy, node.line))

    def unsupported(self, node: Node) -> NoReturn:
        """Refuse an operator that is not known."""
        remedy = remedy_of(node.name, self.readers(node) == {"output"})
        self.fail(node, f"operator {node.name} is not supported; {remedy}")

    def assume(self, node: Node) -> None:
        """Take the outputs of a node that is refused for values of their shapes, so that what reads them is seen."""
        lead = [Axis(str(n), size) for n, size in enumerate(self._recording.input.shape[: 1 + self.recurrent])]
        for output in node.outputs:
            leading, rest = output.shape[: len(lead)], output.shape[len(lead) :]
            if output in self._refs or leading != tuple(axis.size for axis in lead) or not 0 < len(rest) < 4:
                continue
            shape = {1: (*rest, 1, 1), 2: (rest[0], 1, rest[-1]), 3: rest}[len(rest)]
            value = self.draft.assumed(shape)
            axes = [Axis(name, size) for name, size in zip({1: "c", 2: "cw", 3: "chw"}[len(rest)], rest, strict=True)]
            self._refs[output] = Ref(value, tuple((axis,) if axis.size > 1 else () for axis in (*lead, *axes)))

    def seen(self, node: Node) -> bool:
        """Whether enough is known of what ``node`` reads, behind nodes that are refused."""
        refs = [self._refs.get(source) for source in node.sources]
        # Which dimensions of an assumed value are the image is a guess, and only a mean depends on it.
        return all(refs) and not (node.name == "mean" and any(self.draft.is_assumed(ref.value) for ref in refs if ref))

    def look(self, node: Node | None, source: object) -> Ref:
        """How ``node`` looks at the tensor ``source``; no node is the end of the model."""
        if not isinstance(source, TracedTensor):
            self.fail(node, f"{node.name if node else 'output'} of a constant is not supported")
        if source not in self._refs:
            if source.node is not None and source.node.name == "max":
                self.fail(node, "positions of a maximum cannot be used; use its values")
            self.fail(node, "the cell state c of an LSTM can only go back into the LSTM, nothing else may read it")
        ref = self._refs[source]
        return replace(ref, sole=ref.sole and self._users[source] == 1)

    def read(self, node: Node) -> Ref:
        """The first argument."""
        return self.look(node, node.args[0] if node.args else node.kwargs.get("input"))

    def write(self, node: Node, ref: Ref, output_number: int = 0) -> None:
        """Say what an output is."""
        self._refs[node.outputs[output_number]] = ref

    def readers(self, node: Node) -> set[str]:
        """Operators that read an output of ``node``, but for roundings to a grid; ``"output"`` is the model's end."""
        names = {"output"} if self._recording.output in node.outputs else set()
        for reader in self._recording.nodes:
            if set(node.outputs) & set(reader.sources):
                names |= self.readers(reader) if reader.name == "Quantizer" else {reader.name}
        return names

    def is_read(self, source: TracedTensor) -> bool:
        """Whether an operator, or the end of the model, reads ``source``."""
        return self._users[source] > 0

    def name(self, node: Node) -> str:
        """For a stage that stands for ``node``: the path of a module of torch, or of the module that calls it."""
        own = type(node.owner).__module__.startswith("torch.nn.")
        return node.path if own and node.path else f"{node.path}.{node.name}".strip(".")

    def bind(self, node: Node, names: str, **defaults: Any) -> list[Any]:
        """Arguments behind the first, by name."""
        arguments = dict(zip(names.split(), node.args[1:], strict=False)) | node.kwargs
        return [arguments.get(name, defaults.get(name)) for name in names.split()]

    def parameters(self, node: Node, *names: str) -> None:
        """Check that the parameters of a layer are its own, and nothing but masks is done to them."""
        module = node.owner
        for name in names:
            masked = f"{name}_orig" in module._parameters and hasattr(module, f"{name}_mask") and "bias" not in name
            if name not in module._parameters and not masked:
                self.fail(node, f"{name} of {node.name} is computed (bias pruning, weight norm ...); {_PLAIN}")
            parameter = module._parameters[f"{name}_orig" if masked else name]
            if parameter is not None and id(parameter) in self._owner:
                self.fail(node, f"{node.name} shares its weight with layer {self._owner[id(parameter)]!r} (used twice)")
            self._owner[id(parameter)] = node.path

    def fix(self, node: Node | None, shape: tuple[int, int, int], last: bool = False) -> None:
        """The input is a value of ``shape``, its channels perhaps the last dimension."""
        known = self.draft.shapes[INPUT]
        if self._known and (known, self.input_last) != (shape, last):
            self.fail(node, f"the input is read as {shape} here and as {known} elsewhere")
        self.draft.value(INPUT, shape)
        self._known, self.input_last = True, last

    def in_order(self, ref: Ref) -> bool:
        """Whether the dimensions of ``ref`` are all of its value in its own order."""
        names = [axis.name for axis in ref.axes]
        return names == sorted(names) if ref.raw else ref.axes == self.draft.order(ref)

    def channels_last(self, ref: Ref) -> bool:
        """Whether the dimensions of ``ref`` are all of its value, the channels behind the pixels."""
        order = self.draft.order(ref)
        return len(order) > 1 and order[0].name == "c" and ref.axes == (*order[1:], order[0])

    def innermost(self, ref: Ref) -> int:
        """Channels of a map all of which ``ref`` looks at, if its pixels are in their order, and the channels of each
        side by side; else 0."""
        return self.draft.channels(ref) if self.channels_last(ref) and not ref.layers and ref.first is None else 0

    def shaped(self, node: Node | None, ref: Ref, last: bool = False) -> Ref:
        """``ref`` with channels, height and width: an input is taken for what its dimensions say.

        Channels are the first of them, or the last one of an input if ``last`` says so, or if it is read with the last
        dimension in front of the others.
        """
        if ref.value != INPUT or (self._known and not ref.raw):
            return ref
        lead = tuple(dim for dim in ref.dims if any(axis.leading for axis in dim))
        if self.columns and len(lead) == 1 and ref.dims[0] != lead[0]:  # samples in another place
            place = ref.dims.index(lead[0])
            others = (*ref.dims[:place], *ref.dims[place + 1 :])
            made = self.shaped(node, replace(ref, dims=(*lead, *others)), last)
            others = made.dims[1:]
            return replace(made, dims=(*others[:place], *lead, *others[place:]))
        rest = ref.dims[len(lead) :]
        order = [axis.name for axis in ref.axes]
        turned = len(order) > 1 and order == [max(order), *sorted(order)[:-1]]
        if self.recurrent and ref.dims[: len(lead)] != lead:
            self.fail(
                node,
                "reads over the time steps that go into an LSTM, GRU or RNN, which come one after the other; let it "
                "read each step alone, (samples * steps, channels, ...), or leave it out, and train again",
            )
        if ref.dims[: len(lead)] != lead or not (turned or self.in_order(ref)):
            self.fail(
                node,
                "the dimensions of the input are permuted; give inputs as (samples, channels, ...) or "
                "(samples, ..., channels)",
            )
        if len(rest) > 3:
            self.fail(node, f"an input of {len(ref.dims)} dimensions; (samples, channels, height, width) is the most")
        names = {0: "", 1: "c", 2: "cw", 3: "chw"}[len(rest)]
        if not turned and (last or (self._known and self.input_last)):
            names = names[1:] + names[:1]
        sizes = tuple(dim[0].size if dim else 1 for dim in rest)
        by_name = dict(zip(names, sizes, strict=True))
        shape = by_name.get("c", 1), by_name.get("h", 1), by_name.get("w", 1)
        self.fix(node, shape, len(order) > 1 and (turned or not names.startswith("c")))
        made = tuple((Axis(name, size),) if size > 1 else () for name, size in zip(names, sizes, strict=False))
        return replace(ref, dims=(*lead, *made))

    def as_columns(self, node: Node, ref: Ref, time: int) -> Ref:
        """``ref`` of three dimensions, of which ``time`` is the columns of a map, if it is an input of which nothing is
        known yet. Channels are behind the columns in one dimension then, or they and lines in front of them."""
        if ref.value != INPUT or not ref.raw:
            return ref
        columns, features = ref.dims[time], ref.dims[2]
        names = [axis.name for axis in (*columns, *features)]
        width, size = prod(axis.size for axis in columns), self._recording.input.shape
        if names == sorted(names):
            channels, height = prod(axis.size for axis in features), 1
            self.fix(node, (channels, 1, width), last=channels > 1 and width > 1)
        elif [axis.name for axis in (*features, *columns)] == sorted(names) and len(size) in (3, 4):
            channels, height = size[1], size[2] if len(size) == 4 else 1
            self.fix(node, (channels, height, width))
        else:
            return ref
        dims = list(ref.dims)
        dims[time], dims[2] = whole((1, 1, width)), whole((channels, height, 1))
        return replace(ref, dims=tuple(dims))

    def stored(self, node: Node | None, ref: Ref, what: str) -> Ref:
        """``ref`` as it is stored, by a copy if it must be."""
        return ref if ref.plain else self.copy(node, ref, self.copy_name(ref), what)

    @staticmethod
    def copy_name(ref: Ref) -> str:
        return f"{ref.value.removesuffix('.out')}.copy"

    def copy(self, node: Node | None, ref: Ref, name: str, what: str) -> Ref:
        """A stage that copies what ``ref`` looks at."""
        if ref.first is not None:
            self.fail(node, f"{what} reads channels of zeros; they are supported on one side of an addition only")
        if ref.layers:
            return self._of_all_layers(ref)
        return self.draft.copy(name, self.shaped(node, ref))

    def _of_all_layers(self, ref: Ref) -> Ref:
        """States of several layers or directions, as channels of one value that is cut into its parts."""
        own, count = self.draft.shapes[ref.layers[0]][0], len(ref.layers)
        value = self.draft.side_by_side(ref.layers)
        parts = {
            "layers": Axis("c'", count, own, own * count) if own > 1 else Axis("c", count),
            "c": Axis("c'", own, 1, own * count),
        }
        dims = tuple(tuple(parts.get(axis.name, axis) for axis in dim) for dim in ref.dims)
        return Ref(value, dims, sole=True, last=ref.last)

    def open(self, node: Node, ref: Ref, *untouched: str, on_grid: bool = False) -> tuple[Ref, list[int]]:
        """Stages that ``node`` can become a part of: those that write ``ref``, if their fields ``untouched`` are not
        in use yet, or a new one that copies it. Also how the result is looked at. ``on_grid``: see
        :meth:`Draft.writers`."""
        numbers = self.draft.writers(ref, *untouched, "product", on_grid=on_grid)  # nothing comes behind a product
        if numbers is None:
            ref = self.copy(node, ref, self.name(node), node.name)
            numbers = self.draft.fresh(ref)
        return ref, numbers

    def open_stages(self, numbers: list[int]) -> list[tuple[int, Matrix]]:
        return [(stage_number, self.draft.matrix(stage_number)) for stage_number in numbers]

    def direct(self, node: Node, ref: Ref) -> Ref:
        """``ref`` as it is stored, or some channels of it."""
        return ref if ref.direct else self.stored(node, ref, node.name)

    def flat(self, node: Node, ref: Ref, parts: bool = False) -> Ref:
        """``ref``, whose last dimension must be all of a value; or, with ``parts``, some channels of a vector."""
        if not parts or self.draft.shapes[ref.value][1:] != (1, 1):
            ref = self.stored(node, ref, node.name)
        ref = self.direct(node, ref)
        if not self.in_order(ref) or any(not axis.leading for dim in ref.dims[:-1] for axis in dim):
            self.fail(
                node,
                f"{node.name} must read all values of a sample or step in one dimension, in their order; flatten(1) "
                "first, without permuting",
            )
        return ref

    def fitting(
        self, ref: Ref, fits: Callable[[Dims, tuple[int, int, int]], bool], image: tuple[int, int] | None = None
    ) -> Ref:
        """``ref``, or, if that alone helps, what it looks at with channels and pixels exchanged.

        Parameters
        ----------
        fits : callable
            Says of the dimensions of a value and its shape whether it can be read.
        image : (int, int), optional
            Height and width of the pixels that channels become; one line if absent.
        """
        shape = self.draft.channels(ref), *self.size(ref)
        if ref.raw or ref.layers or ref.first is not None or fits(ref.dims, shape):
            return ref
        made = exchanged(ref.dims, shape, image)
        if made is None or not fits(*made):
            return ref
        return replace(self.draft.transpose(self.copy_name(ref), ref, made[1]), dims=made[0])

    def channels_second(self, ref: Ref) -> Ref:
        """``ref``, or what it looks at with channels and pixels exchanged, if that alone puts the channels into
        dimension 1."""
        return self.fitting(ref, lambda dims, shape: dims[1:2] == (whole((shape[0], 1, 1)),))

    def alike(self, left: Ref, right: Ref) -> tuple[Ref, Ref]:
        """Two sides of a sum or product, one of them with channels and pixels exchanged if that alone makes their
        dimensions equal: that which a stage can write so, without a copy."""
        sides = [left, right]
        free = [self.draft.writers(side) is not None for side in sides]
        for side in (1, 0) if free[1] or not free[0] else (0, 1):
            other = sides[1 - side]

            def fits(dims: Dims, _: tuple[int, int, int], wanted: Dims = other.dims) -> bool:
                return dims == wanted

            sides[side] = self.fitting(sides[side], fits, self.size(other))
        return sides[0], sides[1]

    def map(self, node: Node, dims: int, parts: bool = False) -> Ref:
        """The first argument, a feature map with ``dims`` dimensions, perhaps with zeros around it; or, with ``parts``,
        some channels of one."""
        names = ("c", "w") if dims == 1 else ("c", "h", "w")

        def fits(own: Dims, shape: tuple[int, int, int]) -> bool:
            axes = [[axis.name for axis in dim] for dim in own]
            return (
                len(axes) == len(names) + 1
                and all(axis.leading for axis in own[0])
                and all(there in ([], [name]) for there, name in zip(axes[1:], names, strict=True))
                and (axes[1] == []) == (shape[0] == 1)
                and not (dims == 1 and shape[1] > 1)
            )

        ref = self.shaped(node, self.read(node))
        lines = dims == 2 and [axis.name for axis in ref.dims[-2]] == ["c"]  # that is where channels stand
        ref = self.fitting(ref, fits, (self.draft.channels(ref), 1) if lines else None)
        if ref.stride != (1, 1) or ref.first is not None or ref.layers or (ref.channels is not None and not parts):
            ref = self.stored(node, ref, node.name)
        if not fits(ref.dims, (self.draft.channels(ref), *self.draft.shapes[ref.value][1:])):
            shape = "(samples, channels, length)" if dims == 1 else "(samples, channels, height, width)"
            self.fail(node, f"{node.name} must read {shape}, steps of a sequence among the samples")
        return ref

    def size(self, ref: Ref) -> tuple[int, int]:
        """Height and width of ``ref`` as it is looked at."""
        sizes = {axis.name: axis.size for axis in ref.axes}
        return sizes.get("h", 1), sizes.get("w", 1)

    def as_map(self, node: Node, ref: Ref, value: str) -> Ref:
        """The result of a window over ``ref``, in the dimensions of the output of ``node``."""
        sizes = dict(zip("chw", self.draft.shapes[value], strict=True))
        names = "chw" if len(node.outputs[0].shape) == 4 else "cw"
        dims = tuple((Axis(name, sizes[name]),) if sizes[name] > 1 else () for name in names)
        return Ref(value, (ref.dims[0], *dims), sole=True, last=ref.last)
