"""Calls from any thread run in the event loop of one background thread, and all of them end."""

from __future__ import annotations

import asyncio
import copy
import errno
import gc
import os
import signal
import sys
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel
import pytest

from pandium import PandiumError
from pandium._sync.loop_thread import LoopThread, _Call
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 10.0
variable: ContextVar[str] = ContextVar("variable", default="unset")


async def nothing() -> None:
    pass


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread(nothing, "a place")
    yield thread
    thread.close()


class Waiting:
    """An async function that waits until it is canceled."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()

    async def __call__(self) -> None:
        self.started.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.ended.set()


def background_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pandium"]


def test_a_call_returns_the_result_of_the_function(loop: LoopThread) -> None:
    """A call runs in another thread and returns what the function returns."""

    async def ident() -> int:
        return threading.get_ident()

    first = loop.call(ident)
    assert first != threading.get_ident()
    assert loop.call(ident) == first


def test_the_thread_starts_with_the_first_call() -> None:
    """A client that was never used has no thread, and once closed it starts none."""
    thread = LoopThread(nothing, "a place")
    thread.close()
    with pytest.raises(PandiumError, match="the client is closed"):
        thread.call(nothing)
    assert background_threads() == []


def test_nothing_can_be_posted_to_a_thread_that_has_not_started() -> None:
    """Without a loop, `post` neither starts a thread nor calls the function."""
    posted: list[str] = []
    thread = LoopThread(nothing, "a place")
    thread.post(lambda: posted.append("called"))
    thread.close()
    assert posted == []
    assert background_threads() == []


def test_a_call_raises_the_error_of_the_function(loop: LoopThread) -> None:
    """An error is raised unchanged, with the frames of both threads, and without a cycle."""

    class OwnError(Exception):
        pass

    async def fail() -> None:
        raise OwnError

    with pytest.raises(OwnError) as caught:
        loop.call(fail)
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[0] == "test_a_call_raises_the_error_of_the_function"
    assert frames[-1] == "fail"
    assert caught.value.__context__ is None
    gc.disable()
    try:
        reference = weakref.ref(caught.value)
        del caught
        wait_until(lambda: reference() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), TimeoutError()])
def test_no_error_ends_the_thread(loop: LoopThread, error: BaseException) -> None:
    """After an error of any class, further calls succeed."""

    async def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        loop.call(fail)
    loop.call(nothing)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_no_error_of_a_background_task_ends_the_thread(
    loop: LoopThread, error: BaseException
) -> None:
    """A call raises an error with which a task interrupts the event loop, and others continue."""
    waiting = Waiting()

    async def fail() -> None:
        raise error

    async def call_task() -> None:
        await asyncio.create_task(fail())

    with ThreadPoolExecutor() as pool:
        other = pool.submit(loop.call, waiting)
        assert waiting.started.wait(PATIENCE)
        with pytest.raises(type(error)) as caught:
            loop.call(call_task)
        assert caught.value is error
        assert not other.done()
        loop.call(nothing)
        loop.close()
        with pytest.raises(PandiumError):
            other.result(PATIENCE)


def test_a_function_sees_the_context_variables_of_its_caller(loop: LoopThread) -> None:
    """Each call has a copy of the caller's context variables."""

    async def read() -> str:
        value = variable.get()
        variable.set("changed")
        return value

    assert loop.call(read) == "unset"
    token = variable.set("set")
    try:
        assert loop.call(read) == "set"
        assert variable.get() == "set"
    finally:
        variable.reset(token)


def test_many_threads_share_one_loop(loop: LoopThread) -> None:
    """A hundred threads call at the same time, and their functions run concurrently."""
    arrived: list[int] = []
    everyone = anyio.Event()

    async def wait_for_all(number: int) -> int:
        arrived.append(number)
        if len(arrived) == 100:
            everyone.set()
        await everyone.wait()
        return number

    with ThreadPoolExecutor(100) as pool:
        results = list(pool.map(lambda number: loop.call(lambda: wait_for_all(number)), range(100)))
    assert results == list(range(100))
    assert len(background_threads()) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_can_be_called_inside_a_running_event_loop(loop: LoopThread, backend: str) -> None:
    """A call in a thread that runs an event loop works, whichever library runs the loop."""

    async def sleep() -> str:
        await anyio.sleep(0.001)
        return "done"

    async def main() -> str:
        return loop.call(sleep)

    assert anyio.run(main, backend=backend) == "done"


