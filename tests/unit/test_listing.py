"""Listings, held against a list that stands for the server and counts what it is asked."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs
import pytest

from pandium import DriftError, Listing, NotFound, Page, ServerError
from pandium._background import Background
from pandium._listing.cursor import Trail

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

pytestmark = pytest.mark.anyio

# A walk that asks for more than this would never end.
MOST_REQUESTS = 5000


@attrs.define
class Server:
    """Records 0, 1, 2 …, a log of the requests for them, and what happens at each request."""

    records: list[int]
    asked: list[tuple[int, int]] = attrs.field(factory=list)
    running: int = 0
    windows: int = 0
    most_running: int = 0
    at_request: Callable[[int], None] = lambda _: None
    gate: Callable[[int], Any] | None = None

    async def fetch(self, skip: int, limit: int) -> list[int]:
        number = len(self.asked)
        assert number < MOST_REQUESTS
        self.asked.append((skip, limit))
        self.windows += not self.running
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


def _at(number: int, change: Callable[[list[int]], None], count: int, **options: Any) -> Server:
    """Give a server whose records change just before one of its answers."""

    def at_request(answer: int) -> None:
        if answer == number:
            change(server.records)

    server = _server(count, at_request=at_request, **options)
    return server


def _repairs(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "pandium"]


async def _by_item(listing: Listing[int], seen: list[int]) -> None:
    async for item in listing:
        seen.append(item)


async def _by_page(listing: Listing[int], seen: list[int]) -> None:
    async for page in listing.pages():
        seen.extend(page.items)


async def _by_stream(listing: Listing[int], seen: list[int]) -> None:
    async with listing.stream() as items:
        async for item in items:
            seen.append(item)


WAYS = [_by_item, _by_page, _by_stream]


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10, 11, 19, 20, 21, 100])
@pytest.mark.parametrize("page_size", [1, 2, 10, 500])
@pytest.mark.parametrize("prefetch", [1, 2, 3, 16])
@pytest.mark.parametrize("on_drift", ["repair", "raise", "ignore"])
async def test_each_record_comes_once_in_order(
    count: int, page_size: int, prefetch: int, on_drift: str
) -> None:
    """Whatever the sizes, a listing gives each record once and in order."""
    server = _server(count)
    listing = server.listing(page_size=page_size, prefetch=prefetch, on_drift=on_drift)
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
    """No record is asked for beyond the limit, and no page is that is not needed."""
    for limit, last in [(10, 10), (12, 3), (19, 10), (46, 10), (47, 2)]:
        server = _server(100)
        await server.listing(limit=limit, page_size=10, prefetch=4).to_list()
        sizes = [10] * (len(server.asked) - 1) + [last]
        asked = sorted(server.asked)
        assert asked == [(9 * number, size) for number, size in enumerate(sizes)]
        assert sum(asked[-1]) == limit


async def test_limit_holds_where_the_place_is_sought() -> None:
    """A page from further back brings no more than the limit either, and says where it ended."""
    server = _at(1, lambda records: records.__delitem__(slice(0, 10)), 60)
    pages = [page async for page in server.listing(limit=15, page_size=10, prefetch=1).pages()]
    assert [item for page in pages for item in page.items] == list(range(15))
    assert server.records[pages[-1].next_skip] == 15


async def test_the_window_ramps_up() -> None:
    """Requests go out one, two, four … at once, and never more than `prefetch`."""
    server, widths = _server(1000), []
    async for _ in server.listing(page_size=10, prefetch=6).pages():
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
        assert await server.listing(page_size=10, prefetch=4).to_list() == list(range(15))
    assert server.running == 0


async def test_a_failure_cancels_what_lies_behind_it() -> None:
    """Once a page has failed, nothing behind it is waited for."""

    async def gate(skip: int) -> None:
        if skip > 9:
            await anyio.sleep_forever()
        if skip == 9:
            raise ServerError("down", status_code=503)

    server = _server(100, gate=gate)
    with anyio.fail_after(5), pytest.raises(ServerError):
        await server.listing(page_size=10, prefetch=4).to_list()
    assert server.running == 0


async def test_pages_join_up() -> None:
    """Each page begins where the one before says that it goes on."""
    pages = [page async for page in _server(35).listing(page_size=10, prefetch=3).pages()]
    assert [page.skip for page in pages] == [0, *(page.next_skip for page in pages[:-1])]
    assert [item for page in pages for item in page.items] == list(range(35))
    assert {page.drift for page in pages} == {0}


@pytest.mark.parametrize("page_size", [1, 2, 3, 500])
async def test_no_page_is_larger_than_asked_for(page_size: int) -> None:
    """A page holds at most `page_size` records, and no request asks for more than 500."""
    server = _server(1200)
    sizes = [len(page.items) async for page in server.listing(page_size=page_size).pages()]
    assert sum(sizes) == 1200
    assert max(sizes) == page_size
    assert {size for _, size in server.asked} == {page_size, max(page_size, 2)}


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
    async for item in server.listing(page_size=10, prefetch=4):
        if item == 25:
            break
    assert server.running == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("prefetch", [1, 4, 16])
@pytest.mark.parametrize("number", range(12))
async def test_good_pages_come_before_the_error(way: Any, prefetch: int, number: int) -> None:
    """What arrived before a failure comes first; the error, in no group, says where to go on."""

    async def gate(skip: int) -> None:
        if skip == 9 * number:
            raise ServerError("down", status_code=503)

    seen: list[int] = []
    server = _server(105, gate=gate)
    with pytest.raises(ServerError) as caught:
        await way(server.listing(page_size=10, prefetch=prefetch), seen)
    # The first page has ten records, each later one nine that are new.
    assert len(seen) == caught.value.resume_skip == (1 + 9 * number if number else 0)
    assert server.running == 0
    await way(_server(105).listing(skip=caught.value.resume_skip, page_size=10), seen)
    assert seen == list(range(105))


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
async def test_an_error_while_the_place_is_sought_ends_the_walk(number: int) -> None:
    """A failure of any request that looks for the place again is the walk's own."""

    def change(answer: int) -> None:
        if answer == 1:
            del server.records[:30]
        if answer == number:
            raise ServerError("down", status_code=503)

    seen: list[int] = []
    server = _server(200, at_request=change)
    with pytest.raises(ServerError) as caught:
        await _by_page(server.listing(page_size=40, prefetch=1), seen)
    assert seen == list(range(len(seen)))
    rest = await server.listing(skip=caught.value.resume_skip).to_list()
    # Where the listing had moved, only a walk that had found its place again knows how far.
    assert (len(seen), caught.value.resume_skip) == (40, 40) or seen + rest == list(range(200))
    assert (len(seen) == 40) is (number < 5)


