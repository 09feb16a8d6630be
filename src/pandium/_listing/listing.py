"""Walk a listing by skip and limit: pages fetched ahead, each record once, nothing lost."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import attrs

from pandium._background import Background
from pandium._listing.cursor import Trail
from pandium.errors import DriftError, PandiumError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

__all__ = ["Fetch", "Listing", "OnDrift", "Page"]

T = TypeVar("T")
Fetch: TypeAlias = "Callable[[int, int], Awaitable[list[T]]]"
OnDrift: TypeAlias = Literal["repair", "raise", "ignore"]

_log = logging.getLogger("pandium")
_LARGEST_PAGE = 500
# Keys that are remembered at least, however small the pages.
_LEAST_REMEMBERED = 1000
# Pages in a row that bring a walk no further.
_MOST_RETREATS = 100


def _whole(least: int, most: int | None = None) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        bounds = f"from {least}" + (f" to {most}" if most is not None else "")
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < least or (most is not None and value > most):  # type: ignore[operator]  # it is an int
            raise ValueError(f"{attribute.name} must be a whole number {bounds}, not {value!r}")

    return check


def _drift_policy(_: object, __: object, value: object) -> None:
    if value not in ("repair", "raise", "ignore"):
        raise ValueError(f"on_drift must be repair, raise or ignore, not {value!r}")


@attrs.frozen
class Page(Generic[T]):
    """
    Records that came together.

    ``skip`` is the number of records before the first of them, and ``next_skip`` where to go on
    after the last; ``drift`` is the number of places by which the listing was found to have moved,
    either way, since the page before: 0 where it had not, or where as many records came as went.
    """

    items: list[T]
    skip: int
    next_skip: int
    drift: int = 0


@attrs.frozen
class Listing(Generic[T]):
    """
    A listing of the API, which is fetched when it is iterated over, each time anew.

    ``async for item in listing``, or by ``pages``, ``first``, ``to_list``, ``stream``.
    """

    _fetch: Fetch[T] = attrs.field(repr=False)
    _key: Callable[[T], object] = attrs.field(repr=False)
    limit: int | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(_whole(0))
    )
    page_size: int = attrs.field(default=500, kw_only=True, validator=_whole(1, _LARGEST_PAGE))
    skip: int = attrs.field(default=0, kw_only=True, validator=_whole(0))
    prefetch: int = attrs.field(default=4, kw_only=True, validator=_whole(1))
    on_drift: OnDrift = attrs.field(default="repair", kw_only=True, validator=_drift_policy)

    def __aiter__(self) -> Items[T]:
        return Items(Pages(self))

    def pages(self) -> Pages[T]:
        """Iterate over pages instead of records."""
        return Pages(self)

    async def first(self) -> T | None:
        """Give the first record, or ``None``; it takes one request, for one record."""
        async for item in attrs.evolve(self, limit=1 if self.limit is None else min(1, self.limit)):
            return item
        return None

    async def to_list(self) -> list[T]:
        """Give all records at once."""
        return [item async for item in self]

    @asynccontextmanager
    async def stream(self, *, prefetch: int | None = None) -> AsyncIterator[Items[T]]:
        """
        Fetch on while the consumer works: ``async with listing.stream() as items``.

        At most ``prefetch`` pages are under way or wait for the consumer.
        """
        listing = self if prefetch is None else attrs.evolve(self, prefetch=prefetch)

        async def produce(send: Callable[[Page[T]], Awaitable[None]]) -> None:
            async for page in Pages(listing, lambda: listing.prefetch - background.waiting):
                await send(page)
                # A consumer that waits takes the page now, which leaves more room for others.
                await anyio.lowlevel.checkpoint()

        # One page less than `prefetch` in the queue, because one more waits to be put there.
        background = Background(produce, listing.prefetch - 1)
        async with background as pages:
            yield Items(pages)


class Items(Generic[T]):
    """
    An async iterator over the records of pages.

    The last record of a page is held until the next page has come: that page begins with it, so
    a consumer that archives each record does not take the walk's place away.
    """

    def __init__(self, pages: AsyncIterator[Page[T]]) -> None:
        self._pages = pages
        self._ready: deque[T] = deque()
        self._end: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while len(self._ready) < 2 and self._end is None:  # noqa: PLR2004 - one, and one to hold
            await self._look_on()
        if self._ready:
            return self._ready.popleft()
        end, self._end = self._end, StopAsyncIteration()
        raise end or self._end

    async def _look_on(self) -> None:
        try:
            self._ready.extend((await anext(self._pages)).items)
        except Exception as error:  # noqa: BLE001 - raised once the records before are delivered
            self._end = error


@attrs.frozen
class _Span:
    start: int
    size: int


class Pages(Generic[T]):
    """
    An async iterator over the pages of a listing.

    Pages are fetched in windows of 1, 2, 4 … requests at once, each within one call, so that
    nothing runs between two calls. Each page begins with the last record of the one before, the
    anchor; where it has moved out of sight, pages from further back are fetched until one holds a
    record delivered before. While the order of the records is stable, such a page misses none that
    comes after it: it is one piece of the listing, and all that was delivered lies at or before
    that record. What lies further on than it should is not forgotten, so none comes twice.
    """

    def __init__(self, listing: Listing[T], room: Callable[[], int] | None = None) -> None:
        self._listing = listing
        self._room = room or (lambda: listing.prefetch)
        self._ready: deque[Page[T]] = deque()
        self._failure: Exception | None = None
        self._is_done = listing.limit == 0
        self._width = 1
        self._overlap = 0 if listing.on_drift == "ignore" else 1
        # An eighth of a page is most often enough to find a place that has moved.
        self._margin = self._reach = max(1, listing.page_size // 8)
        self._next_skip = listing.skip
        self._delivered = 0
        self._capacity = max(_LEAST_REMEMBERED, listing.page_size * listing.prefetch)
        self._trail = Trail(listing.page_size, self._capacity)
        self._retreats = 0
        self._moved = 0
        self._is_repair = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        while not self._ready:
            if self._failure is not None:
                raise self._end_with(self._failure)
            if self._is_done:
                raise StopAsyncIteration
            await self._fetch_window()
        return self._ready.popleft()

    def _end_with(self, failure: Exception) -> Exception:
        self._failure, self._is_done = None, True
        if isinstance(failure, PandiumError):
            failure.resume_skip = self._next_skip
        return failure

    def _left(self) -> int | None:
        limit = self._listing.limit
        return None if limit is None else limit - self._delivered

    def _spans(self) -> list[_Span]:
        overlap = self._overlap if self._trail else 0
        spans: list[_Span] = []
        begin, left = self._next_skip, self._left()
        while len(spans) < min(self._width, self._room()) and (left is None or left > 0):
            # With an overlap of one, a page of one record would never get on.
            size = max(self._listing.page_size, 1 + overlap)
            size = size if left is None else min(size, left + overlap)
            spans.append(_Span(begin - overlap, size))
            begin += size - overlap
            left = None if left is None else left - (size - overlap)
        return spans

    async def _fetch_window(self) -> None:
        spans = self._spans()
        results = await _fetch_all(self._listing._fetch, spans)  # noqa: SLF001 - same module
        try:
            await self._settle_window(spans, results)
        except Exception as error:  # noqa: BLE001 - raised once the pages before are delivered
            self._failure = error

    async def _settle_window(self, spans: list[_Span], results: list[list[T] | Exception]) -> None:
        for span, result in zip(spans, results, strict=True):
            if isinstance(result, Exception):
                raise result
            if not await self._settle(span, result, is_newest=span is spans[0]):
                # What was fetched beyond a place that has to be found again is of no use.
                self._width = max(1, self._width // 2)
                return
            if self._is_done:
                return
        self._width = min(self._width * 2, self._listing.prefetch)
        self._overlap -= self._overlap // 2

    async def _settle(self, span: _Span, records: list[T], *, is_newest: bool) -> bool:
        """
        Deliver what is new in a page; false if that has to be fetched again, or had to be.

        A page that ``is_newest`` was asked for after all before it had come.
        """
        self._require_progress()
        keys = self._keys(records)
        known = self._trail.known(keys)
        if self._trail and not self._is_in_place(span, keys, known):
            if self._listing.on_drift == "raise":
                raise DriftError(f"the listing changed under the walk near record {span.start}")
            if is_newest:
                self._require_order(span.start, keys)
            elif not self._trail.is_in_order(keys):
                # It may be older than the page before, and hold what was gone when that came.
                return False
            if self._trail.anchor not in keys:
                # What is known though the anchor is not there is strange: look at a page before.
                await self._step_back(span.start, span.size if known else self._reach)
                return False
        self._deliver(span, records, keys, known)
        return True

    def _is_in_place(self, span: _Span, keys: list[object], known: int) -> bool:
        is_at_the_anchor = keys[known - 1 : known] == [self._trail.anchor]
        return is_at_the_anchor and span.start + known == self._next_skip

    def _require_order(self, start: int, keys: list[object]) -> None:
        if not self._trail.is_in_order(keys):
            raise DriftError(f"the order of the listing changed near record {start}")

    def _require_progress(self) -> None:
        if self._retreats > _MOST_RETREATS or self._trail.beyond > 3 * self._capacity:
            raise DriftError(f"the listing changes faster than it is read, near {self._next_skip}")

    def _keys(self, records: list[T]) -> list[object]:
        return [self._listing._key(record) for record in records]  # noqa: SLF001 - same module

    async def _step_back(self, start: int, distance: int) -> None:
        """Fetch from further and further back until a page holds a record delivered before."""
        self._is_repair = True
        size = self._listing.page_size
        is_at_the_beginning = False
        while not is_at_the_beginning:
            start = max(0, start - distance)
            is_at_the_beginning = start == 0
            # Twice as far each time, so that the beginning comes soon, but not beyond memory.
            distance = min(2 * distance, self._capacity)
            records = await self._listing._fetch(start, size)  # noqa: SLF001 - same module
            keys = self._keys(records)
            self._require_order(start, keys)
            known = self._trail.known(keys)
            if self._may_go_on(start, keys, known):
                self._deliver(_Span(start, size), records, keys, known)
                return
        raise DriftError(f"nothing delivered before record {self._next_skip} was found again")

    def _may_go_on(self, start: int, keys: list[object], known: int) -> bool:
        if known:
            return not self._trail.is_before_a_gap(keys[known - 1])
        # Before the very beginning there is nothing that could be missed; but what the walk was to
        # skip, or what it has forgotten, would come.
        is_safe = self._listing.skip == 0 and not self._trail.has_forgotten
        return start == 0 and (is_safe or not keys)

    def _deliver(self, span: _Span, records: list[T], keys: list[object], known: int) -> None:
        left = self._left()
        end = len(records) if left is None else min(len(records), known + left)
        fresh = records[known:end]
        self._moved += span.start + known - self._next_skip
        self._next_skip = span.start + end
        self._delivered += len(fresh)
        self._is_done = len(records) < span.size or self._left() == 0
        if self._overlap:
            before = self._trail.place
            self._trail.go_on(keys, known)
            self._retreats += self._trail.place <= before
        if fresh:
            self._retreats = 0
            self._ready.append(Page(fresh, span.start + known, self._next_skip, abs(self._moved)))
        if fresh or self._is_done:
            self._report(span.start + known)

    def _report(self, place: int) -> None:
        """Say once what was repaired, and overlap more, so that less of it need be sought."""
        if self._is_repair or self._moved:
            self._overlap, self._reach = self._margin, max(self._margin, -self._moved)
            text = "a listing moved by %+d places under the walk; it goes on from record %d"
            _log.info(text, self._moved, place)
        self._moved, self._is_repair = 0, False


async def _fetch_all(fetch: Fetch[T], spans: Sequence[_Span]) -> list[list[T] | Exception]:
    """Fetch spans at once, up to the first that fails or comes short."""
    results: list[list[T] | Exception] = [[] for _ in spans]
    scopes = [anyio.CancelScope() for _ in spans]

    async def fetch_one(index: int, span: _Span) -> None:
        with scopes[index]:
            try:
                results[index] = found = await fetch(span.start, span.size)
                is_last = len(found) < span.size
            except Exception as error:  # noqa: BLE001 - raised once the pages before are delivered
                results[index], is_last = error, True
            if is_last:
                for scope in scopes[index + 1 :]:
                    scope.cancel()

    if len(spans) == 1:
        await fetch_one(0, spans[0])
    else:
        async with anyio.create_task_group() as tasks:
            for index, span in enumerate(spans):
                tasks.start_soon(fetch_one, index, span)
    return results
