"""The guarantees of a listing, tested in memory with records that may change while it is read."""

from __future__ import annotations

import logging
import random
import sys
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import pytest

from pandium import DriftError, Page, ServerError
from support.listings import RecordServer, changing_server, read_items, read_pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandium._listing.cursor import ConfirmEnd, OnDrift

pytestmark = pytest.mark.anyio


def _log_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "pandium"]


def _shift(records: list[int], places: int) -> None:
    """Insert records at the front, or archive the first ones if ``places`` is negative."""
    records[: max(0, -places)] = range(-places, 0) if places > 0 else []


# Records and pages


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10, 11, 19, 20, 21, 100])
@pytest.mark.parametrize("page_size", [1, 2, 10, 500])
@pytest.mark.parametrize("prefetch", [1, 2, 3, 16])
@pytest.mark.parametrize("on_drift", ["repair", "raise", "ignore"])
async def test_each_record_is_delivered_once_in_order(
    count: int, page_size: int, prefetch: int, on_drift: str
) -> None:
    """The records of a listing do not depend on the page size or concurrency."""
    server = RecordServer(count)
    listing = server.listing(page_size=page_size, prefetch=prefetch, on_drift=on_drift)
    assert await listing.to_list() == server.records


@pytest.mark.parametrize("on_drift", ["repair", "ignore"])
async def test_limit_and_skip_bound_the_records(on_drift: str) -> None:
    """A listing delivers at most `limit` records, starting after `skip`."""
    for limit in range(25):
        for skip in (0, 1, 7, 30):
            server = RecordServer(30)
            listing = server.listing(limit=limit, skip=skip, page_size=5, on_drift=on_drift)
            assert await listing.to_list() == server.records[skip:][:limit]


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("confirm_end", ["auto", True])
@pytest.mark.parametrize("on_drift", ["repair", "raise"])
async def test_records_that_are_listed_twice_in_succession_are_delivered_once(
    page_size: int, prefetch: int, confirm_end: ConfirmEnd, on_drift: OnDrift
) -> None:
    """Such records cause no error and no drift, wherever pages and limits end."""
    for limit in [*range(13), None]:
        server = RecordServer(0)
        server.records[:] = [0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 10, 10]
        listing = server.listing(
            limit=limit,
            page_size=page_size,
            prefetch=prefetch,
            confirm_end=confirm_end,
            on_drift=on_drift,
        )
        pages = [page async for page in listing.pages()]
        assert [record for page in pages for record in page.items] == list(range(11))[:limit]
        assert all(page.drift == 0 for page in pages)
        assert len(server.requests) < 30


