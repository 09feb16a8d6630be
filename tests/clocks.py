"""A clock whose hours pass in no time: whenever all tasks wait, it goes on to the next one due."""

from __future__ import annotations

import heapq
import itertools
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# More turns of the event loop than anything takes from waking up to sleeping again.
_ROUNDS = 20
_START = datetime(2026, 1, 1, tzinfo=UTC)


class SkippingClock:
    """Has the three methods that the client asks of a clock."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def wall(self) -> datetime:
        return _START + timedelta(seconds=self._now)

    async def sleep(self, seconds: float) -> None:
        event = anyio.Event()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), event))
        await event.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SkippingClock]:
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run)
            try:
                yield self
            except Exception as error:  # noqa: BLE001 - raised again below
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:  # not from within the group, which would wrap it
            raise failure

    async def _run(self) -> None:
        while True:
            # anyio.wait_all_tasks_blocked would do, but takes 0.1 s a time on asyncio.
            for _ in range(_ROUNDS):
                await anyio.lowlevel.checkpoint()
            if self._sleepers:
                due, _, event = heapq.heappop(self._sleepers)
                self._now = max(self._now, due)
                event.set()
