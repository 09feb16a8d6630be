"""Shorten the log of a run."""

from __future__ import annotations

__all__ = ["shorten_log"]

_MAX_LINES = 100
_MAX_CHARACTERS = 16 * 1024
# Only this much of a log of megabytes is split into lines. A line break counts as one character and
# has at most two, so this always contains the lines that are kept.
_SPLIT = 3 * _MAX_CHARACTERS


def shorten_log(log: str, max_lines: int = _MAX_LINES) -> tuple[str, int]:
    """
    Return the end of a log, which usually contains the error.

    :param log: the log.
    :param max_lines: the maximum number of lines. There is also a maximum number of characters.
    :returns: the last lines, and the number of lines that were omitted. If the last line alone is
        too long, its end.
    """
    start = max(len(log) - _SPLIT, 0)
    lines = log[start:].splitlines()
    preceding = log.count("\n", 0, start)
    kept: list[str] = []
    characters = 0
    for line in reversed(lines[-max_lines:]):
        characters += len(line) + 1
        if characters > _MAX_CHARACTERS:
            break
        kept.insert(0, line)
    if lines and not kept:
        return f"…{lines[-1][-_MAX_CHARACTERS:]}", preceding + len(lines) - 1
    return "\n".join(kept), preceding + len(lines) - len(kept)