@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("number", [0, 3])
async def test_not_found_is_an_error_on_every_page(prefetch: int, number: int) -> None:
    """A 404 is an error, on the first page as on a later one; only an empty page is an end."""

    async def gate(skip: int) -> None:
        if skip == 9 * number:
            raise NotFound("no such tenant", status_code=404)

    seen: list[int] = []
    server = _server(100, gate=gate)
    with pytest.raises(NotFound):
        await _by_item(server.listing(page_size=10, prefetch=prefetch), seen)
    assert len(seen) == (1 + 9 * number if number else 0)
    assert await _server(0).listing().to_list() == []


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
        async for item in _server(100, gate=gate).listing(page_size=10, prefetch=2):
            seen.append(item)
    assert seen == list(range(19))


@pytest.mark.parametrize("iterate", [Listing.pages, Listing.__aiter__])
async def test_an_iteration_that_failed_has_ended(iterate: Any) -> None:
    """After its error an iterator gives nothing more."""

    async def gate(_: int) -> None:
        raise NotFound("no such tenant", status_code=404)

    iterator = iterate(_server(5, gate=gate).listing())
    with pytest.raises(NotFound):
        await anext(iterator)
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)


@pytest.mark.parametrize("way", WAYS)
async def test_foreign_errors_come_as_they_are(way: Any) -> None:
    """An error that is not the library's own comes unwrapped, too, after the good pages."""

    async def gate(skip: int) -> None:
        if skip == 27:
            raise ZeroDivisionError

    seen: list[int] = []
    with pytest.raises(ZeroDivisionError):
        await way(_server(100, gate=gate).listing(page_size=10), seen)
    assert seen == list(range(28))


