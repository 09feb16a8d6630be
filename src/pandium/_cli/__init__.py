"""The command `pandium-api`: what it needs beyond the client is loaded when it is run."""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["main"]

_EXTRAS = {
    "cyclopts": "cli",
    "rich": "cli",
    "fastapi": "demo",
    "jsonschema": "demo",
    "uvicorn": "demo",
}
_INTERRUPTED = 130  # what shells report for a command that SIGINT ended


def main() -> int:
    """Run the command line, and give the exit code."""
    try:
        return int(import_module("pandium._cli._app").run(sys.argv[1:]))
    except ModuleNotFoundError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _refuse(error: ModuleNotFoundError) -> int:
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRAS:
        raise error
    extra = "demo" if sys.argv[1:2] == ["demo"] else _EXTRAS[module]
    sys.stderr.write(f'pandium-api needs {module}: pip install "pandium[{extra}]"\n')
    return 1
