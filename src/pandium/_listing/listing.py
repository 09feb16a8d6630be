"""The `Listing` class, which list operations return."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio.lowlevel
import attrs

from pandium._background import Background
from pandium._listing.cursor import ConfirmEnd, ListingOptions, OnDrift, Page
from pandium._listing.walk import Fetch, Items, Pages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

__all__ = ["ConfirmEnd", "Fetch", "Listing", "OnDrift", "Page"]

T = TypeVar("T")


@attrs.frozen
class Listing(ListingOptions, Generic[T]):
    """
    A list of records from the API. Every iteration requests them anew.

    ```python
    listing = client.tenants.list(integration_id=integration_id)
    async for tenant in listing:
        print(tenant.name)
    ```

    Records are delivered in the server's order. A record that is listed throughout the iteration
    is delivered exactly once, even if others are inserted or archived in the meantime.

    If records might be missed, for example because the server's order changed, the iteration
    raises ``DriftError``. Pages received before an error are delivered first. To continue after
    an error, pass its ``resume_skip`` as ``skip`` to a new listing. The new listing misses or
    repeats records if others were archived or inserted before that position in the meantime. To
    prevent this, start a page earlier and ignore the records that you already have.

    :ivar limit: the maximum number of records to return, or ``None`` for no limit.
    :ivar page_size: the number of records per request, from 1 to 500.
    :ivar skip: the number of records to skip at the start.
    :ivar prefetch: the maximum number of concurrent requests.
    :ivar on_drift: what to do if records shift between pages: ``"repair"``, ``"raise"`` or
        ``"ignore"``.
    :ivar confirm_end: whether to confirm that a short page is the last one by requesting another
        page: ``True``, ``False`` or ``"auto"``.
    """

    _fetch: Fetch[T] = attrs.field(repr=False)
    _key: Callable[[T], object] = attrs.field(repr=False)
    _fetch_raw: Fetch[dict[str, Any]] = attrs.field(repr=False)

    def __aiter__(self) -> Items[T]:
        return Items(self.pages())

    def pages(self) -> Pages[T]:
        """
        Iterate over pages instead of records.

        ```python
        async for page in client.tenants.list(page_size=100).pages():
            print(f"{len(page.items)} tenants, up to record {page.next_skip}")
        ```

        :returns: an async iterator over ``Page`` objects.
        :raises DriftError: during the iteration, if records might be missed.
        :raises PandiumError: during the iteration, if a request fails.
        """
        return Pages(self._fetch, self._key, self)

    def raw(self) -> Listing[dict[str, Any]]:
        """
        Return the same listing with plain dictionaries instead of models.

        The dictionaries contain every field that the API sent, under the API's names and with dates
        as text. They are not validated, except that each record must have an id. The iteration is
        as complete and as concurrent as that of this listing.

        ```python
        async for tenant in client.tenants.list(limit=10).raw():
            print(tenant["id"], sorted(tenant))
        ```

        :returns: a ``Listing`` with the same arguments.
        """
        return attrs.evolve(
            cast("Listing[dict[str, Any]]", self), fetch=self._fetch_raw, key=itemgetter("id")
        )

    async def first(self) -> T | None:
        """
        Return the first record. Sends a single request for one record.

        ```python
        tenant = await client.tenants.list(user_name="ann").first()
        ```

        :returns: the record, or ``None`` if the listing is empty.
        :raises PandiumError: if the request fails.
        """
        async for item in attrs.evolve(self, limit=1 if self.limit is None else min(1, self.limit)):
            return item
        return None

    async def to_list(self) -> list[T]:
        """
        Return all records as a list.

        ```python
        tenants = await client.tenants.list(limit=1000).to_list()
        ```

        :returns: the records, in the server's order.
        :raises DriftError: if records might be missed.
        :raises PandiumError: if a request fails.
        """
        return [item async for item in self]

    def stream(self, *, prefetch: int | None = None) -> AbstractAsyncContextManager[Items[T]]:
        """
        Iterate over records while requesting more pages in the background.

        A plain iteration sends requests only while it waits for the next record. Use a stream if
        processing a record is slow. Leaving the block cancels all requests.

        ```python
        async with client.tenants.list(page_size=100).stream() as tenants:
            async for tenant in tenants:
                print(await client.tenants.metadata(tenant.id))
        ```

        :param prefetch: the maximum number of pages to request in advance, including pages in
            flight. Default: the listing's ``prefetch``.
        :returns: an async context manager that provides an async iterator over the records.
        :raises ValueError: if ``prefetch`` is less than 1.
        :raises DriftError: during the iteration, if records might be missed.
        :raises PandiumError: during the iteration, if a request fails.
        """
        return RecordStream(self._stream_pages(prefetch))

    def _stream_pages(self, prefetch: int | None = None) -> Background[Page[T]]:
        """Return an iterator over pages that requests more of them in the background."""
        options = self if prefetch is None else attrs.evolve(self, prefetch=prefetch)

        async def available() -> int:
            # If a consumer is canceled after `send` has returned, the page that it was going to
            # take is waiting again, and there may be no room for another one.
            await background.wait_for_room()
            return options.prefetch - background.waiting

        async def produce(send: Callable[[Page[T]], Awaitable[None]]) -> None:
            async for page in Pages(self._fetch, self._key, options, available):
                await send(page)
                # Yield to a waiting consumer, which takes the page and makes room for another one.
                await anyio.lowlevel.checkpoint()

        # Subtract one, because the producer also keeps a page until the buffer has room.
        background = Background(produce, options.prefetch - 1)
        return background


class RecordStream(AbstractAsyncContextManager[Items[T]]):
    """
    The context manager that ``Listing.stream`` returns.

    A generator function decorated with ``asynccontextmanager`` was rejected, because it replaces
    an error of the block whose attributes cannot be set.

    :param background: the background task that produces the pages.
    """

    def __init__(self, background: Background[Page[T]]) -> None:
        self._background = background

    async def __aenter__(self) -> Items[T]:
        return Items(await self._background.__aenter__())

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._background.__aexit__(exc_type, exc, traceback)


Listing.__module__ = "pandium"  # as users import it
