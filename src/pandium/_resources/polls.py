"""Bind the wait for runs to the transport, and check on what options it is wanted."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import attrs

from pandium._transport.spec import RequestSpec
from pandium._waiting.polling import Polling, WaitOptions
from pandium._waiting.results import Counters
from pandium.models import Outcome, TriggerStatus

if TYPE_CHECKING:
    from pandium._transport.transport import Transport
    from pandium._waiting.polling import Classify, TriggerWait

__all__ = ["OnStatus", "OnStatusOf", "Waiting", "outcome_of"]

K = TypeVar("K")
OnStatus: TypeAlias = Callable[[TriggerStatus], Awaitable[None] | None]
OnStatusOf: TypeAlias = Callable[[TriggerStatus, K], Awaitable[None] | None]

# Words that nobody knows are logged once each, and never more of them than this.
_MOST_WORDS = 100
_log = logging.getLogger("pandium")


def outcome_of(status: TriggerStatus) -> Outcome:
    """Read a word as the models do."""
    return status.outcome


@attrs.frozen
class Waiting:
    """How the runs of one client's triggers are looked at."""

    _transport: Transport = attrs.field(repr=False)
    _unknown_words: set[str] = attrs.field(factory=set, init=False, repr=False, eq=False)

    async def look(self, trigger_id: str) -> TriggerStatus:
        """Look once at the run of a trigger."""
        path = "/v2/runs/triggers/{trigger_id}/status"
        spec = RequestSpec.create("GET", path, {"trigger_id": trigger_id})
        return await self._transport.request_model(spec, TriggerStatus)

    def options(
        self,
        poll: Polling,
        timeout: float,
        classify: Classify,
        on_status: Callable[..., Awaitable[None] | None] | None,
        whose: Callable[[TriggerWait], tuple[object, ...]],
    ) -> WaitOptions:
        """
        Check the options of a wait; `whose` gives what `on_status` is told beside the status.

        :raises ValueError: which names the argument that is none of its kind.
        :raises PandiumError: if the client is closed.
        """
        self._transport.connections.raise_if_closed()
        if not isinstance(poll, Polling):
            raise ValueError(f"poll must be a Polling, not {poll!r}")
        is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        if not is_number or not timeout >= 0:
            raise ValueError(f"timeout must be 0 or more seconds, not {timeout!r}")
        if not callable(classify):
            raise ValueError(f"classify must be a function, not {classify!r}")
        if on_status is not None and not callable(on_status):
            raise ValueError(f"on_status must be a function, not {on_status!r}")

        def tell(status: TriggerStatus, watch: TriggerWait) -> Awaitable[None] | None:
            return None if on_status is None else on_status(status, *whose(watch))

        clock, connections = self._transport.clock, self._transport.connections
        return WaitOptions(
            self.look,
            clock,
            poll,
            timeout,
            classify,
            Counters(clock),
            tell,
            self._note_unknown if classify is outcome_of else None,
            lambda: connections.gate.paused_until,
        )

    def _note_unknown(self, status: TriggerStatus) -> None:
        words = self._unknown_words
        if status.is_known or status.status in words or len(words) >= _MOST_WORDS:
            return
        words.add(status.status)
        _log.warning("status word %r is not known, and is waited on", status.status)
