"""Where random networks get their structure from: a seed, or hypothesis, which then shrinks what fails."""

import numpy as np
from hypothesis import strategies as st


class SeedDraw:
    """Draws from one seed."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, options):
        return options[self.integer(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        return self.integer(1, 100) > 100 - percent


class HypothesisDraw(SeedDraw):
    """Structure is drawn by hypothesis; weights and the like come from a seed that it draws."""

    def __init__(self, draw):
        super().__init__(draw(st.integers(0, 1000)))
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))
