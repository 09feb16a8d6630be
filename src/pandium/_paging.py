"""Walk a listing by skip and limit: pages fetched ahead, each record once, nothing lost."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeAlias, TypeVar

import anyio
import attrs

from pandium._background import Background
from pandium.errors import DriftError, PandiumError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

__all__ = ["Fetch", "Listing", "OnDrift", "Page"]

T = TypeVar("T")
Fetch: TypeAlias = "Callable[[int, int], Awaitable[list[T]]]"
OnDrift: TypeAlias = Literal["repair", "raise", "ignore"]

_log = logging.getLogger("pandium")
_LARGEST_PAGE = 500
# Keys that are remembered at least, however small the pages.
_LEAST_REMEMBERED = 1000
# Times that a walk may find nothing at all of what it delivered.
_MOST_RESTARTS = 10


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

    ``skip`` is where the request began; ``next_skip`` is where to go on after this page;
    ``drift`` is the number of requests that it took to find the place again after the listing
    had changed, 0 where it had not.
    """

    items: list[T]
    skip: int
    next_skip: int
    drift: int = 0


@attrs.frozen
class Listing(Generic[T]):
    """
    A listing of the API, which is fetched when it is iterated over, each time anew.

    ``async for item in listing``, or by :meth:`pages`, :meth:`first`, :meth:`to_list`,
    :meth:`stream`.
    """

    _fetch: Fetch[T] = attrs.field(repr=False)
    _key: Callable[[T], object] = attrs.field(repr=False)
    limit: int | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(_whole(0))
    )
    page_size: int = attrs.field(default=500, kw_only=True, validator=_whole(1, _LARGEST_PAGE))
    skip: int = attrs.field(default=0, kw_only=True, validator=_whole(0))
    ahead: int = attrs.field(default=4, kw_only=True, validator=_whole(1))
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
    async def stream(self, *, ahead: int | None = None) -> AsyncIterator[Items[T]]:
        """
        Fetch on while the consumer works: ``async with listing.stream() as items``.

        At most ``ahead`` pages wait for the consumer.
        """
        listing = self if ahead is None else attrs.evolve(self, ahead=ahead)

        async def produce(send: Callable[[Page[T]], Awaitable[None]]) -> None:
            async for page in listing.pages():
                await send(page)

        async with Background(produce, listing.ahead) as pages:
            yield Items(pages)


class Items(Generic[T]):
    """An async iterator over the records of pages."""

    def __init__(self, pages: AsyncIterator[Page[T]]) -> None:
        self._pages = pages
        self._ready: Iterator[T] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            for item in self._ready:
                return item
            self._ready = iter((await anext(self._pages)).items)


@attrs.frozen
class _Span:
    start: int
    size: int


