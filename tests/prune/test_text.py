"""What comes from a file, made fit for a terminal."""

import pytest
from rich.console import Console
from rich.text import Text

from darb_prune.text import printable, say


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layer1.0.conv", "layer1.0.conv"),
        ("größe 4", "größe 4"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\ud800", "\\ud800"),
        ("\u202eback", "\\u202eback"),
        ("C:\\net", "C:\\net"),
        (3, "3"),
        ("", ""),
    ],
)
def test_what_a_terminal_cannot_show_is_escaped(text, shown):
    assert printable(text) == shown
    printable(text).encode()


def test_the_middle_of_a_long_text_is_left_out():
    assert printable("abcdefghijkl", 12) == "abcdefghijkl"
    assert printable("abcdefghijklm", 12) == "abcde...jklm"
    assert len(printable("\x1b" * 10_000_000)) == 100


@pytest.mark.parametrize("name", ["[/]", "[bold]", "a[/red]b", "back\\", "\\[/]", "[link=x]"])
def test_markup_is_shown_as_it_is(name):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(Text(printable(name)))
    assert capture.get() == f"{name}\n"


@pytest.mark.parametrize("text", ["net.py:Two: 1 problem", "[/] [bold]x", "\\[x] 12"])
def test_a_line_is_said_as_it_is(capsys, text):
    say(text)
    assert capsys.readouterr().out == f"{text}\n"
