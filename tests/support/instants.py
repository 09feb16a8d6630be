"""Cancel or time out a task at every instant of a test, with one run per instant."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs
import trio

from pandium._cancellation import is_asyncio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_INSTANTS = 3000


@attrs.define
class Instants:
    """
    An action that is performed once, before a given step of the event loop.

    No task runs between two steps. Acting before each step, in one run per step, therefore covers
    every instant at which something can happen to a task.
    """

    number: int
    passed: int = 0
    act: Callable[[], object] | None = None
    has_interrupted: bool = False
    _offset: float = 0.0

    def step(self) -> None:
        self.passed += 1
        if self.passed == self.number and self.act is not None:
            self.act()

    def advance_clock(self) -> None:
        """Advance asyncio's clock by two minutes until the end of the block. It never goes back."""
        self._offset = 120.0

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count the event loop steps within the block."""
        with self._watch_asyncio() if is_asyncio() else self._watch_trio():
            yield

    @contextmanager
    def _watch_asyncio(self) -> Iterator[None]:
        loop: Any = asyncio.get_running_loop()
        call_soon, time = loop.call_soon, loop.time

        def call(callback: Callable[..., object], *args: object) -> None:
            self.step()
            callback(*args)

        loop.call_soon = lambda callback, *args, **options: call_soon(
            call, callback, *args, **options
        )
        loop.time = lambda: time() + self._offset
        try:
            yield
        finally:
            del loop.call_soon, loop.time

    @contextmanager
    def _watch_trio(self) -> Iterator[None]:
        instants = self

        class Counter(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                instants.step()

        counter = Counter()
        trio.lowlevel.add_instrument(counter)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(counter)


async def raise_foreign_cancellation() -> None:
    """Raise a cancellation that does not belong to the current task."""
    caught: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class() as error:
            caught.append(error)
            raise
    raise caught[0]


def every_instant() -> Iterator[Instants]:
    """Yield instants 1, 2, 3 and so on until a run ends before its instant is reached."""
    for number in range(1, MAX_INSTANTS):
        instants = Instants(number)
        yield instants
        if instants.passed < number:
            return
    raise AssertionError("the runs do not end")


# Ways to interrupt one step of an iteration. Each returns whether the step was interrupted, and
# otherwise calls `take` with the item, or raises the error.


async def by_scope(instants: Instants, step: Any, take: Callable[[Any], None]) -> bool:
    with anyio.CancelScope() as scope:
        instants.act = scope.cancel
        take(await step())
    return scope.cancelled_caught


async def by_task(instants: Instants, step: Any, take: Callable[[Any], None]) -> bool:
    async def run() -> None:
        take(await step())

    task = asyncio.create_task(run())
    instants.act = task.cancel
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()


async def by_own_task(instants: Instants, step: Any, take: Callable[[Any], None]) -> bool:
    task = asyncio.current_task()
    assert task is not None
    instants.act = task.cancel
    try:
        take(await step())
    except asyncio.CancelledError:
        task.uncancel()
        return True
    finally:
        instants.act = None
    return False


async def by_timeout(instants: Instants, step: Any, take: Callable[[Any], None]) -> bool:
    instants.act = instants.advance_clock
    try:
        async with asyncio.timeout(60):
            take(await step())
    except TimeoutError:
        return True
    return False


async def by_wait_for(instants: Instants, step: Any, take: Callable[[Any], None]) -> bool:
    instants.act = instants.advance_clock
    try:
        take(await asyncio.wait_for(step(), 60))
    except TimeoutError:
        return True
    return False


async def by_move_on_after(instants: Instants, step: Any, take: Callable[[Any], None]) -> bool:
    instants.act = instants.advance_clock
    with anyio.move_on_after(60) as scope:
        take(await step())
    return scope.cancelled_caught


EVERYWHERE = [by_scope]
ON_ASYNCIO = [by_task, by_own_task, by_timeout, by_wait_for, by_move_on_after]
