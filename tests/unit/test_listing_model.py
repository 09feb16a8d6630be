"""Iterations over a listing with random changes, checked against the records always listed."""

from __future__ import annotations

import os
import random
from itertools import permutations
from typing import TYPE_CHECKING, Any, Literal

import anyio.lowlevel
import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pandium import DriftError, Listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

pytestmark = pytest.mark.anyio

IS_LONG = bool(os.environ.get("PANDIUM_LONG"))
# An iteration over at most this many records remembers all of them and must not raise an error.
ALWAYS_REMEMBERED = 2000
MAX_REQUESTS = 10_000


def examples(count: int) -> settings:
    return settings(max_examples=count * 40 if IS_LONG else count, deadline=None)


@attrs.frozen
class Event:
    """
    A change of ``count`` records.

    They begin at an offset from the front of the listing, the iteration's position, or the end.
    """

    kind: Literal["insert", "archive", "reverse", "shuffle", "move"]
    origin: Literal["front", "walk", "end"]
    offset: int
    count: int


@attrs.define
class ScriptedServer:
    """
    A listing that changes according to a script, which contains the events before each response.

    :ivar delays: the number of checkpoints before each response, so that the responses within a
        window are in any order.
    :ivar rooms: the numbers of records that fit on a page, depending on its first record. Without
        them, all do.
    :ivar hidden: which of the records the server selects but does not return, by their number
        modulo the length of this sequence. Without it, none.
    :ivar has_hidden_page: whether fewer than two records of a page of full length were returned.
    :ivar start: the records at the first response.
    :ivar archived: the records that have been archived since then.
    :ivar ever_listed: all records that have ever been listed.
    """

    records: list[int]
    script: Sequence[Sequence[Event]] = ()
    delays: Sequence[int] = ()
    rooms: Sequence[int] = ()
    hidden: Sequence[bool] = ()
    has_hidden_page: bool = False
    requests: int = 0
    responses: int = 0
    running: int = 0
    start: list[int] = attrs.field(factory=list)
    archived: set[int] = attrs.field(factory=set)
    ever_listed: set[int] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.ever_listed = set(self.records)

    async def fetch(self, skip: int, limit: int) -> list[int]:
        number = self.requests
        self.requests += 1
        assert self.requests < MAX_REQUESTS
        assert 1 <= limit <= 500
        assert skip >= 0
        self.running += 1
        try:
            await anyio.lowlevel.checkpoint()
            for _ in range(self.delays[number % len(self.delays)] if self.delays else 0):
                await anyio.lowlevel.checkpoint()
            return self.respond(skip, limit)
        finally:
            self.running -= 1

    async def fetch_raw(self, skip: int, limit: int) -> list[dict[str, Any]]:
        return [{"id": number} for number in await self.fetch(skip, limit)]

    def respond(self, skip: int, limit: int) -> list[int]:
        number = self.responses
        self.responses += 1
        if number == 0:
            self.start = list(self.records)
        elif number <= len(self.script):
            self.apply(self.script[number - 1], skip)
        selected = self.records[skip : skip + limit]
        page = [record for record in selected if not self.hides(record)]
        self.has_hidden_page |= len(page) < min(2, limit) and len(selected) == limit
        return page[: self.rooms[page[0] % len(self.rooms)]] if page and self.rooms else page

    def hides(self, record: int) -> bool:
        return bool(self.hidden) and self.hidden[record % len(self.hidden)]

    def apply(self, events: Sequence[Event], skip: int) -> None:
        for event in events:
            origin = {"front": 0, "walk": skip, "end": len(self.records)}[event.origin]
            getattr(self, event.kind)(max(0, origin + event.offset), event.count)

    def insert(self, index: int, count: int) -> None:
        new = range(len(self.ever_listed), len(self.ever_listed) + count)
        self.records[index:index] = new
        self.ever_listed.update(new)

    def archive(self, index: int, count: int) -> None:
        self.archived.update(self.records[index : index + count])
        del self.records[index : index + count]

    def reverse(self, *_: int) -> None:
        self.records.reverse()

    def shuffle(self, index: int, count: int) -> None:
        random.Random(index * 1000 + count).shuffle(self.records)

    def move(self, index: int, count: int) -> None:
        moved = self.records[index : index + count]
        del self.records[index : index + count]
        self.records.extend(moved)

    def listing(self, **options: Any) -> Listing[int]:
        return Listing(self.fetch, lambda record: record, self.fetch_raw, **options)


