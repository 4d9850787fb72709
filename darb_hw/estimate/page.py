"""The page of a fit: errors on networks that it has not seen, block RAMs and DSP blocks against the plan, a picture."""

import io
from collections.abc import Sequence
from pathlib import Path

# Not pyplot: it would choose a window system.
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from darb_hw.estimate.fit import COVERED, Fit, HeldOut
from darb_hw.estimate.model import MODEL, Model
from darb_hw.estimate.sample import SAMPLES, Sample, samples_csv
from darb_prune.encoded import write_atomic

__all__ = ["PAGE", "PICTURE", "write_fit", "write_page"]

PAGE, PICTURE = "estimates.md", "estimates.png"
"""Names of the page and of its picture."""
_ERRORS = ("figure", "devices", "designs or runs", "networks", "median error", "90 % of errors up to", "interval")
_TITLES = {"luts": "LUT4", "ffs": "flip-flops", "fmax_mhz": "Fmax"}
_WORST = 8


def write_fit(fitted: Fit, folder: Path) -> None:
    """Write the samples and the model of a fit into a folder."""
    write_atomic(folder / SAMPLES, samples_csv(fitted.samples).encode())
    fitted.model.save(folder / MODEL)


def write_page(fitted: Fit, folder: Path, command: str) -> None:
    """Write ``estimates.md`` and ``estimates.png`` into a folder; ``command`` is what makes them again."""
    write_atomic(folder / PICTURE, _picture(fitted.held_out))
    write_atomic(folder / PAGE, _page(fitted, command).encode())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _error_rows(model: Model) -> list[tuple[object, ...]]:
    return [
        (
            _TITLES[row["figure"]], row["devices"], row["samples"], row["networks"], _percent(row["median_error"]),
            _percent(row["large_error"]), f"{_percent(row['low'] - 1)} to +{_percent(row['high'] - 1)}",
        )
        for row in model.errors()
    ]  # fmt: skip


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = (header, ["---"] * len(header), *rows)
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def _page(fitted: Fit, command: str) -> str:
    samples = fitted.samples
    networks = sorted({sample.network for sample in samples})
    placed = [sample for sample in samples if sample.fmax_mhz]
    worst = sorted(
        (abs(1 / one.ratio - 1), title, one) for name, title in _TITLES.items() for one in fitted.held_out[name]
    )[: -_WORST - 1 : -1]
    return f"""# Estimates against synthesis

Made by `{command}`. How estimates come about: [docs/estimates.md](../estimates.md).

{len(samples)} designs of {len(networks)} networks went through Yosys, and {
        len(placed)
    } of them through place and route.
Errors are those of networks that the fit has not seen: each network is left out once, and estimated from the others. An
error is |estimated / measured - 1|. Of designs of other networks, {
        100 * COVERED:.0f} % are within the interval, as far as
these here are like them.

{_table(_ERRORS, _error_rows(fitted.model))}
Fmax is compared run by run: the spread of seeds is in its errors.

## Block RAMs and DSP blocks

They follow from the plan alone, without a fit.

{_exact(samples)}
{_different(samples)}
## Estimated against measured

![Estimated against measured, each network left out once]({PICTURE})

The largest errors:

{
        _table(
            ("figure", "network", "device", "lanes", "measured", "estimated", "error"),
            [
                (
                    title,
                    one.sample.network,
                    one.sample.device,
                    one.sample.lanes,
                    f"{one.measured:,.5g}",
                    f"{one.estimated:,.5g}",
                    _percent(error),
                )
                for error, title, one in worst
            ],
        )
    }
Networks: {", ".join(networks)}.
"""


def _exact(samples: Sequence[Sample]) -> str:
    rows = []
    for title, name in (("block RAMs", "block_rams"), ("DSP blocks", "dsps")):
        for family in sorted({sample.family for sample in samples}):
            own = [sample for sample in samples if sample.family == family]
            alike = sum(getattr(sample, name) == getattr(sample, f"planned_{name}") for sample in own)
            off = max(abs(getattr(sample, name) - getattr(sample, f"planned_{name}")) for sample in own)
            rows.append((title, family, len(own), f"{alike} ({_percent(alike / len(own))})", off))
    return _table(("figure", "devices", "designs", "exact", "off by at most"), rows)


def _different(samples: Sequence[Sample]) -> str:
    """The designs of which synthesis makes something else than the plan says."""
    rows = [
        (sample.network, sample.device, sample.lanes, f"{sample.block_rams}, {sample.dsps}",
         f"{sample.planned_block_rams}, {sample.planned_dsps}")
        for sample in samples
        if (sample.block_rams, sample.dsps) != (sample.planned_block_rams, sample.planned_dsps)
    ]  # fmt: skip
    if not rows:
        return ""
    header = ("network", "device", "lanes", "block RAMs, DSP blocks", "of the plan")
    return f"Where synthesis takes another number:\n\n{_table(header, rows)}\n"


def _picture(held_out: dict[str, list[HeldOut]]) -> bytes:
    """Estimated against measured, a panel a figure and a colour a device."""
    picture = Picture(figsize=(12, 4.2), layout="constrained")
    FigureCanvasAgg(picture)
    devices = sorted({one.sample.device for of in held_out.values() for one in of})
    panels: list[Axes] = list(picture.subplots(1, len(_TITLES)))
    for axes, (name, title) in zip(panels, _TITLES.items(), strict=True):
        points = held_out[name]
        for number, device in enumerate(devices):
            own = [one for one in points if one.sample.device == device]
            style = {"s": 16, "alpha": 0.75, "color": f"C{number}", "label": device}
            axes.scatter([one.measured for one in own], [one.estimated for one in own], **style)
        ends = [bound(min(one.measured, one.estimated) if bound is min else max(one.measured, one.estimated)
                      for one in points) for bound in (min, max)]  # fmt: skip
        axes.plot(ends, ends, color="0.5", linewidth=1)
        axes.set(xscale="log", yscale="log", title=title, xlabel="measured", ylabel="estimated, network left out")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.25)
    panels[0].legend(fontsize=8)
    image = io.BytesIO()
    picture.savefig(image, format="png", dpi=110)
    return image.getvalue()