def test_it_cannot_be_called_in_its_own_loop(loop: LoopThread) -> None:
    """A call in the loop's own thread, which would wait forever, is an error."""

    async def nested() -> None:
        loop.call(nothing)

    with pytest.raises(RuntimeError, match="cannot be called in its own event loop"):
        loop.call(nested)


def test_an_interrupt_cancels_the_call(loop: LoopThread) -> None:
    """Ctrl-C ends a call at once, and the function has been canceled by then."""
    waiting = Waiting()

    def interrupt() -> None:
        assert waiting.started.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        loop.call(waiting)
    assert waiting.ended.is_set()
    loop.call(nothing)


def test_an_interrupted_call_waits_for_its_cleanup(loop: LoopThread) -> None:
    """An interrupted call returns when the function has cleaned up."""
    started, cleaned_up = threading.Event(), threading.Event()

    async def clean_up() -> None:
        try:
            started.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            cleaned_up.set()

    def interrupt() -> None:
        assert started.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        loop.call(clean_up)
    assert cleaned_up.is_set()


def test_closing_cancels_the_calls_of_other_threads(loop: LoopThread) -> None:
    """A call that runs when the client is closed is canceled, and raises a clear error."""
    waiting = Waiting()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lambda: loop.call(waiting))
        assert waiting.started.wait(PATIENCE)
        loop.close()
        with pytest.raises(PandiumError, match="closed during the call") as caught:
            call.result(PATIENCE)
    assert caught.value.outcome_unknown
    assert waiting.ended.is_set()


def test_closing_leaves_blocks_and_then_calls_on_stop() -> None:
    """Blocks that are still open are left before the connections are closed."""
    events: list[str] = []

    class Block:
        async def __aenter__(self) -> None:
            events.append("entered")

        async def __aexit__(self, *_: object) -> None:
            events.append("left")

    async def stop() -> None:
        events.append("stopped")

    thread, block = LoopThread(stop, "a place"), Block()
    thread.call(lambda: thread.enter(block))
    thread.close()
    assert events == ["entered", "left", "stopped"]


def test_closing_ends_the_thread(loop: LoopThread) -> None:
    """After closing there is no thread, and further calls are errors. Closing again is not."""
    loop.call(nothing)
    loop.close()
    assert background_threads() == []
    loop.close()
    with pytest.raises(PandiumError, match="the client is closed"):
        loop.call(nothing)
    loop.post(sys.exit)  # has no effect


def test_a_call_that_starts_while_the_client_is_closed_ends() -> None:
    """Each of many calls at the moment of closing either succeeds or raises an error."""
    thread = LoopThread(nothing, "a place")
    thread.call(nothing)
    outcomes: list[str] = []

    def call_until_closed() -> None:
        try:
            while True:
                thread.call(nothing)
        except PandiumError as error:
            outcomes.append(str(error))

    callers = [threading.Thread(target=call_until_closed) for _ in range(8)]
    for caller in callers:
        caller.start()
    thread.close()
    for caller in callers:
        caller.join(PATIENCE)
    assert len(outcomes) == 8
    assert all("the client" in outcome for outcome in outcomes)


def test_the_loop_may_close_its_own_client(loop: LoopThread) -> None:
    """Closing in the loop's own thread does not wait for the thread, and cancels the call."""

    async def close() -> None:
        loop.close()
        await anyio.sleep_forever()

    with pytest.raises(PandiumError, match="closed during the call"):
        loop.call(close)
    wait_until(lambda: background_threads() == [])


def test_a_client_that_is_not_closed_warns_and_ends() -> None:
    """A client that is deleted without being closed warns with its place, and its thread ends."""
    thread = LoopThread(nothing, "a place")
    thread.call(nothing)
    with pytest.warns(ResourceWarning, match="unclosed Pandium, created at a place"):
        del thread
    wait_until(lambda: background_threads() == [])


