"""A table of variants by ratios."""

from collections.abc import Callable

from darb_prune.studies.experiment.results import ExperimentResults, mean, ratio_of, variant_of
from darb_prune.studies.markdown import table

__all__ = ["TOLERANCE", "grid"]

TOLERANCE = 0.05
"""A reached ratio this much off the one asked for is shown."""


def grid(
    results: ExperimentResults, cell: Callable[[list[dict]], str], reached: bool = False, without: str | None = None
) -> str:
    """Variants by ratios; ``cell`` writes the records of one variant and ratio."""
    failed = {(variant_of(record), record["asked"]) for record in results.failed}
    columns = results.ratios if without else results.asked
    rows = []
    for variant in results.variants:
        if variant.method == without:
            continue
        row = [variant.label(results.experiment)]
        for asked in columns:
            records = results.of(variant, asked)
            text = cell(records) if records else "failed" if (variant, asked) in failed else ""
            if records and reached and asked and abs(mean(records, ratio_of) / asked - 1) > TOLERANCE:
                text += f" ({mean(records, ratio_of):.1f}x)"
            if records and len(records) < len(results.experiment.seeds):
                text += f" [{len(records)} of {len(results.experiment.seeds)}]"
            row.append(text)
        rows.append(row)
    return table(("method", *("not pruned" if ratio is None else f"{ratio:g}x" for ratio in columns)), rows)
