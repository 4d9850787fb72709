"""Chains of layers that alone read one another, so that what is between them may be stored in any order."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from darb_prune.frontend.stages import CellStage, Curve, EmbeddingStage, Matrix, Stages, reads

__all__ = ["Link", "chains_of"]

Stage = Matrix | CellStage | EmbeddingStage
_FOLLOWERS = (nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True, eq=False)
class Link:
    """A layer of a chain.

    Parameters
    ----------
    name : str
        Module path.
    module : torch.nn.Linear or torch.nn.Conv2d
    channels : int
        Of what it reads.
    norm : str, optional
        Path of the norm of its rows.
    followers : tuple of torch.nn.Module
        Depthwise convolutions and further norms between it and the next layer: each of their rows belongs to a channel.
    """

    name: str
    module: nn.Linear | nn.Conv2d
    channels: int
    norm: str | None
    followers: tuple[nn.Module, ...] = ()

    @property
    def pixels(self) -> int:
        """Columns of each channel that it reads, side by side as ``torch.flatten`` leaves them; 1 of a convolution."""
        return self.module.in_features // self.channels if isinstance(self.module, nn.Linear) else 1


def chains_of(model: nn.Module, stages: Stages, ends: set[str]) -> Iterator[list[Link]]:
    """Layers that read one another, two or more at a time.

    Parameters
    ----------
    model : torch.nn.Module
    stages : Stages
        Of ``model``.
    ends : set of str
        Layers that are the last one of a chain, if they are in one.
    """
    flow = _Flow(stages)
    names = {module: name for name, module in model.named_modules()}
    in_sections = {n for section in stages.sections for n in range(section.first, section.stop)}
    links: dict[str, tuple[Matrix, Link]] = {}
    for stage_number, stage in enumerate(stages.stages):
        if isinstance(stage, Matrix) and stage_number not in in_sections:
            link = _link(names, flow, stage)
            if link is not None:
                links[stage.name] = stage, link
    following: dict[str, tuple[str, tuple[nn.Module, ...]]] = {}
    for name, (stage, _) in links.items():
        behind, followers = (None, ()) if name in ends else flow.behind(stage)
        if behind is not None and behind.name in links:
            following[name] = behind.name, followers
    read = {behind for behind, _ in following.values()}
    for name in links:
        if name in following and name not in read:
            chain = [name]
            while chain[-1] in following:
                chain.append(following[chain[-1]][0])
            yield [replace(links[each][1], followers=following.get(each, ("", ()))[1]) for each in chain]


class _Flow:
    """Who writes and who reads each value, and how often each module runs."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._writers: dict[str, list[Stage]] = {}
        self._readers: dict[str, list[Stage]] = {}
        self.runs: Counter[nn.Module] = Counter()
        for stage in stages.stages:
            self._writers.setdefault(stage.output, []).append(stage)
            for name in reads(stage):
                self._readers.setdefault(name, []).append(stage)
            if isinstance(stage, Matrix):
                self.runs.update(_modules(stage))

    def channels(self, value: str) -> int:
        """Channels of a value."""
        return self._stages.values[value].shape[0]

    def fixed(self, value: str) -> bool:
        """Whether the elements of ``value`` must stay where they are: those of an embedding, or of the time step
        before."""
        embedded = any(isinstance(stage, EmbeddingStage) for stage in self._writers.get(value, ()))
        return embedded or value in self._stages.delayed

    def behind(self, stage: Matrix) -> tuple[Matrix | None, tuple[nn.Module, ...]]:
        """The only layer that reads what ``stage`` writes, and the modules in between that have rows for its channels;
        no layer if these cannot move."""
        between: list[Matrix] = [stage]
        followers: list[nn.Module] = []
        while self._movable(between):
            readers = self._readers.get(between[0].output, [])
            matrices = [reader for reader in readers if isinstance(reader, Matrix)]
            if len(matrices) < len(readers) or any(reader.inputs != (between[0].output,) for reader in matrices):
                break
            if not matrices or not all(_keeps_channels(reader) for reader in matrices):
                return (matrices[0], tuple(followers)) if len(matrices) == 1 else (None, ())
            followers += [module for reader in matrices for module in _modules(reader)]
            between = matrices
        return None, ()

    def _movable(self, writers: Sequence[Matrix]) -> bool:
        """Whether the channels of what ``writers`` write, and nobody else, may change places, as far as these know."""
        output = writers[0].output
        return (
            self._writers[output] == list(writers)
            and output != self._stages.output
            and output not in self._stages.delayed
            and all(self._alike(stage) for stage in writers)
        )

    def _alike(self, stage: Matrix) -> bool:
        """Whether ``stage`` writes all channels of its output, and nothing but its weights tells them apart."""
        return (
            stage.operand is None
            and stage.product is None
            and stage.first == 0
            and stage.rows == self.channels(stage.output)
            and not stage.transposed
            and all(function.alike for function, _ in stage.functions if isinstance(function, Curve))
            and all(rows == stage.rows for function, rows in stage.functions if function)
            and all(self.runs[module] == 1 for module in _modules(stage))
        )


def _modules(stage: Matrix) -> list[nn.Module]:
    """Modules whose rows are those of ``stage``."""
    own = [weight.part.module for weight in stage.weights if weight.part]
    return own if stage.norm is None else [*own, stage.norm]


def _keeps_channels(stage: Matrix) -> bool:
    """Whether each row reads the channel of its own number: pooling, a copy, a depthwise convolution."""
    depthwise = stage.window is not None and stage.window.depthwise and stage.picks is None and stage.channels is None
    return depthwise and all(type(module) in _FOLLOWERS for module in _modules(stage))


def _link(names: Mapping[nn.Module, str], flow: _Flow, stage: Matrix) -> Link | None:
    """A Linear or convolution that reads all of one value in the order of torch, and alone writes all of another."""
    part = stage.weights[0].part
    whole = len(stage.inputs) == 1 and stage.channels is None and stage.picks is None and not stage.weights[0].innermost
    if part is None or not whole or stage.rows != flow.channels(stage.output) or stage.transposed:
        return None
    module = part.module
    if flow.fixed(stage.inputs[0]) or any(flow.runs[each] != 1 for each in _modules(stage)):
        return None
    if type(module) is nn.Linear:
        good = stage.window is None and isinstance(stage.norm, nn.BatchNorm1d | None)
    elif type(module) is nn.Conv2d:
        good = module.groups == 1 and isinstance(stage.norm, nn.BatchNorm2d | None)
    else:
        return None
    norm = None if stage.norm is None else names[stage.norm]
    return Link(names[module], module, flow.channels(stage.inputs[0]), norm) if good else None
