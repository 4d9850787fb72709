"""The job that simulates the engine of a network: every test vector, every value compared with the oracle."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from darb_hw.emit import generate
from darb_hw.errors import ToolError
from darb_hw.jobs.command import sources_digest
from darb_hw.jobs.job import JobFailure
from darb_hw.jobs.program import run_program
from darb_hw.sweep.engine_job import EngineJob, engine_versions
from darb_prune.encoded import DarbError

__all__ = ["Simulation"]

_NETWORK, _LOG = "network.darb", "sim.log"
_DIFFERS = 1
"""Exit code of ``darb sim`` if the engine is not what the oracle says."""


@dataclass(frozen=True)
class Simulation(EngineJob):
    """``network.darb`` and ``network.vectors`` -> ``sim.log``, if ``darb sim --all`` finds nothing wrong."""

    kind: ClassVar[str] = "simulation"
    words: ClassVar[str] = "simulation"

    @staticmethod
    def versions_here() -> Mapping[str, str]:
        return {**engine_versions(), "sim": sources_digest("sim")}

    def made(self, folder: Path) -> Mapping[str, bytes]:
        generate(folder / _NETWORK, self.config, folder / "build")
        log = folder / _LOG
        code = run_program([sys.executable, "-P", "-m", "darb_hw.program", "sim", "build", "--all"], folder, log)
        text = log.read_text(errors="replace")
        last = re.sub(r"^darb: error: ", "", (text.strip().splitlines() or ["no message"])[-1])
        if code == _DIFFERS:
            raise JobFailure(f"the simulation differs: {last}", {_LOG: log.read_bytes()})
        if code == 2:
            raise DarbError(f"darb sim: {last}")
        if code:
            raise ToolError(f"darb sim ended by {f'signal {-code}' if code < 0 else f'exit code {code}'}: {last}")
        return {_LOG: log.read_bytes()}
