"""The operations on runs: ``/v2/runs``."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

import attrs

from pandium._resources.paging import create_listing, find_first
from pandium._resources.trigger_status import StatusPoller, default_outcome
from pandium._transport.spec import RequestSpec, SignedURL
from pandium._validation import validate_iterable, validate_trigger_id
from pandium._waiting.polling import Polling
from pandium._waiting.results import RunResult, RunResults, show_status
from pandium._waiting.scheduler import wait_for_all, wait_for_each, wait_for_run
from pandium.errors import DecodeError, RunFailed
from pandium.models import Outcome, Run, Trigger, TriggerStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pandium._http.connections import Response
    from pandium._resources.trigger_status import OnStatus, OnStatusOf
    from pandium._transport.transport import Transport
    from pandium._waiting.polling import Classify, WaitOptions
    from pandium._waiting.scheduler import Source
    from pandium.models import Tenant

__all__ = ["Runs"]


@attrs.frozen
class Runs:
    """
    Runs: executions of an integration's code.

    ``status``, ``find`` and the wait methods take the trigger that a sync returns. ``log`` and
    ``log_url`` take a run id, as returned by ``find`` or listed by ``tenants.runs``.
    """

    _transport: Transport = attrs.field(repr=False)
    _poller: StatusPoller = attrs.field(repr=False)

    async def status(self, trigger: Trigger | str | int) -> TriggerStatus:
        """
        Return the status of the run that a trigger started.

        ```python
        trigger = await client.tenants.sync(tenant_id, mode="normal")
        try:
            status = await client.runs.status(trigger)
        except NotFound:
            print("the run has not started yet")
        else:
            print(status.status, status.outcome)
        ```

        API reference:
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param trigger: a ``Trigger`` or its id, as text or as an integer.
        :raises NotFound: if the run has not started yet or the trigger id is unknown.
        """
        return await self._poller.poll(validate_trigger_id(trigger))

    async def wait(  # noqa: PLR0913 - the options are independent
        self,
        trigger: Trigger | str | int,
        *,
        timeout: float = 1800.0,  # noqa: ASYNC109 - the time limit of the run, not of this coroutine
        poll: Polling = Polling(),  # noqa: B008 - frozen
        on_status: OnStatus | None = None,
        raise_on_failure: bool = False,
        classify: Classify = default_outcome,
    ) -> TriggerStatus:
        """
        Wait for the run of a trigger to end and return its final status.

        A 404 response means that the run has not started yet. Transient errors, such as a server
        outage or a response that cannot be decoded, do not end the wait.

        ```python
        trigger = await client.tenants.sync(tenant_id, mode="normal")
        status = await client.runs.wait(trigger, timeout=600)
        print(status.outcome)
        ```

        API reference:
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param trigger: a ``Trigger`` or its id, as text or as an integer.
        :param timeout: the time limit in seconds. The last poll starts at the time limit and may
            take another 2 seconds.
        :param poll: the polling settings.
        :param on_status: a sync or async function that is called with the status whenever it
            changes. It is canceled if it is still running 2 seconds after the time limit.
        :param raise_on_failure: whether to raise ``RunFailed`` if the run failed.
        :param classify: a function that maps a status to an ``Outcome``, to replace
            ``TriggerStatus.outcome``.
        :raises WaitTimeout: if the run has not ended by the time limit. If the last poll failed,
            its error is the ``__cause__``.
        :raises RunFailed: if the run failed and ``raise_on_failure`` is true.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        trigger_id = validate_trigger_id(trigger)
        options = self._poller.wait_options(
            poll=poll,
            timeout=timeout,
            classify=classify,
            on_status=on_status,
            on_status_args=lambda _: (),
        )
        status = await wait_for_run(trigger_id, options)
        if raise_on_failure and classify(status) is Outcome.FAILED:
            shown = show_status(status.status)
            text = f"the run of trigger {trigger_id} failed with status {shown}"
            raise RunFailed(text, trigger_id=trigger_id, status=status)
        return status

    async def find(self, trigger: Trigger | str | int, *, tenant_id: int | Tenant) -> Run | None:
        """
        Find the run that a trigger started. Lists the tenant's runs and stops at the first match.

        Triggers that are created during a run are combined into the next run, so several triggers
        may lead to the same run.

        ```python
        run = await client.runs.find(trigger, tenant_id=tenant_id)
        if run is not None:
            print(await client.runs.log(run.id))
        ```

        ``GET /v2/tenants/{tenant_id}/runs`` was added to the
        [API reference](https://docs.pandium.com/reference/pandium-api) later.

        :param trigger: a ``Trigger`` or its id, as text or as an integer.
        :param tenant_id: the ``Tenant`` that was synced, or its id.
        :returns: the run, or ``None`` if no run of the tenant has this trigger, for example because
            the run has not started yet.
        :raises NotFound: if the tenant does not exist.
        :raises DriftError: if the run was not found and records might have been missed.
        """
        trigger_id = validate_trigger_id(trigger)
        spec = RequestSpec.create("GET", "/v2/tenants/{tenant_id}/runs", {"tenant_id": tenant_id})
        return await find_first(
            create_listing(self._transport, Run, spec),
            lambda run: any(str(one.id) == trigger_id for one in run.triggers),
        )

    def as_completed(
        self,
        triggers: Source,
        *,
        timeout: float = 1800.0,
        poll: Polling = Polling(),  # noqa: B008 - frozen
        on_status: OnStatusOf[str] | None = None,
        classify: Classify = default_outcome,
    ) -> RunResults[RunResult]:
        """
        Wait for many runs and yield their results in order of completion.

        If one wait fails, its result has ``error`` set, and the other waits continue. Each result
        is delivered once, even if ``anext`` is canceled or several tasks iterate.

        ```python
        triggers = [await client.tenants.sync(tenant_id, mode="normal")]
        async with client.runs.as_completed(triggers) as results:
            async for result in results:
                print(result.trigger_id, result.status or result.error)
        ```

        API reference:
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param triggers: an iterable or async iterable of triggers or trigger ids. It may produce
            more triggers while the first runs are in progress. If it raises an error, the error is
            re-raised after the results of the preceding triggers.
        :param timeout: the time limit for each trigger, in seconds from when it is read from
            ``triggers``.
        :param poll: the polling settings, including the maximum rate across all triggers.
        :param on_status: a sync or async function that is called with the status and the trigger
            id whenever a trigger's status changes. It is canceled if it is still running 2 seconds
            after the time limit.
        :param classify: a function that maps a status to an ``Outcome``, to replace
            ``TriggerStatus.outcome``.
        :returns: an async context manager and async iterator of ``RunResult`` objects. Its
            ``progress`` attribute is a ``Progress``, which may be read from any task, at any time.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        options = self._options(poll, timeout, classify, on_status)
        source = _validate_triggers(triggers)

        async def produce(send: Callable[[RunResult], Awaitable[None]]) -> None:
            await wait_for_each(source, options, lambda _, result: send(result))

        return RunResults(produce, options.counters)

    async def wait_all(
        self,
        triggers: Source,
        *,
        timeout: float = 1800.0,  # noqa: ASYNC109 - the time limit of each run, not of this coroutine
        poll: Polling = Polling(),  # noqa: B008 - frozen
        on_status: OnStatusOf[str] | None = None,
        classify: Classify = default_outcome,
    ) -> list[RunResult]:
        """
        Wait for many runs and return their results in the order of the triggers.

        ```python
        triggers = [await client.tenants.sync(tenant_id, mode="normal")]
        for result in await client.runs.wait_all(triggers):
            print(result.trigger_id, result.status or result.error)
        ```

        API reference:
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param triggers: an iterable or async iterable of triggers or trigger ids.
        :param timeout: the time limit for each trigger, in seconds from when it is read from
            ``triggers``.
        :param poll: the polling settings, including the maximum rate across all triggers.
        :param on_status: a sync or async function that is called with the status and the trigger
            id whenever a trigger's status changes. It is canceled if it is still running 2 seconds
            after the time limit.
        :param classify: a function that maps a status to an ``Outcome``, to replace
            ``TriggerStatus.outcome``.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        options = self._options(poll, timeout, classify, on_status)
        return await wait_for_all(_validate_triggers(triggers), options)

    def _options(
        self, poll: Polling, timeout: float, classify: Classify, on_status: OnStatusOf[str] | None
    ) -> WaitOptions:
        return self._poller.wait_options(
            poll=poll,
            timeout=timeout,
            classify=classify,
            on_status=on_status,
            on_status_args=lambda wait: (wait.trigger_id,),
        )

    async def log_url(self, run_id: int) -> str:
        """
        Return a signed URL for a run's log. It is valid for about 15 minutes.

        Anyone who has the URL can read the log.

        ```python
        url = await client.runs.log_url(run_id)
        ```

        ``GET /v2/runs/{run_id}/log`` was added to the
        [API reference](https://docs.pandium.com/reference/pandium-api) later.

        :param run_id: the run's id, as listed by ``tenants.runs``. This is not the trigger id.
        :raises NotFound: if the run does not exist or has no log.
        """
        return await self._transport.request(self._log_spec(run_id), _read_location)

    async def log(self, run_id: int) -> str:
        """
        Return a run's log as text.

        The log is downloaded from a storage host, which does not receive the API key.

        ```python
        print(await client.runs.log(run_id))
        ```

        ``GET /v2/runs/{run_id}/log`` was added to the
        [API reference](https://docs.pandium.com/reference/pandium-api) later.

        :param run_id: the run's id, as listed by ``tenants.runs``. This is not the trigger id.
        :raises NotFound: if the run does not exist or has no log.
        :raises APIError: if the storage host rejects the download.
        """
        url = SignedURL(await self.log_url(run_id))
        content = await self._transport.download(url)
        return content.decode(errors="replace")

    def _log_spec(self, run_id: int) -> RequestSpec:
        segments = {"run_id": run_id}
        return RequestSpec.create("GET", "/v2/runs/{run_id}/log", segments, accepts_redirect=True)


def _read_location(response: Response) -> str:
    location = response.headers.get("location", "")
    if not location.lower().startswith(("https://", "http://")):
        raise DecodeError("the response does not redirect to a log URL")
    return location


def _validate_triggers(triggers: Source) -> Any:
    """Validate all triggers in a plain iterable before sending any request."""
    validate_iterable("triggers", triggers)
    if isinstance(triggers, AsyncIterable):
        return triggers
    return [validate_trigger_id(trigger) for trigger in triggers]