def test_an_interrupted_close_leaves_no_thread() -> None:
    """If Ctrl-C arrives while a client is closed, its thread ends when the client is deleted."""
    thread = LoopThread(nothing, "a place")
    thread.call(nothing)
    assert thread._loop is not None
    event_loop = thread._loop._loop

    def interrupted(_: object) -> None:
        del event_loop.call_soon_threadsafe  # only once
        raise KeyboardInterrupt

    event_loop.call_soon_threadsafe = interrupted  # type: ignore[assignment, method-assign]
    with pytest.raises(KeyboardInterrupt):
        thread.close()
    assert background_threads() != []
    del thread
    wait_until(lambda: background_threads() == [])


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("threading.Thread.start", RuntimeError("can't start new thread")),
        ("asyncio.new_event_loop", OSError(errno.EMFILE, "Too many open files")),
    ],
)
def test_a_thread_that_cannot_start_is_an_error(
    part: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no thread or event loop can be started, the call fails, and the next one tries again."""
    thread = LoopThread(nothing, "a place")

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(part, fail)
        with pytest.raises(PandiumError, match="cannot start the client's thread") as caught:
            thread.call(nothing)
    assert caught.value.__cause__ is error
    thread.call(nothing)
    thread.close()


def test_an_interrupted_start_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Ctrl-C arrives while the thread starts, it ends, and the next call starts another."""
    stops: list[str] = []

    async def on_stop() -> None:
        stops.append("stopped")

    thread, real = LoopThread(on_stop, "a place"), threading.Thread.start

    def interrupted(started: threading.Thread) -> None:
        real(started)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            thread.call(nothing)
    wait_until(lambda: background_threads() == [])
    assert stops == []
    thread.call(nothing)
    thread.close()
    assert stops == ["stopped"]


def test_ctrl_c_within_the_start_of_a_thread_is_not_another_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If Ctrl-C breaks a lock that starts the thread, it is raised, and the thread ends."""
    thread, real = LoopThread(nothing, "a place"), threading.Thread.start

    def interrupted(started: threading.Thread) -> None:
        real(started)
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("cannot notify on un-acquired lock")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            thread.call(nothing)
    wait_until(lambda: background_threads() == [])
    thread.call(nothing)
    thread.close()


def test_a_signal_handler_can_make_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a signal handler makes a call while the thread starts, both calls run in one thread."""
    found: list[int] = []
    stops: list[str] = []

    async def on_stop() -> None:
        stops.append("stopped")

    thread, real = LoopThread(on_stop, "a place"), threading.Thread.start

    async def find_thread() -> None:
        found.append(threading.get_ident())

    def interrupted(started: threading.Thread) -> None:
        real(started)
        if not found:
            monkeypatch.setattr(threading.Thread, "start", real)
            thread.call(find_thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    thread.call(find_thread)
    assert len(found) == 2
    assert len(set(found)) == 1
    wait_until(lambda: len(background_threads()) == 1)
    assert stops == []
    thread.close()
    wait_until(lambda: background_threads() == [])


def test_a_deep_copy_fails_quietly(loop: LoopThread) -> None:
    """An object whose copy failed is deleted without an error."""
    with pytest.raises(TypeError):
        copy.deepcopy(loop)
    gc.collect()


def test_a_call_that_is_interrupted_before_it_starts_never_runs(loop: LoopThread) -> None:
    """If the event loop is busy when Ctrl-C arrives, the function is not called later."""
    busy, release = threading.Event(), threading.Event()
    ran: list[str] = []

    async def run() -> None:
        await anyio.lowlevel.checkpoint()
        ran.append("ran")

    def block() -> None:
        busy.set()
        assert release.wait(PATIENCE)

    loop.call(nothing)
    assert loop._loop is not None
    queue = loop._loop._loop._ready  # type: ignore[attr-defined]  # private
    loop.post(block)
    assert busy.wait(PATIENCE)
    before = len(queue)

    def interrupt() -> None:
        wait_until(lambda: len(queue) == before + 1)  # the call has been submitted
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: len(queue) == before + 2)  # it has been canceled
        release.set()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        loop.call(run)
    loop.call(nothing)
    assert ran == []


def test_an_interrupted_submission_leaves_nothing(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Ctrl-C arrives just before the function is handed over, the call ends at once."""
    loop.call(nothing)
    assert loop._loop is not None
    event_loop = loop._loop._loop
    real, interrupts = event_loop.call_soon_threadsafe, [KeyboardInterrupt]

    def interrupted(function: Callable[[], object]) -> object:
        if interrupts:
            raise interrupts.pop()
        return real(function)

    monkeypatch.setattr(event_loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.call(nothing)
    assert loop._loop._calls == set()
    loop.call(nothing)


def test_a_call_that_never_starts_does_not_delay_closing(loop: LoopThread) -> None:
    """If a thread was interrupted between registering a call and starting it, closing works."""
    loop.call(nothing)
    assert loop._loop is not None
    pending = _Call(nothing, loop._loop)
    loop._loop._calls.add(cast("_Call[object]", pending))
    loop.close()
    assert background_threads() == []
    assert pending.wait_for(PATIENCE)


def test_it_works_without_sniffio(loop: LoopThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call succeeds if sniffio, which anyio does not require, is not imported."""
    loop.call(nothing)
    monkeypatch.delitem(sys.modules, "sniffio", raising=False)
    loop.call(nothing)