async def test_ids_that_share_a_hash_are_not_compared_with_each_other() -> None:
    """The work for a page is bounded even if the server chooses ids whose hashes are the same."""
    comparisons = 0

    class Id(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal comparisons
            comparisons += 1
            return super().__eq__(other)

    server = RecordServer(0)
    server.records[:] = (Id(number * sys.hash_info.modulus) for number in range(1, 1001))
    assert len({hash(number) for number in server.records}) == 1
    assert await server.listing().to_list() == server.records
    assert comparisons <= 10 * len(server.records)


async def test_limit_shortens_the_last_request() -> None:
    """Neither records beyond the limit nor unnecessary pages are requested."""
    for limit, last in [(10, 10), (12, 3), (19, 10), (46, 10), (47, 2)]:
        server = RecordServer(100)
        await server.listing(limit=limit, page_size=10, prefetch=4).to_list()
        sizes = [10] * (len(server.requests) - 1) + [last]
        requests = sorted(server.requests)
        assert requests == [(9 * number, size) for number, size in enumerate(sizes)]
        assert sum(requests[-1]) == limit


async def test_limit_applies_to_the_page_of_a_rewind() -> None:
    """A page found by a rewind is cut at the limit and contains the position to continue from."""
    server = changing_server(60, 1, lambda records: _shift(records, -10))
    pages = [page async for page in server.listing(limit=15, page_size=10, prefetch=1).pages()]
    assert [item for page in pages for item in page.items] == list(range(15))
    assert server.records[pages[-1].next_skip] == 15


async def test_pages_are_contiguous() -> None:
    """Each page begins where the previous page's `next_skip` points."""
    pages = [page async for page in RecordServer(35).listing(page_size=10, prefetch=3).pages()]
    assert [page.skip for page in pages] == [0, *(page.next_skip for page in pages[:-1])]
    assert [item for page in pages for item in page.items] == list(range(35))
    assert {page.drift for page in pages} == {0}


@pytest.mark.parametrize("page_size", [1, 2, 3, 500])
async def test_no_page_is_larger_than_requested(page_size: int) -> None:
    """A page has at most `page_size` records, and no request asks for more than 500."""
    server = RecordServer(1200)
    sizes = [len(page.items) async for page in server.listing(page_size=page_size).pages()]
    assert sum(sizes) == 1200
    assert max(sizes) == page_size
    assert {size for _, size in server.requests} == {page_size, max(page_size, 2)}


async def test_first_requests_one_record() -> None:
    """`first` sends one request for one record, and returns None for an empty listing."""
    server = RecordServer(30)
    assert await server.listing(page_size=10).first() == 0
    assert server.requests == [(0, 1)]
    assert await server.listing(limit=0).first() is None
    assert await RecordServer(0).listing().first() is None


async def test_a_listing_is_a_value() -> None:
    """Each iteration over a listing starts anew, and its repr shows only the arguments."""
    listing = RecordServer(5).listing()
    assert await listing.to_list() == await listing.to_list() == list(range(5))
    assert repr(listing) == (
        "Listing(limit=None, page_size=500, skip=0, prefetch=8, on_drift='repair',"
        " confirm_end='auto')"
    )


def test_a_page_is_a_value() -> None:
    """Pages are compared by their attributes."""
    assert Page([1], 0, 1) == Page([1], 0, 1, 0)


# Completeness while the listing changes


async def test_archiving_hides_no_remaining_record() -> None:
    """Records archived between requests shift the others, and none of them is lost."""

    def archive(index: int) -> None:
        if 0 < index < 40:
            del server.records[3]

    server = RecordServer(500, on_request=archive)
    seen = await server.listing(page_size=20, prefetch=4).to_list()
    assert set(server.records) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_inserting_repeats_no_record() -> None:
    """Records inserted between requests shift the others, and none is delivered twice."""

    def insert(index: int) -> None:
        if 0 < index < 40:
            server.records.insert(0, 1000 + index)

    server = RecordServer(500, on_request=insert)
    seen = await server.listing(page_size=20, prefetch=4).to_list()
    assert set(range(500)) <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("page_size", range(1, 20))
async def test_if_all_that_was_read_is_archived_the_rest_is_delivered(page_size: int) -> None:
    """If every delivered record is gone, the iteration starts over from the beginning."""
    server = changing_server(4 * page_size, 1, lambda records: _shift(records, -page_size))
    pages = [page async for page in server.listing(page_size=page_size, prefetch=1).pages()]
    assert [item for page in pages for item in page.items] == list(range(4 * page_size))
    assert max(len(page.items) for page in pages) == page_size


@pytest.mark.parametrize("remaining", [slice(0, 50), slice(50, 500)])
async def test_if_all_that_is_remembered_is_archived_the_walk_raises(remaining: slice) -> None:
    """The listing may be incomplete if only discarded keys, or the first ones, are still listed."""
    seen: list[int] = []
    server = changing_server(
        5000, 400, lambda records: records.__setitem__(slice(None), records[remaining])
    )
    with pytest.raises(DriftError, match="found again"):
        await read_pages(server.listing(page_size=10, prefetch=1), seen)
    assert seen == list(range(len(seen)))


@pytest.mark.parametrize("window", range(4, 8))
async def test_the_records_of_a_whole_window_are_remembered(window: int) -> None:
    """If most records of the last window are archived at once, the iteration still continues."""
    index = 4 * window + 1  # the first request of a window
    delivered = 1 + 499 * index
    archived = slice(delivered - 1500, delivered)
    server = changing_server(20_000, index, lambda records: records.__delitem__(archived))
    assert await server.listing(page_size=500, prefetch=4).to_list() == list(range(20_000))


@pytest.mark.parametrize("count", [20, 5000])
@pytest.mark.parametrize("skip", [0, 5])
async def test_a_listing_that_becomes_empty_has_ended(count: int, skip: int) -> None:
    """If the listing is empty, nothing was missed, whatever was discarded from memory."""
    index = 1 if count == 20 else 400
    server = changing_server(count, index, lambda records: records.clear())
    seen = await server.listing(page_size=10, prefetch=1, skip=skip).to_list()
    assert seen == list(range(skip, skip + len(seen)))


async def test_skipped_records_are_never_delivered() -> None:
    """An iteration with `skip` cannot start over, because the skipped records are unknown."""
    seen: list[int] = []
    server = changing_server(60, 1, lambda records: records.__delitem__(slice(20, 30)))
    with pytest.raises(DriftError):
        await read_items(server.listing(page_size=10, prefetch=1, skip=20), seen)
    assert seen == list(range(20, 30))


@pytest.mark.parametrize("places", [-9, -1, 1, 9])
async def test_a_walk_with_skip_is_repaired_too(places: int) -> None:
    """As long as a delivered record is still listed nearby, `skip` makes no difference."""
    server = changing_server(60, 1, lambda records: _shift(records, places))
    seen = await server.listing(page_size=10, prefetch=1, skip=20).to_list()
    assert seen == list(range(20, 60))


async def test_records_pushed_far_ahead_are_not_delivered_again() -> None:
    """A delivered record is recognized even after more new records than are remembered."""

    def insert(records: list[int]) -> None:
        records[500:500] = range(10_000, 12_900)

    server = changing_server(2000, 150, insert)
    seen = await server.listing(page_size=10, prefetch=1).to_list()
    assert [item for item in seen if item < 10_000] == list(range(2000))
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("archived", [600, 1200, 3000])
async def test_a_rewind_finds_a_remembered_record_at_any_distance(archived: int) -> None:
    """However far the listing has shifted, no rewind skips all remembered records."""
    server = changing_server(6000, 560, lambda records: _shift(records, -archived))
    assert await server.listing(page_size=10, prefetch=1).to_list() == list(range(6000))


async def test_a_consumer_may_archive_each_record() -> None:
    """If each record is archived as it is delivered, the rest is still delivered."""
    server = RecordServer(7000)
    async for item in server.listing(page_size=20):
        assert server.records.pop(0) == item
    assert server.records == []
    assert len(server.requests) < 3 * 7000 / 19


@pytest.mark.parametrize(("count", "page_size"), [(2000, 20), (20_000, 500)])
async def test_a_consumer_may_archive_whole_pages(count: int, page_size: int) -> None:
    """If every delivered page is archived, the walk continues from the beginning."""
    seen: list[int] = []
    server = RecordServer(count)
    async for page in server.listing(page_size=page_size).pages():
        seen.extend(page.items)
        del server.records[: len(page.items)]
    assert seen == list(range(count))


# Changes of the order


async def test_a_delivered_record_that_moves_to_the_end_hides_no_other() -> None:
    """If delivered records move to the end, other records are delivered or an error is raised."""
    for moved in range(1, 10):

        def move(records: list[int], moved: int = moved) -> None:
            records[:] = records[moved:] + records[:moved]

        seen: list[int] = []
        server = changing_server(12, 1, move)
        with pytest.raises(DriftError, match="order"):
            await read_pages(server.listing(page_size=10, prefetch=1), seen)
        assert seen == list(range(len(seen)))


async def test_a_delivered_record_in_a_later_page_hides_no_other() -> None:
    """If a delivered record appears on a later page of a window, earlier records are not lost."""

    async def gate(skip: int) -> None:
        if skip == 18 and -1 not in server.records:
            server.records.remove(5)
            server.records.insert(0, -1)
            server.records.insert(21, 5)

    seen: list[int] = []
    server = RecordServer(60, gate=gate)
    with pytest.raises(DriftError, match="order"):
        await read_pages(server.listing(page_size=10, prefetch=2), seen)
    assert server.records[18:23] == [18, 19, 20, 5, 21]
    assert seen == list(range(19))


@pytest.mark.parametrize("archived", [0, 1, 18])
async def test_a_walk_ends_if_each_delivered_record_moves_to_the_end(archived: int) -> None:
    """The iteration raises an error at the first record that has moved to the end."""
    seen: list[int] = []
    server = RecordServer(5000)
    with pytest.raises(DriftError):
        async for item in server.listing(page_size=20):
            seen.append(item)
            assert len(seen) <= 5000
            moved = server.records.pop(0)
            if item >= archived:
                server.records.append(moved)
    assert seen == list(range(len(seen)))
    assert len(seen) > 4900


# Progress


async def test_a_listing_that_is_always_replaced_is_an_error() -> None:
    """If every response contains other records, the iteration ends with an error."""

    def replace(index: int) -> None:
        server.records = [1000 * (index + 1) + i for i in range(100)]

    server = RecordServer(100, on_request=replace)
    with pytest.raises(DriftError):
        await server.listing(page_size=10, prefetch=2).to_list()
    assert len(server.requests) < 2000


async def test_one_record_that_stays_does_not_keep_a_walk_running() -> None:
    """If all records but the first are replaced before each response, the iteration ends."""

    def replace(index: int) -> None:
        server.records[1:] = range(100 * index, 100 * index + 99)

    server = RecordServer(100, on_request=replace)
    with pytest.raises(DriftError, match="faster"):
        await server.listing(page_size=10, prefetch=4).to_list()
    assert len(server.requests) < 5000


@pytest.mark.parametrize("speed", [9, 10])
async def test_a_listing_that_always_grows_at_the_front_is_an_error(speed: int) -> None:
    """If new records are inserted as fast as the listing is read, the iteration ends."""

    def insert(index: int) -> None:
        server.records[:0] = range(-100 * (index + 1), -100 * (index + 1) + speed)

    server = RecordServer(100, on_request=insert)
    with pytest.raises(DriftError, match="faster"):
        await server.listing(page_size=10, prefetch=1).to_list()
    assert len(server.requests) < 2000


async def test_a_listing_that_grows_for_a_while_is_read_to_its_end() -> None:
    """An iteration tolerates some pages without progress."""

    def insert(index: int) -> None:
        if 0 < index < 60:
            server.records[:0] = range(-100 * index, -100 * index + 9)

    server = RecordServer(100, on_request=insert)
    assert await server.listing(page_size=10, prefetch=1).to_list() == list(range(100))


async def test_a_walk_may_rewind_any_number_of_times() -> None:
    """An iteration continues as long as it delivers new records between rewinds."""

    def insert(index: int) -> None:
        if index % 8 == 0:
            server.records[:0] = range(-100 * index - 100, -100 * index - 75)

    server = RecordServer(6000, on_request=insert)
    seen = await server.listing(page_size=10, prefetch=1).to_list()
    assert [item for item in seen if item >= 0] == list(range(6000))
    assert len(server.requests) > 8 * 101


# on_drift and reports of drift


@pytest.mark.parametrize("prefetch", [1, 4])
@pytest.mark.parametrize(
    ("delivered", "change", "drift"),
    [
        pytest.param(1, lambda records: _shift(records, -5), -5, id="5 archived"),
        pytest.param(1, lambda records: records.pop(9), -1, id="the last archived"),
        pytest.param(1, lambda records: _shift(records, -10), -10, id="all archived"),
        pytest.param(1, lambda records: records.insert(3, -1), 1, id="1 inserted"),
        pytest.param(1, lambda records: records.insert(9, -1), 1, id="inserted before the last"),
        pytest.param(3, lambda records: _shift(records, 25), 25, id="25 inserted"),
    ],
)
async def test_a_drift_is_reported_once(
    delivered: int, change: Any, drift: int, prefetch: int, caplog: pytest.LogCaptureFixture
) -> None:
    """After a change, one page and one log message contain the number of drifted records."""
    caplog.set_level(logging.INFO, "pandium")
    server = RecordServer(100)
    walk = server.listing(page_size=10, prefetch=prefetch).pages()
    pages = [await anext(walk) for _ in range(delivered)]
    change(server.records)
    pages += [page async for page in walk]
    assert [item for page in pages for item in page.items if item >= 0] == list(range(100))
    [page] = [page for page in pages if page.drift]
    assert page.drift == abs(drift)
    [line] = _log_lines(caplog)
    assert f"drifted by {drift:+d} records" in line
    assert line.endswith(f"at record {page.skip}")


async def test_equal_numbers_of_inserted_and_archived_records_are_no_drift(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If one record is inserted and the last one archived, the drift is 0."""

    def change(records: list[int]) -> None:
        records.insert(0, -1)
        records.remove(9)

    caplog.set_level(logging.INFO, "pandium")
    server = changing_server(60, 1, change)
    pages = [page async for page in server.listing(page_size=10, prefetch=1).pages()]
    assert {page.drift for page in pages} == {0}
    assert [item for page in pages for item in page.items if item >= 0] == list(range(60))
    [line] = _log_lines(caplog)
    assert "drifted by +0 records" in line


async def test_a_repair_at_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """If no new record follows a change, the drift is only logged."""
    caplog.set_level(logging.INFO, "pandium")
    server = changing_server(10, 1, lambda records: records.insert(0, -1))
    pages = [page async for page in server.listing(page_size=10, prefetch=1).pages()]
    assert [page.items for page in pages] == [list(range(10))]
    assert len(_log_lines(caplog)) == 1


@pytest.mark.parametrize("on_drift", ["repair", "raise", "ignore"])
async def test_an_unchanged_listing_reports_nothing(
    on_drift: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without changes, no drift is reported or logged, and few additional requests are sent."""
    caplog.set_level(logging.INFO, "pandium")
    server = RecordServer(5000)
    listing = server.listing(page_size=100, prefetch=4, on_drift=on_drift)
    assert {page.drift async for page in listing.pages()} == {0}
    assert _log_lines(caplog) == []
    assert len(server.requests) <= 55


@pytest.mark.parametrize("places", [-3, 3])
async def test_the_overlap_returns_to_one_record_after_a_repair(places: int) -> None:
    """A repair widens the overlap, and every window without drift halves it."""
    server = changing_server(3000, 1, lambda records: _shift(records, places))
    await server.listing(page_size=100, prefetch=1).to_list()
    starts = [skip for skip, _ in server.requests][:-1]  # the last one confirms the end
    overlaps = [100 - (after - before) for before, after in pairwise(starts)]
    assert max(overlaps[2:]) > 1
    assert overlaps[-1] == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda records: records.pop(0), id="archived"),
        pytest.param(lambda records: records.insert(0, -1), id="inserted"),
        pytest.param(lambda records: records.__setitem__(9, -1), id="replaced"),
        pytest.param(
            lambda records: records.__setitem__(slice(8, 10), [-1, 8]), id="known, not the anchor"
        ),
        pytest.param(lambda records: records.clear(), id="emptied"),
    ],
)
async def test_drift_can_be_raised(change: Any) -> None:
    """With `on_drift="raise"`, the first change is an error, raised after the records before it."""
    seen: list[int] = []
    server = changing_server(60, 1, change)
    with pytest.raises(DriftError) as caught:
        await read_items(server.listing(page_size=10, prefetch=1, on_drift="raise"), seen)
    assert caught.value.resume_skip == 10
    assert seen == list(range(10))


