"""Which block of a layout is which block RAM of the netlist, from what nextpnr says of its placement."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["BLOCKS", "FAMILIES", "blocks_of"]

BLOCKS = "blocks.json"
"""Where :func:`blocks_of` is kept."""
_KINDS = {"ice40": "ICESTORM_RAM", "ecp5": "DP16KD"}
FAMILIES = tuple(_KINDS)
"""Those of which it is known."""


def blocks_of(family: str, placed: bytes) -> dict[str, str]:
    """Names of the cells that are block RAMs, and what the layout calls the contents of each.

    Parameters
    ----------
    family : str
        ``"ice40"``: contents are called by the tile, ``"8 3"``. ``"ecp5"``: by a number, ``"4"``.
    placed : bytes
        What ``nextpnr --write`` has written.
    """
    module = next(iter(json.loads(placed)["modules"].values()))
    cells = {name: cell["attributes"] for name, cell in module["cells"].items() if cell["type"] == _KINDS[family]}
    return {name: _called(family, attributes) for name, attributes in sorted(cells.items())}


def _called(family: str, attributes: Mapping[str, Any]) -> str:
    if family == "ecp5":
        return str(int(attributes["WID"], 2))
    x, y, _ = attributes["NEXTPNR_BEL"].split("/")
    return f"{x.removeprefix('X')} {y.removeprefix('Y')}"
