"""The measurements: rows by network and contender, in a JSON file."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.measure import TOOLS, Contender, Subject
from darb_prune.encoded import DarbError, write_atomic

__all__ = ["PeerResults"]


@dataclass
class PeerResults:
    """What was measured.

    Parameters
    ----------
    networks : dict of str to dict
        By name, the smallest first: ``weights``, ``kept``, ``shape``, and ``rows`` by contender, in the order of the
        tools.
    """

    networks: dict[str, dict] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "PeerResults":
        """From a file, empty if there is none.

        Raises
        ------
        DarbError
            If the file holds something else.
        """
        if not path.is_file():
            return cls()
        try:
            return cls(json.loads(path.read_text())["networks"])
        except (ValueError, KeyError, TypeError):
            raise DarbError(f"{path}: damaged; remove it, and everything is measured again") from None

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps({"networks": self.networks}, indent=2) + "\n").encode())

    def row(self, network: str, contender: str) -> dict | None:
        return self.networks.get(network, {}).get("rows", {}).get(contender)

    def put(self, subject: Subject, contender: Contender, row: dict) -> None:
        """Add a row, or replace one."""
        entry = self.networks.setdefault(subject.name, {"rows": {}})
        entry |= {
            "shape": [subject.layers[0].weight.shape[1], *(len(layer.bias) for layer in subject.layers)],
            "weights": sum(layer.weight.size for layer in subject.layers),
            "kept": subject.kept,
        }
        rows = entry["rows"] | {contender.name: {"tool": contender.tool} | row}
        entry["rows"] = dict(sorted(rows.items(), key=lambda item: TOOLS.index(item[1]["tool"])))
        self.networks = dict(sorted(self.networks.items(), key=lambda item: item[1]["kept"]))

    def obstacle(self, subject: Subject, contender: Contender) -> str | None:
        """Why ``contender`` need not try ``subject``: a network that keeps no more weights is too large."""
        for name, entry in self.networks.items():
            row = entry["rows"].get(contender.name, {})
            if name != subject.name and entry["kept"] <= subject.kept and row.get("too_large"):
                return f"not tried: {name}, no larger, {row['reason']}"
        return None
