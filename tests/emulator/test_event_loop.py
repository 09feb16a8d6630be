"""Whether an event loop has anything left to run."""

import asyncio
import socket

import anyio
import anyio.lowlevel
import pytest

from pandium.emulator.runs.event_loop import AsyncioTurns, TrioTurns, turns_of_current_loop

pytestmark = pytest.mark.anyio


async def turns_until_idle() -> int:
    """Return the number of turns after which nothing is left to run, or fail after 5,000."""
    with turns_of_current_loop() as turns:
        for number in range(5_000):
            if await turns.run():
                return number
    raise AssertionError("the loop never became idle")


async def test_an_idle_loop_is_recognized_at_once() -> None:
    """If all other tasks are blocked, a single turn is enough."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        await turns_until_idle()
        assert await turns_until_idle() == 0
        tasks.cancel_scope.cancel()


async def test_tasks_that_wake_each_other_all_run_first() -> None:
    """The loop is not idle until the last of many tasks that wake each other has run."""
    events = [anyio.Event() for _ in range(500)]

    async def wake_next(number: int) -> None:
        await events[number].wait()
        if number + 1 < len(events):
            events[number + 1].set()

    async with anyio.create_task_group() as tasks:
        for number in range(len(events)):
            tasks.start_soon(wake_next, number)
        await turns_until_idle()
        events[0].set()
        await turns_until_idle()
        assert events[-1].is_set()


async def test_data_between_tasks_arrives_first() -> None:
    """The loop is not idle while one of its tasks can read what another one has written."""
    ends = socket.socketpair()
    received: list[bytes] = []

    async def echo(end: socket.socket) -> None:
        for _ in range(100):
            await anyio.wait_readable(end)
            received.append(end.recv(1))
            end.send(b"x")

    with ends[0], ends[1]:
        for end in ends:
            end.setblocking(False)
        async with anyio.create_task_group() as tasks:
            for end in ends:
                tasks.start_soon(echo, end)
            await turns_until_idle()
            ends[0].send(b"x")
            await turns_until_idle()
            assert len(received) == 200


async def test_a_task_that_only_yields_keeps_the_loop_busy() -> None:
    """A task that always yields is left to run after every turn."""
    async with anyio.create_task_group() as tasks:

        async def yield_forever() -> None:
            while True:
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(yield_forever)
        with turns_of_current_loop() as turns:
            assert not any([await turns.run() for _ in range(100)])
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_loop_that_hides_its_queue_is_never_idle() -> None:
    """Loops that are not written in Python, such as uvloop, never count as idle."""
    turns = AsyncioTurns(object())
    assert not any([await turns.run() for _ in range(100)])
    assert turns.patience < AsyncioTurns(asyncio.get_running_loop()).patience


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_steps_are_counted_only_inside_the_block() -> None:
    """After the block, trio no longer reports steps of tasks."""
    with turns_of_current_loop() as turns:
        await turns.run()
    assert isinstance(turns, TrioTurns)
    counted = turns._steps
    await anyio.lowlevel.checkpoint()
    assert turns._steps == counted
