"""Tables for pages of results."""

from collections.abc import Iterable, Sequence

__all__ = ["table"]


def table(header: Sequence[str], rows: Iterable[Sequence], left: int | None = None) -> str:
    """A Markdown table, ended by a line break.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequences
        Cells are written as ``str`` does; bars in them are escaped.
    left : int, optional
        So many columns to the left, as text is, the others to the right; all to the left if not given.
    """
    left = len(header) if left is None else left
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in (header, *rows))
    lines = ["| " + " | ".join(line) + " |\n" for line in cells]
    return "".join([lines[0], "| " + " | ".join(rule) + " |\n", *lines[1:]])
