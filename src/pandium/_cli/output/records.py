"""Hold what this command puts together itself, where the API has no record of it."""

from __future__ import annotations

import attrs

__all__ = ["ChangeRow", "RunRow", "TriggerRow"]


@attrs.frozen
class TriggerRow:
    """A sync that was asked for, by the trigger that it was answered with."""

    tenant_id: int
    trigger_id: str


@attrs.frozen
class RunRow:
    """
    How the wait for a run ended.

    ``outcome`` is ``succeeded``, ``failed``, ``timeout`` where the time limit came first, or
    ``unknown`` where nobody can say whether there is a run at all; ``elapsed`` is in seconds.
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
    """What a tenant and its runs look like, at a time at which that is news."""

    at: str
    tenant_id: int
    name: str
    state: str
    running: str
    last_run: str
