"""Whether all lanes of an engine are of use."""

from dataclasses import replace

from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import fitting_plan
from darb_prune.encoded import DarbError

__all__ = ["TOLERANCE", "fewer_lanes"]

TOLERANCE = 0.05
"""An engine of fewer lanes may take so much longer."""


def fewer_lanes(plan: Plan, config: EngineConfig) -> Plan | None:
    """The plan with the fewest lanes (half, a quarter ...) whose inferences take about as long, if there is one.

    Parameters
    ----------
    plan : Plan
    config : EngineConfig
        What :func:`~darb_hw.plan.resources.fitting_plan` made it from.
    """
    most = plan.timing.interval_of(1) * (1 + TOLERANCE)
    enough, lanes = None, config.lanes // 2
    while lanes and lanes % (config.banks * config.clusters) == 0:
        try:
            tried = fitting_plan(plan.source, replace(config, lanes=lanes))
        except DarbError:  # nor has the configuration so few lanes
            break
        if tried.timing.interval_of(1) > most:
            break
        enough, lanes = tried, lanes // 2
    return enough
