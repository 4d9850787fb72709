"""A synthesised design as a row to fit on: what the plan says of it, and what the tools measured."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from darb_hw.config import DEVICES
from darb_hw.emit import Build
from darb_hw.estimate.features import features_of
from darb_hw.estimate.memories import mapped
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import estimated_dsps
from darb_hw.store.store import Store
from darb_hw.synthesis import tools
from darb_hw.synthesis.circuit import Circuit
from darb_hw.synthesis.measurements import measurements
from darb_hw.synthesis.report import SynthReport
from darb_hw.synthesis.yosys import Synthesis, resources_of
from darb_prune.encoded import DarbError

__all__ = [
    "RESOURCES",
    "SAMPLES",
    "Sample",
    "joined",
    "planned",
    "read_samples",
    "sample_of_build",
    "samples_csv",
    "samples_of_store",
    "shipped_samples",
]

SAMPLES = "samples.csv"
"""Name of the file of samples."""
RESOURCES = ("luts", "ffs", "block_rams", "dsps")
_TEXTS = ("digest", "network", "device")
_WHOLE = ("lanes", "planned_block_rams", "planned_dsps", *RESOURCES, "logic_cells")
_REMEDY = "make it again with darb refit"


def planned(plan: Plan) -> tuple[int, int]:
    """Block RAMs and DSP blocks that an engine takes, from its plan alone."""
    return sum(memory.block_rams for memory in mapped(plan)), estimated_dsps(plan)


@dataclass(frozen=True)
class Sample:
    """What is known of a design.

    Parameters
    ----------
    digest : str
        Identity of the design (:attr:`darb_hw.emit.Build.digest`).
    network : str
        Name of its network: the error of a fit is that of networks which it has not seen.
    device : str
    lanes : int
    planned_block_rams, planned_dsps : int
        Of :func:`planned`.
    luts, ffs, block_rams, dsps : int
        What Yosys counted, as in :class:`~darb_hw.synthesis.report.SynthReport`.
    logic_cells : int
        What placement occupied; 0 if there was none.
    fmax_mhz : tuple of float
        The clocks that place and route gave, one a seed; empty if there was none.
    features : mapping of str to float
        Of :func:`~darb_hw.estimate.features.features_of`.
    """

    digest: str
    network: str
    device: str
    lanes: int
    planned_block_rams: int
    planned_dsps: int
    luts: int
    ffs: int
    block_rams: int
    dsps: int
    logic_cells: int
    fmax_mhz: tuple[float, ...]
    features: Mapping[str, float]

    @classmethod
    def of(
        cls, plan: Plan, digest: str, used: Mapping[str, int], logic_cells: int = 0, fmax_mhz: Sequence[float] = ()
    ) -> "Sample":
        """The sample of a plan and what was measured of it; ``used`` has a number for each of ``RESOURCES``."""
        block_rams, dsps = planned(plan)
        return cls(
            digest=digest, network=plan.source.name, device=plan.config.device, lanes=plan.config.lanes,
            planned_block_rams=block_rams, planned_dsps=dsps, luts=used["luts"], ffs=used["ffs"],
            block_rams=used["block_rams"], dsps=used["dsps"], logic_cells=logic_cells, fmax_mhz=tuple(fmax_mhz),
            features=features_of(plan),
        )  # fmt: skip

    @classmethod
    def of_report(cls, plan: Plan, report: SynthReport) -> "Sample":
        """The sample of a plan and the report of its synthesis, placement and routing."""
        used = {name: getattr(report, name).used for name in RESOURCES}
        clocks = [report.fmax_mhz[seed] for seed in sorted(report.fmax_mhz)]
        return cls.of(plan, report.digest, used, report.logic_cells.used, clocks)

    @property
    def family(self) -> str:
        return DEVICES[self.device].family


def sample_of_build(folder: Path, store: Store | None = None) -> Sample:
    """What is known of a build folder: from the report of ``darb synth``, or what a store has of Yosys alone.

    Parameters
    ----------
    folder : Path
    store : Store, optional
        ``$DARB_STORE``, or that of the user, if absent.

    Raises
    ------
    DarbError
        If it is no build, or was not synthesised as it is now.
    """
    build, path = Build.load(folder), folder / "synth" / "report.json"
    if path.is_file():
        report = SynthReport.load(path)
        if report.digest == build.digest:
            return Sample.of_report(build.plan, report)
    circuit = Circuit.of(build)
    job = Synthesis(circuit.files, circuit.script, tools.yosys().version, circuit.title)
    entry = (store or Store()).get(job.key)
    if entry is None or entry.failure:
        raise DarbError(f"{folder}: not synthesised as it is now: run darb synth on it first")
    return Sample.of(build.plan, build.digest, resources_of(circuit.target.family, entry.files["cells.json"]))


def samples_of_store(store: Store) -> tuple[list[Sample], int]:
    """What a store knows of designs that were placed and routed.

    Returns
    -------
    list of Sample
        Those of a design with the most seeds at the end, so that :func:`joined` takes these.
    int
        How many others there are: see :func:`~darb_hw.synthesis.measurements.measurements`.
    """
    samples, others = [], 0
    for measurement in measurements(store):
        try:
            if measurement is None:
                raise ValueError("no plan")
            report, plan = measurement
            samples.append(_checked(Sample.of_report(plan, report)))
        except (ValueError, TypeError):
            others += 1
    return sorted(samples, key=lambda sample: len(sample.fmax_mhz)), others


def joined(*groups: Iterable[Sample]) -> list[Sample]:
    """All samples in one order, each design once: the last one given of it."""
    samples = {sample.digest: sample for group in groups for sample in group}
    return sorted(samples.values(), key=lambda sample: (sample.network, sample.device, sample.lanes, sample.digest))


def samples_csv(samples: Iterable[Sample]) -> str:
    """A line a sample; a feature that a sample does not have is 0."""
    samples = list(samples)
    features = sorted({name for sample in samples for name in sample.features})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_TEXTS, *_WHOLE, "fmax_mhz", *features])
    for sample in samples:
        start = [getattr(sample, name) for name in (*_TEXTS, *_WHOLE)]
        clocks = " ".join(f"{mhz:g}" for mhz in sample.fmax_mhz)
        writer.writerow([*start, clocks, *(f"{sample.features.get(name, 0):.9g}" for name in features)])
    return text.getvalue()


def read_samples(path: Path) -> list[Sample]:
    """The inverse of :func:`samples_csv`.

    Raises
    ------
    DarbError
        If the file is no such table. It says which line.
    """
    try:
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode())))
    except (UnicodeDecodeError, csv.Error):
        raise DarbError(f"{path}: no table of samples; {_REMEDY}") from None
    samples = []
    for line, row in enumerate(rows[1:], 2):
        try:
            samples.append(_sample(dict(zip(rows[0], row, strict=True))))
        except (ValueError, KeyError):
            raise DarbError(f"{path}, line {line}: no sample; {_REMEDY}") from None
    if not samples:
        raise DarbError(f"{path}: no samples; {_REMEDY}")
    return samples


def shipped_samples() -> list[Sample]:
    """The samples that the model of this package is fitted on."""
    return read_samples(Path(__file__).with_name(SAMPLES))


def _sample(row: dict[str, str]) -> Sample:
    """A sample from the texts of a line. What is left of these are features."""
    digest, network, device = (row.pop(name) for name in _TEXTS)
    if device not in DEVICES:
        raise ValueError("no such device")
    whole = [int(row.pop(name)) for name in _WHOLE]
    fmax_mhz = tuple(float(mhz) for mhz in row.pop("fmax_mhz").split())
    features = {name: float(value) for name, value in row.items()}
    return _checked(Sample(digest, network, device, *whole, fmax_mhz=fmax_mhz, features=features))


def _checked(sample: Sample) -> Sample:
    """A sample whose numbers are some.

    Raises
    ------
    ValueError, TypeError
        If they are not.
    """
    numbers = [*(getattr(sample, name) for name in _WHOLE), *sample.fmax_mhz, *sample.features.values()]
    if not all(0 <= number < 1e12 for number in numbers):
        raise ValueError("not a finite number from 0 up")
    if not (sample.lanes and sample.luts and sample.ffs and all(sample.fmax_mhz)):
        raise ValueError("an engine of nothing, or a clock that stands still")
    return sample
