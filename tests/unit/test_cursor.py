"""The decisions of a cursor, which performs no I/O."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from pandium import DriftError, Page
from pandium._listing.cursor import (
    Cursor,
    Deliver,
    DriftRepair,
    ListingOptions,
    PageRequest,
    Refetch,
    Rewind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandium._listing.cursor import Decision


def _cursor(**options: Any) -> Cursor[int]:
    return Cursor(ListingOptions(**{"page_size": 10, **options}), lambda record: record)


def _accept(
    cursor: Cursor[int], records: Iterable[int], *, is_newest: bool = True
) -> Decision[int]:
    """Pass the cursor a page in response to its next request."""
    [request] = cursor.next_requests(1)
    return cursor.accept(request, list(records), is_newest=is_newest)


def _cursor_after(*pages: Iterable[int], **options: Any) -> Cursor[int]:
    cursor = _cursor(**options)
    for records in pages:
        assert isinstance(_accept(cursor, records), Deliver)
    return cursor


def _pages(count: int) -> list[range]:
    """Return full pages, each of which begins with the last record of the previous page."""
    return [range(9 * page, 9 * page + 10) for page in range(count)]


# Requests


def test_the_first_page_is_requested_without_overlap() -> None:
    """The first requests begin at `skip` and are consecutive."""
    assert _cursor(skip=5).next_requests(3) == [
        PageRequest(5, 10),
        PageRequest(15, 10),
        PageRequest(25, 10),
    ]


def test_later_pages_begin_with_the_anchor() -> None:
    """Each subsequent page repeats the last record of the previous page."""
    cursor = _cursor_after(range(10))
    assert cursor.next_requests(2) == [PageRequest(9, 10), PageRequest(18, 10)]


def test_a_page_of_one_record_has_room_for_the_anchor() -> None:
    """With a page size of 1, later requests ask for two records."""
    assert _cursor(page_size=1).next_requests(1) == [PageRequest(0, 1)]
    assert _cursor_after([0], page_size=1).next_requests(2) == [
        PageRequest(0, 2),
        PageRequest(1, 2),
    ]


def test_the_limit_bounds_the_requests() -> None:
    """The last request is shortened, and none is sent beyond the limit."""
    assert _cursor(limit=25).next_requests(8) == [
        PageRequest(0, 10),
        PageRequest(10, 10),
        PageRequest(20, 5),
    ]
    assert _cursor_after(range(10), limit=12).next_requests(8) == [PageRequest(9, 3)]
    assert _cursor(limit=0).is_finished


# Delivering


def test_the_first_page_is_delivered() -> None:
    """A full page is delivered completely, and the listing continues after it."""
    cursor = _cursor()
    assert _accept(cursor, range(10)) == Deliver(Page(list(range(10)), 0, 10), None)
    assert (cursor.next_skip, cursor.is_finished) == (10, False)


@pytest.mark.parametrize(("confirm_end", "count"), [(False, 9), ("auto", 4)])
def test_a_short_page_finishes_the_walk(confirm_end: Any, count: int) -> None:
    """A short page ends the listing if no confirmation is needed or if it is plausible."""
    cursor = _cursor(confirm_end=confirm_end)
    assert _accept(cursor, range(count)) == Deliver(Page(list(range(count)), 0, count), None)
    assert cursor.is_finished


@pytest.mark.parametrize(("confirm_end", "count"), [(True, 4), ("auto", 9), (True, 9)])
def test_a_short_page_may_have_to_be_confirmed(confirm_end: Any, count: int) -> None:
    """After a suspiciously short page, one page is requested, whatever the window size."""
    cursor = _cursor(confirm_end=confirm_end)
    _accept(cursor, range(count))
    assert cursor.is_end_pending
    assert cursor.next_requests(8) == [PageRequest(count - 1, 10)]
    assert cursor.accept(PageRequest(count - 1, 10), [count - 1], is_newest=True) == Deliver(
        None, None
    )
    assert cursor.is_finished


def test_an_empty_page_finishes_the_walk() -> None:
    """An empty page ends the listing."""
    cursor = _cursor()
    assert _accept(cursor, []) == Deliver(None, None)
    assert cursor.is_finished


def test_only_new_records_are_delivered() -> None:
    """The anchor is not delivered again."""
    cursor = _cursor_after(range(10))
    assert _accept(cursor, range(9, 19)) == Deliver(Page(list(range(10, 19)), 10, 19), None)


def test_the_limit_cuts_off_a_page() -> None:
    """Records beyond the limit are not delivered, wherever the page begins."""
    cursor = _cursor_after(range(10), limit=12)
    [request] = cursor.next_requests(1)
    rewind = Rewind(PageRequest(5, 10), 2)
    assert request == PageRequest(9, 3)
    assert cursor.accept_rewound(rewind, list(range(5, 15))) == Deliver(
        Page([10, 11], 10, 12), None
    )
    assert cursor.is_finished


# Drift


@pytest.mark.parametrize(
    ("records", "drift"),
    [
        pytest.param([8, 9, *range(10, 18)], 1, id="inserted"),
        pytest.param([7, 8, 9, *range(10, 17)], 2, id="2 inserted"),
    ],
)
def test_a_shifted_anchor_is_a_drift(records: list[int], drift: int) -> None:
    """If the anchor has moved on the page, the page is delivered and the drift is reported."""
    cursor = _cursor_after(range(10))
    new = [record for record in records if record > 9]
    assert _accept(cursor, records) == Deliver(
        Page(new, 10 + drift, 19, drift), DriftRepair(drift, 10 + drift)
    )


def test_a_drift_is_reported_with_the_next_new_records() -> None:
    """Drifts of pages without new records are added up and reported once."""
    cursor = _cursor_after(range(10))
    assert _accept(cursor, range(10)) == Deliver(None, None)
    assert _accept(cursor, [8, *range(9, 18)]) == Deliver(
        Page(list(range(10, 18)), 20, 28, 10), DriftRepair(10, 20)
    )
    assert _accept(cursor, range(17, 27)) == Deliver(Page(list(range(18, 27)), 28, 37), None)


def test_a_repair_widens_the_overlap_for_a_while() -> None:
    """After a drift, pages overlap by an eighth. Each window without drift halves this overlap."""
    cursor = _cursor_after(range(80), range(78, 158), page_size=80)
    overlaps = []
    for _ in range(5):
        overlaps.append(cursor.next_skip - cursor.next_requests(1)[0].skip)
        cursor.shrink_overlap()
    assert overlaps == [10, 5, 3, 2, 1]


def test_drift_is_raised_on_request() -> None:
    """With `on_drift="raise"`, a shifted anchor is an error."""
    with pytest.raises(DriftError, match="changed during the iteration"):
        _accept(_cursor_after(range(10), on_drift="raise"), range(8, 18))


def test_drift_is_ignored_on_request() -> None:
    """With `on_drift="ignore"`, pages do not overlap, and every page is delivered."""
    cursor = _cursor_after(range(10), on_drift="ignore")
    assert cursor.next_requests(1) == [PageRequest(10, 10)]
    assert _accept(cursor, range(5, 15)) == Deliver(Page(list(range(5, 15)), 10, 20), None)


# Order


def test_an_outdated_page_is_requested_again() -> None:
    """A contradictory page that may be older than the previous page is discarded."""
    cursor = _cursor_after(range(10))
    before = cursor.next_requests(4)
    assert _accept(cursor, [9, 3, *range(10, 18)], is_newest=False) == Refetch()
    assert cursor.next_requests(4) == before


def test_a_page_that_may_be_outdated_is_delivered_if_its_order_fits() -> None:
    """A shifted anchor alone does not contradict the delivered records."""
    cursor = _cursor_after(range(10))
    decision = _accept(cursor, range(8, 18), is_newest=False)
    assert decision == Deliver(Page(list(range(10, 18)), 11, 19, 1), DriftRepair(1, 11))


def test_a_changed_order_is_an_error() -> None:
    """The newest page and all pages of a rewind must match the order of the delivered records."""
    with pytest.raises(DriftError, match="order"):
        _accept(_cursor_after(range(10)), [9, 3, *range(10, 18)])
    cursor = _cursor_after(range(10))
    with pytest.raises(DriftError, match="order"):
        cursor.accept_rewound(Rewind(PageRequest(8, 10), 2), [9, 3, *range(10, 18)])


# Rewinding


def test_a_missing_anchor_causes_a_rewind() -> None:
    """The first rewind goes back an eighth of a page, and each subsequent one twice as far."""
    cursor = _cursor_after(range(160), page_size=160)
    decision = _accept(cursor, range(1000, 1160))
    requests = []
    while isinstance(decision, Rewind) and decision.request.skip > 0:
        requests.append(decision.request)
        decision = cursor.accept_rewound(decision, list(range(1000, 1160)))
    assert requests == [PageRequest(139, 160), PageRequest(99, 160), PageRequest(19, 160)]
    assert isinstance(decision, Rewind)
    assert decision.request == PageRequest(0, 160)


def test_a_rewind_never_skips_all_that_is_remembered() -> None:
    """No rewind goes back further than the number of keys that are remembered."""
    cursor = _cursor_after(*_pages(1000))
    decision = _accept(cursor, range(100_000, 100_010))
    skips = [cursor.next_skip - 1]
    while isinstance(decision, Rewind) and decision.request.skip > 0:
        skips.append(decision.request.skip)
        decision = cursor.accept_rewound(decision, list(range(100_000, 100_010)))
    steps = [before - after for before, after in pairwise(skips)]
    assert steps[:4] == [1, 2, 4, 8]
    assert max(steps) == 1000


def test_known_records_without_the_anchor_are_confirmed_by_the_page_before() -> None:
    """If only other records are known, the rewind goes back by one page."""
    cursor = _cursor_after(range(10), range(9, 19))
    decision = _accept(cursor, [17, *range(19, 28)])
    assert decision == Rewind(PageRequest(8, 10), 20)


def test_a_rewind_ends_at_a_delivered_record() -> None:
    """All records after the last delivered record are new, and the drift is reported."""
    cursor = _cursor_after(range(10))
    rewind = _accept(cursor, range(14, 24))
    assert rewind == Rewind(PageRequest(8, 10), 2)
    assert isinstance(rewind, Rewind)
    decision = cursor.accept_rewound(rewind, list(range(9, 19)))
    assert decision == Deliver(Page(list(range(10, 19)), 9, 18, 1), DriftRepair(-1, 9))


def test_a_repaired_anchor_without_drift_is_reported_as_such() -> None:
    """If equal numbers were inserted and archived, a rewind reports a drift of 0."""
    cursor = _cursor_after(range(10))
    rewind = _accept(cursor, range(10, 20))
    assert isinstance(rewind, Rewind)
    decision = cursor.accept_rewound(rewind, [-1, 8, *range(10, 18)])
    assert decision == Deliver(Page(list(range(10, 18)), 10, 18, 0), DriftRepair(0, 10))


def test_a_walk_from_the_beginning_may_start_over() -> None:
    """If every delivered record is gone, all listed records are new."""
    cursor = _cursor_after(range(10))
    decision = cursor.accept_rewound(Rewind(PageRequest(0, 10), 2), list(range(10, 20)))
    assert decision == Deliver(Page(list(range(10, 20)), 0, 10, 10), DriftRepair(-10, 0))


@pytest.mark.parametrize(("pages", "skip"), [(1, 5), (300, 0)], ids=["skipped", "discarded"])
def test_a_walk_that_does_not_remember_the_beginning_cannot_start_over(
    pages: int, skip: int
) -> None:
    """Skipped or discarded records could be delivered again, unless the listing is empty."""
    cursor = _cursor_after(*_pages(pages), skip=skip)
    rewind = Rewind(PageRequest(0, 10), 2)
    with pytest.raises(DriftError, match="found again"):
        cursor.accept_rewound(rewind, list(range(10_000, 10_010)))
    drift = -cursor.next_skip
    assert cursor.accept_rewound(rewind, []) == Deliver(None, DriftRepair(drift, 0))
    assert cursor.is_finished


def test_a_record_before_discarded_keys_does_not_end_a_rewind() -> None:
    """The records after it may have been delivered and then discarded from memory."""
    cursor = _cursor_after(*_pages(300))
    with pytest.raises(DriftError, match="found again"):
        cursor.accept_rewound(Rewind(PageRequest(0, 10), 2), list(range(10)))


# Progress


def test_a_walk_that_does_not_advance_ends() -> None:
    """A hundred consecutive pages without progress are accepted. The next one is an error."""
    cursor = _cursor_after(range(10))
    for _ in range(101):
        assert _accept(cursor, range(10)) == Deliver(None, None)
    with pytest.raises(DriftError, match="faster"):
        _accept(cursor, range(10))