@attrs.define
class Cut:
    """Drives a coroutine, and cuts it off when it has been suspended so many times."""

    coroutine: Coroutine[Any, Any, None]
    left: int
    cut: Callable[[], object]

    def __await__(self) -> Generator[Any, Any, None]:
        step, value = self.coroutine.send, None
        while True:
            try:
                suspended = step(value)
            except StopIteration:
                return
            self.left -= 1
            if self.left == 0:
                self.cut()
            try:
                step, value = self.coroutine.send, (yield suspended)
            except BaseException as error:  # noqa: BLE001 - passed on to the coroutine
                step, value = self.coroutine.throw, error


def _changing() -> Server:
    """Give a server whose listing moves both ways, so that a walk has to look for its place."""

    def change(answer: int) -> None:
        if answer == 3:
            del server.records[2:7]
        if answer == 9:
            server.records[:0] = range(1000, 1025)

    server = _server(120, at_request=change)
    return server


def _expect_whole(seen: list[int]) -> None:
    survivors = [*range(2), *range(7, 120)]
    assert [item for item in seen if item in survivors] == survivors
    assert len(seen) == len(set(seen))


async def _cut_off(seen: list[int], suspensions: int, checkpoints: int, prefetch: int) -> bool:
    """Cut a walk off, see that nothing of it runs, then go on with it; false if it was over."""
    server = _changing()
    pages = server.listing(page_size=10, prefetch=prefetch).pages()

    async def walk() -> None:
        async for page in pages:
            seen.extend(page.items)

    async def gate(_: int) -> None:
        nonlocal checkpoints
        checkpoints -= 1
        if checkpoints == 0:
            scope.cancel()
        await anyio.lowlevel.checkpoint()

    server.gate = gate
    with anyio.CancelScope() as scope:
        await Cut(walk(), suspensions, scope.cancel)
    assert server.running == 0
    was_cut = scope.cancelled_caught
    await walk()
    return was_cut


@pytest.mark.parametrize("prefetch", [1, 3, 16])
async def test_a_walk_can_be_cut_off_at_any_point_and_goes_on(prefetch: int) -> None:
    """Cancelled wherever it waits, a walk leaves nothing running and loses nothing."""
    for kind in ((1, 0), (0, 1)):
        for number in range(1, 1000):
            seen: list[int] = []
            was_cut = await _cut_off(seen, kind[0] * number, kind[1] * number, prefetch)
            _expect_whole(seen)
            if not was_cut:
                break
        assert 10 < number < 999


