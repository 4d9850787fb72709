"""What a step of the sequencer tells the lanes, and what its last one tells the write-back."""

from amaranth.lib import data

from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan

__all__ = ["FLAGS", "context_layout", "jump_layout", "step_layout"]


def context_layout(plan: Plan) -> data.StructLayout:
    """What the write-back needs to know of a pass.

    ``row``: number of its first row among all rows. ``rows``: how many rows it has. ``fold``: each row is the sum of
    ``2**fold`` lanes. ``write``: by how much result addresses have moved. ``aux``: by how much the addresses that the
    write-back reads have moved. ``maximum``: the result is the maximum with the old value.

    Where lanes compute neighbouring positions, ``write`` is the number of the first word that says where results of the
    tile go. ``words``, ``repeat``: words of a row and of neighbouring results, less 1. ``total``: a row is the sum of
    its lanes.
    """
    fields = {"row": max(1, unsigned_bits(plan.images["rows"].depth - 1)), "rows": plan.widths.row}
    if plan.banked:
        fields["write"] = max(1, unsigned_bits(plan.images["drains"].depth - 1))
        fields["words"] = unsigned_bits(plan.words - 1)
        fields["repeat"] = unsigned_bits(plan.repeats - 1)
        fields["total"] = plan.folds
        fields["maximum"] = int(plan.latency.maximum)
        return data.StructLayout({name: width for name, width in fields.items() if width})
    if plan.folds:
        fields["fold"] = unsigned_bits(plan.folds)
    if plan.walks:
        fields["write"] = plan.widths.target
    if plan.latency.reads_back:
        fields["aux"] = plan.widths.address
    if plan.latency.maximum:
        fields["maximum"] = 1
    return data.StructLayout(fields)


def step_layout(plan: Plan) -> data.StructLayout:
    """What the lanes are told in a cycle; all of it counts with ``valid`` only.

    ``first``, ``last``: the first or last step of a pass. ``base``: address of the block. ``index``: one bit for each
    ROM of indices, set if that has a word for this step. With ``last`` come ``context`` and ``again``: the next pass is
    for the same rows. ``stay``, where the plan has uniform groups: the next step takes the same codes.

    Where lanes compute neighbouring positions, ``tap`` and ``tile`` are the numbers of the tap and of the tile, and
    ``column`` is set if the code says how many taps behind that it reads.
    """
    fields = {
        "valid": 1, "first": 1, "last": 1, "base": plan.widths.address, "index": max(1, len(plan.index_widths)),
        "again": 1, "context": context_layout(plan),
    }  # fmt: skip
    if plan.banked:
        fields |= {
            "tap": max(1, unsigned_bits(plan.images["taps"].depth - 1)),
            "tile": max(1, unsigned_bits(plan.images["tiles"].depth - 1)),
            "column": 1,
        }
    if plan.uniform:
        fields["stay"] = 1
    return data.StructLayout(fields)


def jump_layout(plan: Plan) -> data.StructLayout:
    """Where the codes and rows of a layer begin that do not stand behind those of the word before: the fields of the
    ROM of jumps."""
    return data.StructLayout({field.name: field.width for field in plan.images["jumps"].fields})


FLAGS = data.StructLayout({"final": 1, "fresh": 1, "odd": 1, "second": 1})
"""Of an inference or a time step. ``final``, ``fresh``: it is the last or first one of its sequence. ``odd``: it has an
odd number. ``second``: its input is in the second bank."""
