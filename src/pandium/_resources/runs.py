"""Speak to ``/v2/runs``."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

import attrs

from pandium._resources.trigger_status import StatusPoller, default_outcome
from pandium._transport.spec import RequestSpec
from pandium._validation import validate_iterable, validate_trigger_id
from pandium._waiting.polling import Polling
from pandium._waiting.results import RunResult, RunResults
from pandium._waiting.scheduler import wait_for_all, wait_for_each, wait_for_run
from pandium.errors import DecodeError, RunFailed
from pandium.models import Outcome, Trigger, TriggerStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pandium._http.connections import Answer
    from pandium._resources.trigger_status import OnStatus, OnStatusOf
    from pandium._transport.transport import Transport
    from pandium._waiting.polling import Classify, WaitOptions
    from pandium._waiting.scheduler import Source

__all__ = ["Runs"]


@attrs.frozen
class Runs:
    """Runs: executions of an integration's code, found by the triggers that made them begin."""

    _transport: Transport = attrs.field(repr=False)
    _poller: StatusPoller = attrs.field(repr=False)

    async def status(self, trigger: Trigger | str) -> TriggerStatus:
        """
        Look once at the run of a trigger.

        Source: Runs, Get Run Status From Trigger.

        :raises NotFound: if there is no run of it yet; an id that does not exist looks the same.
        """
        return await self._poller.poll(validate_trigger_id(trigger))

    async def wait(  # noqa: PLR0913 - each a separate choice of the caller
        self,
        trigger: Trigger | str,
        *,
        timeout: float = 1800.0,  # noqa: ASYNC109 - the limit of the run, not of this coroutine
        poll: Polling = Polling(),  # noqa: B008 - frozen
        on_status: OnStatus | None = None,
        raise_on_failure: bool = False,
        classify: Classify = default_outcome,
    ) -> TriggerStatus:
        """
        Wait until the run of a trigger has ended, and give its last status.

        A 404 means that there is no run yet, at any time. ``timeout`` is in seconds, as are those
        of ``poll``; at its end there is one last look, which may take 2 seconds. ``on_status``,
        plain or async, is called with each status that differs from the one before; ``classify``
        replaces the reading of the vendor's word. What may pass, such as a server that is down, is
        waited out.

        Source: Runs, Get Run Status From Trigger.

        :raises WaitTimeout: at the time limit.
        :raises RunFailed: if the run failed and ``raise_on_failure`` is set.
        :raises ValueError: if an argument cannot be used; nothing is sent.
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
            text = f"the run of trigger {trigger_id} ended as {status.status!r}"
            raise RunFailed(text, trigger_id=trigger_id, status=status)
        return status

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
        Wait for many runs: ``async with …as_completed(triggers) as done``, in order of completion.

        ``triggers`` may be an async iterable that is still being produced; an error of it is
        raised after the results of what came before. ``timeout`` counts for each trigger from
        when it was taken on; at its end, as at any failure, ``error`` of its result is set.
        ``on_status`` is called as that of ``wait``, with the trigger's id as second argument.
        ``done.progress`` is a ``Progress``.

        Source: Runs, Get Run Status From Trigger.

        :raises ValueError: if an argument cannot be used; nothing is sent.
        """
        options = self._options(poll, timeout, classify, on_status)
        source = _validated_source(triggers)

        async def produce(send: Callable[[RunResult], Awaitable[None]]) -> None:
            await wait_for_each(source, options, lambda _, result: send(result))

        return RunResults(produce, options.counters)

    async def wait_all(
        self,
        triggers: Source,
        *,
        timeout: float = 1800.0,  # noqa: ASYNC109 - the limit of each run, not of this coroutine
        poll: Polling = Polling(),  # noqa: B008 - frozen
        on_status: OnStatusOf[str] | None = None,
        classify: Classify = default_outcome,
    ) -> list[RunResult]:
        """
        Wait for many runs, and give the results in the order of the triggers.

        The arguments are those of ``as_completed``.

        Source: Runs, Get Run Status From Trigger.
        """
        options = self._options(poll, timeout, classify, on_status)
        return await wait_for_all(_validated_source(triggers), options)

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
        Give the signed URL of a run's log, which is good for about a quarter of an hour.

        Whoever has it can read the log.

        Source: published after the reference, GET /v2/runs/{run_id}/log.

        :raises NotFound: if there is no such run, or it has no log.
        """
        return await self._transport.request(self._log_spec(run_id), _location_of)

    async def log(self, run_id: int) -> str:
        """
        Give the log of a run as text. The host that stores it never sees the API key.

        Source: published after the reference, GET /v2/runs/{run_id}/log.

        :raises NotFound: if there is no such run, or it has no log.
        """
        content = await self._transport.download(await self.log_url(run_id))
        return content.decode(errors="replace")

    def _log_spec(self, run_id: int) -> RequestSpec:
        segments = {"run_id": run_id}
        return RequestSpec.create("GET", "/v2/runs/{run_id}/log", segments, accepts_redirect=True)


def _location_of(answer: Answer) -> str:
    location = answer.headers.get("location", "")
    if not location.startswith(("https://", "http://")):
        raise DecodeError("the answer does not redirect to the URL of a log")
    return location


def _validated_source(triggers: Source) -> Any:
    """Validate all triggers of a plain iterable before anything is sent."""
    validate_iterable("triggers", triggers)
    if isinstance(triggers, AsyncIterable):
        return triggers
    return [validate_trigger_id(trigger) for trigger in triggers]
