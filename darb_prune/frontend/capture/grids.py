"""Activations that the model has quantised itself: the value keeps that grid."""

from dataclasses import replace

from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.draft import INPUT
from darb_prune.frontend.capture.recording import Node
from darb_prune.modules.grids import Quantizer

__all__ = ["OPERATORS"]


def _quantizer(context: Context, node: Node) -> None:
    module = node.owner
    assert isinstance(module, Quantizer)
    ref, grids = context.read(node), context.draft.grids
    if grids.get(ref.value) != module.grid:
        # Leaving out lines and putting zeros around may come before or behind the rounding.
        stored = replace(ref, stride=(1, 1), before=(0, 0), after=(0, 0), first=None)
        free = ref.value not in grids and (context.draft.writers(stored) or (ref.value == INPUT and ref.sole))
        if not free:
            ref, _ = context.open(node, context.shaped(node, ref))
        grids[ref.value] = module.grid
    context.write(node, ref)


OPERATORS = {"Quantizer": _quantizer}
