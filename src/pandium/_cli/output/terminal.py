"""Detect terminal capabilities and escape text that would control the terminal."""

from __future__ import annotations

import os
import re
import select
import shutil
import string
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO, TextIO

    from rich.console import Console

__all__ = [
    "can_animate",
    "can_draw",
    "escape_controls",
    "is_blocked",
    "note",
    "terminal_width",
    "wait_until_writable",
    "write_block",
]

# Terminals disagree on the width of characters that modify their neighbors: joiners, variation
# selectors, skin tones, tags, and the letter pairs that form flags.
_AMBIGUOUS_WIDTH = re.compile(
    "[\u200c\u200d\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
)
# A byte of a file name that is not UTF-8, as in the `repr` of the name.
_UNDECODED_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")
_WRITABLE_INTERVAL = 0.1  # seconds
_FLAG_LETTERS = {0x1F1E6 + index: letter for index, letter in enumerate(string.ascii_uppercase)}


def can_draw(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal that supports colors and cursor movement."""
    # rich treats both of these as terminals without capabilities.
    is_dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    is_plain = bool(os.environ.get("NO_COLOR")) or is_dumb
    return stream.isatty() and not is_plain


def can_animate(console: Console) -> bool:
    """Return whether rich redraws its output, as variables such as TTY_INTERACTIVE determine."""
    is_live = console.is_terminal and console.is_interactive and console.width > 0
    return is_live and can_draw(console.file)


def terminal_width(stream: TextIO) -> int | None:
    """Return the terminal width in columns, or ``None`` for a file or pipe."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def escape_controls(text: str, keep: str = "") -> str:
    r"""
    Replace characters that would affect a terminal with escapes such as ``\x1b``.

    This covers control characters, bidirectional marks, bytes of a file name that are not UTF-8 and
    all other unprintable code points.
    Characters that make the text width ambiguous are removed. A flag is replaced with its
    two-letter country code.

    :param text: the text to escape.
    :param keep: the control characters to keep, such as ``"\n"``.
    """
    if not text.isascii():
        text = _AMBIGUOUS_WIDTH.sub("", text).translate(_FLAG_LETTERS)
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(character) & 0xFF:02x}"
    is_space = unicodedata.category(character) == "Zs"
    return " " if is_space else character.encode("unicode_escape").decode()


def note(message: str) -> None:
    """
    Print a one-line message to standard error.

    Errors are ignored, because there is nowhere else to report them.
    """
    line = _UNDECODED_BYTE.sub(r"\\x\1", escape_controls(" ".join(message.splitlines())))
    with suppress(OSError):
        sys.stderr.write(f"pandium-api: {line}\n")
        sys.stderr.flush()


def is_blocked(stream: TextIO) -> bool:
    """Return whether a write would block because nobody reads the output."""
    try:
        return not select.select([], [stream], [], 0)[1]
    except (OSError, ValueError):  # not a file, or on Windows, where this requires a socket
        return False


async def wait_until_writable(stream: TextIO) -> None:
    """
    Wait until a line can be written without blocking the event loop.

    While the loop is blocked, for example by a pager that does not read or by Ctrl-S, requests
    exceed their time limits although they have been answered. A line of more than 4,096 bytes may
    still block.
    """
    import anyio

    while is_blocked(stream):  # noqa: ASYNC110 - anyio.wait_writable accepts one task per stream
        await anyio.sleep(_WRITABLE_INTERVAL)


def write_block(text: str) -> None:
    """
    Print a block of text to standard error, with control characters escaped.

    Errors are ignored, because there is nowhere else to report them.
    """
    with suppress(OSError):
        sys.stderr.write(escape_controls(text, keep="\n\t") + "\n")
        sys.stderr.flush()
