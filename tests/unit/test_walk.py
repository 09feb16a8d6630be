"""Windows of requests and the iterators over their results, with an in-memory listing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs
import pytest

from pandium import Listing, NotFound, ServerError
from pandium._listing.cursor import PageRequest
from pandium._listing.walk import fetch_window
from support.failures import ODD_ERRORS
from support.listings import (
    READERS,
    RecordServer,
    read_items,
    read_pages,
    read_stream,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

pytestmark = pytest.mark.anyio


# Windows


async def test_a_window_returns_pages_and_errors_in_order() -> None:
    """Results are in the order of the requests, whatever the order of the responses."""
    answered = anyio.Event()

    async def gate(skip: int) -> None:
        if skip == 0:
            await answered.wait()
        if skip == 20:
            raise ServerError("down", status_code=503)
        if skip == 10:
            answered.set()

    server = RecordServer(100, gate=gate)
    results = await fetch_window(server.fetch, [PageRequest(skip, 10) for skip in (0, 10, 20)])
    assert results[:2] == [list(range(10)), list(range(10, 20))]
    assert isinstance(results[2], ServerError)


async def test_windows_quadruple_in_size() -> None:
    """Windows have one, four and so on requests, but never more than `prefetch`."""
    server, widths = RecordServer(1000), []
    async for _ in server.listing(page_size=10, prefetch=6).pages():
        if server.max_running:
            widths.append(server.max_running)
            server.max_running = 0
    assert widths[:5] == [1, 4, 6, 6, 6]
    assert max(widths) == 6


@pytest.mark.parametrize(("confirm_end", "first_hanging"), [(False, 10), ("auto", 30), (True, 15)])
async def test_a_short_page_cancels_the_requests_after_it(
    confirm_end: Any, first_hanging: int
) -> None:
    """After a short page, at most one later page is awaited, as confirmation."""

    async def gate(skip: int) -> None:
        if skip >= first_hanging:
            await anyio.sleep_forever()

    server = RecordServer(15, gate=gate)
    listing = server.listing(page_size=10, prefetch=4, confirm_end=confirm_end)
    with anyio.fail_after(5):
        assert await listing.to_list() == list(range(15))
    assert server.running == 0


async def test_an_error_cancels_the_requests_after_it() -> None:
    """Once a request has failed, later pages are not awaited."""

    async def gate(skip: int) -> None:
        if skip > 9:
            await anyio.sleep_forever()
        if skip == 9:
            raise ServerError("down", status_code=503)

    server = RecordServer(100, gate=gate)
    with anyio.fail_after(5), pytest.raises(ServerError):
        await server.listing(page_size=10, prefetch=4).to_list()
    assert server.running == 0


async def test_an_error_does_not_cancel_the_requests_before_it() -> None:
    """Pages before a failed request are still awaited and delivered."""
    failed = anyio.Event()

    async def gate(skip: int) -> None:
        if skip == 9:
            await failed.wait()
        if skip == 18:
            failed.set()
            raise ServerError("down", status_code=503)

    seen: list[int] = []
    with pytest.raises(ServerError):
        await read_items(RecordServer(100, gate=gate).listing(page_size=10, prefetch=2), seen)
    assert seen == list(range(19))


async def test_windows_shrink_while_the_listing_drifts() -> None:
    """After a window whose pages were discarded, the window size is halved."""

    def archive(_: int) -> None:
        del server.records[0]

    server = RecordServer(400, on_request=archive)
    seen = await server.listing(page_size=10, prefetch=16).to_list()
    assert set(server.records) <= set(seen)
    assert server.max_running <= 4


async def test_a_window_is_halved_after_any_number_of_quiet_ones() -> None:
    """After one change, the next window is halved, and then the size is restored."""
    server, widths = RecordServer(2000), []
    async for page in server.listing(page_size=10, prefetch=4).pages():
        if page.next_skip == 1000:
            del server.records[:5]
        if server.max_running:
            widths.append(server.max_running)
            server.max_running = 0
    full = widths.index(4, 3) + 1
    assert 2 in widths[full:]


async def test_an_outdated_page_is_not_a_change_of_order() -> None:
    """A page may contain records that were archived before the previous page was sent."""
    answered = anyio.Event()

    async def gate(skip: int) -> None:
        if skip == 53:
            await answered.wait()
            del server.records[54:66]
        if skip == 62:
            answered.set()

    server = RecordServer(100, gate=gate)
    seen: list[int] = []
    async for page in server.listing(page_size=10, prefetch=2).pages():
        seen.extend(page.items)
        if seen[-1] == 45:
            # The iteration rewinds and finds the records that it delivered before.
            server.records[:0] = range(-20, 0)
    assert seen == list(range(100))
    assert server.records == [*range(-20, 34), *range(46, 100)]


# Errors


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("prefetch", [1, 4, 16])
@pytest.mark.parametrize("number", range(12))
async def test_pages_before_an_error_are_delivered_first(
    read: Any, prefetch: int, number: int
) -> None:
    """The error is raised after them, without an exception group, and contains `resume_skip`."""

    async def gate(skip: int) -> None:
        if skip == 9 * number:
            raise ServerError("down", status_code=503)

    seen: list[int] = []
    server = RecordServer(105, gate=gate)
    with pytest.raises(ServerError) as caught:
        await read(server.listing(page_size=10, prefetch=prefetch), seen)
    # The first page has ten new records. Each later page has nine.
    assert len(seen) == caught.value.resume_skip == (1 + 9 * number if number else 0)
    assert server.running == 0
    await read(RecordServer(105).listing(skip=caught.value.resume_skip, page_size=10), seen)
    assert seen == list(range(105))


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
async def test_an_error_during_a_rewind_ends_the_walk(number: int) -> None:
    """If a request of a rewind fails, its error is raised with `resume_skip` set."""

    def change(index: int) -> None:
        if index == 1:
            del server.records[:30]
        if index == number:
            raise ServerError("down", status_code=503)

    seen: list[int] = []
    server = RecordServer(200, on_request=change)
    with pytest.raises(ServerError) as caught:
        await read_pages(server.listing(page_size=40, prefetch=1), seen)
    assert seen == list(range(len(seen)))
    rest = await server.listing(skip=caught.value.resume_skip).to_list()
    # Only a completed rewind determines by how much the listing drifted.
    assert (len(seen), caught.value.resume_skip) == (40, 40) or seen + rest == list(range(200))
    assert (len(seen) == 40) is (number < 5)


async def test_a_rewind_that_is_canceled_again_and_again_is_no_change_of_the_listing() -> None:
    """Only completed rewinds count as signs that a listing changes faster than it can be read."""
    canceled = 0

    def change(index: int) -> None:
        if index == 1:
            del server.records[0]

    async def gate(skip: int) -> None:
        nonlocal canceled
        if len(server.requests) > 2 and skip < 39 and canceled < 200:
            canceled += 1
            scope.cancel()
            await anyio.sleep_forever()

    server = RecordServer(200, on_request=change, gate=gate)
    pages, seen = server.listing(page_size=40, prefetch=1).pages(), list[int]()
    while len(seen) < 200:
        with anyio.CancelScope() as scope:
            seen += (await anext(pages)).items
    assert canceled == 200
    assert seen == list(range(200))


@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("number", [0, 3])
async def test_not_found_is_an_error_on_every_page(prefetch: int, number: int) -> None:
    """A 404 never ends a listing silently. Only a short or empty page does."""

    async def gate(skip: int) -> None:
        if skip == 9 * number:
            raise NotFound("no such tenant", status_code=404)

    seen: list[int] = []
    server = RecordServer(100, gate=gate)
    with pytest.raises(NotFound):
        await read_items(server.listing(page_size=10, prefetch=prefetch), seen)
    assert len(seen) == (1 + 9 * number if number else 0)
    assert await RecordServer(0).listing().to_list() == []


@pytest.mark.parametrize("iterate", [Listing.pages, Listing.__aiter__])
async def test_an_iterator_ends_after_its_error(iterate: Any) -> None:
    """After raising its error, an iterator raises StopAsyncIteration every time."""

    async def gate(_: int) -> None:
        raise NotFound("no such tenant", status_code=404)

    iterator = iterate(RecordServer(5, gate=gate).listing())
    with pytest.raises(NotFound):
        await anext(iterator)
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("error", [ZeroDivisionError(), *ODD_ERRORS], ids=repr)
async def test_other_exceptions_are_raised_unchanged(read: Any, error: Exception) -> None:
    """An exception that is not the library's own is raised unchanged after the preceding pages.

    This includes an exception that is false.
    """

    async def gate(skip: int) -> None:
        if skip == 27:
            raise error

    seen: list[int] = []
    with pytest.raises(type(error)) as caught:
        await read(RecordServer(100, gate=gate).listing(page_size=10), seen)
    assert caught.value is error
    assert seen == list(range(28))


# Cancellation


async def test_breaking_out_of_a_loop_leaves_nothing_running() -> None:
    """Leaving a loop early leaves no request in progress."""
    server = RecordServer(1000)
    async for item in server.listing(page_size=10, prefetch=4):
        if item == 25:
            break
    assert server.running == 0


@attrs.define
class CancelAt:
    """Run a coroutine and cancel it when it has been suspended a given number of times."""

    coroutine: Coroutine[Any, Any, None]
    suspensions: int
    cancel: Callable[[], object]

    def __await__(self) -> Generator[Any, Any, None]:
        step, value = self.coroutine.send, None
        while True:
            try:
                suspended = step(value)
            except StopIteration:
                return
            self.suspensions -= 1
            if self.suspensions == 0:
                self.cancel()
            try:
                step, value = self.coroutine.send, (yield suspended)
            except BaseException as error:  # noqa: BLE001 - passed on to the coroutine
                step, value = self.coroutine.throw, error


def _drifting_server() -> RecordServer:
    """Return a server whose listing shifts both ways, so that a walk has to rewind."""

    def change(index: int) -> None:
        if index == 3:
            del server.records[2:7]
        if index == 9:
            server.records[:0] = range(1000, 1025)

    server = RecordServer(120, on_request=change)
    return server


def _assert_complete(seen: list[int]) -> None:
    """Assert that the records that were never archived were delivered once and in order."""
    survivors = [*range(2), *range(7, 120)]
    assert [item for item in seen if item in survivors] == survivors
    assert len(seen) == len(set(seen))


async def _cancel_and_continue(
    seen: list[int], suspensions: int, requests: int, prefetch: int
) -> bool:
    """
    Cancel an iteration, check that no request is in progress, and finish the iteration.

    :param suspensions: the suspension at which to cancel, or 0.
    :param requests: the request at which to cancel, or 0.
    :returns: False if the iteration ended before it was canceled.
    """
    server = _drifting_server()
    pages = server.listing(page_size=10, prefetch=prefetch).pages()

    async def walk() -> None:
        async for page in pages:
            seen.extend(page.items)

    async def gate(_: int) -> None:
        nonlocal requests
        requests -= 1
        if requests == 0:
            scope.cancel()
        await anyio.lowlevel.checkpoint()

    server.gate = gate
    with anyio.CancelScope() as scope:
        await CancelAt(walk(), suspensions, scope.cancel)
    assert server.running == 0
    was_canceled = scope.cancelled_caught
    await walk()
    return was_canceled


@pytest.mark.parametrize("prefetch", [1, 3, 16])
async def test_a_walk_can_be_canceled_at_any_point_and_continued(prefetch: int) -> None:
    """A canceled iteration leaves no request in progress and loses no record."""
    for by_suspension, by_request in ((1, 0), (0, 1)):
        for number in range(1, 1000):
            seen: list[int] = []
            was_canceled = await _cancel_and_continue(
                seen, by_suspension * number, by_request * number, prefetch
            )
            _assert_complete(seen)
            if not was_canceled:
                break
        assert 10 < number < 999


@pytest.mark.parametrize("prefetch", [1, 4])
async def test_a_stream_can_be_canceled_at_any_point(prefetch: int) -> None:
    """A canceled stream leaves no request in progress, and the delivered records have no gaps."""
    for number in range(1, 1000):
        seen: list[int] = []
        server = RecordServer(100)

        async def walk() -> None:
            async with server.listing(page_size=10, prefetch=prefetch).stream() as items:  # noqa: B023
                async for item in items:
                    seen.append(item)  # noqa: B023

        with anyio.CancelScope() as scope:
            await CancelAt(walk(), number, scope.cancel)
        assert server.running == 0
        assert seen == list(range(len(seen)))
        if not scope.cancelled_caught:
            break
    assert seen == list(range(100))
    assert number > 10


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("read", READERS)
async def test_an_asyncio_task_can_be_canceled_at_any_point(read: Any) -> None:
    """`Task.cancel` raises CancelledError in the iteration and leaves no request in progress."""
    for number in range(1, 1000):
        seen: list[int] = []
        server = _drifting_server()

        async def walk() -> None:
            task = asyncio.current_task()
            assert task is not None
            reading = read(server.listing(page_size=10), seen)  # noqa: B023
            await CancelAt(reading, number, task.cancel)  # noqa: B023

        task = asyncio.create_task(walk())
        await asyncio.wait([task])
        assert server.running == 0
        if not task.cancelled():
            break
    task.result()
    _assert_complete(seen)
    assert number > 10


# Streams


@pytest.mark.parametrize("prefetch", [1, 2, 4, 16])
async def test_a_stream_prefetches_up_to_its_limit(prefetch: int) -> None:
    """While the consumer works, at most `prefetch` pages are requested in advance."""
    seen: list[int] = []
    server = RecordServer(400)
    async with server.listing(page_size=10).stream(prefetch=prefetch) as items:
        async for item in items:
            seen.append(item)
            # The first page has ten new records, the others nine. The consumer takes the next
            # page when one record is left.
            pages_taken = (item + 1 + 8) // 9
            if item in (0, 1, 8, 9, 17, 18, 40, 99):
                await anyio.wait_all_tasks_blocked()
                assert len(server.requests) == pages_taken + prefetch
            assert len(server.requests) <= pages_taken + prefetch
    assert seen == list(range(400))
    assert server.max_running <= prefetch


@pytest.mark.parametrize("prefetch", [1, 2, 4, 16])
async def test_a_stream_is_as_concurrent_as_a_loop(prefetch: int) -> None:
    """With a fast consumer, a stream needs no more windows than a plain loop."""
    windows = []
    for read in (read_items, read_stream):
        server = RecordServer(1000)
        await read(server.listing(page_size=10, prefetch=prefetch), [])
        windows.append(server.windows)
    assert windows[1] <= windows[0]


async def test_leaving_a_stream_stops_its_requests() -> None:
    """After the block exits, even with an error, no request is in progress or sent."""
    server = RecordServer(100_000)
    with pytest.raises(KeyError):
        async with server.listing(page_size=10).stream() as items:
            async for item in items:
                raise KeyError(item)
    count = len(server.requests)
    await anyio.wait_all_tasks_blocked()
    assert (server.running, len(server.requests)) == (0, count)