async def test_drift_can_be_ignored() -> None:
    """With `on_drift="ignore"`, pages do not overlap, and shifted records may be lost."""
    server = changing_server(30, 1, lambda records: records.pop(0))
    listing = server.listing(page_size=10, prefetch=1, on_drift="ignore")
    assert await listing.to_list() == [*range(10), *range(11, 30)]
    assert server.requests == [(0, 10), (10, 10), (20, 10), (29, 10)]


# The end of a listing


def hide(hidden: int, page: list[int]) -> list[int]:
    return [record for record in page if record != hidden]


# A server may shorten its pages by limiting their size or by hiding some of the records.
SHORTENINGS: dict[str, Callable[[list[int]], list[int]]] = {
    "at most 2": lambda page: page[:2],
    "at most 7": lambda page: page[:7],
    "at most 10": lambda page: page[:10],
    "at most 100": lambda page: page[:100],
    "one hidden": partial(hide, 30),
    "many hidden": lambda page: [record for record in page if record % 4],
    "at most 3 large records": lambda page: page[: sum(record < 90 for record in page) + 3],
}


@pytest.mark.parametrize("name", SHORTENINGS)
@pytest.mark.parametrize("count", [0, 1, 9, 10, 29, 30, 31, 99, 100, 101, 450])
@pytest.mark.parametrize(("page_size", "prefetch"), [(10, 1), (10, 4), (30, 1), (100, 8), (500, 4)])
async def test_a_server_that_shortens_pages_loses_no_record(
    name: str, count: int, page_size: int, prefetch: int
) -> None:
    """With `confirm_end=True` every record is delivered once, however pages are shortened."""
    server = RecordServer(count, shorten=SHORTENINGS[name])
    listing = server.listing(page_size=page_size, prefetch=prefetch, confirm_end=True)
    assert await listing.to_list() == server.visible


