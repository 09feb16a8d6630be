"""An in-memory listing and the ways to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs

from pandium import Listing

if TYPE_CHECKING:
    from collections.abc import Callable

# A walk that sends more requests than this is considered endless.
_MAX_REQUESTS = 5000


@attrs.define
class RecordServer:
    """
    A server that lists numbers and counts the requests for them.

    :ivar count: the initial number of records. The records are 0, 1, 2 and so on.
    :ivar on_request: a callback that is called with the index of a request before the response.
    :ivar gate: an async callback that is called with the ``skip`` of a request before the response.
    :ivar shorten: a function that shortens a page before the server returns it.
    :ivar requests: the ``skip`` and ``limit`` of each request.
    :ivar running: the number of requests in progress.
    :ivar max_running: the maximum number of requests in progress at the same time.
    :ivar windows: the number of requests sent while no other request was in progress.
    :ivar records: the numbers that are currently listed.
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
        """The numbers that the server returns on pages of any size."""
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

    async def fetch_raw(self, skip: int, limit: int) -> list[dict[str, Any]]:
        return [{"id": number} for number in await self.fetch(skip, limit)]

    def listing(self, **options: Any) -> Listing[int]:
        return Listing(self.fetch, lambda record: record, self.fetch_raw, **options)


def changing_server(count: int, index: int, change: Callable[[list[int]], object]) -> RecordServer:
    """Return a server whose records change just before it responds to one of the requests."""

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


async def read_raw(listing: Listing[int], seen: list[int]) -> None:
    async for record in listing.raw():
        seen.append(record["id"])


READERS = [read_items, read_pages, read_stream, read_raw]
