"""Real networks through the generated Verilog; writes docs/results/networks/*.json and docs/results/networks.md.

    python -m benchmarks.networks [NAME ...]

All networks if none is named. Real data in $DARB_DATA (docs/tasks.md). What was trained, compiled or simulated before
is not done again: trained models are kept in runs/networks, builds in build/networks, and a measurement is made again
when its build is another. Exits with 1 if anything in a simulation differs from the oracle or the plan.
"""

import argparse
import subprocess
import sys

from rich.console import Console

from benchmarks.networks import page
from benchmarks.networks.measure import FOLDER, NETWORKS, measure
from darb_prune.encoded import DarbError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NETWORKS)}")
    names = parser.parse_args().names or list(NETWORKS)
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        parser.error(f"{unknown[0]}: choose from {', '.join(NETWORKS)}")
    console = Console()
    try:
        for name in names:
            found = measure(name, NETWORKS[name], console)
            elements, used = found["verilator"]["elements"], found["utilisation"]["whole"]
            console.print(f"{name}: {elements:,} elements of the output equal, utilisation {used:.3f}", highlight=False)
    except DarbError as error:
        parser.error(str(error))
    except subprocess.CalledProcessError as error:  # the command has said why
        sys.exit(error.returncode)
    page.write({name: FOLDER / f"{name}.json" for name in NETWORKS}, FOLDER.with_suffix(".md"))


if __name__ == "__main__":
    main()
