"""Builds with one thing wrong in their Verilog."""

import hashlib
import json
from pathlib import Path

from darb_hw.emit import Build, manifest_bytes

__all__ = ["altered"]


def altered(folder: Path, right: str, wrong: str) -> Build:
    """The build in ``folder``, with ``wrong`` in place of ``right`` and a manifest that knows of it."""
    path = Build.load(folder).verilog
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest))
    return Build.load(folder)