@pytest.mark.parametrize("prefetch", [1, 4])
async def test_a_stream_can_be_cut_off_at_any_point(prefetch: int) -> None:
    """Cancelled where it waits, a stream leaves nothing running, and what came is whole."""
    for number in range(1, 1000):
        seen: list[int] = []
        server = _server(100)

        async def walk() -> None:
            async with server.listing(page_size=10, prefetch=prefetch).stream() as items:  # noqa: B023
                async for item in items:
                    seen.append(item)  # noqa: B023

        with anyio.CancelScope() as scope:
            await Cut(walk(), number, scope.cancel)
        assert server.running == 0
        assert seen == list(range(len(seen)))
        if not scope.cancelled_caught:
            break
    assert seen == list(range(100))
    assert number > 10


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_task_can_be_cancelled_at_any_point(way: Any) -> None:
    """Asyncio's own cancellation reaches a walk as CancelledError, and leaves nothing running."""
    for number in range(1, 1000):
        seen: list[int] = []
        server = _changing()

        async def walk() -> None:
            task = asyncio.current_task()
            assert task is not None
            await Cut(way(server.listing(page_size=10), seen), number, task.cancel)  # noqa: B023

        task = asyncio.create_task(walk())
        await asyncio.wait([task])
        assert server.running == 0
        if not task.cancelled():
            break
    task.result()
    _expect_whole(seen)
    assert number > 10


@pytest.mark.parametrize("prefetch", [1, 2, 4, 16])
async def test_a_stream_fetches_up_to_ahead_pages_before_the_consumer(prefetch: int) -> None:
    """While the consumer works, at most `prefetch` pages are fetched for it, and none is lost."""
    seen: list[int] = []
    server = _server(400)
    async with server.listing(page_size=10).stream(prefetch=prefetch) as items:
        async for item in items:
            seen.append(item)
            # A page of ten, then pages of nine; the next is taken when one record is left.
            taken = (item + 1 + 8) // 9
            if item in (0, 1, 8, 9, 17, 18, 40, 99):
                await anyio.wait_all_tasks_blocked()
                assert len(server.asked) == taken + prefetch
            assert len(server.asked) <= taken + prefetch
    assert seen == list(range(400))
    assert server.most_running <= prefetch


@pytest.mark.parametrize("prefetch", [1, 2, 4, 16])
async def test_a_stream_asks_for_as_many_at_once_as_a_loop(prefetch: int) -> None:
    """A consumer that keeps pace costs a stream none of the requests that could go out at once."""
    windows = []
    for way in (_by_item, _by_stream):
        server = _server(1000)
        await way(server.listing(page_size=10, prefetch=prefetch), [])
        windows.append(server.windows)
    assert windows[1] <= windows[0]


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
    assert seen == list(range(caught.value.resume_skip or 0))


async def test_what_is_archived_hides_no_survivor() -> None:
    """Records archived between requests shift the rest, and none of the rest is lost."""

    def archive(number: int) -> None:
        if 0 < number < 40:
            del server.records[3]

    server = _server(500, at_request=archive)
    survivors = await server.listing(page_size=20, prefetch=4).to_list()
    assert set(server.records) <= set(survivors)
    assert len(survivors) == len(set(survivors))


async def test_what_is_inserted_repeats_no_record() -> None:
    """Records inserted between requests shift the rest, and none of the rest comes twice."""

    def insert(number: int) -> None:
        if 0 < number < 40:
            server.records.insert(0, 1000 + number)

    server = _server(500, at_request=insert)
    seen = await server.listing(page_size=20, prefetch=4).to_list()
    assert set(range(500)) <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("prefetch", [1, 4])