@pytest.mark.parametrize("count", [100, 101, 250, 450, 499])
@pytest.mark.parametrize("maximum", [10, 50, 100, 250, 400])
async def test_auto_notices_a_plausible_maximum(count: int, maximum: int) -> None:
    """With `confirm_end="auto"`, a lower maximum that is a round number loses no record."""
    server = RecordServer(count, shorten=lambda page: page[:maximum])
    assert await server.listing(page_size=500).to_list() == list(range(count))


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (7, 1), (249, 1), (250, 2), (30, 2)])
async def test_auto_confirms_a_single_page_only_if_it_is_suspicious(
    count: int, requests: int
) -> None:
    """A short first page is confirmed only if it is half full or a multiple of 10 long."""
    server = RecordServer(count)
    assert len(await server.listing(page_size=500).to_list()) == count
    assert len(server.requests) == requests


async def test_false_takes_every_short_page_for_the_end() -> None:
    """With `confirm_end=False`, no request is sent after a short page."""
    server = RecordServer(25)
    assert len(await server.listing(page_size=10, prefetch=1, confirm_end=False).to_list()) == 25
    assert [skip for skip, _ in server.requests] == [0, 9, 18]
    server = RecordServer(450, shorten=lambda page: page[:100])
    assert len(await server.listing(confirm_end=False).to_list()) == 100


