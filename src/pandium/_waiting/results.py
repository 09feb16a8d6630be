"""Give results as they come, and count how far the work on them is."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import attrs

from pandium._background import Background
from pandium.models import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from pandium._clock import Clock

__all__ = ["Counters", "Progress", "RunResults"]

T = TypeVar("T")


@attrs.frozen
class Progress:
    """
    How far the work on many runs is; for a bar, say.

    ``triggered`` counts the triggers that are known, ``active`` what is under way now. Each result
    is one of ``succeeded``, ``failed`` (the run failed, or surely none began) or ``unknown`` (a run
    may have begun, or may still be going on: a lost answer, a time limit). ``looks`` is the number
    of looks at all of them, ``seconds`` the time since the work began, up to its end.
    """

    triggered: int = 0
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    polls: int = 0
    seconds: float = 0.0


@attrs.define(eq=False)
class Counters:
    """The counters behind a ``Progress``."""

    clock: Clock
    triggered: int = 0
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    polls: int = 0
    _began: float | None = None
    _ended: float | None = None

    def begin(self) -> None:
        """Start the time."""
        self._began = self.clock.now()

    def end(self) -> None:
        """Stop the time; nothing is under way any more."""
        self._ended, self.active = self.clock.now(), 0

    def count(self, outcome: Outcome) -> None:
        """Count one result; of one that is ``ACTIVE`` nobody knows how it ends."""
        self.succeeded += outcome is Outcome.SUCCEEDED
        self.failed += outcome is Outcome.FAILED
        self.unknown += outcome is Outcome.ACTIVE

    def progress(self) -> Progress:
        """Give the counters as they are now."""
        return Progress(
            self.triggered,
            self.active,
            self.succeeded,
            self.failed,
            self.unknown,
            self.polls,
            self._seconds(),
        )

    def _seconds(self) -> float:
        if self._began is None:
            return 0.0
        return (self.clock.now() if self._ended is None else self._ended) - self._began


class RunResults(Generic[T]):
    """
    An async iterator over results, which are worked for as long as the ``async with`` block runs.

    ``progress`` says how far the work is. An error of the work itself is raised, as it is, after
    the results before it. However the block ends, nothing is left running.
    """

    def __init__(
        self,
        produce: Callable[[Callable[[T], Awaitable[None]]], Awaitable[None]],
        counters: Counters,
    ) -> None:
        self._produce = produce
        self._counters = counters
        self._background = Background(self._run, inf)

    async def _run(self, send: Callable[[T], Awaitable[None]]) -> None:
        self._counters.begin()
        try:
            await self._produce(send)
        finally:
            self._counters.end()

    @property
    def progress(self) -> Progress:
        """How far the work is at this moment."""
        return self._counters.progress()

    async def __aenter__(self) -> Self:
        await self._background.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._background.__aexit__(exc_type, exc, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return await self._background.__anext__()
