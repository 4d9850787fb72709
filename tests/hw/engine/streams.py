"""What the tests of loader and sender have in common."""

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from tests.hw.small import layer, network, tensor

PATTERNS = {"always": [1], "every other": [1, 0], "bursts": [1, 1, 1, 0, 0], "rare": [0, 0, 0, 1]}


def plan_of(size_in=11, size_out=9, input_order="logical", **options) -> Plan:
    order = np.random.default_rng(size_in).permutation(size_in).astype(np.int32)
    tensors = [tensor("x", size_in, order=order), tensor("y", size_out)]
    made = network(tensors, [layer("a", "y", [("x", 0, size_in)], size_out)])
    return Plan.make(made, EngineConfig(lanes=2, input_order=input_order, **options))