@pytest.mark.parametrize("count", [145, 153, 160])
async def test_an_empty_page_of_the_same_window_is_the_proof(count: int) -> None:
    """If the same window contains an empty page after the short one, no request is added."""
    server = RecordServer(count)
    listing = server.listing(page_size=10, prefetch=8)
    assert len(await listing.to_list()) == count
    # The short page is the first page of the last window, or precedes others in it.
    short = next(i for i, (skip, limit) in enumerate(server.requests) if skip + limit > count)
    assert len(server.requests) - short <= 8


@pytest.mark.parametrize("confirm_end", ["auto", True])
async def test_a_limit_needs_no_proof(confirm_end: Any) -> None:
    """Reaching the limit needs no confirmation, and neither does `first`."""
    server = RecordServer(25)
    listing = server.listing(page_size=10, limit=20, confirm_end=confirm_end)
    assert len(await listing.to_list()) == 20
    sent = len(server.requests)
    await server.listing(confirm_end=confirm_end).first()
    assert len(server.requests) == sent + 1


@pytest.mark.parametrize("records", [[1, 1, 2], [1, 2, 1], [3, 3, 3], [1, 2, 2, 3, 3]])
async def test_a_record_that_occurs_twice_on_a_page_is_delivered_once(records: list[int]) -> None:
    """Duplicates on a page are dropped, even on the first page."""
    server = RecordServer(0)
    server.records = records
    assert await server.listing().to_list() == list(dict.fromkeys(records))


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("on_drift", ["repair", "raise", "ignore"])
@pytest.mark.parametrize("way", ["items", "pages", "stream"])
async def test_tasks_can_share_an_iterator(workers: int, on_drift: str, way: str) -> None:
    """If several tasks share an iterator, each record is delivered to one of them."""
    server = RecordServer(200)
    listing = server.listing(page_size=10, on_drift=on_drift)
    received: list[int] = []

    async def work(iterator: Any) -> None:
        async for item in iterator:
            received.extend(item.items if way == "pages" else [item])
            await anyio.lowlevel.checkpoint()

    async def share(iterator: Any) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(work, iterator)

    if way == "stream":
        async with listing.stream() as items:
            await share(items)
    else:
        await share(listing.pages() if way == "pages" else aiter(listing))
    assert sorted(received) == list(range(200))


