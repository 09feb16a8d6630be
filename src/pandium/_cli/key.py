"""Find the API key where no other user of the machine can read it."""

from __future__ import annotations

import getpass
import os
import stat
import sys

from pandium.errors import ConfigurationError

__all__ = ["find_key"]

# Windows has no such modes.
_OTHERS = stat.S_IRWXG | stat.S_IRWXO if os.name == "posix" else 0
_LONGEST = 65_536


def find_key(path: str | None) -> str | None:
    """
    Give the key of a file or of a prompt; ``None`` where the environment has it.

    :raises ConfigurationError: if there is none, or if others can read the file.
    """
    if path is not None:
        return _read(path)
    if os.environ.get("PANDIUM_API_KEY", "").strip():
        return None
    if sys.stdin.isatty():
        return _ask()
    raise ConfigurationError("no API key: set PANDIUM_API_KEY, or name a file with --key-file")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - the mode is that of what is open
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise ConfigurationError(
                    f"the key file {path} can be read by others: its mode is {mode:04o};"
                    f" say chmod 600"
                )
            key = file.read(_LONGEST).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationError(f"the key file {path} cannot be read: {reason}") from None
    if not key:
        raise ConfigurationError(f"the key file {path} is empty")
    if len(key.splitlines()) > 1:
        raise ConfigurationError(f"the key file {path} has more than one line")
    return key


def _ask() -> str:
    try:
        key = getpass.getpass("Pandium API key: ").strip()
    except EOFError:
        key = ""
    if not key:
        raise ConfigurationError("no API key was given")
    return key
