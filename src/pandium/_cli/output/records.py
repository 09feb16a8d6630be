"""Define the rows that the command line builds itself because the API has no such record."""

from __future__ import annotations

import attrs

__all__ = ["ChangeRow", "RunRow", "TriggerRow"]


@attrs.frozen
class TriggerRow:
    """A sync that was requested, and the trigger that the API returned for it."""

    tenant_id: int
    trigger_id: str


@attrs.frozen
class RunRow:
    """
    The result of waiting for one run.

    ``outcome`` is ``succeeded``, ``failed``, ``timeout`` (the time limit passed first),
    ``unknown`` (the sync may or may not have been started) or ``error``. ``elapsed`` is in
    seconds.
    """

    tenant_id: int | None
    trigger_id: str | None
    outcome: str
    status: str | None
    error: str | None
    polls: int
    elapsed: float


@attrs.frozen
class ChangeRow:
    """
    The state of a tenant and its runs when one of them changed.

    ``at`` is the time of the poll that found the change, in ISO 8601 format.
    """

    at: str
    tenant_id: int
    name: str
    state: str
    running: str
    last_run: str
