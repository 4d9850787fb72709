"""A design to synthesise: its files, and what its report says of the network, which follows from the plan."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from darb_hw.config import DEVICES, Target
from darb_hw.emit import Build
from darb_hw.plan.metrics import index_overhead, stored_bits_per_weight, utilisation
from darb_hw.plan.plan import Plan
from darb_hw.synthesis.yosys import yosys_script

__all__ = ["Circuit"]

_PRIMITIVES = "primitives.v"


@dataclass(frozen=True)
class Circuit:
    """What is synthesised.

    Parameters
    ----------
    files : mapping of str to bytes
        ``TOP.v``, ``primitives.v`` where the device has some, ``rom/*.hex``.
    device : str
        A key of :data:`~darb_hw.config.DEVICES`.
    top : str
        Name of the top-level module.
    dsp : bool
        Whether multiplications may become DSP blocks.
    figures : mapping of str to value
        Fields of a :class:`~darb_hw.synthesis.report.SynthReport` that follow from the plan.
    """

    files: Mapping[str, bytes]
    device: str
    top: str
    dsp: bool
    figures: Mapping[str, Any]

    @property
    def target(self) -> Target:
        return DEVICES[self.device]

    @property
    def title(self) -> str:
        return f"{self.figures['network']}, {self.figures['lanes']} lanes, {self.device}"

    @property
    def script(self) -> str:
        """What Yosys is to do."""
        return self.script_for(self.top)

    def script_for(self, top: str) -> str:
        """What Yosys is to do with the module ``top``: the engine, or what has it as a part, in a file beside it."""
        primitives = _PRIMITIVES if _PRIMITIVES in self.files else None
        verilog = " ".join(f"{name}.v" for name in dict.fromkeys((self.top, top)))
        return yosys_script(self.target, top, verilog, primitives, self.dsp, pins=top != self.top)

    @classmethod
    def of(cls, build: Build) -> "Circuit":
        """The design in a build folder, as its files are now."""
        paths = [build.verilog, *([build.primitives] if build.primitives else [])]
        files = {path.name: path.read_bytes() for path in paths}
        roms = sorted(name for name in build.manifest["files"] if name.startswith("rom/"))
        files |= {name: (build.folder / name).read_bytes() for name in roms}
        plan = build.plan
        dsp = plan.lane_style.dsp or plan.requant_style.dsp or plan.product_style.dsp
        return cls(files, plan.config.device, plan.config.top, dsp, _figures(plan, build.digest))

    def facts(self) -> bytes:
        """All but the files, as JSON; :meth:`from_facts` reads it."""
        values = asdict(self)
        del values["files"]
        return (json.dumps(values, indent=2) + "\n").encode()

    @classmethod
    def from_facts(cls, facts: bytes, files: Mapping[str, bytes]) -> "Circuit":
        return cls(files=files, **json.loads(facts))


def _figures(plan: Plan, digest: str) -> dict[str, Any]:
    network = plan.source
    return {
        "network": network.name,
        "device": plan.config.device,
        "lanes": plan.config.lanes,
        "weight_bits": plan.widths.weight,
        "target_mhz": plan.config.target.target_mhz,
        "latency_cycles": plan.timing.latency_of(1),
        "interval_cycles": plan.timing.interval_of(1),
        "weights": network.weights,
        "kept": network.kept,
        "macs": network.macs,
        "dense_macs": sum(layer.dense_macs for layer in network.layers),
        "stored_bits_per_weight": stored_bits_per_weight(plan),
        "index_overhead": index_overhead(plan),
        "utilisation": utilisation(plan),
        "digest": digest,
    }
