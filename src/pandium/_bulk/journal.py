"""The journal interface and the data that a journal records for each tenant."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

import attrs

from pandium.errors import UnusableJournal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = [
    "IN_PROGRESS",
    "LEASE",
    "RENEWALS_PER_LEASE",
    "Entry",
    "Journal",
    "State",
    "storable",
    "validate_properties",
]

# The number of seconds after which a lease in an SQLite journal expires.
LEASE = 10.0
# A lease remains valid even if two renewals in a row are missed.
RENEWALS_PER_LEASE = 4
# The maximum length of a text in a journal. A response may be much longer.
_MAX_TEXT_LENGTH = 2000
# No encoding can represent a lone surrogate, and PostgreSQL cannot store NUL.
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


class State(StrEnum):
    """The state of a tenant's sync. ``NEW`` is never stored. It means that there is no entry."""

    NEW = "new"
    SENDING = "sending"
    TRIGGERED = "triggered"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


IN_PROGRESS = frozenset({State.SENDING, State.TRIGGERED})


@attrs.frozen
class Entry:
    """A journal's entry for one tenant."""

    state: State
    is_mine: bool = False
    """Whether the worker that is reading the entry holds the lease."""
    trigger_id: str = ""
    status: str = ""
    error: str = ""
    claimed: str = attrs.field(default="", eq=False)
    """When the tenant was first claimed, just before its request: an ISO 8601 date in UTC."""


class Journal(Protocol):
    """
    One worker's connection to a job's journal. Several workers may share a job.

    A worker that claims a tenant owns it for as long as it renews the lease. Once the lease has
    expired, any worker can adopt the tenant and wait for its run. If no response to the request was
    recorded before the lease expired, the outcome of the request is unknown.

    A record is written even if the task is canceled or the storage fails for a while, at the latest
    when the journal is closed. Closing waits at most a few seconds for a lock held by another
    process or for the storage. Then a warning lists the records that were not written.

    API keys and payloads are not stored. Every method raises ``JournalError`` if the storage fails.
    Entering the journal raises ``UnusableJournal`` if the journal cannot be used or belongs to
    another job.

    """

    @property
    def name(self) -> str:
        """The name of the journal in messages, such as ``journal '/var/jobs/nightly.db'``."""
        ...

    @property
    def renewal_interval(self) -> float:
        """The number of seconds until the leases have to be renewed."""
        ...

    @property
    def share(self) -> float:
        """The share of the job's request rate that this worker may use, from 0 to 1."""
        ...

    @property
    def lease_number(self) -> int | None:
        """
        The number of this worker's current lease, or ``None`` if it could have expired.

        A worker may send a request only if the number is the same as before the claim.
        """
        ...

    async def __aenter__(self) -> Self:
        """Open the journal."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release this worker's triggers and close the journal."""
        ...

    async def states(self) -> dict[int, State]:
        """Return the states of all tenants that have an entry."""
        ...

    async def adopt(self, tenant_id: int, *, retry_unknown: bool) -> Entry:
        """
        Return a tenant's entry, adopting it first if it has a trigger whose lease has expired.

        :param retry_unknown: whether to return ``NEW`` for a tenant whose outcome is unknown.
        """
        ...

    async def claim(self, tenant_id: int, *, retry_unknown: bool) -> Entry:
        """
        Claim a tenant if it has no entry, and return its entry. Otherwise, do the same as `adopt`.

        :param retry_unknown: whether to also claim a tenant whose outcome is unknown.
        """
        ...

    async def record_triggered(self, tenant_id: int, trigger_id: str) -> None:
        """Record the trigger returned by this worker's request."""
        ...

    async def record_unknown(self, tenant_id: int, error: str) -> None:
        """Record that this worker's request may or may not have triggered a run."""
        ...

    async def record_not_sent(self, tenant_id: int) -> None:
        """
        Delete this worker's claim after a request that did not trigger a run.

        If the request was a retry after an unknown outcome, the outcome remains unknown instead.
        """
        ...

    async def record_ended(
        self, tenant_id: int, trigger_id: str, state: State, status: str
    ) -> None:
        """Record the end of a trigger's run. Any worker may call this. The first call wins."""
        ...

    async def release(self, tenant_id: int) -> None:
        """Release this worker's lease so that another worker can adopt the trigger immediately."""
        ...

    async def renew(self) -> set[int]:
        """Renew this worker's leases and return the ids of tenants held by other workers."""
        ...


def storable(text: str) -> str:
    """Shorten a text from a response, and replace the characters that cannot be stored."""
    return _NOT_STORABLE.sub("\ufffd", text[:_MAX_TEXT_LENGTH])


def validate_properties(name: str, found: Mapping[str, str], job: Mapping[str, str]) -> None:
    """
    Validate that a journal belongs to a job.

    :param name: the name of the journal in error messages.
    :param found: the properties of the job in the journal, such as its mode.
    :param job: the properties of the job that uses the journal.
    :raises UnusableJournal: if the journal belongs to another job.
    """
    for key, value in job.items():
        if found.get(key) != value:
            raise UnusableJournal(
                f"{name} belongs to a job with {key} {found.get(key)!r}, not {value!r}: use a"
                " separate journal for each job"
            )
