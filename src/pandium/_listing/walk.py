"""Request the pages of a listing in windows of concurrent requests, and iterate over them."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

import anyio

from pandium._cancellation import as_iteration_error
from pandium._listing.cursor import Cursor, Deliver, Rewind
from pandium.errors import PandiumError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from pandium._listing.cursor import ListingOptions, Page, PageRequest

__all__ = ["Fetch", "Items", "Pages", "fetch_window"]

T = TypeVar("T")
Fetch: TypeAlias = "Callable[[int, int], Awaitable[list[T]]]"

_log = logging.getLogger("pandium")
# The result of a canceled request. It is never raised, because an earlier page ends the window.
_CANCELED = RuntimeError("the request was canceled")


class Items(Generic[T]):
    """
    An async iterator over the records of pages.

    The last record of a page is held back until the next page has been received. The next page
    begins with this record, so archiving each record as it is delivered does not cause a rewind.
    """

    def __init__(self, pages: AsyncIterator[Page[T]]) -> None:
        self._pages = pages
        self._ready: deque[T] = deque()
        self._end: Exception | None = None
        self._lock = anyio.Lock(fast_acquire=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        await self._fill()
        return self._ready.popleft()

    async def take(self) -> list[T]:
        """
        Return all records that can be delivered without another request, and at least one.

        :raises StopAsyncIteration: if there are no more records.
        """
        await self._fill()
        held_back = [self._ready.pop()] if self._end is None else []
        records, self._ready = list(self._ready), deque(held_back)
        return records

    async def _fill(self) -> None:
        """Read pages until a record can be delivered. Raise the error that ends the iteration."""
        if len(self._ready) < 2:  # noqa: PLR2004 - one to deliver and one to hold back
            async with self._lock:  # several tasks may share the iterator
                while len(self._ready) < 2 and self._end is None:  # noqa: PLR2004 - see above
                    await self._read_page()
        if not self._ready:
            end, self._end = self._end, StopAsyncIteration()
            raise self._end if end is None else end  # an error may be false

    async def _read_page(self) -> None:
        try:
            self._ready.extend((await anext(self._pages)).items)
        except Exception as error:  # noqa: BLE001 - raised after the preceding records
            self._end = error


class Pages(Generic[T]):
    """
    An async iterator over the pages of a listing.

    Pages are requested in windows of 1, 4, 16, … concurrent requests, at most ``prefetch``. Each
    window begins and ends within one call of ``__anext__``, so no task is running between calls.

    :param fetch: a function that requests one page, given ``skip`` and ``limit``.
    :param key: a function that returns the unique key of a record.
    :param options: the paging arguments.
    :param available: a function that waits until a page may be requested, and returns how many may
        be. Default: always ``prefetch``.
    """

    def __init__(
        self,
        fetch: Fetch[T],
        key: Callable[[T], object],
        options: ListingOptions,
        available: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._fetch = fetch
        self._cursor = Cursor(options, key)
        self._prefetch = options.prefetch
        self._available = available
        self._width = 1
        # Letting the request after a short page finish is the cheapest way to confirm the end.
        self._pages_beyond_end = 1 if options.confirm_end == "auto" else 0
        self._lock = anyio.Lock(fast_acquire=True)
        self._ready: deque[Page[T]] = deque()
        self._failure: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        async with self._lock:  # several tasks may share the iterator
            return await self._next()

    async def _next(self) -> Page[T]:
        while not self._ready:
            if self._failure is not None:
                failure, self._failure = self._failure, StopAsyncIteration()
                raise failure
            if self._cursor.is_finished:
                raise StopAsyncIteration
            await self._read_window()
        return self._ready.popleft()

    async def _read_window(self) -> None:
        count = self._prefetch if self._available is None else await self._available()
        requests = self._cursor.next_requests(min(self._width, count))
        results = await fetch_window(self._fetch, requests, self._pages_beyond_end)
        try:
            await self._accept_window(requests, results)
        except Exception as error:  # noqa: BLE001 - raised after the preceding pages
            if isinstance(error, PandiumError):
                with suppress(AttributeError):  # a user's class may have a property of this name
                    object.__setattr__(error, "resume_skip", self._cursor.next_skip)
            self._failure = as_iteration_error(error, "the request of a page")

    async def _accept_window(
        self, requests: list[PageRequest], results: list[list[T] | Exception]
    ) -> None:
        for index, (request, result) in enumerate(zip(requests, results, strict=True)):
            if isinstance(result, Exception):
                raise result
            decision = self._cursor.accept(request, result, is_newest=request is requests[0])
            if not isinstance(decision, Deliver):
                # A refetch needs no action: `next_skip` has not moved, so the next window requests
                # the page again.
                if isinstance(decision, Rewind):
                    await self._rewind(decision)
                # The rest of the window is discarded, so send fewer concurrent requests.
                self._width = max(1, self._width // 2)
                return
            self._deliver(decision)
            if self._cursor.is_end_pending:
                for beyond in results[index + 1 : index + 2]:
                    if isinstance(beyond, list):
                        self._cursor.accept_beyond_end(beyond)
                return
            if self._cursor.is_finished:
                return
        self._width = min(self._width * 4, self._prefetch)
        self._cursor.shrink_overlap()

    async def _rewind(self, decision: Deliver[T] | Rewind) -> None:
        while isinstance(decision, Rewind):
            request = decision.request
            records = await self._fetch(request.skip, request.limit)
            decision = self._cursor.accept_rewound(decision, records)
        self._deliver(decision)

    def _deliver(self, decision: Deliver[T]) -> None:
        if decision.page is not None:
            self._ready.append(decision.page)
        if decision.repair is not None:
            drift, skip = decision.repair.drift, decision.repair.skip
            _log.info("listing drifted by %+d records; continuing at record %d", drift, skip)


async def fetch_window(
    fetch: Fetch[T], requests: Sequence[PageRequest], pages_beyond_end: int = 0
) -> list[list[T] | Exception]:
    """
    Send concurrent requests and return their pages or errors in order.

    A short page or an error cancels the requests that follow it. The result of a canceled request
    is an error.

    :param pages_beyond_end: the number of requests after a short page that are not canceled.
    """
    results: list[list[T] | Exception] = [_CANCELED for _ in requests]
    scopes = [anyio.CancelScope() for _ in requests]

    async def fetch_page(index: int, request: PageRequest) -> None:
        with scopes[index]:
            try:
                results[index] = records = await fetch(request.skip, request.limit)
            except Exception as error:  # noqa: BLE001 - raised after the preceding pages
                results[index], records = error, []
            if len(records) < request.limit:
                for scope in scopes[index + 1 + (pages_beyond_end if records else 0) :]:
                    scope.cancel()

    if len(requests) == 1:
        await fetch_page(0, requests[0])
    else:
        await _run_all(fetch_page, requests)
    return results


async def _run_all(
    fetch_page: Callable[[int, PageRequest], Coroutine[Any, Any, None]],
    requests: Sequence[PageRequest],
) -> None:
    try:
        async with anyio.create_task_group() as tasks:
            for index, request in enumerate(requests):
                tasks.start_soon(fetch_page, index, request)
    except BaseExceptionGroup as group:
        # Ordinary errors become results. Only exceptions such as KeyboardInterrupt leave the task
        # group, which wraps them.
        raise group.exceptions[0] from None
