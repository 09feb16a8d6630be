"""The clock that clients go by, which tests can replace."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["Clock", "RealClock", "create_clock", "use_clock"]

_NULL_CONTEXT = nullcontext()


class Clock(Protocol):
    """The clock that retries, rate limits and waits go by."""

    def now(self) -> float:
        """Return the monotonic time, in seconds since an arbitrary start."""
        ...

    def wall(self) -> datetime:
        """Return the current date and time, timezone-aware."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for a number of seconds."""
        ...

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Return a context manager that cancels its block after a number of seconds."""
        ...

    def waiting_for_io(self) -> AbstractContextManager[object]:
        """Return a context manager for network and file I/O. A test's clock stops meanwhile."""
        ...


class RealClock:
    """The event loop's clock, on asyncio and trio."""

    def now(self) -> float:
        """Return the event loop's time, in seconds."""
        return anyio.current_time()

    def wall(self) -> datetime:
        """Return the current date and time in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Sleep for a number of seconds."""
        await anyio.sleep(seconds)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a cancel scope that expires after a number of seconds."""
        return anyio.move_on_after(seconds)

    def waiting_for_io(self) -> AbstractContextManager[object]:
        """Return a context manager that does nothing, because real time never stops."""
        return _NULL_CONTEXT


_factories: list[Callable[[], Clock]] = [RealClock]


def create_clock() -> Clock:
    """Return a clock for a new client."""
    return _factories[-1]()


@contextmanager
def use_clock(clock: Clock) -> Iterator[None]:
    """Use this clock for every client that is created within the block. For tests."""

    def factory() -> Clock:
        return clock

    _factories.append(factory)
    try:
        yield
    finally:
        _factories.remove(factory)
