"""The job that makes the engine of a network: plan and Verilog."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from darb_hw.emit import generate
from darb_hw.errors import PlanError
from darb_hw.jobs.job import JobFailure
from darb_hw.sweep.engine_job import EngineJob
from darb_hw.synthesis.circuit import Circuit
from darb_prune.encoded import EncodedNetwork

__all__ = ["Generation", "facts_of"]

_NETWORK = "network.darb"


def facts_of(network: EncodedNetwork) -> bytes:
    """``network.json``: what a network itself says of its weight bits, its metric and its accuracy."""
    said = {
        "weight_bits": max(layer.weight_bits for layer in network.layers),
        "metric": network.provenance.get("metric", "accuracy"),
        "accuracies": network.provenance.get("accuracy", {}),
    }
    return json.dumps(said).encode()


@dataclass(frozen=True)
class Generation(EngineJob):
    """``network.darb`` -> the files of its engine, ``facts.json`` (see :class:`Circuit`), ``manifest.json`` of the
    build, and ``network.json`` (see :func:`facts_of`)."""

    kind: ClassVar[str] = "generation"
    words: ClassVar[str] = "engine"

    def made(self, folder: Path) -> Mapping[str, bytes]:
        network = EncodedNetwork.load(folder / _NETWORK)
        files = {"network.json": facts_of(network)}
        try:
            build = generate(network, self.config, folder / "build")
        except PlanError as error:
            raise JobFailure(str(error), files) from None
        circuit = Circuit.of(build)
        manifest = (build.folder / "manifest.json").read_bytes()
        return {**circuit.files, "facts.json": circuit.facts(), "manifest.json": manifest, **files}
