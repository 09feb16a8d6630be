"""Choose what a table shows of each kind of record, for people."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandium.models import Integration, Run, Tenant

__all__ = ["COLUMNS", "Column", "current_phase", "last_phase", "runs_of", "state_of"]


@attrs.frozen
class Column:
    """
    A column: its title, and what it shows of a record.

    ``least`` is the width to which it can shrink, ``room`` the one that it has from the start,
    where the first records do not tell what comes.
    """

    title: str
    of: Callable[[Any], object]
    least: int | None = None
    room: int = 0
    is_number: bool = False


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _second(stamp: str) -> str:
    return f"{datetime.fromisoformat(stamp).astimezone():%H:%M:%S}"


def _names(integration: Integration) -> str:
    return ", ".join(one.name for one in integration.connectors or ())


def state_of(tenant: Tenant) -> str:
    """Say in a word whether a tenant is to run."""
    if tenant.archived:
        return "archived"
    return "paused" if tenant.paused else "active"


def _connected(tenant: Tenant) -> str:
    if tenant.status is None:
        return ""
    return "yes" if tenant.status.auth.connected else "no"


def runs_of(tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the run that is going on and the last one that ended; ``{}`` means none."""
    status = tenant.status
    return ({}, {}) if status is None else (status.current_run, status.last_run)


def current_phase(tenant: Tenant) -> str:
    """Give the phase of the run that is going on."""
    return _phase_of(runs_of(tenant)[0])


def last_phase(tenant: Tenant) -> str:
    """Give the phase of the last run that ended."""
    return _phase_of(runs_of(tenant)[1])


def _phase_of(run: dict[str, Any]) -> str:
    # The form of these is the vendor's, and undocumented.
    status = run.get("status")
    phase = status.get("phase") if isinstance(status, dict) else status
    return str(phase) if phase else ""


def _run_phase(run: Run) -> object:
    return None if run.status is None else run.status.phase


def _number(attribute: str, title: str = "ID", room: int = 0) -> Column:
    return Column(title, lambda one: getattr(one, attribute), room=room, is_number=True)


def _text(attribute: str, least: int | None = None, title: str = "", room: int = 0) -> Column:
    return Column(title or attribute.upper(), lambda one: getattr(one, attribute), least, room)


# By the name of the model; the last are of what this command puts together itself.
COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "Integration": (
        _number("id"),
        _text("name", 16),
        _text("long_name", 9, "LONG NAME"),
        _text("type"),
        Column("CONNECTORS", _names, 10),
        _number("default_release_id", "RELEASE"),
    ),
    "Release": (
        _number("id"),
        _text("name", 16),
        _text("tag", 6),
        _text("config_version", 6, "CONFIG"),
        _text("repository_tracking_branch", 6, "BRANCH"),
        Column("CREATED", lambda one: _minute(one.created_date)),
    ),
    "Run": (
        _number("id"),
        _text("mode"),
        Column("PHASE", _run_phase, 8),
        Column("STARTED", lambda one: _minute(one.started_date)),
        Column("COMPLETED", lambda one: _minute(one.completed_date)),
        Column("TRIGGERS", lambda one: ", ".join(str(each.id) for each in one.triggers), 8),
    ),
    "Tenant": (
        _number("id"),
        _text("name", 16),
        _number("integration_id", "INTEGRATION"),
        Column("STATE", state_of),
        Column("CONNECTED", _connected),
        Column("RUNNING", current_phase, 8),
        Column("LAST RUN", last_phase, 8),
        _text("schedule", 9),
    ),
    "TriggerRow": (_number("tenant_id", "TENANT"), _number("trigger_id", "TRIGGER")),
    "RunRow": (
        _number("tenant_id", "TENANT"),
        _number("trigger_id", "TRIGGER", 8),
        _text("outcome", room=9),
        Column("SECONDS", lambda one: f"{one.elapsed:.1f}", is_number=True),
        _number("polls", "LOOKS"),
        _text("status", 8, room=26),
        _text("error", 8, room=20),
    ),
    "ChangeRow": (
        Column("AT", lambda one: _second(one.at)),
        _number("tenant_id", "TENANT"),
        _text("name", 16, room=16),
        _text("state", room=8),
        _text("running", 8, room=10),
        _text("last_run", 8, "LAST RUN", room=26),
    ),
}