@attrs.define
class Walk:
    """
    An iteration by a consumer that also changes the listing.

    :ivar changes: the events after each number of delivered records.
    """

    server: ScriptedServer
    listing: Listing[int]
    iterate: Literal["by_item", "by_page", "by_stream"] = "by_item"
    changes: Mapping[int, Sequence[Event]] = attrs.field(factory=dict)
    seen: list[int] = attrs.field(factory=list)
    has_raised: bool = False

    async def run(self) -> None:
        """Iterate to the end or to a DriftError."""
        try:
            await getattr(self, self.iterate)()
        except DriftError:
            self.has_raised = True
        assert self.server.running == 0

    async def run_without_error(self) -> None:
        """Iterate to the end and assert that no record was missed."""
        await self.run()
        self.assert_complete()
        assert not self.has_raised

    async def by_item(self) -> None:
        async for item in self.listing:
            self.consume([item])

    async def by_stream(self) -> None:
        async with self.listing.stream() as items:
            async for item in items:
                self.consume([item])

    async def by_page(self) -> None:
        async for page in self.listing.pages():
            assert page.items
            self.consume(page.items)

    def consume(self, items: list[int]) -> None:
        before = len(self.seen)
        self.seen.extend(items)
        for number in range(before, len(self.seen)):
            self.server.apply(self.changes.get(number, ()), len(self.seen))

    def assert_none_twice(self) -> None:
        assert len(self.seen) == len(set(self.seen))
        assert set(self.seen) <= self.server.ever_listed
        assert not any(map(self.server.hides, self.seen))
        limit = self.listing.limit
        assert limit is None or len(self.seen) <= limit

    def assert_complete(self) -> None:
        """Assert that each record that was always listed was delivered once and in order."""
        self.assert_none_twice()
        server, skip, limit = self.server, self.listing.skip, self.listing.limit
        archived = server.archived
        expected = [
            one for one in server.start[skip:] if not (one in archived or server.hides(one))
        ]
        always_listed = set(expected)
        delivered = [record for record in self.seen if record in always_listed]
        assert delivered == expected[: len(delivered)]
        assert not set(self.seen) & set(server.start[:skip])
        if not self.has_raised and (limit is None or len(self.seen) < limit):
            assert delivered == expected


def events(kinds: Sequence[str], max_count: int) -> st.SearchStrategy[list[Event]]:
    counts = st.one_of(st.integers(1, 3), st.integers(1, max_count))
    event = st.builds(
        Event,
        st.sampled_from(kinds),
        st.sampled_from(["front", "walk", "end"]),
        st.integers(-max_count, max_count),
        counts,
    )
    return st.lists(event, max_size=3)


PAGE_SIZES = st.one_of(st.integers(1, 12), st.integers(1, 500))
PAGES = st.integers(0, 8)
FEW_PAGES: dict[str, Any] = {"page_sizes": st.integers(10, 100), "pages": st.integers(0, 5)}
ROOMS = st.lists(st.integers(2, 20), min_size=1, max_size=8)


@st.composite
def walks(
    draw: st.DrawFn,
    *kinds: str,
    max_count: int = 30,
    page_sizes: st.SearchStrategy[int] = PAGE_SIZES,
    pages: st.SearchStrategy[int] = PAGES,
    rooms: st.SearchStrategy[list[int]] = st.just([]),  # noqa: B008 - immutable
    hidden: st.SearchStrategy[list[bool]] = st.just([]),  # noqa: B008 - immutable
) -> Walk:
    page_size = draw(page_sizes)
    count = draw(pages) * page_size + draw(st.integers(0, page_size))
    server = ScriptedServer(
        list(range(count)),
        draw(st.lists(events(kinds, max_count), max_size=30)),
        draw(st.lists(st.integers(0, 4), max_size=10)),
        draw(rooms),
        draw(hidden),
    )
    listing = server.listing(
        confirm_end=True if server.rooms or server.hidden else "auto",
        page_size=page_size,
        prefetch=draw(st.integers(1, 16)),
        skip=draw(rarely(st.integers(0, count + 1), 0)),
        limit=draw(rarely(st.integers(0, count + 20), None)),
        on_drift=draw(rarely(st.just("raise"), "repair")),
    )
    changes = draw(st.dictionaries(st.integers(0, count), events(kinds, max_count), max_size=5))
    return Walk(
        server, listing, draw(st.sampled_from(["by_item", "by_page", "by_stream"])), changes
    )


def rarely(rare: st.SearchStrategy[Any], usual: object) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda number: rare if number == 4 else st.just(usual))


@given(walk=walks("insert", "archive"))
@examples(150)
async def test_records_that_are_always_listed_are_delivered_exactly_once(walk: Walk) -> None:
    """Inserting and archiving others causes no loss, repetition or wrong order."""
    await walk.run()
    walk.assert_complete()
    if walk.has_raised:
        may_raise = walk.listing.skip > 0 or len(walk.server.ever_listed) > ALWAYS_REMEMBERED
        assert may_raise or walk.listing.on_drift == "raise"


@given(walk=walks("insert", "archive", **FEW_PAGES, rooms=ROOMS))
@examples(100)
async def test_pages_of_any_length_lose_no_record_if_each_end_is_confirmed(walk: Walk) -> None:
    """A server may truncate each page differently, as long as there is room for two records."""
    await walk.run()
    walk.assert_complete()


