"""A clock whose hours pass in no time: whenever all tasks wait, it goes on to the next one due."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

# More turns of the event loop than anything takes from waking up to sleeping again.
_ROUNDS = 20
_START = datetime(2026, 1, 1, tzinfo=UTC)


class SkippingClock:
    """Has the methods that the client asks of a clock; for lists and counters, not for sockets."""

    def __init__(self) -> None:
        self._now = 0.0
        self._at_work = 0
        self._works = 0
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def wall(self) -> datetime:
        return _START + timedelta(seconds=self._now)

    async def sleep(self, seconds: float) -> None:
        event = anyio.Event()
        with self._timer(seconds, event.set):
            await event.wait()

    @contextmanager
    def move_on_after(self, seconds: float) -> Iterator[anyio.CancelScope]:
        with anyio.CancelScope() as scope, self._timer(seconds, scope.cancel):
            yield scope

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self._works += 1

    @contextmanager
    def _timer(self, seconds: float, ring: Callable[[], object]) -> Iterator[None]:
        timer = (self._now + seconds, next(self._order), ring)
        self._timers.append(timer)
        try:
            yield
        finally:
            with suppress(ValueError):  # it has rung
                self._timers.remove(timer)

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
            works = self._works
            for _ in range(_ROUNDS):
                await anyio.lowlevel.checkpoint()
            is_still = self._at_work == 0 and self._works == works
            if self._timers and is_still:
                timer = min(self._timers)
                self._timers.remove(timer)
                due, _, ring = timer
                self._now = max(self._now, due)
                ring()
