"""A clock that stands still until a test advances it."""

import heapq
import itertools
import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio.lowlevel

from pandium.emulator.runs.clock import Clock, DueWork
from pandium.emulator.runs.event_loop import turns_of_current_loop

START = datetime(2026, 1, 1, tzinfo=UTC)

Callback = Callable[[], object]


class ManualClock(Clock):
    """
    A clock that advances only in `advance` and `autojump`.

    Tasks that sleep on this clock wake in the order of their due times. Before the clock advances
    to the next due time, it waits until no task of the event loop can run and no request of a
    client that uses this clock is in progress.

    Before the clock advances, all notifications of past events are delivered. A receiver that
    sleeps on this clock before it responds blocks the clock until the delivery times out.

    The clock cannot detect other work in threads, in other processes or on other servers. Put such
    work into a `with clock.waiting_for_io()` block.

    Only one event loop can use the clock at a time.

    :param start: the date and time at which the clock starts, 2026-01-01 UTC by default.
    :raises ValueError: if the start has no UTC offset.
    """

    def __init__(self, start: datetime = START) -> None:
        super().__init__()
        if start.tzinfo is None:
            raise ValueError(f"start: must have a UTC offset, not {start!r}")
        self.epoch = start
        self._seconds = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int]] = []  # includes timers that have been canceled
        self._callbacks: dict[int, Callback] = {}
        self._io_waits = 0
        self._changes = 0
        self._change: anyio.Event | None = None
        self._is_advancing = False
        self._loop: object = None
        self._work: list[DueWork] = []

    def now(self) -> float:
        """Return the time since the start, in seconds."""
        return self._seconds

    def put_forward(self, seconds: float) -> None:
        """
        Raise an error, because only `advance` wakes the tasks that sleep on this clock.

        :raises RuntimeError: always.
        """
        raise RuntimeError(
            f"cannot put a ManualClock forward by {seconds!r} seconds: use advance() instead"
        )

    async def sleep(self, seconds: float) -> None:
        """Sleep until the clock has advanced by the given number of seconds."""
        if not seconds > 0:
            await anyio.lowlevel.checkpoint()
            return
        event = anyio.Event()
        with self._timer(seconds, event.set):
            await event.wait()

    @contextmanager
    def move_on_after(self, seconds: float) -> Iterator[anyio.CancelScope]:
        """Return a context manager that cancels its block after this number of seconds."""
        with anyio.CancelScope() as scope:
            if seconds > 0:
                with self._timer(seconds, scope.cancel):
                    yield scope
            else:
                scope.cancel()
                yield scope

    @contextmanager
    def waiting_for_io(self) -> Iterator[None]:
        """Return a context manager for I/O. The clock does not advance inside it."""
        self._bind_to_loop()
        self._io_waits += 1
        self._notify()
        try:
            yield
        finally:
            self._io_waits -= 1
            self._notify()

    def attach(self, work: DueWork) -> Callable[[], None]:
        """Finish work before the clock advances, until the returned function is called."""
        self._work.append(work)
        return partial(self._work.remove, work)

    async def advance(self, seconds: float) -> None:
        """
        Advance the clock, and return once everything that was due has been done.

        :param seconds: the number of seconds, zero or more.
        :raises ValueError: if the number of seconds is negative or not finite.
        :raises RuntimeError: if another call of `advance` or `autojump` is in progress.
        """
        target = self._seconds + _validate_seconds(seconds)
        with self._advancing():
            await self._finish()
            while (due := self._next_event()) <= target:
                self._advance_to(due)
                await self._finish()
            self._seconds = target

    def autojump(self) -> AbstractAsyncContextManager[None]:
        """
        Return an async context manager that advances the clock to the next due time when idle.

        The clock stands still while no task sleeps on it.

        :raises RuntimeError: on entering, if another call of `advance` or `autojump` is in
            progress.
        """
        return _Autojump(self._advancing(), self._jump)

    async def _jump(self) -> None:
        while True:
            await self._finish()
            if self._next_due() < math.inf:
                self._advance_to(self._next_event())
            else:
                await self._next_change()

    @contextmanager
    def _advancing(self) -> Iterator[None]:
        if self._is_advancing:
            raise RuntimeError(
                "the clock is already being advanced: use one advance() or autojump() at a time"
            )
        self._bind_to_loop()
        self._is_advancing = True
        try:
            yield
        finally:
            self._is_advancing = False

    async def _finish(self) -> None:
        """Return once everything that is due has been done, in the event loop and outside it."""
        await self._wait_until_idle()
        while any([await work.finish() for work in self._work]):
            await self._wait_until_idle()

    async def _wait_until_idle(self) -> None:
        """Wait until no I/O is in progress and no other task can run."""
        idle_turns = 0
        with turns_of_current_loop() as turns:
            while idle_turns < turns.patience:
                seen = self._changes
                if self._io_waits:
                    await self._next_change()
                elif await turns.run() and not self._io_waits:
                    return
                idle_turns = idle_turns + 1 if self._changes == seen else 0

    async def _next_change(self) -> None:
        """Wait for a new timer or for the end of all I/O."""
        self._change = anyio.Event()
        await self._change.wait()

    def _notify(self) -> None:
        self._changes += 1
        if self._change is not None and not self._io_waits:
            self._change.set()

    def _next_due(self) -> float:
        while self._due and self._due[0][1] not in self._callbacks:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else math.inf

    def _next_event(self) -> float:
        """Return the time of the next timer, or of earlier work outside the event loop."""
        dates = (work.next_due() for work in self._work)
        seconds = ((date - self.epoch).total_seconds() for date in dates)
        return min((self._next_due(), *seconds))

    def _advance_to(self, seconds: float) -> None:
        """Advance to a time, and call the callbacks that are due."""
        self._seconds = seconds
        while self._next_due() <= self._seconds:
            _, number = heapq.heappop(self._due)
            self._callbacks.pop(number)()

    @contextmanager
    def _timer(self, seconds: float, callback: Callback) -> Iterator[None]:
        self._bind_to_loop()
        number = next(self._order)
        # A very short sleep may be lost in rounding. It must still advance the clock.
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
            raise RuntimeError("only one event loop at a time can use a ManualClock")
        self._loop = here


def _validate_seconds(seconds: object) -> float:
    if (
        isinstance(seconds, int | float)
        and not isinstance(seconds, bool)
        and 0 <= seconds < math.inf
    ):
        return seconds
    raise ValueError(f"seconds: must be a finite number, zero or more, not {seconds!r}")


class _Autojump(AbstractAsyncContextManager[None]):
    """A context manager that advances a clock in the background, and raises no exception groups."""

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
            # Do not pass the block's error, which the task group would wrap in an ExceptionGroup.
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._advancing.__exit__(None, None, None)
