"""The user's functions run in threads, one after another, and required ones always run."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium._sync.functions import FunctionThread, UserFunctions, run_in_thread
from pandium._sync.loop_thread import LoopThread
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NAME = "pandium functions"


async def nothing() -> None:
    pass


def function_threads() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


@pytest.fixture
def functions() -> Iterator[UserFunctions]:
    with UserFunctions(LoopThread(nothing, "here")) as created:
        yield created
    wait_until(lambda: function_threads() == 0)


def test_functions_run_in_order_in_one_thread(functions: UserFunctions) -> None:
    """Calls that are submitted at the same time run in order, in the same thread."""
    seen: list[tuple[int, int]] = []

    def note(number: int) -> None:
        seen.append((number, threading.get_ident()))

    callback: Any = functions.callback(note)

    async def main() -> None:
        await asyncio.gather(*(callback(number) for number in range(20)))

    asyncio.run(main())
    assert [number for number, _ in seen] == list(range(20))
    assert len({ident for _, ident in seen}) == 1


@pytest.mark.parametrize("value", [None, {"a": 1}, nothing, 7])
def test_what_is_not_a_plain_function_is_unchanged(functions: UserFunctions, value: object) -> None:
    """Async functions, mappings, None and invalid values are passed on as they are."""
    assert functions.callback(value) is value
    assert run_in_thread(value) is value


def test_a_canceled_call_does_not_run_later(functions: UserFunctions) -> None:
    """A function that is still waiting for its turn when it is canceled does not run."""
    seen: list[str] = []
    entered, release = threading.Event(), threading.Event()

    def first() -> None:
        entered.set()
        assert release.wait(10)

    one, two = functions.callback(first), functions.callback(lambda: seen.append("two"))
    three = functions.callback(lambda: seen.append("three"), is_required=True)

    async def main() -> None:
        with anyio.move_on_after(0.01):
            async with anyio.create_task_group() as tasks:
                for callback in (one, two, three):
                    tasks.start_soon(wait, callback)
        release.set()

    async def wait(callback: Any) -> None:
        await callback()

    asyncio.run(main())
    functions.close()
    assert seen == ["three"]


def test_closing_waits_for_required_functions(functions: UserFunctions) -> None:
    """Closing waits until a required function has run, although its call was canceled."""
    seen: list[str] = []
    callback: Any = functions.callback(lambda: seen.append("called"), is_required=True)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await callback()

    asyncio.run(main())
    functions.close()
    assert seen == ["called"]


def test_an_iterable_is_read_in_a_thread(functions: UserFunctions) -> None:
    """A generator is read item by item in one thread, while the event loop goes on."""
    threads: set[int] = set()

    def produce() -> Iterator[int]:
        for number in range(5):
            threads.add(threading.get_ident())
            yield number

    async def main() -> list[int]:
        return [item async for item in functions.source(produce())]  # type: ignore[union-attr]

    assert asyncio.run(main()) == list(range(5))
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_an_iterable_cannot_end_an_iteration_early(functions: UserFunctions) -> None:
    """A `StopAsyncIteration` that an iterable raises is an error and not the end."""

    class Odd:
        def __iter__(self) -> Iterator[int]:
            yield 1
            raise StopAsyncIteration

    async def main() -> None:
        async for _ in functions.source(Odd()):  # type: ignore[union-attr]
            pass

    with pytest.raises(RuntimeError, match="the function raised StopAsyncIteration"):
        asyncio.run(main())


def test_a_thread_that_cannot_start_is_tried_again(
    functions: UserFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no thread can be started, the call fails, and the next one starts a thread."""
    seen: list[int] = []
    callback: Any = functions.callback(seen.append)

    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await callback(1)
        with anyio.fail_after(10):
            await callback(2)

    asyncio.run(main())
    assert seen == [2]


def test_iterables_in_memory_are_unchanged(functions: UserFunctions) -> None:
    """Lists, sets, tuples, async iterables and invalid values are passed on as they are."""

    async def produce() -> AsyncIterator[int]:
        yield 1

    for source in ([1], (1,), {1}, frozenset({1}), produce(), 7):
        assert functions.source(source) is source  # type: ignore[arg-type]  # some are invalid


def test_a_thread_ends_when_it_is_no_longer_needed() -> None:
    """The thread of functions that are deleted without being closed ends."""

    async def main() -> object:
        functions = UserFunctions(LoopThread(nothing, "here"))
        callback: Any = functions.callback(lambda: 7)
        return await callback()

    assert asyncio.run(main()) == 7
    gc.collect()
    wait_until(lambda: function_threads() == 0)


def test_results_are_not_kept() -> None:
    """A result is released once it has been returned, while its thread waits for the next call."""

    class Result:
        pass

    thread = FunctionThread()

    async def main() -> weakref.ref[Result]:
        result = await thread.submit(Result)
        assert isinstance(result, Result)
        return weakref.ref(result)

    reference = asyncio.run(main())
    wait_until(lambda: reference() is None)
    thread.close()
    wait_until(lambda: function_threads() == 0)


def test_a_function_that_outlives_the_event_loop_ends_quietly() -> None:
    """A function that returns after the event loop has ended does no harm."""
    thread = FunctionThread()
    entered, release = threading.Event(), threading.Event()

    def function() -> None:
        entered.set()
        assert release.wait(10)

    async def main() -> None:
        thread.submit(function)
        await asyncio.to_thread(entered.wait, 10)

    asyncio.run(main())
    release.set()
    thread.close()
    wait_until(lambda: function_threads() == 0)


def test_a_call_that_nothing_waits_for_ends_quietly() -> None:
    """If the wait for a call is canceled, its result is dropped, and later calls are run."""

    async def main() -> None:
        thread, release = FunctionThread(), threading.Event()
        call = thread.submit(lambda: release.wait(10))
        with anyio.move_on_after(0.01):
            await call
        release.set()
        assert await thread.submit(lambda: "later") == "later"
        thread.close()

    asyncio.run(main())
