"""
Decide how to proceed after each page of a listing.

Performs no I/O: takes a page and returns a decision.
"""

from __future__ import annotations

import sys
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
# The minimum number of keys to remember when pages are small.
_MIN_CAPACITY = 1000
# The maximum number of consecutive pages that cause a rewind or do not advance the position.
_MAX_STALLED_PAGES = 100
# The number of full pages of delivered records that may not be found again, usually because they
# were archived. Their keys are kept, because records that have moved must not be delivered again.
_MAX_MISSING_PAGES = 200
# A listing may change while its end is probed, but is unlikely to do so several times in a row.
_MAX_FAILED_PROBES = 3

_count = as_attrs_validator(partial(validate_whole_number, minimum=0))
_positive = as_attrs_validator(validate_whole_number)
_page_size = as_attrs_validator(partial(validate_whole_number, maximum=_MAX_PAGE_SIZE))
_on_drift = as_attrs_validator(partial(validate_choice, choices=("repair", "raise", "ignore")))
_confirm_end = as_attrs_validator(validate_auto_or_flag)


@attrs.frozen(kw_only=True)
class ListingOptions:
    """
    The paging arguments of a listing.

    :param limit: the maximum number of records to return. Default: no limit.
    :param page_size: the number of records per request, from 1 to 500. Default: 500.
    :param skip: the number of records to skip at the start. Default: 0.
    :param prefetch: the maximum number of concurrent requests. Default: 8.
    :param on_drift: what to do if records shift between pages: ``"repair"``, ``"raise"`` or
        ``"ignore"``. Default: ``"repair"``.
    :param confirm_end: whether to confirm that a short page is the last one by requesting another
        page: ``True``, ``False``, or ``"auto"``, which skips this for a single-page listing unless
        the page's length is suspicious. Default: ``"auto"``.
    :raises ValueError: if a value is out of range.
    """

    limit: int | None = attrs.field(default=None, validator=attrs.validators.optional(_count))
    page_size: int = attrs.field(default=500, validator=_page_size)
    skip: int = attrs.field(default=0, validator=_count)
    prefetch: int = attrs.field(default=8, validator=_positive)
    on_drift: OnDrift = attrs.field(default="repair", validator=_on_drift)
    confirm_end: ConfirmEnd = attrs.field(default="auto", validator=_confirm_end)


