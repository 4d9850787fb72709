"""The page as one HTML file: plotly.js, its own style and script, and the data as JSON. It loads nothing."""

import base64
import hashlib
import html
import json
from importlib.resources import files
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

__all__ = ["page_bytes"]

_SCRIPTS = ("elements.js", "plots.js", "point.js", "table.js", "filters.js", "main.js")
"""In the order in which they are joined."""


def page_bytes(contents: dict[str, Any]) -> bytes:
    """The text of the page.

    Parameters
    ----------
    contents : dict
        See :func:`~darb_hw.sweep.page.contents.page_contents`. No text of it becomes markup: it is one block of JSON
        without ``<``, which the script puts into the page as text. A browser runs the two scripts of the page and no
        other one, since the page names their digests.

    Returns
    -------
    bytes
        UTF-8.
    """
    plotly = get_plotlyjs()
    script = '"use strict";\n' + "\n".join(_text(name) for name in _SCRIPTS)
    data = json.dumps(contents, allow_nan=False, separators=(",", ":"))
    page = Template(_text("page.html")).substitute(
        title=html.escape(contents["name"]),
        digests=f"{_digest(plotly)} {_digest(script)}",
        style=_text("page.css"),
        data=data.replace("<", "\\u003c"),
        plotly=plotly,
        script=script,
    )
    return page.encode()


def _text(name: str) -> str:
    return (files("darb_hw.sweep.page") / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """A source of scripts for a Content-Security-Policy: this text and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
