"""Request the status of triggers and build the options for waiting for their runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import attrs

from pandium._serialization.convert import decode
from pandium._transport.spec import RequestSpec
from pandium._validation import (
    encode_path_segment,
    validate_callable,
    validate_instance,
    validate_seconds,
)
from pandium._waiting.polling import Polling, WaitOptions
from pandium._waiting.results import Counters, show_status
from pandium.errors import DecodeError
from pandium.models import Outcome, Trigger, TriggerStatus

if TYPE_CHECKING:
    from pandium._http.connections import Response
    from pandium._transport.transport import Transport
    from pandium._waiting.polling import Classify, TriggerWait

__all__ = ["OnStatus", "OnStatusOf", "StatusPoller", "decode_trigger", "default_outcome"]

K = TypeVar("K")
OnStatus: TypeAlias = Callable[[TriggerStatus], Awaitable[None] | None]
OnStatusOf: TypeAlias = Callable[[TriggerStatus, K], Awaitable[None] | None]

# Each unknown status is logged once. The limit prevents a server that makes up statuses from
# flooding the log.
_MAX_LOGGED_STATUSES = 100
_MAX_ID = 1000
_log = logging.getLogger("pandium")


def default_outcome(status: TriggerStatus) -> Outcome:
    """Return ``status.outcome``, which follows the vendor's documentation."""
    return status.outcome


def decode_trigger(response: Response) -> Trigger:
    """
    Decode the response to a sync.

    :raises DecodeError: if it has no trigger id, or one that cannot be part of a URL.
    """
    trigger = decode(response.content, Trigger)
    with suppress(ValueError):
        path = encode_path_segment("trigger_id", trigger.trigger_id)
        if len(path) <= _MAX_ID and "\0" not in trigger.trigger_id:
            return trigger
    raise DecodeError(
        "the response cannot be decoded: trigger_id: expected an id", path="trigger_id"
    )


@attrs.frozen
class StatusPoller:
    """A poller that sends its requests through a client and respects the rate limits."""

    _transport: Transport = attrs.field(repr=False)
    _logged: set[str] = attrs.field(factory=set, init=False, repr=False, eq=False)

    async def poll(self, trigger_id: str) -> TriggerStatus:
        """
        Request the status of a trigger's run.

        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)
        """
        path = "/v2/runs/triggers/{trigger_id}/status"
        spec = RequestSpec.create("GET", path, {"trigger_id": trigger_id})
        return await self._transport.request_model(spec, TriggerStatus)

    def wait_options(
        self,
        *,
        poll: Polling,
        timeout: float,
        classify: Classify,
        on_status: Callable[..., Awaitable[None] | None] | None,
        on_status_args: Callable[[TriggerWait], tuple[object, ...]],
    ) -> WaitOptions:
        """
        Validate the arguments of a wait and return its options.

        :param poll: the polling settings.
        :param timeout: the time limit for each trigger, in seconds.
        :param classify: a function that maps a status to an outcome.
        :param on_status: the callback for status changes, or ``None``.
        :param on_status_args: a function that returns the arguments to pass to ``on_status`` after
            the status.
        :raises ValueError: if an argument is invalid.
        :raises PandiumError: if the client is closed.
        """
        clock, connections = self._transport.clock, self._transport.connections
        connections.raise_if_closed()
        validate_instance("poll", poll, Polling)
        timeout = validate_seconds("timeout", timeout, allow_infinity=True)
        validate_callable("classify", classify)
        return WaitOptions(
            # Polling repeats the request anyway, and retries would hide the error until they end.
            poll_status=StatusPoller(self._transport.without_retries()).poll,
            clock=clock,
            polling=poll,
            timeout=timeout,
            classify=classify,
            counters=Counters(clock),
            on_status=_with_args(on_status, on_status_args),
            on_unknown_status=self._log_unknown if classify is default_outcome else None,
            paused_until=lambda: connections.gate.paused_until,
        )

    def _log_unknown(self, status: TriggerStatus) -> None:
        shown = show_status(status.status)
        if shown not in self._logged and len(self._logged) < _MAX_LOGGED_STATUSES:
            self._logged.add(shown)
            _log.warning("unknown run status %s is treated as active", shown)


def _with_args(
    on_status: Callable[..., Awaitable[None] | None] | None,
    args_of: Callable[[TriggerWait], tuple[object, ...]],
) -> Callable[[TriggerStatus, TriggerWait], Awaitable[None] | None] | None:
    if on_status is None:
        return None
    validate_callable("on_status", on_status)
    return lambda status, wait: on_status(status, *args_of(wait))
