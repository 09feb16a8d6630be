"""Draw the screen of a terminal as an SVG picture."""

from __future__ import annotations

import io
import re
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.style import Style
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyte.screens import Char

    from support.cli import Screen

_HEX = re.compile(r"[0-9a-f]{6}")
# rich refers to a font on another host, which pages of the documentation must not load.
_FONT_FACES = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def draw(screen: Screen, title: str) -> str:
    """Return a picture of a screen without the empty lines at its end."""
    console = Console(record=True, width=screen.columns, file=io.StringIO())
    console.print(Text("\n").join(map(_line, screen.characters[: _used(screen)])))
    return _FONT_FACES.sub("", console.export_svg(title=title, unique_id="terminal"))


def _used(screen: Screen) -> int:
    return max(number for number, row in enumerate(screen.rows, 1) if row)


def _line(characters: Iterable[Char]) -> Text:
    line = Text()
    for style, group in groupby(characters, _style):
        line.append("".join(character.data for character in group), style)
    return line


def _style(character: Char) -> Style:
    return Style(color=_color(character.fg), bold=character.bold)


def _color(name: str) -> str | None:
    """Return rich's name for a color of pyte."""
    if _HEX.fullmatch(name):
        return f"#{name}"
    names = {"default": None, "brown": "yellow"}
    return names.get(name, name.replace("bright", "bright_"))
