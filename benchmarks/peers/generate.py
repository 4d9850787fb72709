"""Runs a generator in a process of its own, so that it can be stopped: see ``--help``; writes ``generated.json``."""

import argparse
import json
import warnings
from pathlib import Path

from benchmarks.peers import alkaid_peer, nngen_peer
from benchmarks.peers.dense import layers_of
from darb_prune.encoded import EncodedNetwork


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", type=Path, help="a .darb file")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tool", choices=("alkaid", "nngen"), required=True)
    parser.add_argument("--samples", type=int, default=100, help="inputs of the bench")
    parser.add_argument("--cutoff", type=float, help="alkaid: greatest delay between registers, adders")
    parser.add_argument("--sums", action="store_true", help="alkaid: without requantisation")
    parser.add_argument("--left", type=int, help="nngen: columns computed at once")
    parser.add_argument("--right", type=int, help="nngen: rows computed at once")
    given = parser.parse_args()
    layers = layers_of(EncodedNetwork.load(given.network))
    if given.tool == "alkaid":
        design = alkaid_peer.generate(layers, given.folder, given.cutoff, not given.sums, given.samples)
    else:
        design = nngen_peer.generate(layers, given.folder, given.left, given.right, given.samples)
    (given.folder / "generated.json").write_text(json.dumps(design))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # those of the peers
    main()