async def test_a_server_that_shortens_pages_may_drift() -> None:
    """After a drift, the overlap remains smaller than the server's pages."""
    server = changing_server(600, 3, lambda records: records.pop(0))
    server.shorten = lambda page: page[:50]
    assert await server.listing(page_size=500, prefetch=1).to_list() == list(range(600))


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("inserted", [1, 2, 6, 20])
async def test_records_that_were_pushed_off_a_shortened_page_are_not_lost(
    size: int, inserted: int
) -> None:
    """A shortened page that contains only known and inserted records does not end a walk."""

    def insert(records: list[int]) -> None:
        records[:0] = range(-inserted, 0)

    server = changing_server(40, 1, insert)
    server.shorten = lambda page: page[:size]
    listing = server.listing(page_size=100, prefetch=1, confirm_end=True)
    received = await listing.to_list()
    assert [number for number in received if number >= 0] == list(range(40))
    assert len(received) == len(set(received))


@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("change", ["insert", "remove"])
async def test_a_shift_before_shortened_pages_loses_no_record(
    change: str, index: int, prefetch: int
) -> None:
    """After a shift, a page may be shorter than the wider overlap. It does not end a walk."""
    changes: dict[str, Callable[[list[int]], object]] = {
        "insert": lambda records: records.insert(0, -1),
        "remove": lambda records: records.remove(0),
    }
    server = changing_server(600, index, changes[change])
    server.shorten = lambda page: page[:8] if page and 190 < page[0] < 230 else page
    listing = server.listing(page_size=100, prefetch=prefetch, confirm_end=True)
    received = await listing.to_list()
    assert set(received) >= set(range(1, 600))
    assert len(received) == len(set(received))


