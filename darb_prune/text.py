"""What comes from a file, made fit for a terminal."""

__all__ = ["MESSAGE_LENGTH", "NAME_LENGTH", "printable", "say"]

NAME_LENGTH, MESSAGE_LENGTH = 100, 2000
"""Most letters of a name, and of a line, that are shown."""


def printable(text: object, limit: int = NAME_LENGTH) -> str:
    """``text`` as a terminal can show it: in one line, of at most ``limit`` letters.

    Control characters, lone surrogates and what changes the direction of writing become escapes as in Python
    (``\\x1b``, ``\\ud800``). Of a long text the middle is left out. Markup of rich stays as it is: what prints it
    must take it as plain text (``rich.text.Text``).
    """
    letters = _shortened(str(text), limit)
    escaped = (letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in letters)
    return _shortened("".join(escaped), limit)


def say(text: str, style: str | None = None) -> None:
    """One line on stdout as it is: brackets in a path are no markup, and ``:Two:`` is no emoji."""
    from rich.console import Console
    from rich.text import Text

    Console().print(Text(printable(text, MESSAGE_LENGTH), style or ""), soft_wrap=True)


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - end - 3]}...{text[len(text) - end :]}"
