"""The encoded network: the hand-over from pruning to hardware, and all that ``darb_hw`` knows of this package.

NumPy only: importing it loads neither torch nor Amaranth.
"""

from darb_prune.encoded.network import EncodedNetwork
from darb_prune.encoded.parts import (
    BLOCK_BITS_MAX,
    DENSE,
    EMPTY,
    FACTOR_BITS,
    FACTOR_RANGE,
    PRODUCT_SHIFT,
    Cell,
    Embedding,
    Layer,
    Level,
    Operand,
    Section,
    Segment,
    TaskOutput,
    Tensor,
    part_sizes,
)
from darb_prune.encoded.rows import ACCUMULATOR_BITS_MAX, MULT_MAX, SHIFT_MAX
from darb_prune.encoded.tasks import TASKS_MAX, elements_of, layers_of, subsets_of, tasks_of
from darb_prune.encoded.vectors import TestVectors
from darb_prune.errors import DarbError
from darb_prune.files import write_atomic, write_files
from darb_prune.text import printable

__all__ = [
    "ACCUMULATOR_BITS_MAX",
    "BLOCK_BITS_MAX",
    "DENSE",
    "EMPTY",
    "FACTOR_BITS",
    "FACTOR_RANGE",
    "MULT_MAX",
    "PRODUCT_SHIFT",
    "SHIFT_MAX",
    "TASKS_MAX",
    "Cell",
    "DarbError",
    "Embedding",
    "EncodedNetwork",
    "Layer",
    "Level",
    "Operand",
    "Section",
    "Segment",
    "TaskOutput",
    "Tensor",
    "TestVectors",
    "elements_of",
    "layers_of",
    "part_sizes",
    "printable",
    "subsets_of",
    "tasks_of",
    "write_atomic",
    "write_files",
]