@pytest.mark.parametrize(
    ("delivered", "change", "places"),
    [
        pytest.param(1, lambda records: records.__delitem__(slice(0, 5)), -5, id="5 archived"),
        pytest.param(1, lambda records: records.__delitem__(9), -1, id="the last archived"),
        pytest.param(1, lambda records: records.__delitem__(slice(0, 10)), -10, id="all archived"),
        pytest.param(1, lambda records: records.insert(3, -1), 1, id="1 inserted"),
        pytest.param(1, lambda records: records.insert(9, -1), 1, id="inserted before the last"),
        pytest.param(
            3, lambda records: records.__setitem__(slice(0, 0), range(-25, 0)), 25, id="25 inserted"
        ),
    ],
)
async def test_what_was_repaired_is_told_once(
    delivered: int, change: Any, places: int, prefetch: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The page after a change says by how many places the listing moved, and one line does."""
    caplog.set_level(logging.INFO, "pandium")
    server = _server(100)
    walk = server.listing(page_size=10, prefetch=prefetch).pages()
    pages = [await anext(walk) for _ in range(delivered)]
    change(server.records)
    pages += [page async for page in walk]
    assert [item for page in pages for item in page.items if item >= 0] == list(range(100))
    (page,) = [page for page in pages if page.drift]
    assert page.drift == abs(places)
    (line,) = _repairs(caplog)
    assert f"moved by {places:+d} places" in line
    assert line.endswith(f"from record {page.skip}")


async def test_what_comes_and_goes_in_equal_number_moves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where one record came as the last one went, the place is sought, and found unmoved."""

    def change(records: list[int]) -> None:
        records.insert(0, -1)
        records.remove(9)

    caplog.set_level(logging.INFO, "pandium")
    server = _at(1, change, 60)
    pages = [page async for page in server.listing(page_size=10, prefetch=1).pages()]
    assert {page.drift for page in pages} == {0}
    assert [item for page in pages for item in page.items if item >= 0] == list(range(60))
    (line,) = _repairs(caplog)
    assert "moved by +0 places" in line


async def test_a_repair_at_the_very_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing new comes after a change, no page tells of it, but the log does."""
    caplog.set_level(logging.INFO, "pandium")
    server = _at(1, lambda records: records.insert(0, -1), 10)
    pages = [page async for page in server.listing(page_size=10, prefetch=1).pages()]
    assert [page.items for page in pages] == [list(range(10))]
    assert len(_repairs(caplog)) == 1


@pytest.mark.parametrize("on_drift", ["repair", "raise", "ignore"])
async def test_where_nothing_changes_nothing_is_told(
    on_drift: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A walk through a quiet listing logs nothing and reports no drift, and asks for no more."""
    caplog.set_level(logging.INFO, "pandium")
    server = _server(5000)
    listing = server.listing(page_size=100, prefetch=4, on_drift=on_drift)
    assert {page.drift async for page in listing.pages()} == {0}
    assert _repairs(caplog) == []
    assert len(server.asked) <= 55


async def test_fewer_pages_are_asked_for_at_once_where_the_listing_moves() -> None:
    """A window that was fetched in vain is halved, so that little is fetched in vain."""

    def archive(_: int) -> None:
        del server.records[0]

    server = _server(400, at_request=archive)
    seen = await server.listing(page_size=10, prefetch=16).to_list()
    assert set(server.records) <= set(seen)
    assert server.most_running <= 4


async def test_a_window_is_halved_however_long_the_listing_was_quiet() -> None:
    """After one change half as many go out at once, then as many as before."""
    server, widths = _server(2000), []
    async for page in server.listing(page_size=10, prefetch=4).pages():
        if page.next_skip == 1000:
            del server.records[:5]
        if server.most_running:
            widths.append(server.most_running)
            server.most_running = 0
    moved = widths.index(4, 3) + 1
    assert 2 in widths[moved:]


@pytest.mark.parametrize("places", [-3, 3])
async def test_pages_overlap_by_one_again_once_the_listing_is_quiet(places: int) -> None:
    """What a repair makes pages overlap by shrinks to one record, page by page."""

    def change(records: list[int]) -> None:
        records[: max(0, -places)] = range(-places, 0) if places > 0 else []

    server = _at(1, change, 3000)
    await server.listing(page_size=100, prefetch=1).to_list()
    starts = [skip for skip, _ in server.asked]
    overlaps = [100 - (after - before) for before, after in pairwise(starts)]
    assert max(overlaps[2:]) > 1
    assert overlaps[-1] == 1


async def test_an_answer_may_be_older_than_that_of_the_page_before() -> None:
    """A page that shows what was gone when the page before was answered is no change of order."""
    answered = anyio.Event()

    async def gate(skip: int) -> None:
        if skip == 53:
            await answered.wait()
            del server.records[54:66]
        if skip == 62:
            answered.set()

    server = _server(100, gate=gate)
    seen: list[int] = []
    async for page in server.listing(page_size=10, prefetch=2).pages():
        seen.extend(page.items)
        if seen[-1] == 45:
            # The walk goes back, and meets again what it delivered before.
            server.records[:0] = range(-20, 0)
    assert seen == list(range(100))
    assert server.records == [*range(-20, 34), *range(46, 100)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda records: records.__delitem__(0), id="archived"),
        pytest.param(lambda records: records.insert(0, -1), id="inserted"),
        pytest.param(lambda records: records.__setitem__(slice(9, 10), [-1]), id="replaced"),
        pytest.param(
            lambda records: records.__setitem__(slice(8, 10), [-1, 8]), id="known, not the last"
        ),
        pytest.param(lambda records: records.clear(), id="emptied"),
    ],
)
async def test_drift_can_be_raised(change: Any) -> None:
    """With on_drift="raise" the first sign of a change ends the walk, after what came before."""
    seen: list[int] = []
    server = _at(1, change, 60)
    with pytest.raises(DriftError) as caught:
        await _by_item(server.listing(page_size=10, prefetch=1, on_drift="raise"), seen)
    assert caught.value.resume_skip == 10
    assert seen == list(range(10))


