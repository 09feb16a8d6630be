"""Listings that users iterate over."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio.lowlevel
import attrs

from pandium._background import Background
from pandium._listing.cursor import ConfirmEnd, ListingOptions, OnDrift, Page
from pandium._listing.walk import Fetch, Items, Pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["ConfirmEnd", "Fetch", "Listing", "OnDrift", "Page"]

T = TypeVar("T")


@attrs.frozen
class Listing(ListingOptions, Generic[T]):
    """
    A listing of the API. Every iteration requests it anew.

    ```python
    listing = client.tenants.list(integration_id=integration_id)
    async for tenant in listing:
        print(tenant.name)
    ```

    Records are delivered in the server's order. A record that is listed during the whole
    iteration is delivered exactly once, even if others are inserted or archived meanwhile.

    If completeness cannot be shown, for example because the server's order changed, the iteration
    raises ``DriftError``. Pages that arrived before an error are delivered first. To continue
    after an error, pass its ``resume_skip`` as ``skip`` to a new listing.

    :ivar limit: The maximum number of records to return. ``None`` means no limit.
    :ivar page_size: The number of records per request, from 1 to 500.
    :ivar skip: The number of records to skip at the start.
    :ivar prefetch: The maximum number of concurrent requests.
    :ivar on_drift: What to do if records shift between pages: ``"repair"``, ``"raise"`` or
        ``"ignore"``.
    :ivar confirm_end: Whether the end is confirmed by a page without new records: ``True``,
        ``False`` or ``"auto"``.
    """

    _fetch: Fetch[T] = attrs.field(repr=False)
    _key: Callable[[T], object] = attrs.field(repr=False)

    def __aiter__(self) -> Items[T]:
        return Items(self.pages())

    def pages(self) -> Pages[T]:
        """
        Iterate over pages instead of records.

        ```python
        async for page in client.tenants.list(page_size=100).pages():
            print(f"{len(page.items)} tenants, up to record {page.next_skip}")
        ```

        :returns: An async iterator over ``Page`` objects.
        :raises DriftError: During the iteration, if the listing cannot be shown to be complete.
        :raises PandiumError: During the iteration, if a request fails.
        """
        return Pages(self._fetch, self._key, self)

    async def first(self) -> T | None:
        """
        Return the first record. Sends one request, for one record.

        ```python
        tenant = await client.tenants.list(user_name="ann").first()
        ```

        :returns: The record, or ``None`` if the listing is empty.
        :raises PandiumError: If the request fails.
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

        :returns: The records, in the server's order.
        :raises DriftError: If the listing cannot be shown to be complete.
        :raises PandiumError: If a request fails.
        """
        return [item async for item in self]

    @asynccontextmanager
    async def stream(self, *, prefetch: int | None = None) -> AsyncIterator[Items[T]]:
        """
        Iterate over records while further pages are requested in the background.

        A plain iteration sends requests only while it waits for the next record. Use a stream if
        you do slow work between records. Leaving the block cancels all requests.

        ```python
        async with client.tenants.list(page_size=100).stream() as tenants:
            async for tenant in tenants:
                print(await client.tenants.metadata(tenant.id))
        ```

        :param prefetch: The maximum number of pages that are being requested or waiting to be
            read. Default: the listing's own ``prefetch``.
        :returns: An async context manager that returns an async iterator over the records.
        :raises ValueError: If ``prefetch`` is less than 1.
        :raises DriftError: During the iteration, if the listing cannot be shown to be complete.
        :raises PandiumError: During the iteration, if a request fails.
        """
        options = self if prefetch is None else attrs.evolve(self, prefetch=prefetch)

        def available() -> int:
            return options.prefetch - background.waiting

        async def produce(send: Callable[[Page[T]], Awaitable[None]]) -> None:
            async for page in Pages(self._fetch, self._key, options, available):
                await send(page)
                # Yield to a waiting consumer. Once it has the page, another may be requested.
                await anyio.lowlevel.checkpoint()

        # One page fewer than `prefetch`, because the producer holds one more until there is room.
        background = Background(produce, options.prefetch - 1)
        async with background as pages:
            yield Items(pages)
