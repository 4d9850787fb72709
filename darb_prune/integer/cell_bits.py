"""How many bits cells write: fewer than other values where that leaves more of the bits of weights."""

import torch
from torch import Tensor

from darb_prune.frontend.execution import Hooks, run
from darb_prune.frontend.stages import CellStage, Stages
from darb_prune.integer.domains import Domain
from darb_prune.integer.ranges import Range, with_cell_bits
from darb_prune.integer.rounding import Rounding

__all__ = ["best_cell_bits"]

FEWER, LEAST = 3, 4
"""How many bits fewer than others are tried, and how many there are at least."""
SAMPLES = 64


@torch.no_grad()
def best_cell_bits(
    stages: Stages, batches: list[Tensor], ranges: dict[str, Range], domains: dict[str, Domain], weight_bits: int
) -> int:
    """The bits of the outputs of all cells with which rounding changes the output of the network least, measured on the
    first samples of the calibration data. The most bits of those alike.

    All products of a row have one unit, so weights of an input with a small scale get few of their bits. Outputs of
    cells are at most 1, and what stands beside them in a row is often much larger: with a coarser scale they lose
    less than their weights gain.

    Parameters
    ----------
    stages, batches
        As for :func:`~darb_prune.integer.ranges.calibrate`.
    ranges, domains : dict
        What that and :func:`~darb_prune.integer.domains.domains` gave.
    weight_bits : int
    """
    outputs = [stage.output for stage in stages.stages if isinstance(stage, CellStage)]
    if not outputs:
        return LEAST
    most, x = ranges[outputs[0]].bits, stages.samples_first(batches[0])[:SAMPLES]

    def given(hooks: Hooks | None) -> Tensor:
        output = run(stages, x, hooks)[stages.output]
        return output[:, -1] if stages.recurrent and stages.emit == "last" else output

    wanted = given(None)
    errors = {
        bits: float((given(Rounding(stages, with_cell_bits(stages, ranges, bits), domains, weight_bits)) - wanted)
                    .double().square().sum())
        for bits in range(most, min(most, max(most - FEWER, LEAST)) - 1, -1)
    }  # fmt: skip
    return min(errors, key=lambda bits: errors[bits])
