"""
Decide how a walk through a listing continues after each page.

Nothing here does I/O: a page goes in, and a decision comes out.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

import attrs

from pandium._listing.delivered import DeliveredKeys
from pandium._validation import (
    as_attrs_validator,
    validate_auto_or_flag,
    validate_choice,
    validate_whole_number,
)
from pandium.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ConfirmEnd",
    "Cursor",
    "Decision",
    "Deliver",
    "DriftRepair",
    "ListingOptions",
    "OnDrift",
    "Page",
    "PageRequest",
    "Refetch",
    "Rewind",
]

T = TypeVar("T")
OnDrift: TypeAlias = Literal["repair", "raise", "ignore"]
ConfirmEnd: TypeAlias = Literal["auto"] | bool

_MAX_PAGE_SIZE = 500  # the API's maximum
# The minimum number of keys to remember, for small pages.
_MIN_CAPACITY = 1000
# The maximum number of consecutive pages that do not advance the position.
_MAX_STALLED_PAGES = 100

_count = as_attrs_validator(partial(validate_whole_number, minimum=0))
_positive = as_attrs_validator(validate_whole_number)
_page_size = as_attrs_validator(partial(validate_whole_number, maximum=_MAX_PAGE_SIZE))
_on_drift = as_attrs_validator(partial(validate_choice, choices=("repair", "raise", "ignore")))
_confirm_end = as_attrs_validator(validate_auto_or_flag)


@attrs.frozen(kw_only=True)
class ListingOptions:
    """
    The paging arguments of a listing.

    :param limit: The maximum number of records to return. Default: no limit.
    :param page_size: The number of records per request, from 1 to 500. Default: 500.
    :param skip: The number of records to skip at the start. Default: 0.
    :param prefetch: The maximum number of concurrent requests. Default: 4.
    :param on_drift: What to do if records shift between pages: ``"repair"``, ``"raise"`` or
        ``"ignore"``. Default: ``"repair"``.
    :param confirm_end: Whether a page that is shorter than requested must be followed by one
        without new records: ``True``, ``False``, or ``"auto"``, which excepts a listing of a
        single page unless its length is suspicious. Default: ``"auto"``.
    :raises ValueError: If a value is out of range.
    """

    limit: int | None = attrs.field(default=None, validator=attrs.validators.optional(_count))
    page_size: int = attrs.field(default=_MAX_PAGE_SIZE, validator=_page_size)
    skip: int = attrs.field(default=0, validator=_count)
    prefetch: int = attrs.field(default=4, validator=_positive)
    on_drift: OnDrift = attrs.field(default="repair", validator=_on_drift)
    confirm_end: ConfirmEnd = attrs.field(default="auto", validator=_confirm_end)


@attrs.frozen
class PageRequest:
    """A request for up to ``limit`` records after the first ``skip``."""

    skip: int
    limit: int


@attrs.frozen
class Page(Generic[T]):
    """
    The new records of one response.

    ```python
    async for page in client.tenants.list(page_size=100).pages():
        names = [tenant.name for tenant in page.items]
        print(f"{names}; to continue after them, pass skip={page.next_skip}")
    ```

    :ivar items: The records, at least one.
    :ivar skip: The number of records listed before the first one.
    :ivar next_skip: The ``skip`` of a listing that continues after the last one.
    :ivar drift: By how many records the listing had shifted, in either direction, since the page
        before. 0 if it had not shifted, or if as many records were inserted as were archived.
    """

    items: list[T]
    skip: int
    next_skip: int
    drift: int = 0


@attrs.frozen
class DriftRepair:
    """
    A repaired drift.

    :ivar drift: By how many records the listing had shifted; negative if towards the beginning.
    :ivar skip: The number of records before the one at which the walk continues.
    """

    drift: int
    skip: int


@attrs.frozen
class Deliver(Generic[T]):
    """
    The decision to deliver the new records of a page.

    :ivar page: The new records, or ``None`` if there are none.
    :ivar repair: The drift that this page repaired, if any.
    """

    page: Page[T] | None
    repair: DriftRepair | None


@attrs.frozen
class Refetch:
    """The decision to discard an outdated page, and request it again."""


@attrs.frozen
class Rewind:
    """
    The decision to look further back for a record that was delivered before.

    :ivar request: The page to request now. Pass it to ``Cursor.accept_rewound``.
    :ivar distance: How many records further back the next rewind goes.
    """

    request: PageRequest
    distance: int


Decision: TypeAlias = Deliver[T] | Refetch | Rewind


@attrs.define
class _End:
    """
    What is known about the end of a listing.

    A short page alone does not prove the end. A server may return fewer records than requested,
    or remove some from a page after cutting it.

    :ivar confirm: The option ``confirm_end``.
    :ivar is_pending: Whether a short page came that may have been the last.
    :ivar longest_page: The number of records on the longest page so far.
    :ivar reduced_size: The page size of a server that was found to return shorter pages.
    :ivar has_full_page: Whether a page was as long as requested, so that the server cuts none.
    """

    confirm: ConfirmEnd
    is_pending: bool = False
    longest_page: int = 0
    reduced_size: int | None = None
    has_full_page: bool = False

    def accept(self, request: PageRequest, count: int, *, has_new: bool, is_first: bool) -> bool:
        """Return whether a page of ``count`` records is the last one."""
        was_pending, self.is_pending = self.is_pending, False
        self.longest_page = max(self.longest_page, count)
        if was_pending and has_new:
            self.reduced_size = self.longest_page
        if count >= request.limit:
            self.has_full_page = True
            return False
        # 1. Nothing new follows: the end  2. every short page is the end  3. a plausible listing
        # of a single page
        if not has_new or self.confirm is False:
            return True
        if is_first and self.confirm == "auto" and not _is_suspicious(count, request.limit):
            return True
        self.is_pending = True
        return False

    def page_size(self, page_size: int) -> int:
        """Return the number of records to request: no more than the server returns."""
        return page_size if self.reduced_size is None else min(page_size, self.reduced_size)

    def limit_overlap(self, overlap: int) -> int:
        """Return an overlap that leaves room for new records on the pages of this server."""
        if self.reduced_size is None or not overlap:
            return overlap
        return max(1, min(overlap, self.reduced_size // 2))


def _is_suspicious(count: int, limit: int) -> bool:
    # A maximum that the server applies without a word is likely to be a round number.
    return 2 * count >= limit or count % 10 == 0


@attrs.define
class _Overlap:
    """
    How many records each page shares with the page before.

    :ivar size: The current overlap. One record, the anchor, is enough to detect drift.
    :ivar margin: The overlap after a repair. With an eighth of a page, the anchor usually stays on
        the next page if the listing shifts again.
    :ivar first_rewind: How many records a rewind goes back at first.
    """

    size: int
    margin: int
    first_rewind: int

    @classmethod
    def for_listing(cls, options: ListingOptions) -> _Overlap:
        margin = max(1, options.page_size // 8)
        return cls(0 if options.on_drift == "ignore" else 1, margin, margin)

    def widen(self, drift: int) -> None:
        """Widen the overlap after a repair, because another drift is likely."""
        self.size, self.first_rewind = self.margin, max(self.margin, -drift)

    def shrink(self) -> None:
        """Halve the overlap, down to one record."""
        self.size -= self.size // 2


class Cursor(Generic[T]):
    """
    The state of one walk through a listing: what was delivered, and what to request next.

    Each page begins with the last record of the page before, the anchor. If the anchor is not
    where it was expected, the listing has drifted. If it is not on the page at all, the walk
    rewinds until a page holds a record that was delivered before. What follows the last such
    record is new.

    No record is missed as long as the order of the records is stable. A page is a contiguous part
    of the listing, and all delivered records are listed at or before the last known one on it.
    Delivered records that appear further on are recognized, so none is delivered twice.

    :param options: The paging arguments.
    :param key: A function that returns the unique key of a record.
    """

    def __init__(self, options: ListingOptions, key: Callable[[T], object]) -> None:
        self.next_skip = options.skip
        self.is_finished = options.limit == 0
        self._options = options
        self._key = key
        capacity = max(_MIN_CAPACITY, options.page_size * options.prefetch)
        self._delivered = DeliveredKeys(options.page_size, capacity)
        self._overlap = _Overlap.for_listing(options)
        self._remaining = options.limit
        self._has_pages = False
        self._end = _End(options.confirm_end)
        self._stalled_pages = 0
        self._drift = 0
        self._has_rewound = False

    def next_requests(self, count: int) -> list[PageRequest]:
        """Return up to ``count`` requests for the next pages, fewer near the limit or the end."""
        count = 1 if self._end.is_pending else count
        overlap = self._end.limit_overlap(self._overlap.size) if self._delivered else 0
        overlap = min(overlap, self.next_skip)
        # A page of one record would hold only the anchor.
        page_size = max(self._end.page_size(self._options.page_size), 1 + overlap)
        skip, remaining = self.next_skip, self._remaining
        requests: list[PageRequest] = []
        while len(requests) < count and (remaining is None or remaining > 0):
            limit = page_size if remaining is None else min(page_size, remaining + overlap)
            requests.append(PageRequest(skip - overlap, limit))
            skip += limit - overlap
            remaining = None if remaining is None else remaining - (limit - overlap)
        return requests

    def accept(self, request: PageRequest, records: list[T], *, is_newest: bool) -> Decision[T]:
        """
        Decide what to do with the next page.

        :param request: The request for the page.
        :param records: The records that the server returned.
        :param is_newest: Whether the page was requested after all earlier pages had arrived.
            Otherwise its response may be older than theirs.
        :raises DriftError: If the listing has changed and ``on_drift`` is ``"raise"``, or if the
            walk cannot be shown to be complete.
        """
        self._require_progress()
        count, records = len(records), self._unique(records)
        keys = self._keys_of(records)
        known = self._delivered.count_known(keys)
        # 1. The first page of all, or the anchor is where it was expected: deliver.
        # 2. The page contradicts the order of the delivered records. If it is the newest, the
        #    server's order is not stable: raise. Otherwise the page may be outdated: refetch.
        # 3. The anchor is elsewhere on the page, so the drift is known: deliver.
        # 4. The anchor is not on the page: rewind. If other known records are, their position is
        #    suspicious, and the page before has to confirm it.
        if self._delivered and not self._is_aligned(request, keys, known):
            if self._options.on_drift == "raise":
                raise DriftError(f"the listing changed during the walk, near record {request.skip}")
            if is_newest:
                self._require_order(request, keys)
            elif not self._delivered.are_in_order(keys):
                return Refetch()
            if self._delivered.anchor not in keys:
                distance = request.limit if known else self._overlap.first_rewind
                return self._rewind(request.skip, distance)
        return self._deliver(request, records, keys, known, count)

    def accept_beyond_end(self, records: list[T]) -> None:
        """
        Take the page after a short one, of the same window, as proof of the end if it is empty.

        It is proof only if an earlier page was full. Otherwise the server may have cut the short
        page, and the records in between would be missed.
        """
        if self._end.is_pending and self._end.has_full_page and not records:
            self.is_finished = True

    @property
    def is_end_pending(self) -> bool:
        """Whether a short page came, and its end has yet to be confirmed."""
        return self._end.is_pending and not self.is_finished

    def accept_rewound(self, rewind: Rewind, records: list[T]) -> Deliver[T] | Rewind:
        """
        Decide what to do with a page that was requested by a rewind.

        :param rewind: The decision that asked for the page.
        :param records: The records that the server returned.
        :raises DriftError: If not even the first page holds a record delivered before.
        """
        request = rewind.request
        count, records = len(records), self._unique(records)
        keys = self._keys_of(records)
        self._require_order(request, keys)
        known = self._delivered.count_known(keys)
        if self._can_resume(request, keys, known):
            return self._deliver(request, records, keys, known, count)
        if request.skip == 0:
            raise DriftError(f"no record delivered before record {self.next_skip} was found again")
        return self._rewind(request.skip, rewind.distance)

    def shrink_overlap(self) -> None:
        """Halve the overlap of pages after a window without drift."""
        self._overlap.shrink()

    def _unique(self, records: list[T]) -> list[T]:
        """Drop records that occur earlier on the same page."""
        unique: dict[object, T] = {}
        for record in records:
            unique.setdefault(self._key(record), record)
        return list(unique.values())

    def _keys_of(self, records: list[T]) -> list[object]:
        return [self._key(record) for record in records]

    def _is_aligned(self, request: PageRequest, keys: list[object], known: int) -> bool:
        is_anchor_last_known = keys[known - 1 : known] == [self._delivered.anchor]
        return is_anchor_last_known and request.skip + known == self.next_skip

    def _can_resume(self, request: PageRequest, keys: list[object], known: int) -> bool:
        if known:
            return not self._delivered.is_before_gap(keys[known - 1])
        # From the very beginning nothing can be missed. But records that the walk skipped or no
        # longer remembers would be delivered, unless nothing is listed at all.
        is_all_remembered = self._options.skip == 0 and not self._delivered.has_gap
        return request.skip == 0 and (is_all_remembered or not keys)

    def _require_order(self, request: PageRequest, keys: list[object]) -> None:
        if not self._delivered.are_in_order(keys):
            raise DriftError(f"the order of the listing changed, near record {request.skip}")

    def _require_progress(self) -> None:
        is_stalled = self._stalled_pages > _MAX_STALLED_PAGES
        if is_stalled or self._delivered.count_after_position > 3 * self._delivered.capacity:
            raise DriftError(
                f"the listing changes faster than it can be read, near record {self.next_skip}"
            )

    def _rewind(self, skip: int, distance: int) -> Rewind:
        self._has_rewound = True
        page_size = self._end.page_size(self._options.page_size)
        request = PageRequest(max(0, skip - distance), page_size)
        # Doubling reaches the beginning in few requests. A longer step than the capacity could
        # miss every remembered record.
        return Rewind(request, min(2 * distance, self._delivered.capacity))

    def _deliver(
        self, request: PageRequest, records: list[T], keys: list[object], known: int, count: int
    ) -> Deliver[T]:
        end = len(records)
        if self._remaining is not None:
            end = min(end, known + self._remaining)
        items = records[known:end]
        skip = request.skip + known
        self._drift += skip - self.next_skip
        is_last = self._end.accept(
            request, count, has_new=known < len(keys), is_first=not self._has_pages
        )
        self._has_pages = True
        self._advance(request, keys, known, end)
        self.is_finished = is_last or self._remaining == 0
        if not items:
            return Deliver(None, self._finish_repair(skip) if self.is_finished else None)
        self._stalled_pages = 0
        page = Page(items, skip, self.next_skip, abs(self._drift))
        return Deliver(page, self._finish_repair(skip))

    def _advance(self, request: PageRequest, keys: list[object], known: int, end: int) -> None:
        self.next_skip = request.skip + end
        if self._remaining is not None:
            self._remaining -= end - known
        if self._overlap.size:
            position = self._delivered.position
            self._delivered.advance(keys, known)
            self._stalled_pages += self._delivered.position <= position

    def _finish_repair(self, skip: int) -> DriftRepair | None:
        if not (self._has_rewound or self._drift):
            return None
        repair = DriftRepair(self._drift, skip)
        self._overlap.widen(self._drift)
        self._drift, self._has_rewound = 0, False
        return repair
