"""Runs the generator of a peer in a process of its own, so that it can be stopped; writes ``generated.json``."""

import json
import warnings
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.command import command
from benchmarks.peers import alkaid_peer, nngen_peer
from benchmarks.peers.dense import layers_of
from darb_prune.encoded import DarbError, EncodedNetwork


def main(
    network: Annotated[Path, typer.Argument(help="A .darb file.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the Verilog and its bench.")],
    tool: Annotated[str, typer.Option(help="alkaid or nngen.")],
    samples: Annotated[int, typer.Option(help="Inputs of the bench.")] = 100,
    cutoff: Annotated[float, typer.Option(help="alkaid: greatest delay between registers, in adders.")] = 2.0,
    sums: Annotated[bool, typer.Option("--sums", help="alkaid: without requantisation.")] = False,
    left: Annotated[int, typer.Option(help="nngen: columns computed at once.")] = 4,
    right: Annotated[int, typer.Option(help="nngen: rows computed at once.")] = 4,
) -> None:
    """Write the Verilog of a peer for a network.

    Example:

    [bold]python -m benchmarks.peers.generate build/my.darb build/alkaid --tool alkaid --cutoff 2[/bold]
    """
    layers = layers_of(EncodedNetwork.load(network))
    if tool == "alkaid":
        design = alkaid_peer.generate(layers, folder, cutoff, not sums, samples)
    elif tool == "nngen":
        design = nngen_peer.generate(layers, folder, left, right, samples)
    else:
        raise DarbError(f"--tool {tool}: choose from alkaid, nngen")
    (folder / "generated.json").write_text(json.dumps(design))


app = command(main)

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # those of the peers
    app()
