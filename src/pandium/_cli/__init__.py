"""The command `pandium-api`: what it needs beyond the client is loaded when it is run."""

from __future__ import annotations

import os
import sys
from importlib import import_module

__all__ = ["main"]

_EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "fastapi": "emulator",
    "jsonschema": "emulator",
    "uvicorn": "emulator",
}
_CONFIGURATION = 3
# What shells report for a command that SIGINT or SIGPIPE ended.
_INTERRUPTED, _NO_READER = 130, 141


def main() -> int:
    """Run the command line, and give the exit code."""
    try:
        code = int(import_module("pandium._cli._app").run(sys.argv[1:]))
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # What is still in the buffer would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    return code


def _refuse(error: ModuleNotFoundError) -> int:
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRAS:
        raise error
    extra = "demo" if sys.argv[1:2] == ["demo"] else _EXTRAS[module]
    sys.stderr.write(f'pandium-api needs {module}: pip install "pandium[{extra}]"\n')
    return _CONFIGURATION
