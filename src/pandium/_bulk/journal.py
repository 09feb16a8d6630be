"""Define what a journal records about each tenant, and the interface of a journal."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

import attrs

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["IN_PROGRESS", "LEASE", "Entry", "Journal", "State"]

# Seconds for which a lease is valid unless its owner renews it.
LEASE = 10.0


class State(StrEnum):
    """The state of one tenant's sync. ``NEW`` is never stored: it means that there is no entry."""

    NEW = "new"
    SENDING = "sending"
    TRIGGERED = "triggered"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


IN_PROGRESS = frozenset({State.SENDING, State.TRIGGERED})


@attrs.frozen
class Entry:
    """What a journal has recorded about one tenant."""

    state: State
    is_mine: bool = False
    """Whether the worker that reads the entry holds the lease."""
    trigger_id: str = ""
    status: str = ""
    error: str = ""


class Journal(Protocol):
    """
    One worker's connection to the journal of a job. Several workers may share a job.

    A worker that claims a tenant owns it while it renews its lease. Once a lease has expired, any
    worker can adopt the tenant: it then waits for the tenant's trigger. A request whose response
    was not recorded by then has an unknown outcome.

    A record is written even if the task is canceled: at the latest when the journal is closed.
    Closing waits a few seconds for a lock of another process, however many records are left.

    Neither API keys nor payloads are stored. Every method raises ``PandiumError`` if the storage
    fails. Entering the journal raises ``ConfigurationError`` if it cannot be used, or belongs to
    another job.
    """

    async def __aenter__(self) -> Self:
        """Open the journal."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release this worker's triggers, and close the journal."""
        ...

    async def states(self) -> dict[int, State]:
        """Return the state of every tenant that has an entry."""
        ...

    async def adopt(self, tenant_id: int, *, retry_unknown: bool) -> Entry:
        """
        Return a tenant's entry. If the lease of its trigger has expired, adopt it first.

        :param retry_unknown: return ``NEW`` for a tenant whose outcome is unknown.
        """
        ...

    async def claim(self, tenant_id: int, *, retry_unknown: bool) -> Entry:
        """
        Claim a tenant that is new, and return its entry. Any other tenant is treated as by `adopt`.

        :param retry_unknown: claim a tenant whose outcome is unknown as well.
        """
        ...

    async def record_triggered(self, tenant_id: int, trigger_id: str) -> None:
        """Record the trigger that this worker's request returned."""
        ...

    async def record_unknown(self, tenant_id: int, error: str) -> None:
        """Record that this worker's request may or may not have triggered a run."""
        ...

    async def record_not_sent(self, tenant_id: int) -> None:
        """
        Delete this worker's claim, because its request did not trigger a run.

        If an earlier request has an unknown outcome, the outcome is unknown again.
        """
        ...

    async def record_ended(
        self, tenant_id: int, trigger_id: str, state: State, status: str
    ) -> None:
        """Record how the run of a trigger ended. Any worker may record it; the first one wins."""
        ...

    async def release(self, tenant_id: int) -> None:
        """Release this worker's lease of a trigger, so that others can adopt it at once."""
        ...

    async def renew(self) -> set[int]:
        """Renew this worker's leases, and return the tenants that other workers hold."""
        ...