@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("count", [1, 15])
@pytest.mark.parametrize("change", ["insert", "remove"])
async def test_a_rewind_by_many_shortened_pages_loses_no_record(
    change: str, count: int, prefetch: int
) -> None:
    """After a rewind, pages of records that were already delivered do not end a walk."""

    def change_records(records: list[int]) -> None:
        records[5:5] = range(1000, 1000 + count)
        if change == "remove":
            del records[5 : 5 + 2 * count]

    for index in range(0, 40, 3):
        server = changing_server(400, index, change_records)
        server.shorten = lambda page: page[: 7 + page[0] * 7919 % 8] if page else page
        listing = server.listing(page_size=500, prefetch=prefetch, confirm_end=True)
        received = await listing.to_list()
        assert set(received) >= {record for record in server.records if record < 1000}
        assert len(received) == len(set(received))


@pytest.mark.parametrize(("count", "hidden"), [(998, 700), (1497, 1200)])
async def test_an_empty_page_that_is_older_than_the_short_one_does_not_end_a_listing(
    count: int, hidden: int
) -> None:
    """Records that were displaced after an empty page was returned are delivered."""
    is_empty_returned = anyio.Event()

    async def gate(skip: int) -> None:
        if skip == count:
            is_empty_returned.set()
        elif 0 < skip < count:
            await is_empty_returned.wait()
            if server.records[0] == 0:
                _shift(server.records, 3)

    server = RecordServer(count, gate=gate, shorten=partial(hide, hidden))
    read = await server.listing().to_list()
    assert is_empty_returned.is_set()
    assert read == hide(hidden, list(range(count)))


