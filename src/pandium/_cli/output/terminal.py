"""Know what a terminal can draw, and show it nothing that acts on it."""

from __future__ import annotations

import os
import re
import shutil
import string
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["can_draw", "note", "visible", "width_of"]

# Terminals do not agree on the width of what these make of their neighbours: joiners, variation
# selectors, colours of skin, tags, and the letters that are flags in pairs.
_UNSURE = re.compile("[\u200c\u200d\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
_FLAGS = {0x1F1E6 + index: letter for index, letter in enumerate(string.ascii_uppercase)}


def can_draw(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that may get colours, bars and cursor movements."""
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not is_plain


def width_of(stream: TextIO) -> int | None:
    """Give the columns of a terminal; a file or a pipe has no such limit."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def visible(text: str, keep: str = "") -> str:
    r"""
    Show what would act on a terminal as an escape such as ``\x1b``.

    That is control characters, marks that turn the direction of writing, and what is no
    character at all; ``keep`` has those that stay as they are.
    """
    if not text.isascii():
        text = _UNSURE.sub("", text).translate(_FLAGS)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else _shown(one) for one in text)


def _shown(one: str) -> str:
    is_space = unicodedata.category(one) == "Zs"
    return " " if is_space else one.encode("unicode_escape").decode()


def note(text: str) -> None:
    """Write one line to standard error, if that takes it: there is nowhere else to say so."""
    line = " ".join(text.splitlines())
    with suppress(OSError):
        sys.stderr.write(f"pandium-api: {visible(line)}\n")
        sys.stderr.flush()
