"""Bring each of many tenants to a run and its end: triggered once at most, and reported once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import attrs

from pandium._bulk.journal import LEASE, State
from pandium._waiting.results import RunResult
from pandium._waiting.scheduler import Scheduler, for_each
from pandium.errors import ConnectionLost, PandiumError
from pandium.models import Outcome, Tenant, Trigger, TriggerStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable

    from anyio.abc import TaskGroup

    from pandium._bulk.journal import Entry, Journal
    from pandium._waiting.polling import TriggerWait, WaitOptions

__all__ = ["Plan", "sync_each"]

T = TypeVar("T", bound=int | Tenant)
Send: TypeAlias = "Callable[[RunResult], Awaitable[None]]"

_LARGEST_ID = 2**63 - 1
# Often enough for a lease to be renewed in time if one time or two it comes late.
_TICK = LEASE / 4


@attrs.frozen
class Plan(Generic[T]):
    """How to trigger: what to send for what the source gave, by which call, how many at once."""

    content: Callable[[T], Awaitable[bytes | None]]
    post: Callable[[int, bytes | None], Awaitable[Trigger]]
    max_concurrency: int
    may_repeat: bool


async def sync_each(
    source: Iterable[T] | AsyncIterable[T],
    plan: Plan[T],
    options: WaitOptions,
    journal: Journal,
    send: Send,
) -> None:
    """
    Trigger a run for each tenant of the source, and send each result as it comes.

    What the journal has under way comes first. An error of the source or of the journal is raised
    once all that was begun has been sent.
    """
    failure: Exception | None = None
    async with journal, anyio.create_task_group() as tasks:
        failure = await _Job(plan, options, journal, send, tasks).run(source)
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _tenant_id_of(item: object) -> int:
    tenant_id = item.id if isinstance(item, Tenant) else item
    if isinstance(tenant_id, bool) or not isinstance(tenant_id, int):
        raise ValueError(f"tenants must hold ids or Tenants, not {item!r}")
    if abs(tenant_id) > _LARGEST_ID:
        raise ValueError(f"tenants must hold ids of 64 bits, not {item!r}")
    return tenant_id


class _Job(Generic[T]):
    """The tenants of one call, each from when it is taken up until it is reported."""

    def __init__(
        self, plan: Plan[T], options: WaitOptions, journal: Journal, send: Send, tasks: TaskGroup
    ) -> None:
        self._plan = plan
        self._clock = options.clock
        self._counters = options.counters
        self._journal = journal
        self._send = send
        self._tasks = tasks
        self._schedule = Scheduler(options, tasks, self._run_ended)
        self._places = anyio.Semaphore(plan.max_concurrency)
        self._excess = 0
        self._seen: set[int] = set()
        # What was taken up and not reported, as the source gave it, if it has.
        self._items: dict[int, T | None] = {}
        self._elsewhere: set[int] = set()
        self._reported = anyio.Event()
        self._walk = anyio.CancelScope()
        self._at_hand: int | None = None
        self._broken: Exception | None = None

    async def run(self, source: Iterable[T] | AsyncIterable[T]) -> Exception | None:
        """Sync all; once all are reported, give the error of the source or of the journal."""
        failure: Exception | None = None
        self._tasks.start_soon(self._schedule.run)
        self._tasks.start_soon(self._tend)
        with self._walk:
            try:
                await self._walk_through(source)
            except Exception as error:  # noqa: BLE001 - the user's own source may raise anything
                failure = error
        if self._broken is not None and self._at_hand in self._items:
            await self._report_error(self._at_hand, self._broken, Outcome.ACTIVE)
        while self._items:
            self._reported = anyio.Event()
            await self._reported.wait()
        return failure or self._broken

    async def _walk_through(self, source: Iterable[T] | AsyncIterable[T]) -> None:
        begun = await self._journal.under_way()
        # What may be repeated waits for the source to name it, as that may decide on its payload.
        later = {one for one, state in begun if state is State.SENDING and self._plan.may_repeat}
        for tenant_id, _ in begun:
            if tenant_id not in later:
                await self._take_up(tenant_id, None)
        await for_each(source, self._take)
        for tenant_id in sorted(later - self._seen):
            await self._take_up(tenant_id, None)

    async def _take(self, item: T) -> None:
        try:
            tenant_id = _tenant_id_of(item)
        except ValueError as error:
            await self._send(RunResult(None, None, error, 0, 0.0))
            self._counters.count(Outcome.FAILED)
            return
        if tenant_id not in self._seen:
            await self._take_up(tenant_id, item)
        elif tenant_id in self._items:  # known from the journal, and now from the source
            self._items[tenant_id] = item

    async def _take_up(self, tenant_id: int, item: T | None) -> None:
        self._seen.add(tenant_id)
        self._items[tenant_id] = item
        self._at_hand = tenant_id
        await self._bring(tenant_id)
        self._at_hand = None

    async def _bring(self, tenant_id: int) -> None:
        """Go on from what the journal knows of a tenant."""
        may_repeat = self._plan.may_repeat and self._items[tenant_id] is not None
        try:
            entry = await self._journal.find(tenant_id, may_repeat=may_repeat)
        except PandiumError as error:
            self._break(error)
            await self._report_error(tenant_id, error, Outcome.ACTIVE)
            return
        item = self._items[tenant_id]
        if entry.state is not State.NEW:
            await self._follow(tenant_id, entry)
        elif item is None:  # another owner's, which was refused
            self._forget(tenant_id)
        else:
            await self._places.acquire()
            self._counters.active += 1
            self._tasks.start_soon(self._trigger, tenant_id, item)

    async def _follow(self, tenant_id: int, entry: Entry) -> None:
        if entry.is_mine:
            self._enter()
            self._wait(tenant_id, entry.trigger_id)
        elif entry.state in (State.SENDING, State.TRIGGERED):
            self._elsewhere.add(tenant_id)
        elif entry.state is State.UNKNOWN:
            lost = ConnectionLost(f"tenant {tenant_id} may have been triggered: {entry.error}")
            await self._report_error(tenant_id, lost, Outcome.ACTIVE)
        else:
            self._counters.triggered += 1
            status = TriggerStatus(entry.status)
            completed = RunResult(entry.trigger_id, status, None, 0, 0.0, tenant_id)
            await self._report(tenant_id, completed, Outcome(entry.state.value))

    async def _trigger(self, tenant_id: int, item: T) -> None:
        began = self._clock.now()
        try:
            content = await self._plan.content(item)
            entry = await self._claim(tenant_id)
        except Exception as error:  # noqa: BLE001 - one tenant's failure is one result
            self._leave()
            await self._report_error(tenant_id, error, Outcome.FAILED, began)
            return
        if entry.is_mine and entry.state is State.SENDING:
            await self._post(tenant_id, content, began)
        else:
            self._leave()
            await self._follow(tenant_id, entry)

    async def _claim(self, tenant_id: int) -> Entry:
        if self._broken is not None:
            raise self._broken
        try:
            return await self._journal.claim(tenant_id, may_repeat=self._plan.may_repeat)
        except PandiumError as error:
            self._break(error)
            raise

    async def _post(self, tenant_id: int, content: bytes | None, began: float) -> None:
        is_sent = False
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
            is_sent = True
            trigger = await self._plan.post(tenant_id, content)
        except Exception as error:  # noqa: BLE001 - one tenant's failure is one result
            await self._not_triggered(tenant_id, error, began)
        except anyio.get_cancelled_exc_class():
            await self._note(
                self._without_trigger(tenant_id, "the request was cancelled", is_lost=is_sent)
            )
            raise
        else:
            await self._note(self._journal.triggered(tenant_id, trigger.trigger_id))
            self._wait(tenant_id, trigger.trigger_id)

    async def _not_triggered(self, tenant_id: int, error: Exception, began: float) -> None:
        is_lost = getattr(error, "outcome_unknown", True)
        # Its text may be the API's, and hold what was sent.
        cause = type(error).__name__
        await self._note(self._without_trigger(tenant_id, cause, is_lost=is_lost))
        self._leave()
        outcome = Outcome.ACTIVE if is_lost else Outcome.FAILED
        await self._report_error(tenant_id, error, outcome, began)

    def _without_trigger(self, tenant_id: int, cause: str, *, is_lost: bool) -> Awaitable[None]:
        journal = self._journal
        return journal.lost(tenant_id, cause) if is_lost else journal.unsent(tenant_id)

    def _wait(self, tenant_id: int, trigger_id: str) -> None:
        self._counters.triggered += 1
        self._schedule.add(tenant_id, trigger_id)

    async def _run_ended(self, watch: TriggerWait, error: Exception | None) -> None:
        tenant_id, status = watch.key, watch.last_status
        if status is None or watch.outcome is Outcome.ACTIVE:
            await self._note(self._journal.leave(tenant_id))
        else:
            state = State(watch.outcome.value)
            ended = self._journal.ended(tenant_id, watch.trigger_id, state, status.status)
            await self._note(ended)
        self._leave()
        completed = attrs.evolve(watch.result(error), tenant_id=tenant_id)
        await self._report(tenant_id, completed, watch.outcome if error is None else Outcome.ACTIVE)

    async def _tend(self) -> None:
        """Keep what is ours, and look after what others had."""
        while True:
            await self._clock.sleep(_TICK)
            try:
                await self._journal.renew()
                held = await self._journal.elsewhere() if self._elsewhere else set()
            except PandiumError as error:
                self._break(error)
                held = set()
            free = self._elsewhere - held
            self._elsewhere -= free
            for tenant_id in sorted(free):
                self._tasks.start_soon(self._bring, tenant_id)

    async def _note(self, record: Awaitable[None]) -> None:
        try:
            await record
        except PandiumError as error:
            self._break(error)

    def _break(self, error: PandiumError) -> None:
        """Send no more, as nothing could be recorded; what is under way is waited for."""
        self._broken = error
        self._walk.cancel()

    def _enter(self) -> None:
        # A run that is under way is waited on, even where more of them are than places.
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            self._excess += 1
        self._counters.active += 1

    def _leave(self) -> None:
        if self._excess:
            self._excess -= 1
        else:
            self._places.release()
        self._counters.active -= 1

    def _forget(self, tenant_id: int) -> None:
        self._seen.discard(tenant_id)
        del self._items[tenant_id]
        self._reported.set()

    async def _report_error(
        self, tenant_id: int, error: Exception, outcome: Outcome, began: float | None = None
    ) -> None:
        elapsed = 0.0 if began is None else self._clock.now() - began
        completed = RunResult(None, None, error, 0, elapsed, tenant_id)
        await self._report(tenant_id, completed, outcome)

    async def _report(self, tenant_id: int, completed: RunResult, outcome: Outcome) -> None:
        await self._send(completed)
        self._counters.count(outcome)
        del self._items[tenant_id]
        self._reported.set()
