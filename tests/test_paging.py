"""Listings, held against a list that stands for the server and counts what it is asked."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandium import DriftError, Listing, NotFound, Page, ServerError
from pandium._background import Background

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


@attrs.define
class Server:
    """Records 0, 1, 2 …, a log of the requests for them, and what happens at each request."""

    records: list[int]
    asked: list[tuple[int, int]] = attrs.field(factory=list)
    running: int = 0
    most_running: int = 0
    at_request: Callable[[int], None] = lambda _: None
    gate: Callable[[int], Any] | None = None

    async def fetch(self, skip: int, limit: int) -> list[int]:
        number = len(self.asked)
        self.asked.append((skip, limit))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await anyio.lowlevel.checkpoint()
            if self.gate is not None:
                await self.gate(skip)
            self.at_request(number)
            return self.records[skip : skip + limit]
        finally:
            self.running -= 1

    def listing(self, **options: Any) -> Listing[int]:
        return Listing(self.fetch, lambda record: record, **options)


def _server(count: int, **options: Any) -> Server:
    return Server(list(range(count)), **options)


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10, 11, 19, 20, 21, 100])
@pytest.mark.parametrize("page_size", [1, 2, 10, 500])
@pytest.mark.parametrize("ahead", [1, 2, 3, 16])
@pytest.mark.parametrize("on_drift", ["repair", "raise", "ignore"])
async def test_each_record_comes_once_in_order(
    count: int, page_size: int, ahead: int, on_drift: str
) -> None:
    """Whatever the sizes, a listing gives each record once and in order."""
    server = _server(count)
    listing = server.listing(page_size=page_size, ahead=ahead, on_drift=on_drift)
    assert await listing.to_list() == server.records


@pytest.mark.parametrize("on_drift", ["repair", "ignore"])
async def test_limit_and_skip_bound_the_records(on_drift: str) -> None:
    """A listing gives at most `limit` records, from the one after `skip` on."""
    for limit in range(25):
        for skip in (0, 1, 7, 30):
            server = _server(30)
            listing = server.listing(limit=limit, skip=skip, page_size=5, on_drift=on_drift)
            assert await listing.to_list() == server.records[skip:][:limit]


async def test_limit_shrinks_the_last_request() -> None:
    """No record is asked for beyond the limit."""
    server = _server(100)
    await server.listing(limit=12, page_size=10, ahead=4).to_list()
    assert max(skip + size for skip, size in server.asked) == 12


async def test_the_window_ramps_up() -> None:
    """Requests go out one, two, four … at once, and never more than `ahead`."""
    server, widths = _server(1000), []
    async for _ in server.listing(page_size=10, ahead=6).pages():
        if server.most_running:
            widths.append(server.most_running)
            server.most_running = 0
    assert widths[:5] == [1, 2, 4, 6, 6]
    assert max(widths) == 6


async def test_a_short_page_cancels_what_lies_behind_it() -> None:
    """Once a short page has come, nothing behind it is waited for."""

    async def gate(skip: int) -> None:
        if skip > 9:
            await anyio.sleep_forever()

    server = _server(15, gate=gate)
    with anyio.fail_after(5):
        assert await server.listing(page_size=10, ahead=4).to_list() == list(range(15))
    assert server.running == 0


async def test_pages_join_up() -> None:
    """Each page begins where the one before says that it goes on."""
    pages = [page async for page in _server(35).listing(page_size=10, ahead=3).pages()]
    assert [page.skip for page in pages] == [0, *(page.next_skip for page in pages[:-1])]
    assert [item for page in pages for item in page.items] == list(range(35))
    assert {page.drift for page in pages} == {0}


async def test_first_asks_for_one_record() -> None:
    """The first record costs one request for one record; an empty listing has none."""
    server = _server(30)
    assert await server.listing(page_size=10).first() == 0
    assert server.asked == [(0, 1)]
    assert await server.listing(limit=0).first() is None
    assert await _server(0).listing().first() is None


async def test_a_listing_is_a_value() -> None:
    """Each iteration of the same listing starts anew."""
    server = _server(5)
    listing = server.listing()
    assert await listing.to_list() == await listing.to_list() == list(range(5))
    assert "fetch" not in repr(listing)


async def test_breaking_off_leaves_nothing_running() -> None:
    """A loop that is left early leaves no request behind."""
    server = _server(1000)
    async for item in server.listing(page_size=10, ahead=4):
        if item == 25:
            break
    assert server.running == 0


async def test_good_pages_come_before_the_error() -> None:
    """What arrived before a failure is delivered first; the error says from where to go on."""

    async def gate(skip: int) -> None:
        if skip == 45:
            raise ServerError("down", status_code=503)

    server, seen = _server(1000, gate=gate), []
    with pytest.raises(ServerError) as caught:
        async for item in server.listing(page_size=10, ahead=8):
            seen.append(item)
    assert seen == list(range(caught.value.skip or 0))
    assert len(seen) > 30
    rest = await _server(1000).listing(skip=caught.value.skip, page_size=10).to_list()
    assert seen + rest == list(range(1000))


async def test_earlier_pages_are_waited_for_when_a_later_one_fails() -> None:
    """A failure ends what lies behind it, not what lies before it."""
    failed = anyio.Event()

    async def gate(skip: int) -> None:
        if skip == 9:
            await failed.wait()
        if skip == 18:
            failed.set()
            raise ServerError("down", status_code=503)

    seen = []
    with pytest.raises(ServerError):
        async for item in _server(100, gate=gate).listing(page_size=10, ahead=2):
            seen.append(item)
    assert seen == list(range(19))


async def test_an_iteration_that_failed_has_ended() -> None:
    """After its error an iterator gives nothing more."""

    async def gate(_: int) -> None:
        raise NotFound("no such tenant", status_code=404)

    pages = _server(5, gate=gate).listing().pages()
    with pytest.raises(NotFound):
        await anext(pages)
    with pytest.raises(StopAsyncIteration):
        await anext(pages)


async def test_foreign_errors_come_as_they_are() -> None:
    """An error that is not the library's own reaches the user unwrapped, too."""

    async def gate(skip: int) -> None:
        if skip:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await _server(100, gate=gate).listing(page_size=10).to_list()


