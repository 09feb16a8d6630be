"""Request the pages of a listing in windows of concurrent requests, and iterate over them."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Generic, Self, TypeAlias, TypeVar

import anyio

from pandium._listing.cursor import Cursor, Deliver, Rewind
from pandium.errors import PandiumError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from pandium._listing.cursor import ListingOptions, Page, PageRequest

__all__ = ["Fetch", "Items", "Pages", "fetch_window"]

T = TypeVar("T")
Fetch: TypeAlias = "Callable[[int, int], Awaitable[list[T]]]"

_log = logging.getLogger("pandium")


class Items(Generic[T]):
    """
    An async iterator over the records of pages.

    The last record of a page is held back until the next page has arrived. That page begins with
    this record, so a consumer that archives each record as it comes does not cause a rewind.
    """

    def __init__(self, pages: AsyncIterator[Page[T]]) -> None:
        self._pages = pages
        self._ready: deque[T] = deque()
        self._end: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while len(self._ready) < 2 and self._end is None:  # noqa: PLR2004 - one to deliver, one to hold back
            await self._read_page()
        if self._ready:
            return self._ready.popleft()
        end, self._end = self._end, StopAsyncIteration()
        raise end or self._end

    async def _read_page(self) -> None:
        try:
            self._ready.extend((await anext(self._pages)).items)
        except Exception as error:  # noqa: BLE001 - raised after the records that precede it
            self._end = error


class Pages(Generic[T]):
    """
    An async iterator over the pages of a listing.

    Pages are requested in windows of 1, 2, 4 … concurrent requests. Each window begins and ends
    within one call of ``__anext__``, so nothing is running between two calls.

    :param fetch: A function that requests one page, given ``skip`` and ``limit``.
    :param key: A function that returns the unique key of a record.
    :param options: The paging arguments.
    :param available: A function that returns how many pages may be requested now. Default: always
        ``prefetch`` pages.
    """

    def __init__(
        self,
        fetch: Fetch[T],
        key: Callable[[T], object],
        options: ListingOptions,
        available: Callable[[], int] | None = None,
    ) -> None:
        self._fetch = fetch
        self._cursor = Cursor(options, key)
        self._prefetch = options.prefetch
        self._available = available or (lambda: options.prefetch)
        self._width = 1
        self._ready: deque[Page[T]] = deque()
        self._failure: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        while not self._ready:
            if self._failure is not None:
                failure, self._failure = self._failure, StopAsyncIteration()
                raise failure
            if self._cursor.is_finished:
                raise StopAsyncIteration
            await self._read_window()
        return self._ready.popleft()

    async def _read_window(self) -> None:
        requests = self._cursor.next_requests(min(self._width, self._available()))
        results = await fetch_window(self._fetch, requests)
        try:
            await self._accept_window(requests, results)
        except Exception as error:  # noqa: BLE001 - raised after the pages that precede it
            if isinstance(error, PandiumError):
                error.resume_skip = self._cursor.next_skip
            self._failure = error

    async def _accept_window(
        self, requests: list[PageRequest], results: list[list[T] | Exception]
    ) -> None:
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, Exception):
                raise result
            decision = self._cursor.accept(request, result, is_newest=request is requests[0])
            if not isinstance(decision, Deliver):
                if isinstance(decision, Rewind):
                    await self._rewind(decision)
                # The rest of the window is discarded, so send fewer requests at once.
                self._width = max(1, self._width // 2)
                return
            self._deliver(decision)
            if self._cursor.is_finished:
                return
        self._width = min(self._width * 2, self._prefetch)
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
    fetch: Fetch[T], requests: Sequence[PageRequest]
) -> list[list[T] | Exception]:
    """
    Send concurrent requests, and return their pages or errors in order.

    A short page or an error cancels the requests after it. Their results are empty lists.
    """
    results: list[list[T] | Exception] = [[] for _ in requests]
    scopes = [anyio.CancelScope() for _ in requests]

    async def fetch_page(index: int, request: PageRequest) -> None:
        with scopes[index]:
            try:
                results[index] = records = await fetch(request.skip, request.limit)
                is_last = len(records) < request.limit
            except Exception as error:  # noqa: BLE001 - raised after the pages that precede it
                results[index], is_last = error, True
            if is_last:
                for scope in scopes[index + 1 :]:
                    scope.cancel()

    if len(requests) == 1:
        await fetch_page(0, requests[0])
    else:
        async with anyio.create_task_group() as tasks:
            for index, request in enumerate(requests):
                tasks.start_soon(fetch_page, index, request)
    return results
