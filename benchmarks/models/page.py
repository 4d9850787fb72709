"""Writes docs/results/models.md from the measurements of ``measure.py``."""

from pathlib import Path

from darb_prune.encoded import write_atomic
from darb_prune.studies.markdown import table

__all__ = ["failed", "verdict", "write"]


def failed(result: dict) -> bool:
    """Whether something is not as it has to be."""
    return "wrong" in result or result["engine"]["mismatch"] is not None


def verdict(result: dict) -> str:
    """What became of a model, in a line."""
    if "wrong" in result:
        return result["wrong"]
    if result["engine"]["mismatch"]:
        return f"not exact: {result['engine']['mismatch']}"
    return f"refused ({'; '.join(result['problems'])}), mended exact" if result["mended"] else "exact"


def _engines(results: dict[str, dict]) -> str:
    rows = []
    for name, result in results.items():
        engine = result["engine"]
        figures = f"{engine['weights']:,}", f"{engine['kept']:,}", f"{engine['cycles']:,}", f"{engine['distance']:.3f}"
        rows.append([name, result["kind"], "exact" if engine["mismatch"] is None else engine["mismatch"], *figures])
    return table(["model", "kind", "Verilog", "weights", "kept", "cycles", "distance"], rows, left=3)


def _refused(results: dict[str, dict]) -> str:
    rows = []
    for name, result in results.items():
        said = "<br>".join(problem.replace("|", "\\|") for problem in result["problems"])
        rows.append([name, result["kind"], said, "exact"])
    return table(["model", "kind", "what `darb check` says", "mended, Verilog"], rows, left=4)


def write(results: dict[str, dict], path: Path) -> None:
    """Write the page of all models."""
    accepted = {name: result for name, result in results.items() if "engine" in result and not result["mended"]}
    mended = {name: result for name, result in results.items() if result["mended"]}
    wrong = {name: result for name, result in results.items() if "wrong" in result}
    failures = "\n".join(f"- {name}: {verdict(result)}" for name, result in wrong.items())
    text = f"""# Models people bring

`make models` ({len(results)} models; some minutes). Models with random weights, and norms with statistics as after
training, none of which the project was made for. Each is checked, pruned one shot to half of its weights, quantised to
8 bits, encoded, generated with 4 lanes, and simulated on Verilator: every output of 8 inputs, and every cycle count.
`python -m benchmarks.models resnet` for some of them.

## Accepted: {len(accepted)}

Distance: root mean square of what the integers are off from the pruned model in floats, over that of its outputs. It
says little about a trained network: outputs of random weights are small differences of large numbers.

{_engines(accepted)}

## Refused: {len(mended)}

What stands in the way is said before any training. Behind it: the model with what the remedy asks for.

{_refused(mended)}
"""
    if wrong:
        text += f"\n## Wrong: {len(wrong)}\n\n{failures}\n"
    write_atomic(path, text.encode())
