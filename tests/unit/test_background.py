"""A producer with concurrent consumers: each item is delivered once, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import warnings
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from pandium import AsyncPandium, Polling
from pandium._background import Background
from pandium._clock import RealClock
from support import KEY
from support.instants import (
    EVERYWHERE,
    ON_ASYNCIO,
    Instants,
    by_own_task,
    by_scope,
    by_task,
    every_instant,
)
from support.runs import ScriptedRuns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pandium._listing.listing import Listing

pytestmark = pytest.mark.anyio
asyncio_only = pytest.mark.parametrize("anyio_backend", ["asyncio"])

Send = Any
Interrupt = Any
ITEMS = list(range(4))
SUCCEEDED = {"status": "Succeeded"}


async def produce_with_pauses(send: Send) -> None:
    for number in ITEMS:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        await send(number)


async def produce_without_pauses(send: Send) -> None:
    for number in ITEMS:
        await send(number)


async def produce_and_fail(send: Send) -> None:
    await produce_with_pauses(send)
    raise ZeroDivisionError


async def produce_concurrently(send: Send) -> None:
    async with anyio.create_task_group() as tasks:
        for number in ITEMS:
            tasks.start_soon(send, number)


PRODUCERS = [produce_with_pauses, produce_without_pauses, produce_and_fail, produce_concurrently]


async def consume(items: Any, instants: Instants, interrupt: Interrupt) -> list[Any]:
    """Return all items and the type of the final error, despite one interruption."""
    received: list[Any] = []
    while True:
        try:
            if await interrupt(instants, items.__anext__, received.append):
                instants.has_interrupted = True
        except StopAsyncIteration:
            return received
        except ZeroDivisionError:
            return [*received, ZeroDivisionError]


# Exactly-once delivery


def interruptions() -> pytest.MarkDecorator:
    """Parametrize a test with every way to interrupt a step, on each loop that supports it."""
    pairs = [(loop, interrupt) for loop in ("asyncio", "trio") for interrupt in EVERYWHERE]
    pairs += [("asyncio", interrupt) for interrupt in ON_ASYNCIO]
    return pytest.mark.parametrize(("anyio_backend", "interrupt"), pairs)


@interruptions()
@pytest.mark.parametrize("produce", PRODUCERS)
@pytest.mark.parametrize("max_waiting", [0, 1, inf])
async def test_each_item_is_delivered_once_whatever_is_canceled(
    produce: Any, max_waiting: float, interrupt: Interrupt
) -> None:
    """A step that is canceled at any instant consumes neither an item nor an error."""
    end = [ZeroDivisionError] if produce is produce_and_fail else []
    interruptions = 0
    for instants in every_instant():
        with instants.watch():
            async with Background(produce, max_waiting) as items:
                received = await consume(items, instants, interrupt)
        assert sorted(received, key=str) == [*ITEMS, *end]
        interruptions += instants.has_interrupted
    assert interruptions or produce is not produce_with_pauses


@interruptions()
async def test_each_result_is_delivered_once_whatever_is_canceled(interrupt: Interrupt) -> None:
    """The same applies to the results of a wait."""
    polling = Polling(first=0, factor=0, minimum=0, maximum=0, jitter=0, rate=inf)
    for instants in every_instant():
        runs = ScriptedRuns.same(3, (0, "Succeeded"))
        options = {"clock": RealClock(), "polling": polling}
        with instants.watch():
            async with runs.results(list(runs.scripts), **options) as results:
                received = await consume(results, instants, interrupt)
        assert sorted(result.trigger_id for result in received) == ["0", "1", "2"]


def tenants_of(client: AsyncPandium) -> Listing[Any]:
    return client.tenants.list(page_size=2)


def mocked_client(count: int, requests: list[httpx.Request] | None = None) -> AsyncPandium:
    """Return a client whose listing contains tenants with ids from 0."""
    records = [{"id": number, "name": f"tenant {number}"} for number in range(count)]

    def handle(request: httpx.Request) -> httpx.Response:
        if requests is not None:
            requests.append(request)
        if request.method == "POST":
            return httpx.Response(200, json={"trigger_id": "never ends"})
        if request.url.path.endswith("/status"):
            return httpx.Response(200 if "/1/" in request.url.path else 404, json=SUCCEEDED)
        skip, limit = (int(request.url.params[name]) for name in ("skip", "limit"))
        return httpx.Response(200, json=records[skip : skip + limit])

    transport = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    return AsyncPandium(KEY, base_url="http://localhost", http_client=transport)


@interruptions()
async def test_each_streamed_record_is_delivered_once_whatever_is_canceled(
    interrupt: Interrupt,
) -> None:
    """The same applies to the records of a stream."""
    client = mocked_client(5)
    for instants in every_instant():
        with instants.watch():
            async with tenants_of(client).stream() as tenants:
                received = await consume(tenants, instants, interrupt)
        assert [tenant.id for tenant in received] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("anyio_backend", "interrupt"),
    [("asyncio", by_scope), ("trio", by_scope), ("asyncio", by_task)],
)
async def test_a_stream_without_room_is_idle_whatever_is_canceled(interrupt: Interrupt) -> None:
    """A stream whose consumer was canceled at any instant waits for the next one.

    It used to run in a loop that could not be canceled.
    """
    client = mocked_client(5)
    interrupted = [False]
    for instants in every_instant():
        received: list[Any] = []
        with instants.watch():
            async with tenants_of(client).stream(prefetch=1) as tenants:
                interrupted.append(await interrupt(instants, tenants.__anext__, received.append))
                await take_steps(300)  # the request of the next page ends
                before = instants.passed
                await take_steps(300)
                steps = instants.passed - before
                received += [tenant async for tenant in tenants]  # a loop would end here, too
        assert steps < 320
        assert [tenant.id for tenant in received] == [0, 1, 2, 3, 4]
        if interrupted[-2] and not interrupted[-1]:
            break
    assert any(interrupted)


async def take_steps(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


# Leaving the block


class SlowToStop:
    """A producer that needs several steps to finish after it is canceled."""

    is_running = False

    async def produce(self, send: Send) -> None:
        self.is_running = True
        try:
            await produce_with_pauses(send)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
            self.is_running = False

    async def run_block(self) -> None:
        async with Background(self.produce, 1) as items:
            await anext(items)
            await anext(items)
        assert not self.is_running


@pytest.mark.parametrize(
    ("anyio_backend", "interrupt"),
    [("asyncio", by_scope), ("trio", by_scope), ("asyncio", by_own_task), ("asyncio", by_task)],
)
async def test_nothing_runs_after_the_block_whatever_is_canceled(interrupt: Interrupt) -> None:
    """A block that is canceled at any instant ends only after its producer has ended."""
    interruptions = 0
    for instants in every_instant():
        producer = SlowToStop()
        with instants.watch():
            interruptions += await interrupt(instants, producer.run_block, lambda _: None)
        assert not producer.is_running
    assert interruptions


@asyncio_only
async def test_leaving_the_block_hides_no_cancellation() -> None:
    """A task that is canceled at any instant of the block ends as canceled."""
    for instants in every_instant():
        with instants.watch():
            task = asyncio.create_task(SlowToStop().run_block())
            requests: list[bool] = []
            instants.act = lambda task=task, requests=requests: requests.append(task.cancel())
            await asyncio.wait([task])
        assert task.cancelled() == (requests == [True])


async def test_a_block_may_be_left_by_another_task() -> None:
    """A block that is entered by one task and exited by another cancels neither of them."""
    is_cut_off = False

    async def produce(send: Send) -> None:
        nonlocal is_cut_off
        await send(1)
        try:
            await anyio.sleep_forever()
        finally:
            is_cut_off = True

    items = Background(produce, 1)
    with anyio.fail_after(5):
        await items.__aenter__()
        assert await anext(items) == 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(items.__aexit__, None, None, None)
    assert is_cut_off
    await anyio.lowlevel.checkpoint()


async def test_a_task_that_waits_is_told_that_the_block_was_left() -> None:
    """A waiting task gets an error, not the end of the iteration, when the block is exited."""

    async def produce(_: Send) -> None:
        await anyio.sleep_forever()

    async def expect_error(items: Any) -> None:
        with pytest.raises(RuntimeError, match="block of this iterator has exited"):
            await anext(items)

    async with anyio.create_task_group() as tasks, Background(produce, 1) as items:
        tasks.start_soon(expect_error, items)
        await anyio.wait_all_tasks_blocked()
    await expect_error(items)


# The buffer


@pytest.mark.parametrize("max_waiting", [0, 1, 3])
async def test_the_producer_waits_while_too_many_items_wait(max_waiting: int) -> None:
    """``send`` returns once at most ``max_waiting`` items are waiting for a consumer."""
    sent: list[int] = []

    async def produce(send: Send) -> None:
        for number in itertools.count():
            await send(number)
            sent.append(number)

    async with Background(produce, max_waiting) as items:
        await anyio.wait_all_tasks_blocked()
        assert len(sent) == max_waiting
        for number in range(5):
            assert await anext(items) == number
            await anyio.wait_all_tasks_blocked()
            assert len(sent) == max_waiting + number + 1


async def test_an_item_for_a_consumer_that_waits_is_not_waiting() -> None:
    """An item for a waiting consumer makes room in the buffer before the consumer has run."""
    waiting: list[int] = []

    async def produce(send: Send) -> None:
        await anyio.wait_all_tasks_blocked()
        for number in ITEMS:
            await send(number)
            waiting.append(items.waiting)
            await anyio.wait_all_tasks_blocked()

    items = Background(produce, 1)
    async with items:
        assert [item async for item in items] == ITEMS
    assert waiting == [0] * len(ITEMS)


async def test_the_producer_sees_the_context_variables_of_the_block() -> None:
    """The producer runs in a copy of the context in which the block was entered."""
    variable: ContextVar[str] = ContextVar("variable", default="")

    async def produce(send: Send) -> None:
        await send(variable.get())

    variable.set("a trace")
    async with Background(produce, 1) as items:
        assert await anext(items) == "a trace"


# Abandoned async generators


async def stream_names(client: AsyncPandium) -> AsyncIterator[str]:
    async with tenants_of(client).stream() as tenants:
        async for tenant in tenants:
            yield tenant.name


async def wait_for_results(client: AsyncPandium) -> AsyncIterator[object]:
    async with client.runs.as_completed(["1", "2"], poll=Polling(first=0)) as results:
        async for result in results:
            yield result


async def sync_tenants(client: AsyncPandium) -> AsyncIterator[object]:
    source: list[Any] = ["invalid", 1]
    async with client.tenants.sync_all(source, mode="normal") as results:
        async for result in results:
            yield result


@pytest.mark.parametrize("generate", [stream_names, wait_for_results, sync_tenants])
async def test_an_abandoned_generator_cancels_nobody(generate: Any) -> None:
    """Abandoning a generator around the iterator affects no cancel scope and ends all work."""
    requests: list[httpx.Request] = []
    client = mocked_client(100, requests)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # trio recommends aclosing()
        with anyio.fail_after(60):
            async for _ in generate(client):
                break
            gc.collect()
            await anyio.sleep(0.05)
        with anyio.move_on_after(0.05) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
    sent = len(requests)
    await anyio.sleep(0.05)
    assert len(requests) == sent


# Several consumers


async def iterate(items: Any, scope: anyio.CancelScope, received: list[Any]) -> None:
    with scope:
        try:
            async for item in items:
                received.append(item)
                await anyio.lowlevel.checkpoint()
        except ZeroDivisionError:
            received.append(ZeroDivisionError)


@pytest.mark.parametrize("max_waiting", [0, 1, inf])
async def test_consumers_share_the_items(max_waiting: float) -> None:
    """Each item, and the error, goes to one task, even if one of three tasks is canceled."""
    for instants in every_instant():
        received: list[Any] = []
        scopes = [anyio.CancelScope() for _ in range(3)]
        instants.act = scopes[0].cancel
        with instants.watch():
            async with (
                Background(produce_and_fail, max_waiting) as items,
                anyio.create_task_group() as tasks,
            ):
                for scope in scopes:
                    tasks.start_soon(iterate, items, scope, received)
        assert sorted(received, key=str) == [*ITEMS, ZeroDivisionError]


# Errors


async def test_a_background_task_is_entered_once_before_it_is_read() -> None:
    """Any other use raises an error that explains what to do."""
    background = Background(produce_with_pauses, 1)
    with pytest.raises(RuntimeError, match="async with"):
        await anext(background)
    with pytest.raises(RuntimeError, match="has not been entered"):
        await background.__aexit__(None, None, None)
    async with background as items:
        assert [item async for item in items] == ITEMS
        with pytest.raises(RuntimeError, match="already been entered"):
            await background.__aenter__()


async def test_an_error_is_raised_once() -> None:
    """A producer error is raised after the preceding items and is followed by the end."""
    async with Background(produce_and_fail, 1) as items:
        for number in ITEMS:
            assert await anext(items) == number
        with pytest.raises(ZeroDivisionError):
            await anext(items)
        with pytest.raises(StopAsyncIteration):
            await anext(items)


class StopEverythingError(BaseException):
    """An exception that is not an ``Exception``, such as KeyboardInterrupt."""


async def test_an_exception_like_keyboard_interrupt_is_never_lost() -> None:
    """It is raised by the iteration or, at the latest, when the block is exited."""

    async def produce(_: Send) -> None:
        raise StopEverythingError

    async with Background(produce, 1) as items:
        with pytest.raises(StopEverythingError):
            await anext(items)
    with pytest.raises(StopEverythingError):
        async with Background(produce, 1):
            await anyio.wait_all_tasks_blocked()


async def test_an_error_of_the_block_is_not_wrapped() -> None:
    """An error raised in the block is re-raised unchanged, not in an exception group."""
    error = KeyError()
    with pytest.raises(KeyError) as caught:
        async with Background(produce_and_fail, 1) as items:
            await anext(items)
            raise error
    assert caught.value is error


@asyncio_only
@pytest.mark.parametrize("has_started", [False, True])
async def test_a_background_task_that_is_canceled_from_outside_is_an_error(
    *, has_started: bool
) -> None:
    """Code that cancels all tasks of the loop, even before they start, causes an error."""

    async def produce(send: Send) -> None:
        await send(1)
        await anyio.sleep_forever()

    others = asyncio.all_tasks()
    async with Background(produce, 1) as items:
        if has_started:
            assert await anext(items) == 1
        [task] = asyncio.all_tasks() - others
        task.cancel()
        with pytest.raises(RuntimeError, match="canceled from outside") as caught:
            await anext(items)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)


@asyncio_only
async def test_a_cancellation_in_the_producer_is_an_error() -> None:
    """If a producer awaits a canceled task, the iteration raises an error."""
    other = asyncio.create_task(asyncio.sleep(60))

    async def produce(send: Send) -> None:
        await send(1)
        other.cancel()
        await other

    async with Background(produce, 1) as items:
        assert await anext(items) == 1
        with pytest.raises(RuntimeError, match="canceled"):
            await anext(items)