async def test_cancellation_leaves_nothing_running() -> None:
    """A walk that is cancelled while pages are under way leaves no request behind."""
    waiting = anyio.Event()

    async def gate(skip: int) -> None:
        if skip > 9:
            waiting.set()
            await anyio.sleep_forever()

    server = _server(1000, gate=gate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.listing(page_size=10).to_list)
        await waiting.wait()
        tasks.cancel_scope.cancel()
    assert server.running == 0


@pytest.mark.parametrize("ahead", [1, 4])
async def test_a_stream_fetches_while_the_consumer_works(ahead: int) -> None:
    """A stream goes on fetching, up to `ahead` pages before the consumer, and gives everything."""
    server, seen = _server(200), []
    async with server.listing(page_size=10).stream(ahead=ahead) as items:
        async for item in items:
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            seen.append(item)
            fetched = sum(1 for _ in server.asked)
            assert fetched <= item // 9 + 1 + 3 * ahead
    assert seen == list(range(200))


async def test_a_stream_that_is_left_early_stops_fetching() -> None:
    """Leaving the block ends the fetching, however it is left."""
    server = _server(100_000)
    with pytest.raises(KeyError):
        async with server.listing(page_size=10).stream() as items:
            async for item in items:
                raise KeyError(item)
    asked = len(server.asked)
    await anyio.wait_all_tasks_blocked()
    assert (server.running, len(server.asked)) == (0, asked)


async def test_a_stream_raises_its_error_after_the_good_pages() -> None:
    """A stream delivers what came before a failure, then the failure itself, in no group."""

    async def gate(skip: int) -> None:
        if skip == 27:
            raise ServerError("down", status_code=503)

    seen = []
    with pytest.raises(ServerError) as caught:
        async with _server(100, gate=gate).listing(page_size=10).stream() as items:
            async for item in items:
                seen.append(item)
    assert seen == list(range(caught.value.skip or 0))


async def test_what_is_archived_hides_no_survivor() -> None:
    """Records archived between requests shift the rest, and none of the rest is lost."""

    def archive(number: int) -> None:
        if 0 < number < 40:
            del server.records[3]

    server = _server(500, at_request=archive)
    survivors = await server.listing(page_size=20, ahead=4).to_list()
    assert set(server.records) <= set(survivors)
    assert len(survivors) == len(set(survivors))


async def test_what_is_inserted_repeats_no_record() -> None:
    """Records inserted between requests shift the rest, and none of the rest comes twice."""

    def insert(number: int) -> None:
        if 0 < number < 40:
            server.records.insert(0, 1000 + number)

    server = _server(500, at_request=insert)
    seen = await server.listing(page_size=20, ahead=4).to_list()
    assert set(range(500)) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_drift_is_told_of() -> None:
    """A page that had to be found again says so."""

    def archive(number: int) -> None:
        if number == 1:
            del server.records[:5]

    server = _server(60, at_request=archive)
    pages = [page async for page in server.listing(page_size=10, ahead=1).pages()]
    assert sum(page.drift > 0 for page in pages) == 1


