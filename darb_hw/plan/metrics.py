"""What reports and benchmarks say about a plan: utilisation, bits, tables. No component needs any of it.

Cycles are those of ``plan.timing``.
"""

import numpy as np

from darb_hw.plan.groups import Group
from darb_hw.plan.plan import Plan
from darb_prune.encoded import EncodedNetwork, tasks_of

__all__ = [
    "code_bits", "depthwise_bits", "ideal_code_bits", "index_overhead", "layer_table", "memory_table",
    "power_up_bits", "stored_bits", "stored_bits_per_weight", "subset_table", "utilisation",
]  # fmt: skip


_NOTED = 0.05
"""Share of the cycles from which on something is said to bound a layer."""


def utilisation(plan: Plan) -> float:
    """Useful multiply-accumulates / (lanes x cycles of an inference, back to back): 1.00 is the limit."""
    return plan.source.macs / (plan.config.lanes * plan.timing.interval_of(1))


def stored_bits(plan: Plan) -> int:
    """All ROM bits that depend on the network."""
    return sum(image.bits for image in plan.images.values())


def depthwise_bits(plan: Plan) -> int:
    """Stored bits of the weights and indices of depthwise layers, which pruning leaves as they are."""
    return plan.config.streams * sum(
        group.stored_steps * (plan.widths.weight + group.index_bits)
        for group in plan.schedule.groups
        if plan.network.layers[group.layer].depthwise
    )


def power_up_bits(plan: Plan) -> int:
    """Bits of what memories hold at power-up: zeros around maps, states that a sequence begins with."""
    return sum(image.bits for name, image in plan.images.items() if name in ("activations", "cell_state"))


def stored_bits_per_weight(plan: Plan) -> float:
    """Stored bits / kept weights, both of what pruning takes: without depthwise layers and power-up contents."""
    return (stored_bits(plan) - depthwise_bits(plan) - power_up_bits(plan)) / max(plan.source.kept, 1)


def code_bits(plan: Plan) -> int:
    """Stored bits of weights and indices, null codes included."""
    return sum(image.bits for name, image in plan.images.items() if name == "weights" or name.startswith("index_"))


def ideal_code_bits(network: EncodedNetwork) -> int:
    """Sum over kept weights of (weight bits + block bits): codes cannot be smaller."""
    ideal = 0
    for layer in network.layers:
        row_counts = np.bincount(layer.row_level, minlength=len(layer.levels))
        for level, rows in zip(layer.levels, row_counts, strict=True):
            kept = 1 if layer.uniform else sum(level.weights(segment.length) for segment in layer.segments)
            ideal += int(rows) * kept * (layer.weight_bits + level.bits)
    return ideal


def index_overhead(plan: Plan) -> float:
    """Code bits / ideal code bits: 1.00 is the limit."""
    return code_bits(plan) / max(ideal_code_bits(plan.source), 1)


def layer_table(plan: Plan) -> list[dict]:
    """A row a layer: rows, positions, groups, steps, idle cycles up to the next layer, what bounds it, utilisation.

    ``at once`` are the output positions that are computed at once, ``at once rows`` the most rows. ``bound`` is what a
    layer takes its time for: ``codes``, or ``results`` that leave no faster, or ``short runs`` whose next word of the
    program is on its way.
    """
    table = []
    for layer_number, (layer, cycles) in enumerate(zip(plan.network.layers, _cycles(plan), strict=True)):
        groups = [group for group in plan.schedule.groups if group.layer == layer_number]
        times = plan.network.times(layer_number)
        steps = sum(group.steps * group.loop.passes for group in groups) * times
        table.append(
            {
                "layer": layer.name,
                "rows": layer.rows,
                "columns": layer.columns,
                "positions": layer.position_count * times,
                "at once": _positions_at_once(plan, groups),
                "at once rows": _rows_at_once(plan, groups),
                "fold": 1 << max(group.fold for group in groups),
                "kept": layer.kept,
                "groups": len(groups),
                "steps": steps,
                "idle": cycles - steps,
                "cycles": cycles,
                "bound": _bound(groups),
                "utilisation": layer.macs * times / (plan.config.lanes * cycles),
            }
        )
    return table


def subset_table(plan: Plan) -> list[dict]:
    """A row a subset of tasks: its number, its tasks, how many layers it runs, elements of its output, cycles of one
    inference and of inferences of this subset back to back. No rows if the network has no tasks."""
    network = plan.network
    return [
        {
            "subset": subset,
            "tasks": [network.tasks[number].name for number in tasks_of(network, subset)],
            "layers": len(plan.subsets[subset].layers),
            "elements": timing.outputs,
            "latency": timing.latency_of(1),
            "interval": timing.interval_of(1),
        }
        for subset, timing in plan.timings.items()
        if network.tasks
    ]


def _cycles(plan: Plan) -> list[int]:
    """Cycles of each layer, all steps of its section together, up to the next layer."""
    spans = plan.schedule.spans
    stops = [span.start for span in spans[1:]] + [plan.schedule.period]
    cycles = [stop - span.start for span, stop in zip(spans, stops, strict=True)]
    for sweep in plan.memory.columns.sweeps:
        steps, last = sweep.steps, sweep.stop - 1
        for layer_number in range(sweep.first, last):
            cycles[layer_number] *= steps
        # The last layer has what is left of each step, and what comes behind the last one.
        cycles[last] -= sum(cycles[sweep.first : last]) // steps * (steps - 1)
    return cycles


def _positions_at_once(plan: Plan, groups: list[Group]) -> int:
    """Output positions that the lanes compute at once."""
    if plan.banked:
        layer = plan.network.layers[groups[0].layer]
        return min(plan.config.banks, layer.position_count)
    return 1 + max(int(group.positions.max()) for group in groups)


def _rows_at_once(plan: Plan, groups: list[Group]) -> int:
    """Rows that the lanes compute at once, at the positions that they have."""
    return max(len(group.rows) for group in groups) // (1 if plan.banked else _positions_at_once(plan, groups))


def _bound(groups: list[Group]) -> str:
    """What a layer takes its time for."""
    codes = sum(group.steps * group.loop.passes for group in groups)
    drained = sum(max(group.steps, group.drain) * group.loop.passes for group in groups)
    leads = sum(max(group.lead, group.drain) * group.loop.passes for group in groups)
    if drained > codes * (1 + _NOTED):
        return "results"
    return "short runs" if leads > codes * (1 + _NOTED) else "codes"


def memory_table(plan: Plan) -> list[dict]:
    """A row a region of the activation memory."""
    return [
        {
            "tensor": region.tensor,
            "start": region.start,
            "size": region.size,
            "shape": list(region.layout.shape),
            "padding": list(region.layout.padding),
            "first": region.first,
            "last": region.last,
        }
        for region in sorted(plan.memory.regions.values(), key=lambda region: (region.first, region.start))
    ]