class _Recent:
    """The keys of the records that were delivered last, at least `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._newer: set[object] = set()
        self._older: set[object] = set()
        self.has_forgotten = False

    def add(self, keys: Iterable[object]) -> None:
        self._newer.update(keys)
        if len(self._newer) >= self.capacity:
            self.has_forgotten |= bool(self._older)
            self._newer, self._older = set(), self._newer

    def __contains__(self, key: object) -> bool:
        return key in self._newer or key in self._older

    def __bool__(self) -> bool:
        return bool(self._newer or self._older)


class Pages(Generic[T]):
    """
    An async iterator over the pages of a listing.

    Pages are fetched in windows of 1, 2, 4 … requests at once, each within one call, so that
    nothing runs between two calls. Each page begins with the last record of the one before. While
    the order of the records is stable, a page that holds *any* record delivered before misses
    none that comes after it, however often the listing changed since; a page that holds none is
    fetched again from further back.
    """

    def __init__(self, listing: Listing[T]) -> None:
        self._listing = listing
        self._ready: deque[Page[T]] = deque()
        self._failure: Exception | None = None
        self._is_done = listing.limit == 0
        self._width = 1
        self._next_skip = listing.skip
        self._delivered = 0
        self._recent = _Recent(max(_LEAST_REMEMBERED, listing.page_size * (listing.ahead + 2)))
        self._fruitless = 0
        self._restarts = 0
        # More pages than all that is remembered can fill.
        self._patience = 2 * self._recent.capacity // max(1, listing.page_size - 1) + 2

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
            failure.skip = self._next_skip
        return failure

    @property
    def _overlap(self) -> int:
        return 0 if self._listing.on_drift == "ignore" else 1

    def _left(self) -> int | None:
        limit = self._listing.limit
        return None if limit is None else limit - self._delivered

    def _spans(self) -> list[_Span]:
        overlap = self._overlap if self._recent else 0
        # With an overlap of one, a page of one record would never get on.
        page_size = max(self._listing.page_size, 1 + self._overlap)
        spans: list[_Span] = []
        begin, left = self._next_skip, self._left()
        while len(spans) < self._width and (left is None or left > 0):
            size = page_size if left is None else min(page_size, left + overlap)
            spans.append(_Span(max(0, begin - overlap), size))
            begin += size - overlap
            left = None if left is None else left - (size - overlap)
            overlap = self._overlap
        return spans

    async def _fetch_window(self) -> None:
        spans = self._spans()
        results = await _fetch_all(self._listing._fetch, spans)  # noqa: SLF001 - same module
        self._width = min(self._width * 2, self._listing.ahead)
        for span, result in zip(spans, results, strict=False):
            if isinstance(result, Exception):
                self._failure = result
                return
            try:
                settled = await self._settle(span, result)
            except Exception as error:  # noqa: BLE001 - raised once the pages before are delivered
                self._failure = error
                return
            # What was fetched beyond a place that had to be found again is of no use.
            if self._is_done or not settled:
                return

    async def _settle(self, span: _Span, records: list[T]) -> bool:
        """Deliver what is new in a page; false if it had to be fetched from further back."""
        if self._fruitless > self._patience:
            raise DriftError(f"the listing grows faster than it is read, near {span.start}")
        keys = [self._listing._key(record) for record in records]  # noqa: SLF001 - same module
        known = self._known(keys)
        if self._listing.on_drift == "raise" and self._recent and known != 1:
            raise DriftError(f"the listing changed under the walk near record {span.start}")
        if known == 0 and self._recent and self._overlap:
            await self._step_back(span.start)
            return False
        self._deliver(span, records, keys, known)
        return True

    def _known(self, keys: list[object]) -> int:
        """
        Count the records of a page up to the last one that was delivered before.

        All of them have been delivered, or have come in behind the walk. None after them has:
        what was delivered is in order, and what is remembered of it is the end.
        """
        if not self._overlap:
            return 0
        behind = next((i for i, key in enumerate(reversed(keys)) if key in self._recent), len(keys))
        return len(keys) - behind

    async def _step_back(self, start: int) -> None:
        """Fetch from further and further back until a page holds a record delivered before."""
        listing, size = self._listing, max(self._listing.page_size, 2)
        steps = 0
        while start > 0:
            # Twice as far each time, so that the beginning comes soon.
            start = max(0, start - (size - 1) * 2**steps)
            steps += 1
            records = await listing._fetch(start, size)  # noqa: SLF001 - same module
            keys = [listing._key(record) for record in records]  # noqa: SLF001 - same module
            known = self._known(keys)
            # At the very beginning there is nothing before that could have been missed, unless
            # what was delivered is out of memory and would come again.
            is_restart = start == 0 and known == 0
            self._restarts += is_restart
            if known or (is_restart and self._may_restart()):
                _log.info("listing changed under the walk: went back to record %d", start)
                self._deliver(_Span(start, size), records, keys, known, drift=steps)
                return
        raise DriftError(f"the listing changes too fast near record {self._next_skip}")

    def _may_restart(self) -> bool:
        return self._restarts <= _MOST_RESTARTS and not self._recent.has_forgotten

    def _deliver(
        self, span: _Span, records: list[T], keys: list[object], known: int, drift: int = 0
    ) -> None:
        left = self._left()
        end = len(records) if left is None else min(len(records), known + left)
        fresh = records[known:end]
        self._next_skip = span.start + end
        self._fruitless = 0 if fresh else self._fruitless + 1
        if self._overlap:
            self._recent.add(keys[known:])
        if fresh:
            self._delivered += len(fresh)
            self._ready.append(Page(fresh, span.start + known, self._next_skip, drift))
        self._is_done = len(records) < span.size or self._left() == 0


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
