"""Read the API key from a private file or a prompt, so that other users cannot see it."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path

from pandium.errors import ConfigurationError

__all__ = ["find_key"]

# On Windows, files have no permission bits for groups and others.
_ACCESS_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO if os.name == "posix" else 0
# Kubernetes mounts the files of a secret with this mode if the container does not run as root.
_MOUNTED = stat.S_IRUSR | stat.S_IRGRP
_MAX_CHARACTERS = 65_536


def find_key(path: str | None, *, can_prompt: bool = True) -> str | None:
    """
    Return the API key from a file or a prompt, or ``None`` if ``PANDIUM_API_KEY`` is set.

    :param path: the path of the key file, or ``None`` if there is no key file.
    :param can_prompt: whether to prompt for the key on a terminal.
    :raises ConfigurationError: if there is no key, or if other users have access to the file.
    """
    if path is not None:
        return _read_file(path)
    if os.environ.get("PANDIUM_API_KEY", "").strip():
        return None
    if can_prompt and sys.stdin is not None and sys.stdin.isatty():
        return _prompt()
    raise ConfigurationError("no API key: set PANDIUM_API_KEY or specify a file with --key-file")


def _read_file(path: str) -> str:
    try:
        key = _read_private_text(path).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
        raise ConfigurationError(f"cannot read the key file {path}: {reason}") from None
    if not key:
        raise ConfigurationError(f"the key file {path} is empty")
    if len(key.splitlines()) > 1:
        raise ConfigurationError(f"the key file {path} must contain only the key, on one line")
    return key


def _read_private_text(path: str) -> str:
    with Path(path).open(encoding="utf-8-sig") as file:  # Windows editors add a byte order mark
        # Check the open file, because the file at this path can be replaced at any time.
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & _ACCESS_BY_OTHERS and mode != _MOUNTED:
            raise ConfigurationError(
                f"other users have access to the key file {path} (mode {mode:04o}):"
                f" run chmod 600 on it"
            )
        return file.read(_MAX_CHARACTERS)


def _prompt() -> str:
    try:
        key = getpass.getpass("Pandium API key: ").strip()
    except EOFError:
        key = ""
    if not key:
        raise ConfigurationError("no API key was entered")
    return key
