"""The clock that clients use, which tests can replace."""

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
    """The clock for retries, rate limits and waits."""

    def now(self) -> float:
        """Return the monotonic time, in seconds since an arbitrary start."""
        ...

    def wall(self) -> datetime:
        """Return the current date and time as a timezone-aware datetime."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for the given number of seconds."""
        ...

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Return a context manager that cancels its block after the given number of seconds."""
        ...

    def waiting_for_io(self) -> AbstractContextManager[object]:
        """Return a context manager for I/O. A test clock does not advance inside it."""
        ...


class RealClock:
    """The clock of the asyncio or trio event loop."""

    def now(self) -> float:
        """Return the event loop's time, in seconds."""
        return anyio.current_time()

    def wall(self) -> datetime:
        """Return the current date and time in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Sleep for the given number of seconds."""
        await anyio.sleep(seconds)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a cancel scope that expires after the given number of seconds."""
        return anyio.move_on_after(seconds)

    def waiting_for_io(self) -> AbstractContextManager[object]:
        """Return a context manager that does nothing, because real time cannot be paused."""
        return _NULL_CONTEXT


_factories: list[Callable[[], Clock]] = [RealClock]


def create_clock() -> Clock:
    """Create the clock for a new client."""
    return _factories[-1]()


@contextmanager
def use_clock(clock: Clock) -> Iterator[None]:
    """Use a custom clock for every client created inside the block. Intended for tests."""

    def factory() -> Clock:
        return clock

    _factories.append(factory)
    try:
        yield
    finally:
        _factories.remove(factory)
