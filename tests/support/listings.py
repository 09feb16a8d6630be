"""A listing in memory, and the ways to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs

from pandium import Listing

if TYPE_CHECKING:
    from collections.abc import Callable

# A walk that sends more requests than this does not end.
_MAX_REQUESTS = 5000


@attrs.define
class RecordServer:
    """
    A server that lists numbers, and counts the requests for them.

    :ivar count: How many numbers are listed at first: 0, 1, 2 …
    :ivar on_request: Called with the index of a request just before it is answered.
    :ivar gate: Awaited with the ``skip`` of a request before it is answered.
    :ivar shorten: What the server does to a page before it returns it.
    :ivar requests: The ``skip`` and ``limit`` of each request.
    :ivar running: The number of requests in progress.
    :ivar max_running: The most requests that were in progress at once.
    :ivar windows: How often a request was sent while no other was in progress.
    :ivar records: The numbers listed now.
    """

    count: int
    on_request: Callable[[int], None] = lambda _: None
    gate: Callable[[int], Any] | None = None
    shorten: Callable[[list[int]], list[int]] = lambda page: page
    requests: list[tuple[int, int]] = attrs.field(factory=list)
    running: int = 0
    max_running: int = 0
    windows: int = 0
    records: list[int] = attrs.field(
        init=False, default=attrs.Factory(lambda self: list(range(self.count)), takes_self=True)
    )

    @property
    def visible(self) -> list[int]:
        """The numbers that the server shows, on pages of any size."""
        return [number for number in self.records if self.shorten([number])]

    async def fetch(self, skip: int, limit: int) -> list[int]:
        index = len(self.requests)
        assert index < _MAX_REQUESTS
        self.requests.append((skip, limit))
        self.windows += not self.running
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            await anyio.lowlevel.checkpoint()
            if self.gate is not None:
                await self.gate(skip)
            self.on_request(index)
            return self.shorten(self.records[skip : skip + limit])
        finally:
            self.running -= 1

    def listing(self, **options: Any) -> Listing[int]:
        return Listing(self.fetch, lambda record: record, **options)


def changing_server(count: int, index: int, change: Callable[[list[int]], object]) -> RecordServer:
    """Return a server whose records change just before it answers one of the requests."""

    def on_request(current: int) -> None:
        if current == index:
            change(server.records)

    server = RecordServer(count, on_request=on_request)
    return server


async def read_items(listing: Listing[int], seen: list[int]) -> None:
    async for item in listing:
        seen.append(item)


async def read_pages(listing: Listing[int], seen: list[int]) -> None:
    async for page in listing.pages():
        seen.extend(page.items)


async def read_stream(listing: Listing[int], seen: list[int]) -> None:
    async with listing.stream() as items:
        async for item in items:
            seen.append(item)


READERS = [read_items, read_pages, read_stream]