async def test_displaced_records_are_delivered_although_one_of_the_new_ones_is_hidden() -> None:
    """A nearly full page of known records does not end a listing, even if it is short."""

    def insert(records: list[int]) -> None:
        records[18:18] = range(100, 109)

    server = changing_server(30, 2, insert)
    server.shorten = partial(hide, 101)
    read = await server.listing(page_size=10, prefetch=1).to_list()
    assert [record for record in read if record < 100] == list(range(30))


@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("hidden", [0.1, 0.3, 0.5, 0.7])
async def test_records_hidden_from_each_page_never_end_a_listing_silently(
    hidden: float, prefetch: int
) -> None:
    """If a server hides records after it has selected a page, the rest is complete or an error."""
    for seed in range(5):
        server, chance = RecordServer(1000), random.Random(seed)
        shown = {record for record in server.records if chance.random() >= hidden}
        server.shorten = partial(select, shown)
        listing = server.listing(page_size=100, prefetch=prefetch, confirm_end=True)
        with suppress(DriftError):
            assert await listing.to_list() == sorted(shown)


@pytest.mark.parametrize("hidden", [1, 2, 3])
@pytest.mark.parametrize("page_size", [4, 8, 500])
async def test_a_listing_of_which_only_the_last_record_is_shown_is_complete(
    hidden: int, page_size: int
) -> None:
    """If a server hides the few records before the only one that it shows, the listing ends."""
    server = RecordServer(hidden + 1, shorten=partial(select, {hidden}))
    listing = server.listing(page_size=page_size, confirm_end=True)
    assert await listing.to_list() == [hidden]


def select(shown: set[int], page: list[int]) -> list[int]:
    return [record for record in page if record in shown]


async def test_a_shift_while_the_end_of_shortened_pages_is_confirmed_loses_no_record() -> None:
    """The request that confirms the end begins with the last known record, so it shows a shift."""
    changes = {1: lambda records: records.remove(0), 2: lambda records: records.insert(0, 7)}
    changes[3] = lambda records: records.remove(7)
    server = RecordServer(
        3, on_request=lambda index: changes.get(index, len)(server.records), shorten=lambda p: p[:2]
    )
    listing = server.listing(page_size=4, prefetch=1, confirm_end=True)
    assert await listing.to_list() == [0, 1, 2]


@pytest.mark.parametrize("prefetch", [1, 4])
@pytest.mark.parametrize("page_size", [2, 3, 500])
@pytest.mark.parametrize("count", [0, 1, 2, 9])
async def test_a_server_with_pages_of_one_record_loses_no_record(
    count: int, page_size: int, prefetch: int
) -> None:
    """If the overlap leaves no room for new records, a walk raises an error, or ignores drift."""
    server = RecordServer(count, shorten=lambda page: page[:1])
    options: dict[str, Any] = {"page_size": page_size, "prefetch": prefetch, "confirm_end": True}
    if count < 2:
        assert await server.listing(**options).to_list() == list(range(count))
    else:
        with pytest.raises(DriftError, match="no page contained more than 1 record") as caught:
            await server.listing(**options).to_list()
        assert caught.value.resume_skip == 1
    listing = server.listing(**options, on_drift="ignore")
    assert await listing.to_list() == list(range(count))


@pytest.mark.parametrize("value", ["yes", 1, None, 0.5])
async def test_confirm_end_is_true_false_or_auto(value: Any) -> None:
    """Any other value is a ValueError that names the argument."""
    with pytest.raises(ValueError, match="confirm_end must be True, False or 'auto', not "):
        RecordServer(1).listing(confirm_end=value)


async def test_an_error_beyond_the_end_is_no_proof() -> None:
    """If the page beyond a short one fails, another request confirms the end."""
    failed = anyio.Event()

    async def gate(skip: int) -> None:
        if skip == 27:  # the short page
            await failed.wait()
        elif skip == 36:
            failed.set()
            raise ServerError("down", status_code=503)

    server = RecordServer(35, gate=gate)
    listing = server.listing(page_size=10, prefetch=4)
    with anyio.fail_after(10):
        assert await listing.to_list() == list(range(35))
    assert server.requests[-1][0] == 34
