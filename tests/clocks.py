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
        self._rest: anyio.Event | None = None
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
            if self._rest is not None and not self._at_work:
                self._rest.set()

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

    async def _turn(self, rounds: int) -> int:
        """Let all tasks run once; what comes back from a thread has its rounds before it."""
        if self._at_work:
            self._rest, rounds = anyio.Event(), 0
            await self._rest.wait()
        await anyio.lowlevel.checkpoint()
        return rounds + 1

    async def _run(self) -> None:
        while True:
            # anyio.wait_all_tasks_blocked would do, but takes 0.1 s a time on asyncio.
            rounds = 0
            while rounds < _ROUNDS:
                rounds = await self._turn(rounds)
            if self._timers and not self._at_work:
                timer = min(self._timers)
                self._timers.remove(timer)
                due, _, ring = timer
                self._now = max(self._now, due)
                ring()
