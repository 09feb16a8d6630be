"""Synchronous listings and results, which fetch their items from the event loop."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from threading import current_thread
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import attrs

from pandium._listing.cursor import ListingOptions
from pandium._listing.walk import Items
from pandium.errors import PandiumError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from pandium._background import Background
    from pandium._listing.listing import Listing, Page
    from pandium._sync.loop_thread import LoopThread
    from pandium._waiting.results import Progress, RunResults

__all__ = ["SyncListing", "SyncRunResults"]

T = TypeVar("T")


class Buffered(Iterator[T]):
    """
    An iterator that fetches its items from the event loop, one or more at a time.

    Several threads may iterate at the same time. Each item is delivered exactly once, and no thread
    reaches the end before all items are delivered. Items that have been fetched when the wait for
    them is interrupted are delivered by the next call, and so is an error.

    :param loop: the event loop in which to fetch the items.
    """

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._items: deque[T] = deque()
        self._fetching = asyncio.Lock()
        self._failure: Exception | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while True:
            with suppress(IndexError):
                return self._items.popleft()
            if not self._wait_until_filled():
                raise StopIteration

    def _wait_until_filled(self) -> bool:
        try:
            return self._loop.call(self._fill)
        except Exception as error:
            if error is self._failure:  # now it is delivered
                self._failure = None
            raise

    async def _fill(self) -> bool:
        async with self._fetching:
            if self._items:  # another thread has fetched them in the meantime
                return True
            if self._failure is not None:  # the wait for it was interrupted
                raise self._failure
            try:
                self._items.extend(await self._fetch())
            except StopAsyncIteration:
                return False
            except Exception as error:
                self._failure = error
                raise
            return True

    @abstractmethod
    async def _fetch(self) -> list[T]:
        """Return at least one item, or raise `StopAsyncIteration` at the end."""


class ListingIterator(Buffered[T]):
    """
    An iterator over the records or pages of a listing, which requests more pages in the background.

    Closing or deleting the iterator cancels all requests.
    """

    _is_entered = _is_closed = False  # a copy that fails, such as a deep one, is deleted

    def __init__(
        self,
        loop: LoopThread,
        pages: Background[Page[Any]],
        fetch: Callable[[], Awaitable[list[T]]],
    ) -> None:
        super().__init__(loop)
        self._pages = pages
        self._fetch_items = fetch

    def __next__(self) -> T:
        if self._is_closed:
            raise RuntimeError("the iterator is closed: iterate over the listing again")
        try:
            return super().__next__()
        except BaseException as error:
            if not isinstance(error, Exception):  # for example, KeyboardInterrupt
                self.close()
            raise

    async def _fetch(self) -> list[T]:
        if not self._is_entered:
            self._is_entered = True
            await self._loop.enter(self._pages)
        return await self._fetch_items()

    def close(self) -> None:
        """Cancel all requests, without waiting. Calling this method again has no effect."""
        if self._is_entered and not self._is_closed:
            self._loop.post(self._pages.cancel)
        self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


@attrs.frozen
class SyncListing(ListingOptions, Generic[T]):
    """
    A list of records from the API. Every iteration requests them anew.

    ```python
    with Pandium() as client:
        for tenant in client.tenants.list(integration_id=integration_id):
            print(tenant.name)
    ```

    An iteration requests more pages in the background while the program works on a page. Leaving a
    ``for`` loop cancels all requests. Everything else is as described for ``Listing``.

    :ivar limit: the maximum number of records to return, or ``None`` for no limit.
    :ivar page_size: the number of records per request, from 1 to 500.
    :ivar skip: the number of records to skip at the start.
    :ivar prefetch: the maximum number of concurrent requests, and of pages to request in advance.
    :ivar on_drift: what to do if records shift between pages: ``"repair"``, ``"raise"`` or
        ``"ignore"``.
    :ivar confirm_end: whether to confirm that a short page is the last one by requesting another
        page: ``True``, ``False`` or ``"auto"``.
    """

    _loop: LoopThread = attrs.field(repr=False)
    _listing: Listing[T] = attrs.field(repr=False)

    @classmethod
    def of(cls, loop: LoopThread, listing: Listing[T]) -> SyncListing[T]:
        """Return a synchronous listing with the same records."""
        return cls(
            loop,
            listing,
            limit=listing.limit,
            page_size=listing.page_size,
            skip=listing.skip,
            prefetch=listing.prefetch,
            on_drift=listing.on_drift,
            confirm_end=listing.confirm_end,
        )

    def __iter__(self) -> Iterator[T]:
        return self._iterate(None)

    def _iterate(self, prefetch: int | None) -> ListingIterator[T]:
        pages = self._listing._stream_pages(prefetch)  # noqa: SLF001 - internal to the package
        items: Items[T] | None = None

        async def fetch() -> list[T]:
            nonlocal items
            items = items or Items(pages)  # its lock is that of the current event loop
            return await items.take()

        return ListingIterator(self._loop, pages, fetch)

    def pages(self) -> Iterator[Page[T]]:
        """
        Iterate over pages instead of records.

        ```python
        for page in client.tenants.list(page_size=100).pages():
            print(f"{len(page.items)} tenants, up to record {page.next_skip}")
        ```

        :returns: an iterator over ``Page`` objects.
        :raises DriftError: during the iteration, if records might be missed.
        :raises PandiumError: during the iteration, if a request fails.
        """
        pages = self._listing._stream_pages()  # noqa: SLF001 - internal to the package

        async def fetch() -> list[Page[T]]:
            return [await anext(pages)]

        return ListingIterator(self._loop, pages, fetch)

    def raw(self) -> SyncListing[dict[str, Any]]:
        """
        Return the same listing with plain dictionaries instead of models.

        The dictionaries contain every field that the API sent, under the API's names and with dates
        as text. They are not validated, except that each record must have an id.

        ```python
        for tenant in client.tenants.list(limit=10).raw():
            print(tenant["id"], sorted(tenant))
        ```

        :returns: a ``SyncListing`` with the same arguments.
        """
        return SyncListing.of(self._loop, self._listing.raw())

    def first(self) -> T | None:
        """
        Return the first record. Sends a single request for one record.

        ```python
        tenant = client.tenants.list(user_name="ann").first()
        ```

        :returns: the record, or ``None`` if the listing is empty.
        :raises PandiumError: if the request fails.
        """
        return self._loop.call(self._listing.first)

    def to_list(self) -> list[T]:
        """
        Return all records as a list.

        ```python
        tenants = client.tenants.list(limit=1000).to_list()
        ```

        :returns: the records, in the server's order.
        :raises DriftError: if records might be missed.
        :raises PandiumError: if a request fails.
        """
        return self._loop.call(self._listing.to_list)

    def stream(self, *, prefetch: int | None = None) -> AbstractContextManager[Iterator[T]]:
        """
        Iterate over records in a ``with`` block. Leaving the block cancels all requests.

        A plain iteration requests pages in advance in the same way. Use a stream to request more or
        fewer pages in advance, or to cancel requests at a certain point.

        ```python
        with client.tenants.list(page_size=100).stream(prefetch=2) as tenants:
            for tenant in tenants:
                print(client.tenants.metadata(tenant.id))
        ```

        :param prefetch: the maximum number of pages to request in advance, including pages in
            flight. Default: the listing's ``prefetch``.
        :returns: a context manager that provides an iterator over the records.
        :raises ValueError: if ``prefetch`` is less than 1.
        :raises DriftError: during the iteration, if records might be missed.
        :raises PandiumError: during the iteration, if a request fails.
        """
        return self._iterate(prefetch)

    def in_loop(self, loop: LoopThread) -> Listing[T] | None:
        """Return the listing for code that runs in an event loop, or `None` in another one."""
        return self._listing if loop is self._loop else None


SyncListing.__module__ = "pandium"  # as users import it


# The time that leaving a block in another thread waits for the work to end, in seconds.
_LEAVE_SECONDS = 5.0


class SyncRunResults(Buffered[T]):
    """
    An iterator over results, in order of completion.

    The work runs inside the ``with`` block and stops when the block is left. If the work itself
    fails, for example because the source of the triggers raises an error, the error is re-raised
    unchanged after all preceding results.

    Several threads may iterate at the same time. Each result is delivered exactly once, to one of
    the threads.

    ```python
    with client.runs.as_completed(triggers) as results:
        for result in results:
            print(result.trigger_id, result.status)
    ```
    """

    def __init__(
        self, loop: LoopThread, results: RunResults[T], end_functions: Callable[[], None]
    ) -> None:
        super().__init__(loop)
        self._results = results
        self._end_functions = end_functions

    @property
    def progress(self) -> Progress:
        """A snapshot of the current progress, which may be read from any thread, at any time."""
        try:
            return self._loop.call(self._read_progress)
        except PandiumError:
            if not self._loop.is_closed:
                raise
        self._loop.close()  # wait until another thread that closes it has ended the work
        return self._results.progress

    async def _read_progress(self) -> Progress:
        return self._results.progress

    def __enter__(self) -> Self:
        self._entered_in = current_thread()
        self._loop.call(lambda: self._loop.enter(self._results))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        has_ended = True
        try:
            with suppress(PandiumError):  # closing the client has already stopped the work
                if current_thread() is self._entered_in:
                    self._loop.call(self._leave)
                else:
                    # The garbage collector may leave the block of an abandoned generator in any
                    # thread. If the work is waiting for that thread, it can end only afterwards.
                    has_ended = self._loop.try_call(self._leave, _LEAVE_SECONDS)
        finally:
            if has_ended:  # otherwise, the threads for functions end when they are deleted
                self._end_functions()

    async def _leave(self) -> None:
        await self._results.__aexit__(None, None, None)

    async def _fetch(self) -> list[T]:
        return [await anext(self._results)]
