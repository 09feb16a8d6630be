"""The row types of the CLI that have no equivalent in the API."""

from __future__ import annotations

import attrs

__all__ = ["ChangeRow", "CheckRow", "DifferenceRow", "FailedRow", "RunRow", "TriggerRow"]


@attrs.frozen
class TriggerRow:
    """A requested sync and the trigger that the API returned."""

    tenant_id: int
    trigger_id: str


@attrs.frozen
class FailedRow:
    """A tenant whose run failed, according to a journal."""

    tenant_id: int
    trigger_id: str
    status: str


@attrs.frozen
class RunRow:
    """
    The result of waiting for one run.

    ``outcome`` is ``succeeded``, ``failed``, ``timeout`` (the run did not finish within the time
    limit), ``unknown`` (the sync may or may not have been started, or its run may or may not have
    ended) or ``error`` (no run was started). ``elapsed`` is in seconds.
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
    The state of a tenant and its runs after a change.

    ``at`` is the time of the poll that detected the change, in ISO 8601 format.
    """

    at: str
    tenant_id: int
    name: str
    state: str
    running: str
    last_run: str


@attrs.frozen
class CheckRow:
    """
    Something that the `doctor` command checked.

    ``is_ok`` is whether it is in order, and ``source`` where a setting comes from.
    """

    check: str
    is_ok: bool
    detail: str
    source: str | None = None


@attrs.frozen
class DifferenceRow:
    """
    A difference between the service's own description of its API and the client.

    ``where`` is an operation or a field of a model, and ``meaning`` what it means for the user.
    """

    where: str
    difference: str
    meaning: str