async def test_drift_can_be_ignored() -> None:
    """With on_drift="ignore" pages are taken as they come, without overlap."""

    def archive(number: int) -> None:
        if number == 1:
            del server.records[0]

    server = _server(30, at_request=archive)
    listing = server.listing(page_size=10, prefetch=1, on_drift="ignore")
    assert await listing.to_list() == [*range(10), *range(11, 30)]
    assert server.asked == [(0, 10), (10, 10), (20, 10)]


async def test_a_listing_that_never_settles_ends_in_an_error() -> None:
    """Where each answer shows other records, the walk ends after a bounded number of requests."""

    def replace(number: int) -> None:
        server.records = [1000 * (number + 1) + i for i in range(100)]

    server = _server(100, at_request=replace)
    with pytest.raises(DriftError):
        await server.listing(page_size=10, prefetch=2).to_list()
    assert len(server.asked) < 2000


@pytest.mark.parametrize("speed", [9, 10])
async def test_a_listing_that_grows_in_front_for_ever_ends_in_an_error(speed: int) -> None:
    """Where new records push the rest away as fast as they are read, the walk ends."""

    def insert(number: int) -> None:
        server.records[:0] = range(-100 * (number + 1), -100 * (number + 1) + speed)

    server = _server(100, at_request=insert)
    with pytest.raises(DriftError, match="faster"):
        await server.listing(page_size=10, prefetch=1).to_list()
    assert len(server.asked) < 2000


async def test_a_listing_that_grows_in_front_for_a_while_is_read_to_its_end() -> None:
    """Where the rest is pushed away as fast as it is read, a walk has patience."""

    def insert(number: int) -> None:
        if 0 < number < 60:
            server.records[:0] = range(-100 * number, -100 * number + 9)

    server = _server(100, at_request=insert)
    assert await server.listing(page_size=10, prefetch=1).to_list() == list(range(100))


async def test_a_walk_may_be_thrown_back_any_number_of_times() -> None:
    """As long as new records come in between, a walk goes on."""

    def insert(number: int) -> None:
        if number % 8 == 0:
            server.records[:0] = range(-100 * number - 100, -100 * number - 75)

    server = _server(6000, at_request=insert)
    seen = await server.listing(page_size=10, prefetch=1).to_list()
    assert [item for item in seen if item >= 0] == list(range(6000))
    assert len(server.asked) > 8 * 101