@given(
    walk=walks(
        "insert",
        "archive",
        **FEW_PAGES,
        rooms=st.one_of(st.just([]), ROOMS),
        hidden=st.lists(st.booleans(), min_size=2, max_size=9),
    )
)
@examples(100)
async def test_hidden_records_cause_no_silent_loss_if_each_end_is_confirmed(walk: Walk) -> None:
    """A server may hide records that it has selected, as long as two of each page remain."""
    await walk.run()
    walk.assert_none_twice()
    assume(not walk.server.has_hidden_page)
    walk.assert_complete()


@pytest.mark.parametrize("hidden", sorted(set(permutations([False] * 2 + [True] * 4))))
async def test_a_server_may_hide_two_thirds_of_the_records(hidden: list[bool]) -> None:
    """An unchanged listing is complete even if the server hides most of what it has selected."""
    server = ScriptedServer(list(range(400)), hidden=hidden)
    walk = Walk(server, server.listing(confirm_end=True, page_size=100))
    await walk.run_without_error()


async def test_a_hidden_record_at_the_limit_ends_no_listing() -> None:
    """A confirmation of the end requests a full page, even if few records are left of `limit`."""
    server = ScriptedServer(list(range(400)), hidden=[False] * 10 + [True] + [False] * 389)
    walk = Walk(server, server.listing(confirm_end=True, page_size=100, limit=11))
    await walk.run()
    assert walk.seen == [*range(10), 11]


@pytest.mark.parametrize("kind", ["insert", "archive"])
async def test_a_busy_listing_takes_few_requests(kind: Literal["insert", "archive"]) -> None:
    """If the server returns full pages, changes before every request do not delay the end."""
    script = [[Event(kind, "front", 0, 1)]] * 100
    server = ScriptedServer(list(range(2200)), script)
    walk = Walk(server, server.listing())
    await walk.run_without_error()
    assert server.requests < 20


@pytest.mark.parametrize("kind", ["insert", "archive"])
@pytest.mark.parametrize("changes", [1, 4, 12])
async def test_changes_of_a_truncated_listing_cause_few_requests(
    changes: int, kind: Literal["insert", "archive"]
) -> None:
    """After a change, the overlap of the pages depends on what the server returns."""
    full_page = [500] * 500
    script = [[], [], *[[Event(kind, "front", 0, 4)]] * changes]
    server = ScriptedServer(list(range(3000)), script, rooms=full_page + [20] * 2500)
    walk = Walk(server, server.listing(confirm_end=True))
    await walk.run_without_error()
    assert server.requests < 150 + 10 * changes


@pytest.mark.parametrize("room", [2, 5])
async def test_archiving_in_a_truncated_listing_causes_no_error(room: int) -> None:
    """A rewind goes back by less than a page of the length that the server returns."""
    script = [[], [], *[[], [Event("archive", "front", 0, 1)]] * 40]
    server = ScriptedServer(list(range(1000)), script, rooms=[500] * 400 + [room] * 600)
    walk = Walk(server, server.listing(confirm_end=True))
    await walk.run_without_error()


@pytest.mark.parametrize("room", [2, 5])
async def test_a_truncated_listing_may_change_at_every_request(room: int) -> None:
    """If a page has no room for new records because of changes, it does not end the listing."""
    script = [[], [], [], *[[Event("insert", "front", 0, room - 1)]] * 40]
    server = ScriptedServer(list(range(400)), script, rooms=[100] * 250 + [room] * 150)
    walk = Walk(server, server.listing(confirm_end=True, page_size=100))
    await walk.run_without_error()


@pytest.mark.parametrize("origin", ["front", "end"])
@pytest.mark.parametrize("number", range(3))
async def test_a_listing_of_one_record_may_change_at_any_request(
    number: int, origin: Literal["front", "end"]
) -> None:
    """A record that is inserted while the end is confirmed is no error."""
    script = [*[[]] * number, [Event("insert", origin, 0, 1)]]
    walk = Walk(server := ScriptedServer([0], script), server.listing(page_size=1))
    await walk.run_without_error()


@given(
    walk=walks(
        "insert",
        "archive",
        max_count=4000,
        page_sizes=st.integers(20, 60),
        pages=st.integers(50, 120),
    )
)
@examples(20)
async def test_discarded_records_are_not_delivered_again(walk: Walk) -> None:
    """After more changes than are remembered, the listing is complete or raises an error."""
    await walk.run()
    walk.assert_complete()


@given(walk=walks("reverse", page_sizes=st.integers(2, 40)))
@examples(50)
async def test_a_reversal_is_noticed(walk: Walk) -> None:
    """If the order is reversed, every record is delivered or an error is raised."""
    await walk.run()
    walk.assert_none_twice()
    if walk.listing.limit is None and walk.listing.skip == 0 and not walk.has_raised:
        assert set(walk.server.start) - walk.server.archived <= set(walk.seen)


@given(walk=walks("reverse", "shuffle", "move", "insert", "archive"))
@examples(50)
async def test_a_walk_ends_however_the_order_changes(walk: Walk) -> None:
    """However the order changes, an iteration ends and repeats no record that it remembers."""
    await walk.run()
    if len(walk.seen) <= ALWAYS_REMEMBERED:
        walk.assert_none_twice()
