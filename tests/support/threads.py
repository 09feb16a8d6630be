"""Processes that cannot start any more threads."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# More than an event loop keeps for later use.
_MANY = 30


@contextmanager
def no_more_threads(allowed: str = "") -> Iterator[None]:
    """Prevent the process from starting threads, except those with a given name."""
    start = threading.Thread.start

    def start_or_fail(thread: threading.Thread) -> None:
        if thread.name != allowed:
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_or_fail)
        yield


@asynccontextmanager
async def no_threads_at_all(allowed: str = "") -> AsyncIterator[None]:
    """
    Do the same, and occupy the idle threads that the event loop would use instead.

    Use `anyio.run`. With the test runner of anyio, the event loop of trio itself needs threads.
    """
    release, occupied = threading.Event(), anyio.Semaphore(0)

    def occupy() -> None:
        anyio.from_thread.run_sync(occupied.release)
        release.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(_MANY):
            tasks.start_soon(anyio.to_thread.run_sync, occupy)
        for _ in range(_MANY):
            await occupied.acquire()
        try:
            with no_more_threads(allowed):
                yield
        finally:
            release.set()
