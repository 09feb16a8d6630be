"""Detect that an event loop has nothing left to run."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

import anyio.lowlevel

if TYPE_CHECKING:
    from trio.abc import Instrument


# The number of iterations after which a busy event loop is treated as idle. Otherwise, a task that
# yields until the clock has advanced would block the clock.
PATIENCE = 1000
# The limit for loops that do not show whether they are busy.
PATIENCE_IF_UNKNOWN = 50


class Turns(Protocol):
    """
    A runner for single iterations of an event loop.

    :ivar patience: the maximum number of iterations to wait for the loop to become idle.
    """

    patience: int

    async def run(self) -> bool:
        """Run one iteration. Return True if nothing else is left to run."""
        ...


@contextmanager
def turns_of_current_loop() -> Iterator[Turns]:
    """
    Return a context manager for running single iterations of the current event loop.

    Each iteration also polls the loop's sockets, so that data sent from one task to another is
    noticed. Work in threads and in other processes is not.
    """
    loop = anyio.lowlevel.current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        yield AsyncioTurns(loop)
        return
    from trio.lowlevel import add_instrument, remove_instrument  # noqa: PLC0415 - may be missing

    turns = TrioTurns()
    # trio looks the methods up by name, so the class does not have to import its base class.
    instrument = cast("Instrument", turns)
    add_instrument(instrument)
    try:
        yield turns
    finally:
        remove_instrument(instrument)


class AsyncioTurns:
    """
    A runner for single iterations of an asyncio event loop.

    Loops that hide their queue, such as uvloop, never appear idle.
    """

    def __init__(self, loop: object) -> None:
        self._loop = loop
        # There is no public way to find out what is left to run. anyio.wait_all_tasks_blocked
        # checks only tasks, and may sleep for a tenth of a second.
        self.patience = PATIENCE if hasattr(loop, "_ready") else PATIENCE_IF_UNKNOWN

    async def run(self) -> bool:
        """Run one iteration. Return True if nothing else is left to run."""
        await asyncio.sleep(0)
        return not getattr(self._loop, "_ready", True)


class TrioTurns:
    """A runner for single iterations of a trio event loop."""

    def __init__(self) -> None:
        self.patience = PATIENCE
        self._steps = 0

    def before_task_step(self, _task: object) -> None:
        """Count the step of a task. Called by trio."""
        self._steps += 1

    async def run(self) -> bool:
        """
        Run one iteration, or two if the first one is quiet. Return True if nothing else is left.

        trio runs the tasks of an iteration in random order. A task that was woken in the first one
        may therefore run only after this task in the second one.
        """
        # trio.testing.wait_all_tasks_blocked does not return while another task only yields.
        return await self._is_quiet() and await self._is_quiet()

    async def _is_quiet(self) -> bool:
        self._steps = 0
        await anyio.lowlevel.checkpoint()
        return self._steps == 1  # the calling task itself
