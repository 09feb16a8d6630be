"""Wait in a test for something that another thread or process does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_asleep", "wait_until"]

_PATIENCE = 60.0  # seconds


def is_asleep(process: int | str, thread: int | None = None) -> bool:
    """Return whether a process or one of its threads waits. Requires Linux."""
    task = f"/task/{thread}" if thread is not None else ""
    status = Path(f"/proc/{process}{task}/stat").read_text(encoding="ascii")
    return status.rpartition(")")[2].split()[0] == "S"


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true, and fail if that takes too long."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.005)
