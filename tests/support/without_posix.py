"""Run a program in a child process for which this system looks as if it were not POSIX."""

from __future__ import annotations

import builtins
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import StrPath

TESTS = Path(__file__).parents[1]
# Windows lacks these modules, functions, constants and signals.
_MODULES = frozenset({"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"})
_OS_NAMES = {
    "O_CLOEXEC", "O_NONBLOCK", "fork", "geteuid", "getuid", "memfd_create", "mkfifo", "openpty",
    "pread", "register_at_fork", "seteuid", "setsid",
}  # fmt: skip
_SIGNALS = {"SIGCONT", "SIGHUP", "SIGKILL", "SIGSTOP"}
_PACKAGES = frozenset({"pandium", "pandium_api", "pandium_pytest"})


def run_without_posix(
    program: str, *arguments: StrPath, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program, in which this project's code cannot use what only POSIX systems have."""
    # A pytest that the program runs must not be affected by this one.
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-P", __file__, program, *arguments],
        capture_output=True,
        check=False,
        cwd=cwd,
        encoding="utf-8",
        env={**inherited, **variables},
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


def hide_posix() -> None:
    """
    Hide what Windows lacks from this project's code.

    Other packages can still use them, because their code for Windows would not run here.
    """
    reduced = {"os": _copy_without(os, _OS_NAMES), "signal": _copy_without(signal, _SIGNALS)}
    import_module = builtins.__import__

    def import_unless_hidden(
        name: str, variables: Mapping[str, Any] | None = None, *arguments: Any, **options: Any
    ) -> Any:
        if _is_ours(variables or {}):
            if name in _MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in reduced:
                return reduced[name]
        return import_module(name, variables, *arguments, **options)

    builtins.__import__ = import_unless_hidden  # type: ignore[assignment]  # passes them on


def _copy_without(module: ModuleType, names: set[str]) -> ModuleType:
    copy = ModuleType(module.__name__)
    vars(copy).update({name: value for name, value in vars(module).items() if name not in names})
    return copy


def _is_ours(variables: Mapping[str, Any]) -> bool:
    package = str(variables.get("__name__")).partition(".")[0]
    return package in _PACKAGES or TESTS in Path(str(variables.get("__file__"))).parents


if __name__ == "__main__":
    hide_posix()
    sys.argv.pop(0)
    exec(sys.argv[0], {"__name__": "program"})
