"""Everything that stands in the way of a model, before anything is trained."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.capture import Finding, capture, check_finite, refusals
from darb_prune.frontend.capture.findings import SUPPORTED, finding_of
from darb_prune.frontend.example import example_of
from darb_prune.frontend.execution import folded
from darb_prune.frontend.stages import CellStage, Matrix, Stages
from darb_prune.integer.encoder import encode
from darb_prune.integer.quantization import quantize_stages
from darb_prune.integer.ranges import calibration_batches
from darb_prune.modules.layers import layers

__all__ = ["ModelReport", "check"]


@dataclass(frozen=True)
class ModelReport:
    """What :func:`check` has found.

    Parameters
    ----------
    name : str
        Class of the model.
    findings : tuple of Finding
    """

    name: str
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What stands in the way."""
        return tuple(finding for finding in self.findings if not finding.warning)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What it is better to know."""
        return tuple(finding for finding in self.findings if finding.warning)

    def __str__(self) -> str:
        lines = [f"{self.name}: {_count(self.problems, 'problem')}, {_count(self.warnings, 'warning')}"]
        lines += [f"  {finding}" for finding in self.problems]
        lines += [f"  warning: {finding}" for finding in self.warnings]
        lines += [f"  supported: {SUPPORTED}"] if any(not finding.remedy for finding in self.problems) else []
        return "\n".join(lines)


def check(model: nn.Module, example: Tensor | None = None, drop_softmax: bool = False) -> ModelReport:
    """Everything for which :func:`darb_prune.prune`, ``quantize`` or ``encode`` would refuse ``model``.

    The model runs on the example; it is captured, and if that works, quantised and encoded. It is not changed.

    Parameters
    ----------
    model : torch.nn.Module
        Trained or not, pruned or not.
    example : tensor, optional
        A batch of at least one input, as the model takes it. If absent, one that fits its first layer.
    drop_softmax : bool
        Whether a softmax, log-softmax or argmax at the end is left out, as in ``quantize`` with the same argument.
    """
    findings: list[Finding] = []
    name = type(model).__name__
    try:
        tried = example_of(model) if example is None else example
        findings += refusals(model, tried, drop_softmax)
        if all(finding.warning for finding in findings):
            findings += _later(model, tried, example is not None, drop_softmax)
    except DarbError as error:
        findings.append(finding_of(error, name))
    try:
        layers(model)
    except ModelError as error:
        prunable = finding_of(error, name)
        findings += [prunable] if prunable.path not in {finding.path for finding in findings} else []
    return ModelReport(name, tuple(findings))


def _count(findings: tuple[Finding, ...], noun: str) -> str:
    return f"{len(findings)} {noun}{'' if len(findings) == 1 else 's'}"


def _later(model: nn.Module, example: Tensor, own: bool, drop_softmax: bool) -> list[Finding]:
    """Warnings of a model that can be captured; ``own`` is whether its user gave the example.

    Raises
    ------
    DarbError
        If a later step refuses it.
    """
    batches = calibration_batches(example)
    stages = capture(model, batches[0][:2], drop_softmax)
    check_finite(stages)
    encode(quantize_stages(stages, batches))
    findings = _unread(stages)
    if stages.sections:
        steps = stages.values[stages.stages[stages.sections[0].first].output].shape[2]
        problem = f"takes sequences of {steps} time steps and no others, since it looks at several of them at once"
        remedy = "give an example of the length that you use"
        findings.append(Finding("", "input", problem, remedy, warning=True))
    brings = stages.input in stages.grids
    if own and not brings and example.is_floating_point() and float(example.min()) >= 0 and float(example.max()) > 0:
        problem = "no input of the example is below 0, so half of the range of the inputs is not used"
        remedy = "subtract the middle of their range in front of the model and train again, to use all bits"
        findings.append(Finding("", "input", problem, remedy, warning=True))
    return findings


@torch.no_grad()
def _unread(stages: Stages) -> list[Finding]:
    """A warning for each layer with rows that only weights of 0 read."""
    read: dict[str, Tensor] = {}  # of a value: which of its channels are read
    for stage in stages.stages:
        if isinstance(stage, CellStage):
            read[stage.gates] = torch.ones(stages.values[stage.gates].shape[0], dtype=torch.bool)
        if not isinstance(stage, Matrix):
            continue
        for name, weight in zip(stage.inputs, folded(stage)[0], strict=True):
            channels = stages.values[name].shape[0]
            first, end = stage.channels or (0, channels)
            used = torch.zeros(channels, dtype=torch.bool)
            if stage.window is None or not stage.window.depthwise:
                groups = 1 if stage.window is None else stage.window.groups
                own = torch.arange(first, end) if stage.picks is None else torch.tensor(stage.picks)
                rows = weight.reshape(groups, len(weight) // groups, len(own) // groups, -1)
                used[own] = (rows != 0).any(dim=3).any(dim=1).flatten()
            else:
                used[first:end] = True
            read[name] = read.get(name, torch.zeros_like(used)) | used
        for operand in (stage.operand, stage.product):
            if operand is not None:
                read[operand.value] = torch.ones(stages.values[operand.value].shape[0], dtype=torch.bool)
    findings = []
    for stage in stages.stages:
        if isinstance(stage, Matrix) and stage.output in read and any(weight.part for weight in stage.weights):
            dead = int((~read[stage.output][stage.first : stage.first + stage.rows]).sum())
            if dead:
                problem = f"{dead} of {stage.rows} outputs are read by weights of 0 only"
                findings.append(Finding(stage.name, "", problem, "leave these rows out and train again", warning=True))
    return findings
