"""Trigger a run for each of many tenants, at most once, and report a result for each one."""

from __future__ import annotations

import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import attrs

from pandium._bulk.journal import IN_PROGRESS, State
from pandium._cancellation import CancellationGuard, as_iteration_error
from pandium._http.send_record import SendRecord
from pandium._user_code import is_user_error
from pandium._validation import validate_tenant_id
from pandium._waiting.results import RunResult, shorten_response
from pandium._waiting.scheduler import Scheduler, for_each
from pandium.errors import ConnectionLost, JournalError, PandiumError
from pandium.models import Outcome, Tenant, Trigger, TriggerStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable

    from anyio.abc import TaskGroup

    from pandium._bulk.journal import Entry, Journal
    from pandium._waiting.polling import TriggerWait, WaitOptions
    from pandium._waiting.results import Counters

__all__ = ["NotSentError", "OnTriggered", "SyncOptions", "sync_each"]

_log = logging.getLogger("pandium")
# A separate logger, so that a program can show this warning even if it hides the others.
_journal_log = logging.getLogger("pandium.journal")

T = TypeVar("T", bound=int | Tenant)
OnTriggered: TypeAlias = "Callable[[Trigger, int], Awaitable[None] | None]"
Report: TypeAlias = "Callable[[RunResult], Awaitable[None]]"

# The maximum number of tenants whose entries are read at the same time, so that they can share a
# transaction.
_MAX_RESUMING = 100
# The minimum time allowed for a journal write or callback, in seconds, even after the time limit.
_LAST_SECONDS = 1.0
# The minimum share of the request rate once the journal has failed. With a share of 0, the tenants
# whose requests wait for their turn would never learn of the failure, and no run would be polled.
_MIN_FAILED_SHARE = 0.1


