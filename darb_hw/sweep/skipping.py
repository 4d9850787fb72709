"""Points of a sweep that are not built, since estimates say that they cannot be on a Pareto front."""

import json
from collections.abc import Sequence

from darb_hw.estimate.front import hopeless
from darb_hw.estimate.model import MODEL, Model
from darb_hw.jobs.flow import Flow, Pool, Watcher, outcomes
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_hw.sweep.estimation import Estimation, read_choice
from darb_hw.sweep.networks import Networks
from darb_hw.sweep.points import PointResult, SweepPoint
from darb_hw.sweep.table import engine_value
from darb_prune.encoded import DarbError

__all__ = ["unbuilt"]


def unbuilt(
    points: Sequence[SweepPoint],
    networks: Networks,
    model: Model,
    pool: Pool,
    store: Store,
    watcher: Watcher | None = None,
) -> dict[int, PointResult]:
    """Make the networks of all points and estimate their engines; which points need not be built.

    Points that are dominated are skipped (:func:`~darb_hw.estimate.front.hopeless`). A point whose network cannot be
    made has failed. A point without a plan, or without an estimate, is built: that says why, or what it takes.

    Parameters
    ----------
    points : sequence of SweepPoint
    networks : Networks
    model : Model
    pool, store, watcher
        See :func:`~darb_hw.jobs.flow.outcomes`.

    Returns
    -------
    dict of int to PointResult
        By the position of the point.
    """
    results: dict[int, PointResult] = {}
    estimated: dict[int, Entry] = {}
    known = [number for number, point in enumerate(points) if model.knows(engine_value(point, "device"))]
    packed = model.packed()
    flows = (_estimated(points[number], networks, packed) for number in known)
    for position, outcome in outcomes(flows, pool, store, watcher):
        number = known[position]
        if isinstance(outcome, DarbError):
            results[number] = PointResult(points[number], reason=str(outcome))
        elif outcome is not None and not outcome.failure:
            estimated[number] = outcome
    numbers = sorted(estimated)
    choices = [read_choice(estimated[number].files, points[number].label) for number in numbers]
    for index, reason in hopeless(choices).items():
        number = numbers[index]
        said = json.loads(estimated[number].files["network.json"])
        results[number] = PointResult(points[number], **said, reason=reason, skipped=True)
    return results


def _estimated(point: SweepPoint, networks: Networks, model: bytes) -> Flow[Entry | None]:
    """The flow of an estimate: the entry of its :class:`~darb_hw.sweep.estimation.Estimation`, if there is one."""
    config = point.config
    files = yield from networks.files(point)
    try:
        (made,) = yield [Estimation({"network.darb": files["network.darb"], MODEL: model}, config, point.label)]
    except DarbError:
        return None
    return made
