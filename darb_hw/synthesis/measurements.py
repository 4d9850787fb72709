"""Reports in a store, each with what the plan says of its engine: what models of area and clock are fitted on."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import DarbError

__all__ = ["keep", "measurements"]

_KIND = "measurement"


def keep(store: Store, report: SynthReport, manifest: Mapping[str, Any]) -> None:
    """Put a report into a store, beside the manifest of its build.

    Parameters
    ----------
    store : Store
    report : SynthReport
    manifest : mapping
        See :attr:`darb_hw.emit.Build.manifest`: configuration, widths, ROMs, memory map, cycles, layers.
    """
    files = {"report.json": report.packed(), "manifest.json": (json.dumps(manifest) + "\n").encode()}
    content = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    key = hashlib.sha256(json.dumps({"kind": _KIND, "files": content}, sort_keys=True).encode()).hexdigest()
    store.put(Entry(key, _KIND, f"{report.network}, {report.lanes} lanes, {report.device}", files))


def measurements(store: Store) -> Iterator[tuple[SynthReport, dict[str, Any]]]:
    """All reports of a store with their manifests, in the order of their keys; damaged ones are left out."""
    for entry in store.entries(_KIND):
        try:
            report = SynthReport.from_json(entry.files["report.json"], "report.json")
            manifest = json.loads(entry.files["manifest.json"])
        except (DarbError, KeyError, ValueError, RecursionError):
            continue
        if isinstance(manifest, dict):
            yield report, manifest