class NotSentError(Exception):
    """
    An error that user code raised before a request was sent.

    The tenant's result contains the wrapped error.

    :ivar error: the error that user code raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class LeaseExpiredError(Exception):
    """
    A request was not sent, because its lease could have expired or the journal has failed.

    It never reaches users.
    """


@attrs.frozen
class SyncOptions(Generic[T]):
    """
    The options of a bulk sync.

    :ivar encode_body: a function that returns the request body for an item from the source.
    :ivar send: a function that sends the request, given a tenant id, a body and a record. It raises
        ``NotSentError`` if user code raised an error before the request was sent.
    :ivar max_concurrency: the number of slots. A tenant occupies one until its run has ended.
    :ivar retry_unknown: whether to retry a sync if the outcome of an earlier request is unknown.
    :ivar on_triggered: a callback that is called with each trigger that `send` returns and the
        tenant's id, or ``None``.
    :ivar set_share: a function that is called with the share of the client's request rate that this
        process may use.
    """

    encode_body: Callable[[T], Awaitable[bytes | None]]
    send: Callable[[int, bytes | None, SendRecord], Awaitable[Trigger]]
    max_concurrency: int
    retry_unknown: bool
    on_triggered: OnTriggered | None = None
    set_share: Callable[[float], None] = lambda _: None


async def sync_each(
    source: Iterable[T] | AsyncIterable[T],
    options: SyncOptions[T],
    wait_options: WaitOptions,
    journal: Journal,
    report: Report,
) -> None:
    """
    Trigger a run for each tenant in a source and report each result as soon as it is available.

    Tenants whose journal entries are in progress are resumed first. If the source or the journal
    raises an error, it is re-raised after the results of all tenants that were started. A
    cancellation that belongs to another task is replaced with a ``RuntimeError``.

    :param source: an iterable or async iterable of tenants or tenant ids.
    :param options: the options of the bulk sync.
    :param wait_options: the options for waiting for the runs.
    :param journal: the journal, which is opened and closed.
    :param report: a function that is called with each result.
    """
    failure: Exception | None = RuntimeError("a task of the sync was canceled from outside")
    try:
        async with journal, anyio.create_task_group() as tasks:
            failure = await BulkSync(options, wait_options, journal, report, tasks).run(source)
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # Ordinary errors become results. Only exceptions such as KeyboardInterrupt leave the task
        # group, which wraps them.
        raise group.exceptions[0] from None
    finally:
        options.set_share(1.0)
    if failure is not None:
        raise failure


class SyncSlots:
    """
    The slots that limit the number of active tenants.

    A run that is already in progress takes a slot even if none is free. In that case, new tenants
    wait until enough slots have been released.
    """

    def __init__(self, size: int, counters: Counters) -> None:
        self._free = anyio.Semaphore(size)
        self._overdrawn = 0
        self._counters = counters

    async def acquire(self) -> None:
        """Wait for a free slot and take it."""
        await self._free.acquire()
        self._counters.active += 1

    def acquire_nowait(self) -> None:
        """Take a slot, even if none is free."""
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            self._overdrawn += 1
        self._counters.active += 1

    def release(self) -> None:
        """Release a slot."""
        if self._overdrawn:
            self._overdrawn -= 1
        else:
            self._free.release()
        self._counters.active -= 1


class BulkSync(Generic[T]):
    """The state of one call to `sync_each`: the tenants and the tasks that trigger them."""

    def __init__(
        self,
        options: SyncOptions[T],
        wait_options: WaitOptions,
        journal: Journal,
        report: Report,
        tasks: TaskGroup,
    ) -> None:
        self._options = options
        self._clock = wait_options.clock
        self._timeout = wait_options.timeout
        self._counters = wait_options.counters
        self._journal = journal
        self._report = report
        self._tasks = tasks
        self._scheduler = Scheduler(wait_options, tasks, self._run_ended)
        self._slots = SyncSlots(options.max_concurrency, wait_options.counters)
        self._seen: set[int] = set()
        # The tenants that have been started. The value is None until the source yields the tenant.
        self._unreported: dict[int, T | None] = {}
        self._reported = anyio.Event()
        # The tenants that had an entry, and those that had a result, when the journal was opened.
        self._recorded: set[int] = set()
        self._finished: set[int] = set()
        self._has_warned = False
        # The number of items of the source that are not tenants.
        self._invalid = 0
        self._is_read = False
        self._held_by_others: set[int] = set()
        # The time at which each tenant was first found to be held by another worker.
        self._held_since: dict[int, float] = {}
        self._has_other_workers = False
        self._reading = anyio.CancelScope()
        self._resuming = anyio.Semaphore(_MAX_RESUMING)
        # The tenant that is being started. If the journal fails, no task reports its error.
        self._starting: int | None = None
        self._journal_error: JournalError | None = None
        self._share = 0.0
        self._has_share = anyio.Event()

    async def run(self, source: Iterable[T] | AsyncIterable[T]) -> Exception | None:
        """Sync all tenants and return the error that the source or journal raised, if any."""
        failure: Exception | None = None
        self._set_share(self._journal.share)
        self._tasks.start_soon(self._scheduler.run)
        self._tasks.start_soon(self._renew_leases)
        with self._reading:
            failure = await self._read(source)
        self._is_read = True
        self._count_all()
        if self._journal_error is not None and self._starting in self._unreported:
            await self._report_error(self._starting, self._journal_error, Outcome.UNKNOWN)
        await self._wait_until_reported()
        return self._journal_error if failure is None else failure  # an error may be false

    async def _read(self, source: Iterable[T] | AsyncIterable[T]) -> Exception | None:
        """Start all tenants and return the error that the source or journal raised, if any."""
        try:
            with CancellationGuard("the source of tenants"):
                await self._start_all(source)
        except Exception as error:  # noqa: BLE001 - a user-supplied source may raise anything
            return as_iteration_error(error, "the source of tenants")
        return None

    async def _wait_until_reported(self) -> None:
        while self._unreported:
            self._reported = anyio.Event()
            await self._reported.wait()

    def _count_all(self) -> None:
        if self._is_read:
            self._counters.total = len(self._seen) + self._invalid

    # Starting tenants

    async def _start_all(self, source: Iterable[T] | AsyncIterable[T]) -> None:
        states = await self._journal.states()
        self._recorded = set(states)
        self._finished = {
            tenant_id
            for tenant_id, state in states.items()
            if state not in IN_PROGRESS
            and not (state is State.UNKNOWN and self._options.retry_unknown)
        }
        # A retry needs its payload, so defer these tenants until the source yields them.
        deferred = {
            tenant_id
            for tenant_id, state in states.items()
            if state is State.SENDING and self._options.retry_unknown
        }
        for tenant_id, state in states.items():
            if state in IN_PROGRESS and tenant_id not in deferred:
                await self._start(tenant_id, None)
        await self._wait_until_resumed()  # runs in progress take slots before new tenants do
        self._log_held_tenants()
        await for_each(source, self._start_item)
        for tenant_id in sorted(deferred - self._seen):
            await self._start(tenant_id, None)

    async def _start_item(self, item: T) -> None:
        try:
            tenant_id = validate_tenant_id(item)
        except ValueError as error:
            result = RunResult(None, None, error, 0, 0.0, outcome=Outcome.FAILED)
            await self._report(result)
            self._invalid += 1
            self._counters.count(result)
            return
        if tenant_id not in self._seen:
            await self._start(tenant_id, item)
        elif tenant_id in self._unreported:  # started from the journal before the source yielded it
            self._unreported[tenant_id] = item

    async def _start(self, tenant_id: int, item: T | None) -> None:
        self._seen.add(tenant_id)
        self._unreported[tenant_id] = item
        self._starting = tenant_id
        if item is None or self._may_be_recorded(tenant_id):
            await self._resuming.acquire()
            self._tasks.start_soon(self._resume_and_release, tenant_id)
        else:
            await self._begin(tenant_id, item)
        self._starting = None

    def _may_be_recorded(self, tenant_id: int) -> bool:
        # If this returns False, a transaction is saved. The claim would also find an entry, but
        # only after the tenant has taken a slot and its payload has been encoded.
        return self._has_other_workers or tenant_id in self._recorded

    async def _wait_until_resumed(self) -> None:
        for _ in range(_MAX_RESUMING):
            await self._resuming.acquire()
        for _ in range(_MAX_RESUMING):
            self._resuming.release()

    def _log_held_tenants(self) -> None:
        if self._held_by_others:
            text = "%s: %d tenant(s) in progress belong to another process; %s"
            advice = "if it was killed, this one continues with them when its lease has expired"
            _journal_log.info(text, self._journal.name, len(self._held_by_others), advice)

    async def _resume_and_release(self, tenant_id: int) -> None:
        await self._resume(tenant_id)
        self._resuming.release()

    async def _resume(self, tenant_id: int) -> None:
        """Resume a tenant from its journal entry."""
        retry_unknown = self._options.retry_unknown and self._unreported[tenant_id] is not None
        try:
            entry = await self._journal.adopt(tenant_id, retry_unknown=retry_unknown)
        except JournalError as error:
            self._stop_sending(error)
            await self._report_error(tenant_id, error, Outcome.UNKNOWN)
            return
        item = self._unreported[tenant_id]
        if entry.state is not State.NEW:
            await self._follow(tenant_id, entry)
        elif item is not None:
            await self._begin(tenant_id, item)
        else:  # another worker's request was rejected, and our source has not yielded the tenant
            self._forget(tenant_id)

    async def _follow(self, tenant_id: int, entry: Entry) -> None:
        """Handle a tenant that needs no request: wait for its run or report its result."""
        if entry.is_mine:
            self._slots.acquire_nowait()
            self._wait_for_run(tenant_id, entry.trigger_id, self._waiting_since(tenant_id))
        elif entry.state in IN_PROGRESS:
            self._held_since.setdefault(tenant_id, self._clock.now())
            self._held_by_others.add(tenant_id)
            self._has_other_workers = True
        else:
            await self._report_recorded(tenant_id, entry)

    def _waiting_since(self, tenant_id: int) -> float:
        """Return the time at which the time limit of an adopted run starts."""
        # Include the time for which another worker held the run. Otherwise, workers would wait one
        # after the other for a run that does not end. Leave time for one poll.
        now = self._clock.now()
        return max(self._held_since.get(tenant_id, now), now - self._timeout)

    async def _report_recorded(self, tenant_id: int, entry: Entry) -> None:
        """Report a result that the journal recorded."""
        self._counters.recorded += 1
        if tenant_id in self._finished and not self._has_warned:
            self._has_warned = True
            text = "%s already holds the results of %d tenant(s), and nothing is sent for them; %s"
            advice = "to sync them again, use a new journal"
            _journal_log.warning(text, self._journal.name, len(self._finished), advice)
        if entry.state is State.UNKNOWN:
            lost = ConnectionLost(
                f"tenant {tenant_id} may have been triggered at {entry.claimed}: {entry.error}"
            )
            await self._report_error(tenant_id, lost, Outcome.UNKNOWN)
        else:
            self._counters.triggered += 1
            status, outcome = TriggerStatus(entry.status), Outcome(entry.state.value)
            result = RunResult(entry.trigger_id, status, None, 0, 0.0, tenant_id, outcome=outcome)
            await self._report_result(tenant_id, result)

    # Triggering a run: encode the body, claim the tenant, send the request, record the trigger

    async def _begin(self, tenant_id: int, item: T) -> None:
        await self._slots.acquire()
        while not self._share:  # otherwise, the run might not be polled before its time limit
            self._slots.release()  # so that it is not counted as active
            await self._has_share.wait()
            await self._slots.acquire()
        self._tasks.start_soon(self._trigger, tenant_id, item)

    async def _trigger(self, tenant_id: int, item: T) -> None:
        began = self._clock.now()
        try:
            with CancellationGuard("payload"):
                body = await self._options.encode_body(item)
        except Exception as error:  # noqa: BLE001 - a tenant's error becomes its result
            await self._not_claimed(tenant_id, error, began)
        else:
            await self._claim_and_send(tenant_id, body, began)

    async def _not_claimed(
        self, tenant_id: int, error: Exception, began: float, outcome: Outcome = Outcome.FAILED
    ) -> None:
        self._slots.release()
        await self._report_error(tenant_id, error, outcome, began)

    async def _claim_and_send(self, tenant_id: int, body: bytes | None, began: float) -> None:
        lease = self._journal.lease_number
        while await self._claim(tenant_id, began):
            if await self._send(tenant_id, body, began, lease):
                return
            await self._record(self._journal.record_not_sent(tenant_id))
            is_late = self._clock.now() - began > self._timeout
            if is_late and self._journal_error is None:
                reason = f"its lease in {self._journal.name} expired before each attempt"
                error = PandiumError(f"tenant {tenant_id} was not synced: {reason}")
                await self._not_claimed(tenant_id, error, began)
                return
            lease = self._journal.lease_number

    async def _claim(self, tenant_id: int, began: float) -> bool:
        """Claim a tenant. If no request has to be sent, handle the tenant and return ``False``."""
        try:
            entry = await self._claim_or_find(tenant_id)
        except JournalError as error:
            # Another worker may have triggered the tenant.
            await self._not_claimed(tenant_id, error, began, Outcome.UNKNOWN)
            return False
        if entry.is_mine and entry.state is State.SENDING:
            return True
        self._has_other_workers = True
        self._slots.release()
        await self._follow(tenant_id, entry)
        return False

    async def _claim_or_find(self, tenant_id: int) -> Entry:
        if self._journal_error is not None:
            raise self._journal_error
        try:
            return await self._journal.claim(tenant_id, retry_unknown=self._options.retry_unknown)
        except JournalError as error:
            self._stop_sending(error)
            raise

    async def _send(
        self, tenant_id: int, body: bytes | None, began: float, lease: int | None
    ) -> bool:
        """Send a request. Return ``False`` if the lease could have expired since the claim."""
        record = SendRecord(partial(self._validate_lease, lease))
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
            with CancellationGuard("the request"):
                trigger = await self._options.send(tenant_id, body, record)
        except LeaseExpiredError:
            return False
        except Exception as error:  # noqa: BLE001 - a tenant's error becomes its result
            await self._send_failed(tenant_id, error, began)
        except anyio.get_cancelled_exc_class():
            await self._record_failure(
                tenant_id, "the request was canceled", is_unknown=record.may_be_executed
            )
            raise
        else:
            await self._triggered(tenant_id, trigger, began)
        return True

    def _validate_lease(self, lease: int | None) -> None:
        """Validate that the claim still holds: the lease is the same, and the journal works."""
        has_failed = self._journal_error is not None
        if has_failed or lease is None or self._journal.lease_number != lease:
            raise LeaseExpiredError

    async def _send_failed(self, tenant_id: int, error: Exception, began: float) -> None:
        is_unknown = not isinstance(error, PandiumError) or error.outcome_unknown
        is_unknown |= is_user_error(error)  # a user's class may have a property of that name
        if isinstance(error, NotSentError):
            error, is_unknown = error.error, False
        # Record only the type. The message may quote the response, which can contain the payload.
        cause = type(error).__name__
        await self._record_failure(tenant_id, cause, is_unknown=is_unknown)
        self._slots.release()
        outcome = Outcome.UNKNOWN if is_unknown else Outcome.FAILED
        await self._report_error(tenant_id, error, outcome, began)

    async def _record_failure(self, tenant_id: int, cause: str, *, is_unknown: bool) -> None:
        if is_unknown:
            await self._record(self._journal.record_unknown(tenant_id, cause))
        else:
            await self._record(self._journal.record_not_sent(tenant_id))

    async def _triggered(self, tenant_id: int, trigger: Trigger, began: float) -> None:
        triggered_at = self._clock.now()
        try:
            await self._record_trigger(tenant_id, trigger, triggered_at + self._timeout)
        except Exception as error:  # noqa: BLE001 - a user-supplied callback may raise anything
            self._counters.triggered += 1
            await self._record(self._journal.release(tenant_id), triggered_at + self._timeout)
            self._slots.release()
            elapsed = self._clock.now() - began
            trigger_id, outcome = trigger.trigger_id, Outcome.UNKNOWN
            result = RunResult(trigger_id, None, error, 0, elapsed, tenant_id, outcome=outcome)
            await self._report_result(tenant_id, result)
        else:
            self._wait_for_run(tenant_id, trigger.trigger_id, triggered_at)

    async def _record_trigger(self, tenant_id: int, trigger: Trigger, time_limit: float) -> None:
        try:
            await self._record(self._journal.record_triggered(tenant_id, trigger.trigger_id))
        finally:  # report the trigger to the user even if the task is canceled
            await self._call_on_triggered(tenant_id, trigger, time_limit)

    async def _call_on_triggered(self, tenant_id: int, trigger: Trigger, time_limit: float) -> None:
        if self._options.on_triggered is None:
            return
        time_left = max(time_limit - self._clock.now(), _LAST_SECONDS)
        with self._clock.move_on_after(time_left) as scope, CancellationGuard("on_triggered"):
            returned = self._options.on_triggered(trigger, tenant_id)
            if inspect.isawaitable(returned):
                await returned
        if scope.cancelled_caught:
            text = "on_triggered did not finish in time for trigger %s and was canceled"
            _log.warning(text, trigger.trigger_id)

    # Waiting for the run

    def _wait_for_run(self, tenant_id: int, trigger_id: str, began: float) -> None:
        self._counters.triggered += 1
        self._scheduler.add(tenant_id, trigger_id, began)

    async def _run_ended(self, wait: TriggerWait, error: Exception | None) -> None:
        # Release the slot first, so that the claim of the next tenant can share the transaction.
        self._slots.release()
        await self._record_end(wait)
        result = attrs.evolve(wait.result(error), tenant_id=wait.key)
        await self._report_result(wait.key, result)

    async def _record_end(self, wait: TriggerWait) -> None:
        tenant_id, status = wait.key, wait.last_status
        if status is None or wait.outcome is Outcome.ACTIVE:
            write = self._journal.release(tenant_id)
        else:
            state = State(wait.outcome.value)
            write = self._journal.record_ended(tenant_id, wait.trigger_id, state, status.status)
        await self._record(write, wait.time_limit())

    # Updating the journal

    async def _renew_leases(self) -> None:
        """Renew our leases and resume tenants that other workers no longer hold."""
        while True:
            await self._clock.sleep(self._journal.renewal_interval)
            held: set[int] = set()
            try:
                held = await self._journal.renew()
            except JournalError as error:
                self._stop_sending(error)  # the runs are still polled, with the last share
            else:
                self._set_share(self._journal.share)
            released = self._held_by_others - held
            self._held_by_others -= released
            for tenant_id in sorted(released):
                self._tasks.start_soon(self._resume, tenant_id)

    def _set_share(self, share: float) -> None:
        """Set the share of the request rate, which must not stay 0 after the journal has failed."""
        self._share = share if self._journal_error is None else max(share, _MIN_FAILED_SHARE)
        self._scheduler.set_share(self._share)
        self._options.set_share(self._share)
        if self._share:
            self._has_share.set()
        elif self._has_share.is_set():  # the worker's lease expired, so others may use its share
            self._has_share = anyio.Event()

    async def _record(self, write: Awaitable[None], time_limit: float | None = None) -> None:
        """
        Wait for a write to the journal. If the write fails, send no more requests.

        :param write: the write to wait for.
        :param time_limit: the clock's time until which to wait, but at least for a moment. If the
            journal is locked for longer than that, the write remains queued. Default: the time
            limit of a run that begins now.
        """
        seconds = self._timeout if time_limit is None else time_limit - self._clock.now()
        try:
            with self._clock.move_on_after(max(seconds, _LAST_SECONDS)):
                await write
        except JournalError as error:
            self._stop_sending(error)

    def _stop_sending(self, error: JournalError) -> None:
        """Stop reading the source after a journal error, but wait for active runs."""
        self._journal_error = error
        self._reading.cancel()
        self._set_share(self._share)

    # Reporting results

    async def _report_error(
        self, tenant_id: int, error: Exception, outcome: Outcome, began: float | None = None
    ) -> None:
        elapsed = 0.0 if began is None else self._clock.now() - began
        shorten_response(error)
        result = RunResult(None, None, error, 0, elapsed, tenant_id, outcome=outcome)
        await self._report_result(tenant_id, result)

    async def _report_result(self, tenant_id: int, result: RunResult) -> None:
        await self._report(result)
        self._counters.count(result)
        del self._unreported[tenant_id]
        self._reported.set()

    def _forget(self, tenant_id: int) -> None:
        self._seen.discard(tenant_id)
        self._count_all()
        del self._unreported[tenant_id]
        self._reported.set()
