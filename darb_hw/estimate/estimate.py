"""What an engine will take and how fast it will be, before any tool runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.estimate.features import features_of
from darb_hw.estimate.model import Between, Model
from darb_hw.estimate.sample import planned
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import fitting_plan
from darb_prune.encoded import EncodedNetwork

__all__ = ["Estimate", "NoPlan", "estimate", "estimates"]


@dataclass(frozen=True)
class Estimate:
    """What synthesis is expected to say of an engine.

    Parameters
    ----------
    network, device : str
    lanes : int
    latency_cycles, interval_cycles : int
        Exact: of one inference, and from one to the next.
    block_rams, dsps : int
        From the plan alone.
    luts, ffs, logic_cells : Between
        As in :class:`~darb_hw.synthesis.report.SynthReport`.
    fmax_mhz : Between
    fits : str
        ``"yes"`` if the whole interval fits the device, ``"no"`` if none of it does, else ``"perhaps"``.
    """

    network: str
    device: str
    lanes: int
    latency_cycles: int
    interval_cycles: int
    block_rams: int
    dsps: int
    luts: Between
    ffs: Between
    logic_cells: Between
    fmax_mhz: Between
    fits: str

    @property
    def inferences_per_second(self) -> Between:
        """Back to back."""
        return self.fmax_mhz.times(1e6 / self.interval_cycles)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"inferences_per_second": asdict(self.inferences_per_second)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Estimate":
        """The inverse of :meth:`as_dict`, also after a trip through JSON."""
        made: dict[str, Any] = {field.name: values[field.name] for field in fields(cls)}
        made |= {name: Between(**value) for name, value in made.items() if isinstance(value, dict)}
        return cls(**made)


@dataclass(frozen=True)
class NoPlan:
    """A configuration that no plan can be made of, and why."""

    device: str
    lanes: int
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def estimate(plan: Plan, model: Model) -> Estimate:
    """The estimate of an engine."""
    device, features = plan.config.target, features_of(plan)
    luts, ffs = (model.area(name, device.family, features) for name in ("luts", "ffs"))
    cells = model.logic_cells(device.family, luts, ffs)
    block_rams, dsps = planned(plan)
    need = [cells, luts, ffs]
    beyond = block_rams > device.block_rams or dsps > device.dsps or any(used.low > device.luts for used in need)
    fits = "no" if beyond else "yes" if all(used.high <= device.luts for used in need) else "perhaps"
    return Estimate(
        plan.source.name, device.name, plan.config.lanes, plan.timing.latency_of(1), plan.timing.interval_of(1),
        block_rams, dsps, luts, ffs, cells, model.clock(device.name, features, luts.value), fits,
    )  # fmt: skip


def estimates(
    network: EncodedNetwork, config: EngineConfig, devices: Iterable[str], lanes: Sequence[int], model: Model
) -> Iterator[Estimate | NoPlan]:
    """Estimates of a network on all devices with all numbers of lanes; other choices are those of ``config``.

    Raises
    ------
    DarbError
        If there is no such device, the model has none, or a number of lanes is not possible.
    """
    for device in devices:
        for count in lanes:
            chosen = replace(config, device=device, lanes=count)
            model.check(device)
            try:
                yield estimate(fitting_plan(network, chosen), model)
            except PlanError as error:
                yield NoPlan(device, count, str(error))