async def test_drift_can_be_raised() -> None:
    """With on_drift="raise" the first sign of a change ends the walk."""

    def archive(number: int) -> None:
        if number == 1:
            del server.records[0]

    server = _server(60, at_request=archive)
    with pytest.raises(DriftError) as caught:
        await server.listing(page_size=10, ahead=1, on_drift="raise").to_list()
    assert caught.value.skip == 10


async def test_drift_can_be_ignored() -> None:
    """With on_drift="ignore" pages are taken as they come, without overlap."""

    def archive(number: int) -> None:
        if number == 1:
            del server.records[0]

    server = _server(30, at_request=archive)
    listing = server.listing(page_size=10, ahead=1, on_drift="ignore")
    assert await listing.to_list() == [*range(10), *range(11, 30)]
    assert server.asked == [(0, 10), (10, 10), (20, 10)]


async def test_a_listing_that_never_settles_ends_in_an_error() -> None:
    """Where each answer shows other records, the walk ends after a bounded number of requests."""

    def replace(number: int) -> None:
        server.records = [1000 * (number + 1) + i for i in range(100)]

    server = _server(100, at_request=replace)
    with pytest.raises(DriftError):
        await server.listing(page_size=10, ahead=2).to_list()
    assert len(server.asked) < 2000


@pytest.mark.parametrize("speed", [9, 10])
async def test_a_listing_that_grows_in_front_for_ever_ends_in_an_error(speed: int) -> None:
    """Where new records push the rest away as fast as they are read, the walk ends."""

    def insert(number: int) -> None:
        server.records[:0] = [-100 * number - i for i in range(speed)]

    server = _server(100, at_request=insert)
    with pytest.raises(DriftError):
        await server.listing(page_size=10, ahead=1).to_list()
    assert len(server.asked) < 2000


async def test_when_all_that_was_read_is_archived_the_rest_still_comes() -> None:
    """Even with every delivered record gone, what remains is found from the beginning."""

    def archive(number: int) -> None:
        if number == 1:
            del server.records[:10]

    server = _server(40, at_request=archive)
    assert await server.listing(page_size=10, ahead=1).to_list() == list(range(40))


async def test_when_what_was_read_is_gone_and_forgotten_the_walk_ends() -> None:
    """Where nothing that is remembered is left, completeness cannot be shown."""

    def archive(number: int) -> None:
        if number == 400:
            del server.records[50:]

    server = _server(5000, at_request=archive)
    with pytest.raises(DriftError):
        await server.listing(page_size=10, ahead=1).to_list()


@given(
    changes=st.dictionaries(
        st.integers(1, 30),
        st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=6),
        max_size=20,
    ),
    page_size=st.integers(2, 12),
    ahead=st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
async def test_survivors_come_exactly_once(
    changes: dict[int, list[tuple[bool, float]]], page_size: int, ahead: int
) -> None:
    """Under any inserts and archivings, each record listed all the while comes exactly once."""
    persistent, fresh = set(range(80)), itertools.count(1000)

    def change(number: int) -> None:
        for is_insert, where in changes.get(number, ()):
            place = int(where * len(server.records))
            if is_insert:
                server.records.insert(place, next(fresh))
            elif place < len(server.records):
                persistent.discard(server.records.pop(place))

    server = _server(80, at_request=change)
    seen = await server.listing(page_size=page_size, ahead=ahead).to_list()
    assert len(seen) == len(set(seen))
    assert persistent <= set(seen)
    assert [item for item in seen if item in persistent] == sorted(persistent)


def test_a_page_is_a_value() -> None:
    """Pages compare by what they hold."""
    assert Page([1], 0, 1) == Page([1], 0, 1, 0)


async def test_a_stream_is_entered_once_before_it_is_read() -> None:
    """What runs in the background is bound to one `async with` block, and says so."""

    async def produce(send: Callable[[int], Any]) -> None:
        await send(1)

    background = Background(produce, 1)
    with pytest.raises(RuntimeError, match="async with"):
        await anext(background)
    with pytest.raises(RuntimeError, match="not been entered"):
        await background.__aexit__(None, None, None)
    async with background as items:
        assert [item async for item in items] == [1]
        with pytest.raises(RuntimeError, match="entered already"):
            await background.__aenter__()