@attrs.frozen
class PageRequest:
    """A request for up to ``limit`` records, starting after the first ``skip`` records."""

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

    :ivar items: the new records. The list is never empty.
    :ivar skip: the number of records that precede the first one in the listing.
    :ivar next_skip: the ``skip`` argument of a listing that continues after the last one.
    :ivar drift: the number of records by which the listing shifted, in either direction, since
        the previous page. 0 if it did not shift, or if the number of records inserted equals the
        number archived.
    """

    items: list[T]
    skip: int
    next_skip: int
    drift: int = 0


Page.__module__ = "pandium"  # as users import it


@attrs.frozen
class DriftRepair:
    """
    A repaired drift.

    :ivar drift: the number of records by which the listing shifted. Negative if it shifted toward
        the beginning.
    :ivar skip: the number of records before the one at which the iteration continues.
    """

    drift: int
    skip: int


@attrs.frozen
class Deliver(Generic[T]):
    """
    The decision to deliver the new records of a page.

    :ivar page: the new records, or ``None`` if there are none.
    :ivar repair: the drift that was repaired with this page, or ``None``.
    """

    page: Page[T] | None
    repair: DriftRepair | None


@attrs.frozen
class Refetch:
    """The decision to discard an outdated page and request it again."""


@attrs.frozen
class Rewind:
    """
    The decision to request an earlier page in order to find a record that was already delivered.

    :ivar request: the page to request now. Pass its records to ``Cursor.accept_rewound``.
    :ivar next_distance: the number of records by which the next rewind goes further back, if this
        one is not enough.
    """

    request: PageRequest
    next_distance: int


Decision: TypeAlias = Deliver[T] | Refetch | Rewind


@attrs.define
class _End:
    """
    The state of end-of-listing detection.

    A short page alone does not prove that the listing has ended. A server may limit the page size,
    or filter out records after it has selected a page.

    :ivar confirm: the ``confirm_end`` option.
    :ivar full_size: the ``page_size`` option.
    :ivar is_pending: whether the latest page was short and may have been the last one.
    :ivar latest_length: the number of records on the latest page.
    :ivar longest_page: the number of records on the longest page so far.
    :ivar reduced_size: the server's maximum page size, if a page turned out to be truncated, or
        ``None``.
    :ivar has_full_page: whether any page was as long as requested, which shows that the server
        does not limit the page size.
    :ivar needs_probe: whether a page without new records may have had no room for them. Only a
        page of full size with nothing but the anchor proves that nothing follows it.
    """

    confirm: ConfirmEnd
    full_size: int
    is_pending: bool = False
    latest_length: int = 0
    longest_page: int = 0
    reduced_size: int | None = None
    has_full_page: bool = False
    needs_probe: bool = False
    _failed_probes: int = 0

    def accept(  # noqa: PLR0913 - one argument for each fact about the page
        self,
        request: PageRequest,
        count: int,
        *,
        has_new: bool,
        is_first: bool,
        has_moved: bool,
        known: int,
        is_behind: bool,
    ) -> bool:
        """
        Return whether a page of ``count`` records is the last one.

        :param has_new: whether the page has records that have not been delivered.
        :param is_first: whether this is the first page.
        :param has_moved: whether the listing has drifted since the previous page.
        :param known: the number of records up to the last one that has been delivered.
        :param is_behind: whether other delivered records followed that one.
        """
        was_pending, self.is_pending, self.needs_probe = self.is_pending, False, False
        self.latest_length, self.longest_page = count, max(self.longest_page, count)
        if was_pending and has_new:
            self.reduced_size = self.longest_page
        if count >= request.limit:
            self.has_full_page = True
            return False
        if self.confirm is False:
            return True
        if not has_new:
            may_omit = self._may_omit_new(request, count, known=known, has_moved=has_moved)
            # Known records may have displaced new ones if the server has hidden some of them. Take
            # it that it hides at most a quarter. If less of a page were known, a listing that
            # drifts all the time would need another request each time.
            is_crowded = 4 * count > 3 * request.limit
            is_doubtful = is_behind or is_crowded or not self.is_trusted
            self.is_pending = self.needs_probe = may_omit and is_doubtful
            return not self.needs_probe
        # It is plausible that the whole listing fits on this page.
        if is_first and self.confirm == "auto" and not _is_suspicious(count, request.limit):
            return True
        self.is_pending = True
        return False

    @property
    def is_trusted(self) -> bool:
        """
        Whether ``"auto"`` trusts a short page.

        It does if the server has returned full pages and has not truncated others.
        """
        return self.confirm == "auto" and self.has_full_page and self.reduced_size is None

    def _may_omit_new(
        self, request: PageRequest, count: int, *, known: int, has_moved: bool
    ) -> bool:
        """Return whether new records may follow a page of known ones."""
        # If the server limits the page size, known records may have displaced new ones. If it hides
        # records, a smaller page may contain only hidden ones after the anchor.
        is_narrow = count == self.longest_page or request.limit < self.full_size
        return known > 1 or (known == 1 and (is_narrow or (has_moved and not self.has_full_page)))

    def reject_probe(self) -> bool:
        """Record a probe that found a record, and return whether to repeat the last request."""
        self.needs_probe = False
        self._failed_probes += 1
        return self._failed_probes <= _MAX_FAILED_PROBES

    def page_size(self, page_size: int) -> int:
        """Return the number of records to request, at most the server's maximum page size."""
        return page_size if self.reduced_size is None else min(page_size, self.reduced_size)

    @property
    def probe_overlap(self) -> int:
        """The overlap of a probe: the anchor, unless it would leave no room for a new record."""
        return 1 if self.longest_page > 1 else 0

    def limit_overlap(self, overlap: int) -> int:
        """Reduce an overlap so that it leaves room for new records if pages are truncated."""
        return min(overlap, max(1, self.latest_length // 8))

    def limit_distance(self, distance: int, count: int, *, is_truncated: bool) -> int:
        """
        Reduce the distance of a rewind so that truncated pages overlap.

        :param count: the number of records on the page that causes the rewind.
        :param is_truncated: whether that page is probably truncated.
        """
        is_truncating = is_truncated or self.reduced_size is not None
        length = count or self.latest_length
        return min(distance, max(1, length // 2)) if is_truncating else distance


def _is_suspicious(count: int, limit: int) -> bool:
    # If the server silently limits the page size, the limit is likely to be a round number.
    return 2 * count >= limit or count % 10 == 0


@attrs.frozen
class _Received(Generic[T]):
    """
    A page that the server returned.

    :ivar request: the request for it.
    :ivar count: the number of records that the server returned.
    :ivar records: the records without duplicates, of which the first is kept.
    :ivar keys: their keys.
    :ivar ends: for each of them, the number of returned records up to it and its adjacent
        duplicates.
    """

    request: PageRequest
    count: int
    records: list[T]
    keys: list[object]
    ends: list[int]

    @classmethod
    def create(
        cls, request: PageRequest, records: list[T], key: Callable[[T], object]
    ) -> _Received[T]:
        unique: dict[object, T] = {}
        ends: list[int] = []
        latest = None
        for end, record in enumerate(records, 1):
            unique_key = _with_unpredictable_hash(key(record))
            if unique_key not in unique:
                unique[unique_key], latest = record, unique_key
                ends.append(end)
            elif unique_key == latest:
                ends[-1] = end
        return cls(request, len(records), list(unique.values()), list(unique), ends)

    def position_after(self, count: int) -> int:
        """Return the number of listed records up to the first ``count`` ones of this page."""
        return self.request.skip + (self.ends[count - 1] if count else 0)


def _with_unpredictable_hash(key: object) -> object:
    # A server could choose integers that differ by multiples of the modulus. They have the same
    # hash, so each look-up in a set would compare all of them. The hashes of texts cannot be
    # predicted.
    if isinstance(key, int) and abs(key) >= sys.hash_info.modulus:
        return hex(key)
    return key


@attrs.define
class _Overlap:
    """
    The number of records that each page shares with the previous one.

    :ivar size: the current overlap. One record, the anchor, is enough to detect drift.
    :ivar margin: the overlap after a repair. It is an eighth of a page, so that the anchor usually
        stays on the next page if the listing shifts again.
    :ivar first_rewind: the number of records by which the first rewind goes back.
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
        """Halve the overlap, but keep at least one record."""
        self.size -= self.size // 2


class Cursor(Generic[T]):
    """
    The state of one iteration: which records have been delivered and which to request next.

    Each page begins with the last record of the previous page, the anchor. If the anchor is not
    at its expected position, the listing has drifted. If it is not on the page at all, the cursor
    rewinds until a page contains a record that was already delivered. All records after the last
    such record are new.

    No record is missed as long as the order of the records is stable. A page is a contiguous part
    of the listing, and every delivered record is listed at or before the last known one on the
    page. Delivered records that appear later are recognized, so no record is delivered twice.

    :param options: the paging arguments.
    :param key: a function that returns the unique key of a record.
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
        self._end = _End(options.confirm_end, options.page_size)
        self._stalled_pages = 0
        self._drift = 0
        # Whether the listing has drifted since the requests of the current window were sent.
        self._has_window_drifted = False
        self._has_rewound = False

    def next_requests(self, count: int) -> list[PageRequest]:
        """Return requests for the next pages: ``count`` of them, or fewer near the end."""
        self._has_window_drifted = False
        if self._end.needs_probe:
            skip = self.next_skip - self._end.probe_overlap
            return [PageRequest(skip, self._options.page_size)]
        count = 1 if self._end.is_pending else count
        overlap = self._end.limit_overlap(self._overlap.size) if self._delivered else 0
        overlap = min(overlap, self.next_skip)
        # A page of one record would contain only the anchor.
        page_size = max(self._end.page_size(self._options.page_size), 1 + overlap)
        # Confirm the end by a full page, because a server may hide all records of a smaller one.
        skip, remaining = self.next_skip, None if self._end.is_pending else self._remaining
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

        :param request: the request for the page.
        :param records: the records that the server returned.
        :param is_newest: whether the page was requested after all earlier pages had been received.
            If not, it may be older than an earlier page.
        :raises DriftError: if the listing has changed and ``on_drift`` is ``"raise"``, or if
            records might be missed.
        """
        if self._end.needs_probe and not self._end.probe_overlap:
            return self._accept_probe(request, records)
        self._require_progress()
        page = _Received.create(request, records, self._key)
        keys = page.keys
        known_prefix = self._delivered.length_up_to_last_known(keys)
        if self._delivered and not self._is_aligned(page, known_prefix):
            if self._options.on_drift == "raise":
                raise DriftError(
                    f"the listing changed during the iteration, near record {request.skip}"
                )
            # The page may contradict the order of the delivered records. If it is the newest page,
            # the server's order is not stable: raise. Otherwise the page may be outdated: refetch.
            if is_newest:
                self._require_order(request, keys)
            elif not self._delivered.are_in_order(keys):
                return Refetch()
            # The anchor is not on the page: rewind. If the page contains other known records, their
            # position is suspicious and must be confirmed by the previous page.
            if self._delivered.anchor not in keys:
                distance = request.limit if known_prefix else self._overlap.first_rewind
                # If short pages do not advance the position, they probably end too early.
                is_short = page.count < request.limit
                is_truncated = is_short and self._stalled_pages > _MAX_FAILED_PROBES
                distance = self._end.limit_distance(distance, page.count, is_truncated=is_truncated)
                return self._rewind(request.skip, distance)
        # Drift is ignored, this is the first page, or the anchor is on the page: deliver. The
        # anchor's position shows how far the listing has drifted.
        return self._deliver(page, known_prefix)

    def _accept_probe(self, request: PageRequest, records: list[T]) -> Deliver[T]:
        """
        Finish if the page that follows the last known record, without an overlap, is empty.

        Without an overlap, it does not show whether the listing has shifted meanwhile. If it is not
        empty, either the listing has changed or the server returns only one record per page. If it
        contains nothing new, the server may hide records before the last known one: the next probe
        begins after that.
        """
        if not records:
            self.is_finished = True
            return Deliver(None, None)
        page = _Received.create(request, records, self._key)
        if self._delivered.length_up_to_last_known(page.keys) == len(page.keys):
            self.next_skip = page.position_after(len(page.keys))
        if self._end.reject_probe():
            return Deliver(None, None)
        raise DriftError(
            "changes of the listing cannot be detected, because no page contained more than"
            f" {self._end.longest_page} record: pass on_drift='ignore'"
        )

    def accept_beyond_end(self, records: list[T]) -> None:
        """
        Finish if the page after a short one, requested in the same window, is empty.

        Records in between would be missed if the server had truncated the short page. If an earlier
        page was full, this is so unlikely that ``"auto"`` takes the empty page for a proof. If the
        listing has drifted, the empty page may be older than the short one and proves nothing. The
        same applies if the server hid a record of the short page and others were inserted into it,
        which cannot be noticed.
        """
        if self._end.is_trusted and not self._has_window_drifted and not records:
            self.is_finished = True

    @property
    def is_end_pending(self) -> bool:
        """Whether the latest page was short and has yet to be confirmed as the last one."""
        return self._end.is_pending and not self.is_finished

    def accept_rewound(self, rewind: Rewind, records: list[T]) -> Deliver[T] | Rewind:
        """
        Decide what to do with a page that was requested by a rewind.

        :param rewind: the decision that requested the page.
        :param records: the records that the server returned.
        :raises DriftError: if not even the first page contains a record that was already delivered.
        """
        request = rewind.request
        page = _Received.create(request, records, self._key)
        self._require_order(request, page.keys)
        known_prefix = self._delivered.length_up_to_last_known(page.keys)
        if self._can_resume(request, page.keys, known_prefix):
            self._stalled_pages += 1
            return self._deliver(page, known_prefix)
        if request.skip == 0:
            raise DriftError(
                f"the records delivered before record {self.next_skip} were not found again"
            )
        return self._rewind(request.skip, rewind.next_distance)

    def shrink_overlap(self) -> None:
        """Halve the overlap between pages after a window without drift."""
        self._overlap.shrink()

    def _is_aligned(self, page: _Received[T], known_prefix: int) -> bool:
        if page.keys[known_prefix - 1 : known_prefix] != [self._delivered.anchor]:
            return False
        # Duplicates of the anchor may have been on both sides of the end of the previous page.
        before, after = page.position_after(known_prefix - 1), page.position_after(known_prefix)
        return before < self.next_skip <= after

    def _can_resume(self, request: PageRequest, keys: list[object], known_prefix: int) -> bool:
        if known_prefix:
            return not self._delivered.is_before_gap(keys[known_prefix - 1])
        # No record can be missed on a page that starts at the very beginning. However, records that
        # were skipped or are no longer remembered would be delivered, unless the page is empty.
        is_all_remembered = self._options.skip == 0 and not self._delivered.has_gap
        return request.skip == 0 and (is_all_remembered or not keys)

    def _require_order(self, request: PageRequest, keys: list[object]) -> None:
        if not self._delivered.are_in_order(keys):
            raise DriftError(f"the order of the records changed near record {request.skip}")

    def _require_progress(self) -> None:
        most = max(3 * self._delivered.capacity, _MAX_MISSING_PAGES * self._options.page_size)
        is_stalled = self._stalled_pages > _MAX_STALLED_PAGES
        if is_stalled or self._delivered.count_after_position > most:
            raise DriftError(
                f"the listing changes faster than it can be read, near record {self.next_skip}"
            )

    def _rewind(self, skip: int, distance: int) -> Rewind:
        self._has_rewound = True
        page_size = self._end.page_size(self._options.page_size)
        request = PageRequest(max(0, skip - distance), page_size)
        # Doubling the distance reaches the beginning in few requests. A distance greater than the
        # capacity could skip over every remembered record.
        return Rewind(request, min(2 * distance, self._delivered.capacity))

    def _deliver(self, page: _Received[T], known_prefix: int) -> Deliver[T]:
        end = len(page.records)
        if self._remaining is not None:
            end = min(end, known_prefix + self._remaining)
        items = page.records[known_prefix:end]
        skip = page.position_after(known_prefix)
        is_aligned = self._delivered and self._is_aligned(page, known_prefix)
        drift = 0 if is_aligned else skip - self.next_skip
        self._drift += drift
        self._has_window_drifted |= drift != 0
        self._advance(page, known_prefix, end)
        is_last = self._end.accept(
            page.request,
            page.count,
            has_new=known_prefix < len(page.keys),
            is_first=not self._has_pages,
            has_moved=drift != 0,
            known=known_prefix,
            is_behind=self._delivered.count_after_position > 0,
        )
        self._has_pages = True
        self.is_finished = is_last or self._remaining == 0
        if not items:
            return Deliver(None, self._finish_repair(skip) if self.is_finished else None)
        self._stalled_pages = 0
        new = Page(items, skip, self.next_skip, abs(self._drift))
        return Deliver(new, self._finish_repair(skip))

    def _advance(self, page: _Received[T], known_prefix: int, end: int) -> None:
        self.next_skip = page.position_after(end)
        if self._remaining is not None:
            self._remaining -= end - known_prefix
        if self._overlap.size:
            position = self._delivered.position
            self._delivered.advance(page.keys, known_prefix)
            self._stalled_pages += self._delivered.position <= position

    def _finish_repair(self, skip: int) -> DriftRepair | None:
        if not (self._has_rewound or self._drift):
            return None
        repair = DriftRepair(self._drift, skip)
        self._overlap.widen(self._drift)
        self._drift, self._has_rewound = 0, False
        return repair
