"""Shorten the log of a run."""

from __future__ import annotations

__all__ = ["shorten_log"]

_MAX_LINES = 100
_MAX_CHARACTERS = 16 * 1024


def shorten_log(log: str, max_lines: int = _MAX_LINES) -> tuple[str, int]:
    """
    Return the end of a log, which usually contains the error.

    :param log: the log.
    :param max_lines: the maximum number of lines. There is also a maximum number of characters.
    :returns: the last lines, and the number of lines that were omitted. If the last line alone is
        too long, its end.
    """
    lines = log.splitlines()
    kept: list[str] = []
    characters = 0
    for line in reversed(lines[-max_lines:]):
        characters += len(line) + 1
        if characters > _MAX_CHARACTERS:
            break
        kept.insert(0, line)
    if lines and not kept:
        return f"…{lines[-1][-_MAX_CHARACTERS:]}", len(lines) - 1
    return "\n".join(kept), len(lines) - len(kept)
