"""Reports in a store, each with what its plan is made from: models of area and clock are fitted on both."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darb_hw.emit import design_digest, plan_of, read_manifest
from darb_hw.plan.plan import Plan
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import DarbError, EncodedNetwork

__all__ = ["keep", "measurements"]

_KIND = "measurement"
_REPORT, _MANIFEST, _NETWORK = "report.json", "manifest.json", "network.darb"


def keep(store: Store, report: SynthReport, manifest: Mapping[str, Any], network: bytes) -> None:
    """Put a report into a store, beside what its plan is made from.

    Parameters
    ----------
    store : Store
    report : SynthReport
    manifest : mapping
        See :attr:`darb_hw.emit.Build.manifest`: configuration, widths, ROMs, memory map, cycles, layers.
    network : bytes
        Of the ``.darb`` file.
    """
    files = {_REPORT: report.packed(), _MANIFEST: (json.dumps(manifest) + "\n").encode(), _NETWORK: network}
    content = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    key = hashlib.sha256(json.dumps({"kind": _KIND, "files": content}, sort_keys=True).encode()).hexdigest()
    store.put(Entry(key, _KIND, f"{report.network}, {report.lanes} lanes, {report.device}", files))


def measurements(store: Store) -> Iterator[tuple[SynthReport, Plan] | None]:
    """All reports of a store, each with the plan of its engine, in the order of their keys.

    Plans are made again from their networks, so they follow from files that anyone may have written.

    Yields
    ------
    tuple of SynthReport and Plan, or None
        None for one that has no plan: it was kept without its network, this package plans the engine in another way, or
        it is damaged.
    """
    return (_measurement(entry) for entry in store.entries(_KIND))


def _measurement(entry: Entry) -> tuple[SynthReport, Plan] | None:
    with tempfile.TemporaryDirectory(prefix="darb-") as folder:
        path = Path(folder) / _NETWORK
        try:
            report = SynthReport.from_json(entry.files[_REPORT], _REPORT)
            manifest = read_manifest(entry.files[_MANIFEST], Path(_MANIFEST))
            path.write_bytes(entry.files[_NETWORK])
            plan = plan_of(EncodedNetwork.load(path), manifest, Path(_MANIFEST))
        except (DarbError, KeyError):
            return None
    return (report, plan) if report.digest == design_digest(manifest) else None
