"""The runs of an experiment as CSV."""

import csv
import io

from darb_prune.studies.experiment.results import ExperimentResults, variant_of
from darb_prune.studies.experiment.spec import DENSE

__all__ = ["COLUMNS", "results_csv"]

COLUMNS = (
    "task", "method", "label", "size", "weight_bits", "seed", "asked", "state", "ratio",
    "weights", "kept", "stored_bits", "bits_per_weight",
    "validation", "test", "loss_over_dense", "kept_share_of_layers", "seconds", "reason",
)  # fmt: skip


def results_csv(results: ExperimentResults) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for record in results.records:
        label = variant_of(record).label(results.experiment)
        start = [
            results.task.name,
            record["method"],
            label,
            f"{record['size']:g}",
            record["weight_bits"],
            record["seed"],
        ]
        start += ["" if record["asked"] is None else f"{record['asked']:g}", record["state"]]
        if record["state"] == "done":
            dense = results.reference(DENSE), None, record["seed"]
            loss = f"{results.loss(record):.6f}" if dense in results.done else ""
            layers = " ".join(f"{name}={share:.4f}" for name, share in record["layers"].items())
            start += [
                f"{record['ratio']:.4f}",
                record["weights"],
                record["kept"],
                record["bits"],
                f"{record['bits'] / record['weights']:.5f}",
            ]
            start += [f"{record['values'][split]:.6f}" for split in ("validation", "test")]
            start += [loss, layers, record["seconds"], ""]
        else:
            start += [""] * 9 + [record["seconds"], record["reason"]]
        rows.writerow(start)
    return text.getvalue()
