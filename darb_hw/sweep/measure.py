"""One point measured: its network, its engine, its netlist, its routes."""

import json
from typing import Any

from darb_hw.jobs.flow import Flow
from darb_hw.store.store import Store
from darb_hw.sweep.generation import Generation
from darb_hw.sweep.networks import Networks
from darb_hw.sweep.points import PointResult, SweepPoint
from darb_hw.synthesis.boards import constraints_file
from darb_hw.synthesis.circuit import Circuit
from darb_hw.synthesis.measurements import keep
from darb_hw.synthesis.synth import synthesised
from darb_prune.encoded import DarbError

__all__ = ["measured"]

_SAID = ("facts.json", "manifest.json", "network.json")


def measured(point: SweepPoint, networks: Networks, store: Store) -> Flow[PointResult]:
    """The flow of a point. That a point cannot be built is a result too: its reason says why.

    What was measured is kept in ``store``, for fits.
    """
    said: dict[str, Any] = {}
    try:
        config = point.config
        files = yield from networks.files(point)
        network = files["network.darb"]
        (made,) = yield [Generation({"network.darb": network}, config, point.label)]
        said = json.loads(made.files["network.json"])
        if made.failure:
            return PointResult(point, **said, reason=made.failure)
        said["manifest"] = manifest = json.loads(made.files["manifest.json"])
        circuit = Circuit.from_facts(
            made.files["facts.json"], {name: data for name, data in made.files.items() if name not in _SAID}
        )
        constraints = constraints_file(circuit.target)
        outcome = yield from synthesised(circuit, point.seeds, constraints.read_bytes() if constraints else None)
    except DarbError as error:
        return PointResult(point, **said, reason=str(error))
    if outcome.report is not None:
        keep(store, outcome.report, manifest, network)
    return PointResult(point, **said, report=outcome.report, reason=str(outcome.error or ""))
