"""Walks through a listing that changes under them, held against what was listed all the while."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any, Literal

import anyio.lowlevel
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandium import DriftError, Listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

pytestmark = pytest.mark.anyio

IS_LONG = bool(os.environ.get("PANDIUM_LONG"))
# Fewer than what a walk remembers at least: until then it must not give up.
MOST_RECORDS = 2000
MOST_REQUESTS = 10_000


def examples(count: int) -> settings:
    return settings(max_examples=count * 40 if IS_LONG else count, deadline=None)


@attrs.frozen
class Event:
    """What befalls `count` records, from `offset` after the front, the walk's place, or the end."""

    kind: Literal["insert", "archive", "reverse", "shuffle", "move"]
    place: Literal["front", "walk", "end"]
    offset: int
    count: int


@attrs.define
class Server:
    """A listing to which a script of events happens, each before one of its answers."""

    records: list[int]
    script: Sequence[Sequence[Event]] = ()
    delays: Sequence[int] = ()
    asked: int = 0
    answered: list[list[int]] = attrs.field(factory=list)
    running: int = 0
    start: list[int] = attrs.field(factory=list)
    archived: set[int] = attrs.field(factory=set)
    ever: set[int] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.ever = set(self.records)

    async def fetch(self, skip: int, limit: int) -> list[int]:
        number = self.asked
        self.asked += 1
        assert self.asked < MOST_REQUESTS
        assert 1 <= limit <= 500
        assert skip >= 0
        self.running += 1
        try:
            await anyio.lowlevel.checkpoint()
            # The requests of one window are answered in any order.
            for _ in range(self.delays[number % len(self.delays)] if self.delays else 0):
                await anyio.lowlevel.checkpoint()
            return self.answer(skip, limit)
        finally:
            self.running -= 1

    def answer(self, skip: int, limit: int) -> list[int]:
        number = len(self.answered)
        if number == 0:
            self.start = list(self.records)
        elif number <= len(self.script):
            self.suffer(self.script[number - 1], skip)
        self.answered.append(self.records[skip : skip + limit])
        return self.answered[-1]

    def suffer(self, events: Sequence[Event], skip: int) -> None:
        for event in events:
            origin = {"front": 0, "walk": skip, "end": len(self.records)}[event.place]
            getattr(self, event.kind)(max(0, origin + event.offset), event.count)

    def insert(self, place: int, count: int) -> None:
        new = range(len(self.ever), len(self.ever) + count)
        self.records[place:place] = new
        self.ever.update(new)

    def archive(self, place: int, count: int) -> None:
        self.archived.update(self.records[place : place + count])
        del self.records[place : place + count]

    def reverse(self, *_: int) -> None:
        self.records.reverse()

    def shuffle(self, place: int, count: int) -> None:
        random.Random(place * 1000 + count).shuffle(self.records)

    def move(self, place: int, count: int) -> None:
        moved = self.records[place : place + count]
        del self.records[place : place + count]
        self.records.extend(moved)

    def listing(self, **options: Any) -> Listing[int]:
        return Listing(self.fetch, lambda record: record, **options)


@attrs.define
class Walk:
    """A walk in one of three ways by a consumer who changes the listing, too, as it goes on."""

    server: Server
    listing: Listing[int]
    way: Literal["by_item", "by_page", "by_stream"] = "by_item"
    changes: Mapping[int, Sequence[Event]] = attrs.field(factory=dict)
    seen: list[int] = attrs.field(factory=list)
    has_drifted: bool = False

    async def go(self) -> None:
        """Walk to the end, or to the DriftError."""
        try:
            await getattr(self, self.way)()
        except DriftError:
            self.has_drifted = True
        assert self.server.running == 0

    async def by_item(self) -> None:
        async for item in self.listing:
            self.take([item])

    async def by_stream(self) -> None:
        async with self.listing.stream() as items:
            async for item in items:
                self.take([item])

    async def by_page(self) -> None:
        async for page in self.listing.pages():
            assert page.items
            self.take(page.items)

    def take(self, items: list[int]) -> None:
        step = len(self.seen)
        self.seen.extend(items)
        for number in range(step, len(self.seen)):
            self.server.suffer(self.changes.get(number, ()), len(self.seen))

    def expect_none_twice(self) -> None:
        assert len(self.seen) == len(set(self.seen))
        assert set(self.seen) <= self.server.ever
        limit = self.listing.limit
        assert limit is None or len(self.seen) <= limit

    def expect_all(self) -> None:
        """Each record that was listed all the while comes once, in the server's order."""
        self.expect_none_twice()
        server, skip, limit = self.server, self.listing.skip, self.listing.limit
        due = [record for record in server.start[skip:] if record not in server.archived]
        among = set(due)
        came = [record for record in self.seen if record in among]
        assert came == due[: len(came)]
        assert not set(self.seen) & set(server.start[:skip])
        if not self.has_drifted and (limit is None or len(self.seen) < limit):
            assert came == due


