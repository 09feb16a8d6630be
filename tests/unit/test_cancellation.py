"""A cancellation of another task becomes an error, and one of the current task remains one."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from pandium._cancellation import CancellationGuard
from support.instants import raise_foreign_cancellation

pytestmark = pytest.mark.anyio

asyncio_only = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def swallow_a_cancellation() -> None:
    """Cancel the current task without ending it, as some cleanup code does."""
    cancel_this_task()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)


def cancel_this_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def test_a_cancellation_of_another_task_is_an_error() -> None:
    """A cancellation that does not belong to the current task is a RuntimeError."""
    text = r"it raised Cancelled(Error)?, but the current task was not canceled"
    with pytest.raises(RuntimeError, match=text) as caught, CancellationGuard("it"):
        await raise_foreign_cancellation()
    assert isinstance(caught.value.__cause__, anyio.get_cancelled_exc_class())


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_cancellation_of_another_event_loop_is_an_error() -> None:
    """An exception of asyncio is a RuntimeError on trio, too, where nothing would handle it."""
    with pytest.raises(RuntimeError, match="it raised CancelledError"), CancellationGuard("it"):
        raise asyncio.CancelledError


async def test_a_cancellation_of_a_scope_is_unchanged() -> None:
    """A cancellation of the scope around the block ends the block, whenever it is requested."""
    for is_inside in (True, False):
        with anyio.CancelScope() as scope:
            if not is_inside:
                scope.cancel()
            with CancellationGuard("it"):
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught


@asyncio_only
@pytest.mark.parametrize("is_inside", [True, False])
@pytest.mark.parametrize("is_second", [True, False])
async def test_a_task_can_cancel_itself(*, is_inside: bool, is_second: bool) -> None:
    """A task that has just requested its own cancellation is canceled at its next `await`."""

    async def run() -> None:
        if is_second:
            await swallow_a_cancellation()
        if not is_inside:
            cancel_this_task()
        with CancellationGuard("it"):
            if is_inside:
                cancel_this_task()
            await asyncio.sleep(0)

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    assert task.cancelled()


@asyncio_only
async def test_a_swallowed_cancellation_does_not_count() -> None:
    """If the task has ended an earlier cancellation itself, another task's is still an error."""

    async def run() -> None:
        await swallow_a_cancellation()
        with CancellationGuard("it"):
            await raise_foreign_cancellation()

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    assert isinstance(task.exception(), RuntimeError)
