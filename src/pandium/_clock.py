"""Give the time and sleep: the seam by which a test drives the pauses of a client."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["Clock", "RealClock", "create_clock", "use_clock"]

_NOTHING = nullcontext()


class Clock(Protocol):
    """What retries and waiting ask for the time."""

    def now(self) -> float:
        """Give the seconds since some fixed instant."""
        ...

    def wall(self) -> datetime:
        """Give the date and time, aware."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once so many seconds are over."""
        ...

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Cancel what is within once so many seconds are over."""
        ...

    def waiting_for_io(self) -> AbstractContextManager[object]:
        """Mark what waits for a socket or a file: a driven clock stands still meanwhile."""
        ...


class RealClock:
    """The clock of the event loop, asyncio's or trio's."""

    def now(self) -> float:
        """Give the event loop's time in seconds."""
        return anyio.current_time()

    def wall(self) -> datetime:
        """Give the date and time in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Sleep as anyio does."""
        await anyio.sleep(seconds)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Cancel as anyio does."""
        return anyio.move_on_after(seconds)

    def waiting_for_io(self) -> AbstractContextManager[object]:
        """Do nothing: real time goes on."""
        return _NOTHING


_makers: list[Callable[[], Clock]] = [RealClock]


def create_clock() -> Clock:
    """Make the clock of a new client."""
    return _makers[-1]()


@contextmanager
def use_clock(clock: Clock) -> Iterator[None]:
    """Drive the clients that are made within by this clock; for tests."""

    def make() -> Clock:
        return clock

    _makers.append(make)
    try:
        yield
    finally:
        _makers.remove(make)