@pytest.mark.parametrize("page_size", range(1, 20))
async def test_when_all_that_was_read_is_archived_the_rest_still_comes(page_size: int) -> None:
    """Even with every delivered record gone, what remains is found from the beginning."""
    server = _at(1, lambda records: records.__delitem__(slice(0, page_size)), 4 * page_size)
    pages = [page async for page in server.listing(page_size=page_size, prefetch=1).pages()]
    assert [item for page in pages for item in page.items] == list(range(4 * page_size))
    assert max(len(page.items) for page in pages) == page_size


@pytest.mark.parametrize("left", [slice(0, 50), slice(50, 500)])
async def test_when_what_was_read_is_gone_and_forgotten_the_walk_ends(left: slice) -> None:
    """Where nothing that is remembered is left but the first, completeness cannot be shown."""
    seen: list[int] = []
    server = _at(400, lambda records: records.__setitem__(slice(None), records[left]), 5000)
    with pytest.raises(DriftError, match="found again"):
        await _by_page(server.listing(page_size=10, prefetch=1), seen)
    assert seen == list(range(len(seen)))


@pytest.mark.parametrize("window", range(4, 8))
async def test_as_many_as_a_window_brings_are_remembered(window: int) -> None:
    """Of large pages most of the last window may go at once, and the walk finds its place."""
    number = 4 * window - 1
    came = 1 + 499 * number
    server = _at(number, lambda records: records.__delitem__(slice(came - 1500, came)), 20_000)
    assert await server.listing(page_size=500, prefetch=4).to_list() == list(range(20_000))


@pytest.mark.parametrize("count", [20, 5000])
@pytest.mark.parametrize("skip", [0, 5])
async def test_a_listing_that_is_empty_again_has_ended(count: int, skip: int) -> None:
    """Where nothing at all is listed any more, nothing is missed, whatever was forgotten."""
    last = 1 if count == 20 else 400
    server = _at(last, lambda records: records.clear(), count)
    seen = await server.listing(page_size=10, prefetch=1, skip=skip).to_list()
    assert seen == list(range(skip, skip + len(seen)))


async def test_a_walk_never_gives_what_it_was_to_skip() -> None:
    """Where all that came is gone, a walk that began further on cannot know where to go on."""
    seen: list[int] = []
    server = _at(1, lambda records: records.__delitem__(slice(20, 30)), 60)
    with pytest.raises(DriftError):
        await _by_item(server.listing(page_size=10, prefetch=1, skip=20), seen)
    assert seen == list(range(20, 30))


@pytest.mark.parametrize("places", [-9, -1, 1, 9])
async def test_a_walk_that_began_further_on_is_repaired_too(places: int) -> None:
    """As long as some of what came is left near by, `skip` makes no difference."""

    def change(records: list[int]) -> None:
        records[: max(0, -places)] = range(-places, 0) if places > 0 else []

    server = _at(1, change, 60)
    seen = await server.listing(page_size=10, prefetch=1, skip=20).to_list()
    assert seen == list(range(20, 60))


async def test_many_that_are_inserted_behind_the_walk_bring_none_back() -> None:
    """What is pushed further on than a walk remembers is known all the same when it comes."""

    def insert(records: list[int]) -> None:
        records[500:500] = range(10_000, 12_900)

    server = _at(150, insert, 2000)
    seen = await server.listing(page_size=10, prefetch=1).to_list()
    assert [item for item in seen if item < 10_000] == list(range(2000))
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("archived", [600, 1200, 3000])
async def test_the_way_back_leads_past_nothing_that_is_remembered(archived: int) -> None:
    """However far the listing moved, steps back are small enough to meet what is remembered."""
    server = _at(560, lambda records: records.__delitem__(slice(0, archived)), 6000)
    assert await server.listing(page_size=10, prefetch=1).to_list() == list(range(6000))


async def test_a_consumer_may_archive_all_that_it_is_given() -> None:
    """Each record can be archived as it comes, however long the listing; the rest still comes."""
    server = _server(7000)
    async for item in server.listing(page_size=20):
        assert server.records.pop(0) == item
    assert server.records == []
    assert len(server.asked) < 3 * 7000 / 19


