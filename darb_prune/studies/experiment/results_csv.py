"""The runs of an experiment as CSV, and back."""

import csv
import io
from pathlib import Path
from typing import Any

from darb_prune.studies.experiment.results import ExperimentResults, variant_of
from darb_prune.studies.experiment.spec import DENSE

__all__ = ["COLUMNS", "read_csv", "results_csv"]

COLUMNS: tuple[str, ...] = (
    "task", "method", "label", "size", "weight_bits", "seed", "asked", "state", "ratio", "weights", "kept",
    "stored_bits", "bits_per_weight", "validation", "test", "loss_over_dense", "kept_share_of_layers", "seconds",
    "reason",
)  # fmt: skip


def results_csv(results: ExperimentResults) -> str:
    """A line a run."""
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    rows.writeheader()
    for record in results.records:
        rows.writerow(_row(results, record))
    return text.getvalue()


def _row(results: ExperimentResults, record: dict) -> dict[str, Any]:
    row = {name: record[name] for name in ("method", "weight_bits", "seed", "state", "seconds")}
    row |= {"task": results.task.name, "label": variant_of(record).label(results.experiment)}
    row |= {"size": f"{record['size']:g}", "asked": "" if record["asked"] is None else f"{record['asked']:g}"}
    if record["state"] != "done":
        return row | {"reason": record["reason"]}
    row |= {"weights": record["weights"], "kept": record["kept"], "stored_bits": record["bits"]}
    row |= {"ratio": f"{record['ratio']:.4f}", "bits_per_weight": f"{record['bits'] / record['weights']:.5f}"}
    row |= {split: f"{record['values'][split]:.6f}" for split in ("validation", "test")}
    row["kept_share_of_layers"] = " ".join(f"{name}={share:.4f}" for name, share in record["layers"].items())
    if (results.reference(DENSE), None, record["seed"]) in results.done:
        row["loss_over_dense"] = f"{results.loss(record):.6f}"
    return row


def read_csv(path: Path) -> list[dict]:
    """The records of :func:`results_csv`, as far as a table has them: those of runs that were done."""
    with path.open(newline="") as file:
        return [_record(row) for row in csv.DictReader(file) if row["state"] == "done"]


def _record(row: dict[str, str]) -> dict:
    return {
        "method": row["method"], "size": float(row["size"]), "weight_bits": int(row["weight_bits"]),
        "seed": int(row["seed"]), "asked": float(row["asked"]) if row["asked"] else None, "state": "done",
        "ratio": float(row["ratio"]), "weights": int(row["weights"]), "kept": int(float(row["kept"])),
        "bits": int(float(row["stored_bits"])), "seconds": float(row["seconds"]),
        "values": {split: float(row[split]) for split in ("validation", "test")},
    }  # fmt: skip
