"""A clock that a test drives, and that lets everybody do their work before it goes on."""

import heapq
import itertools
import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any

import anyio.lowlevel

from pandium.emulator.runs.clock import Clock

START = datetime(2026, 1, 1, tzinfo=UTC)
# More turns of the event loop than anything takes from waking up to its next sleep or request.
# anyio.wait_all_tasks_blocked would do, but takes a tenth of a second a time on asyncio.
TURNS = 50

Callback = Callable[[], object]


class ManualClock(Clock):
    """
    A clock that stands still until `advance` or `autojump` lets it go on.

    Whoever sleeps by it wakes in the order of the due times, and does all that there is to do,
    requests included, before the time goes on: it goes on only when nobody is `waiting_for_io`, and
    many turns of the event loop have moved nothing. Other waiting than for this clock or for its
    clients' requests, such as for a thread, is not seen: put it into `with clock.waiting_for_io()`.

    It is for one event loop at a time, and starts at the same date always, unless told otherwise.

    :raises ValueError: the start has no offset.
    """

    def __init__(self, start: datetime = START) -> None:
        super().__init__()
        if start.tzinfo is None:
            raise ValueError(f"start: must have an offset, such as UTC, not {start!r}")
        self.epoch = start
        self._seconds = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int]] = []  # with those, too, that have left their sleep
        self._callbacks: dict[int, Callback] = {}
        self._io_waits = 0
        self._changes = 0
        self._change: anyio.Event | None = None
        self._is_advancing = False
        self._loop: object = None

    def now(self) -> float:
        """Return the seconds since the start."""
        return self._seconds

    def put_forward(self, seconds: float) -> None:
        """
        Refuse: who sleeps by this clock must be woken, which `advance` does.

        :raises RuntimeError: always.
        """
        raise RuntimeError(f"cannot go on by {seconds!r} seconds but by advance()")

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has gone on by so many seconds."""
        if not seconds > 0:
            await anyio.lowlevel.checkpoint()
            return
        event = anyio.Event()
        with self._timer(seconds, event.set):
            await event.wait()

    @contextmanager
    def move_on_after(self, seconds: float) -> Iterator[anyio.CancelScope]:
        """Cancel what is within once the clock has gone on by so many seconds."""
        with anyio.CancelScope() as scope:
            if seconds > 0:
                with self._timer(seconds, scope.cancel):
                    yield scope
            else:
                scope.cancel()
                yield scope

    @contextmanager
    def waiting_for_io(self) -> Iterator[None]:
        """Keep the time from going on meanwhile."""
        self._bind_to_loop()
        self._io_waits += 1
        self._notify()
        try:
            yield
        finally:
            self._io_waits -= 1
            self._notify()

    async def advance(self, seconds: float) -> None:
        """
        Go on by so many seconds, and return when all is quiet at the end of them.

        :raises ValueError: they are negative or not finite.
        :raises RuntimeError: the clock is being advanced already, or is skipping.
        """
        target = self._seconds + _validate_seconds(seconds)
        with self._advancing():
            await self._wait_until_idle()
            while self._next_due() <= target:
                self._wake_next()
                await self._wait_until_idle()
            self._seconds = target

    def autojump(self) -> AbstractAsyncContextManager[None]:
        """
        Go on to the next due time by itself whenever all is quiet, in an `async with` block.

        As long as nobody sleeps, or somebody is at work, the time stands still.

        :raises RuntimeError: on entering: the clock is being advanced, or is skipping already.
        """
        return _Autojump(self._advancing(), self._jump)

    async def _jump(self) -> None:
        while True:
            await self._wait_until_idle()
            if self._next_due() < math.inf:
                self._wake_next()
            else:
                await self._next_change()

    @contextmanager
    def _advancing(self) -> Iterator[None]:
        if self._is_advancing:
            raise RuntimeError("the clock is driven already: one advance() or autojump() at a time")
        self._bind_to_loop()
        self._is_advancing = True
        try:
            yield
        finally:
            self._is_advancing = False

    async def _wait_until_idle(self) -> None:
        """Return when nothing is at work, and many turns have brought no change."""
        idle_turns = 0
        while idle_turns < TURNS:
            seen = self._changes
            if self._io_waits:
                await self._next_change()
            else:
                await anyio.lowlevel.checkpoint()
            idle_turns = idle_turns + 1 if self._changes == seen else 0

    async def _next_change(self) -> None:
        self._change = anyio.Event()
        await self._change.wait()

    def _notify(self) -> None:
        self._changes += 1
        if self._change is not None:
            self._change.set()

    def _next_due(self) -> float:
        while self._due and self._due[0][1] not in self._callbacks:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else math.inf

    def _wake_next(self) -> None:
        """Go on to the next due time, and wake all whose time it is."""
        self._seconds = self._next_due()
        while self._next_due() <= self._seconds:
            _, number = heapq.heappop(self._due)
            self._callbacks.pop(number)()

    @contextmanager
    def _timer(self, seconds: float, callback: Callback) -> Iterator[None]:
        self._bind_to_loop()
        number = next(self._order)
        # However short a sleep is beside the time that has passed, it takes some.
        due = max(self._seconds + seconds, math.nextafter(self._seconds, math.inf))
        heapq.heappush(self._due, (due, number))
        self._callbacks[number] = callback
        self._notify()
        try:
            yield
        finally:
            self._callbacks.pop(number, None)
            self._notify()

    def _bind_to_loop(self) -> None:
        here = anyio.lowlevel.current_token()
        if self._loop != here and (self._callbacks or self._io_waits or self._is_advancing):
            raise RuntimeError("a driven clock is for one event loop at a time")
        self._loop = here


def _validate_seconds(seconds: object) -> float:
    if (
        isinstance(seconds, int | float)
        and not isinstance(seconds, bool)
        and 0 <= seconds < math.inf
    ):
        return seconds
    raise ValueError(f"seconds: must be finite, zero or more, not {seconds!r}")


class _Autojump(AbstractAsyncContextManager[None]):
    """Let a task skip beside a block, whose own errors pass as they are."""

    def __init__(
        self, advancing: AbstractContextManager[None], jump: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._advancing = advancing
        self._jump = jump
        self._tasks = anyio.create_task_group()

    async def __aenter__(self) -> None:
        self._advancing.__enter__()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._jump)

    async def __aexit__(self, *_: object) -> None:
        self._tasks.cancel_scope.cancel()
        try:
            # Without the block's own error, which the group would wrap in an ExceptionGroup.
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._advancing.__exit__(None, None, None)
