"""Give the time and sleep: the seam by which a test drives the pauses of a client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

import anyio

__all__ = ["Clock", "RealClock"]


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
