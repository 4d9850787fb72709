"""What the named choices of a pattern are. No torch, so that options can be declared and checked without it."""

from typing import Literal

__all__ = ["Allocation", "Budget", "Order", "Saliency", "Scope"]

Allocation = Literal["budget", "density"]
"""How rows get their level (:mod:`darb_prune.patterns.allocation`)."""
Budget = Literal["codes", "bits", "cycles"]
"""What an allocation spends."""
Order = Literal["none", "spread", "search"]
"""Storage order of channels (:mod:`darb_prune.patterns.order`)."""
Saliency = Literal["mean", "frobenius", "magnitude", "row", "taylor", "fisher"]
"""What a weight is worth (:mod:`darb_prune.patterns.saliency`)."""
Scope = Literal["global", "layer"]
"""Whether all matrices share one threshold, or each keeps its own share."""