async def test_a_consumer_may_archive_whole_pages_as_long_as_they_are_remembered() -> None:
    """A listing of which nothing that came is left is read from its beginning."""
    seen: list[int] = []
    server = _server(2000)
    async for page in server.listing(page_size=20).pages():
        seen.extend(page.items)
        del server.records[: len(page.items)]
    assert seen == list(range(2000))


async def test_a_record_that_moves_to_the_end_hides_none_that_stays() -> None:
    """Where records that came move on to the end, those before them come, or the walk raises."""
    for moved in range(1, 10):

        def move(records: list[int], moved: int = moved) -> None:
            records[:] = records[moved:] + records[:moved]

        seen: list[int] = []
        server = _at(1, move, 12)
        with pytest.raises(DriftError, match="order"):
            await _by_page(server.listing(page_size=10, prefetch=1), seen)
        assert seen == list(range(len(seen)))


async def test_a_record_that_moves_ahead_hides_none_before_it() -> None:
    """Where one that came turns up in a later page of a window, what lies before it is not lost."""

    async def gate(skip: int) -> None:
        if skip == 18 and -1 not in server.records:
            server.records.remove(5)
            server.records.insert(0, -1)
            server.records.insert(21, 5)

    seen: list[int] = []
    server = _server(60, gate=gate)
    with pytest.raises(DriftError, match="order"):
        await _by_page(server.listing(page_size=10, prefetch=2), seen)
    assert server.records[18:23] == [18, 19, 20, 5, 21]
    assert seen == list(range(19))


@pytest.mark.parametrize("gone", [0, 1, 18])
async def test_a_listing_in_which_all_that_came_moves_to_the_end_is_not_read_for_ever(
    gone: int,
) -> None:
    """Where each record that comes goes to the end, a walk ends when it meets the first again."""
    seen: list[int] = []
    server = _server(5000)
    with pytest.raises(DriftError):
        async for item in server.listing(page_size=20):
            seen.append(item)
            assert len(seen) <= 5000
            moved = server.records.pop(0)
            if item >= gone:
                server.records.append(moved)
    assert seen == list(range(len(seen)))
    assert len(seen) > 4900


async def test_one_record_that_stays_does_not_keep_a_walk_going() -> None:
    """Where all but the first record is replaced before each answer, the walk ends."""

    def replace(number: int) -> None:
        server.records[1:] = range(100 * number, 100 * number + 99)

    server = _server(100, at_request=replace)
    with pytest.raises(DriftError, match="faster"):
        await server.listing(page_size=10, prefetch=4).to_list()
    assert len(server.asked) < 5000


def test_only_what_lies_before_the_forgotten_is_before_a_gap() -> None:
    """Of what is remembered the first keys lie before a gap, once there is one, and no others."""
    trail = Trail(3, 4)
    trail.go_on(range(11), 0)
    assert not any(trail.is_before_a_gap(key) for key in range(11))
    trail.go_on([10, 11], 1)
    assert trail.known(range(12)) == 12
    assert [trail.known([key]) for key in range(12)] == [1] * 3 + [0] * 5 + [1] * 4
    assert [trail.is_before_a_gap(key) for key in (0, 1, 2, 8, 9, 10, 11)] == [True] * 3 + [
        False
    ] * 4
    assert (trail.anchor, trail.place, trail.beyond) == (11, 7, 0)


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


async def test_what_runs_in_the_background_fails_once() -> None:
    """An error of the producer comes after what it sent, and nothing comes after the error."""

    async def produce(send: Callable[[int], Any]) -> None:
        await send(1)
        raise KeyError

    async with Background(produce, 1) as items:
        assert await anext(items) == 1
        with pytest.raises(KeyError):
            await anext(items)
        with pytest.raises(StopAsyncIteration):
            await anext(items)
