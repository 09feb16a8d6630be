"""Define the table columns for each kind of record."""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandium.models import Integration, Run, Tenant

__all__ = ["COLUMNS", "Column", "current_phase", "last_phase", "tenant_runs", "tenant_state"]


@attrs.frozen
class Column:
    """
    A column of a table.

    :param title: the heading.
    :param value: a function that returns the cell for a record. ``None`` leaves the cell empty.
    :param min_width: the width to which the column may shrink, or ``None`` if it must not shrink.
    :param initial_width: the width to reserve in case later cells are longer than the first ones.
    :param is_number: whether to right-align the cells.
    :param rank: the column with the highest rank is the first to be omitted on a narrow terminal.
    """

    title: str
    value: Callable[[Any], object]
    min_width: int | None = None
    initial_width: int = 0
    is_number: bool = False
    rank: int = 0


def _format_minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _format_local_time(timestamp: str) -> str:
    return f"{datetime.fromisoformat(timestamp).astimezone():%H:%M:%S}"


def _connector_names(integration: Integration) -> str:
    return ", ".join(connector.name for connector in integration.connectors or ())


def _trigger_ids(run: Run) -> str:
    return ", ".join(str(trigger.id) for trigger in run.triggers)


def tenant_state(tenant: Tenant) -> str:
    """Return ``archived``, ``paused`` or ``active``."""
    if tenant.archived:
        return "archived"
    return "paused" if tenant.paused else "active"


def _is_connected(tenant: Tenant) -> str:
    if tenant.status is None:
        return ""
    return "yes" if tenant.status.auth.connected else "no"


def tenant_runs(tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the current run and the last finished run. A missing run is ``{}``."""
    status = tenant.status
    return ({}, {}) if status is None else (status.current_run, status.last_run)


def current_phase(tenant: Tenant) -> str:
    """Return the phase of the current run, or an empty string."""
    return _phase(tenant_runs(tenant)[0])


def last_phase(tenant: Tenant) -> str:
    """Return the phase of the last finished run, or an empty string."""
    return _phase(tenant_runs(tenant)[1])


def _phase(run: dict[str, Any]) -> str:
    # The API reference does not document these objects. The status is either a string or an object
    # with a phase.
    status = run.get("status")
    phase = status.get("phase") if isinstance(status, dict) else status
    return str(phase) if phase else ""


def _run_phase(run: Run) -> object:
    return None if run.status is None else run.status.phase


def _number(attribute: str, title: str = "ID", **options: Any) -> Column:
    return Column(title, attrgetter(attribute), is_number=True, **options)


def _text(attribute: str, min_width: int | None = None, title: str = "", **options: Any) -> Column:
    return Column(title or attribute.upper(), attrgetter(attribute), min_width, **options)


# The columns by class name: first the API models, then the CLI's own rows.
COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "Integration": (
        _number("id"),
        _text("name", 16),
        _text("long_name", 9, "LONG NAME", rank=2),
        _text("type"),
        Column("CONNECTORS", _connector_names, 10, rank=1),
        _number("default_release_id", "RELEASE", rank=3),
    ),
    "Release": (
        _number("id"),
        _text("name", 16),
        _text("tag", 6),
        _text("config_version", 6, "CONFIG", rank=2),
        _text("repository_tracking_branch", 6, "BRANCH", rank=1),
        Column("CREATED", lambda release: _format_minute(release.created_date)),
    ),
    "Run": (
        _number("id"),
        _text("mode", rank=3),
        Column("PHASE", _run_phase, 8),
        Column("STARTED", lambda run: _format_minute(run.started_date), rank=2),
        Column("COMPLETED", lambda run: _format_minute(run.completed_date), rank=1),
        Column("TRIGGERS", _trigger_ids, 8),
    ),
    "Tenant": (
        _number("id"),
        _text("name", 16),
        _number("integration_id", "INTEGRATION", rank=2),
        Column("STATE", tenant_state),
        Column("CONNECTED", _is_connected, rank=3),
        Column("RUNNING", current_phase, 8, rank=1),
        Column("LAST RUN", last_phase, 8),
        _text("schedule", 9, rank=4),
    ),
    "TriggerRow": (_number("tenant_id", "TENANT"), _number("trigger_id", "TRIGGER")),
    "FailedRow": (
        _number("tenant_id", "TENANT"),
        _number("trigger_id", "TRIGGER"),
        _text("status", 8),
    ),
    "RunRow": (
        _number("tenant_id", "TENANT"),
        _number("trigger_id", "TRIGGER", initial_width=8),
        _text("outcome", initial_width=9),
        Column("SECONDS", lambda row: f"{row.elapsed:.1f}", is_number=True, rank=1),
        _number("polls", "POLLS", rank=2),
        _text("status", 8, initial_width=26),
        _text("error", 8, initial_width=20),
    ),
    "ChangeRow": (
        Column("AT", lambda row: _format_local_time(row.at)),
        _number("tenant_id", "TENANT"),
        _text("name", 16, initial_width=16),
        _text("state", initial_width=8, rank=1),
        _text("running", 8, initial_width=10),
        _text("last_run", 8, "LAST RUN", initial_width=26),
    ),
}