def events(kinds: Sequence[str], most: int) -> st.SearchStrategy[list[Event]]:
    counts = st.one_of(st.integers(1, 3), st.integers(1, most))
    one = st.builds(
        Event,
        st.sampled_from(kinds),
        st.sampled_from(["front", "walk", "end"]),
        st.integers(-most, most),
        counts,
    )
    return st.lists(one, max_size=3)


PAGE_SIZES = st.one_of(st.integers(1, 12), st.integers(1, 500))
PAGES = st.integers(0, 8)


@st.composite
def walks(
    draw: st.DrawFn,
    *kinds: str,
    most: int = 30,
    page_sizes: st.SearchStrategy[int] = PAGE_SIZES,
    pages: st.SearchStrategy[int] = PAGES,
) -> Walk:
    page_size = draw(page_sizes)
    count = draw(pages) * page_size + draw(st.integers(0, page_size))
    server = Server(
        list(range(count)),
        draw(st.lists(events(kinds, most), max_size=30)),
        draw(st.lists(st.integers(0, 4), max_size=10)),
    )
    listing = server.listing(
        page_size=page_size,
        prefetch=draw(st.integers(1, 16)),
        skip=draw(seldom(st.integers(0, count + 1), 0)),
        limit=draw(seldom(st.integers(0, count + 20), None)),
        on_drift=draw(seldom(st.just("raise"), "repair")),
    )
    changes = draw(st.dictionaries(st.integers(0, count), events(kinds, most), max_size=5))
    return Walk(
        server, listing, draw(st.sampled_from(["by_item", "by_page", "by_stream"])), changes
    )


def seldom(rare: st.SearchStrategy[Any], usual: object) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda one: rare if one == 4 else st.just(usual))


@given(walk=walks("insert", "archive"))
@examples(150)
async def test_what_is_listed_all_the_while_comes_exactly_once(walk: Walk) -> None:
    """Under inserts and archivings at any point, no record is lost, repeated or out of order."""
    await walk.go()
    walk.expect_all()
    if walk.has_drifted:
        may_give_up = walk.listing.skip > 0 or len(walk.server.ever) > MOST_RECORDS
        assert may_give_up or walk.listing.on_drift == "raise"


@given(
    walk=walks(
        "insert", "archive", most=4000, page_sizes=st.integers(20, 60), pages=st.integers(50, 120)
    )
)
@examples(20)
async def test_what_was_forgotten_does_not_come_again(walk: Walk) -> None:
    """Where more changes than a walk remembers, it is complete all the same, or says it is not."""
    await walk.go()
    walk.expect_all()


@given(walk=walks("reverse", page_sizes=st.integers(2, 40)))
@examples(50)
async def test_a_reversal_does_not_pass_unnoticed(walk: Walk) -> None:
    await walk.go()
    walk.expect_none_twice()
    if walk.listing.limit is None and walk.listing.skip == 0 and not walk.has_drifted:
        assert {r for r in walk.server.start if r not in walk.server.archived} <= set(walk.seen)


@given(walk=walks("reverse", "shuffle", "move", "insert", "archive"))
@examples(50)
async def test_a_walk_ends_however_the_order_changes(walk: Walk) -> None:
    """However the order changes, a walk ends, and repeats nothing."""
    await walk.go()
    walk.expect_none_twice()
