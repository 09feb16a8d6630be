"""The reduction of records to what an agent needs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pandium import models
from pandium._mcp.outputs import IntegrationInfo, ReleaseInfo, RunInfo, TenantInfo

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_long_texts_are_shortened() -> None:
    """A text of more than 300 characters is cut off, and an ellipsis shows that."""
    for length, end in ((301, "…"), (300, "")):
        tenant = TenantInfo.create(models.Tenant(1, "x" * length))
        assert tenant.model_dump(context=str)["name"] == "x" * 300 + end


def test_long_lists_are_shortened() -> None:
    """At most 50 connectors, connections and triggers are shown."""
    connectors = [models.Connector(str(number), is_global=False) for number in range(51)]
    integration = models.Integration(
        1, "a", "A", models.IntegrationType.INTERNAL, connectors=connectors
    )
    assert len(IntegrationInfo.create(integration).connectors) == 50
    states = [models.ConnectorStatus(str(number), "connected") for number in range(51)]
    status = models.TenantStatus(auth=models.TenantAuthStatus(connectors=states))
    assert len(TenantInfo.create(models.Tenant(1, "a", status=status)).connections) == 50
    triggers = [
        models.RunTrigger(number, NOW, models.RunMode.NORMAL, "api") for number in range(51)
    ]
    run = models.Run(1, models.RunMode.NORMAL, triggers=triggers)
    assert RunInfo.create(run).trigger_ids == [str(number) for number in range(50)]


@pytest.mark.parametrize(
    ("last_run", "phase"),
    [
        ({}, None),
        ({"status": "Failed"}, "Failed"),
        ({"status": {"phase": "Running", "startTime": None}}, "Running"),
        ({"status": {"phase": 3}}, None),
        ({"status": None}, None),
    ],
)
def test_the_phase_of_a_run_is_read_in_each_form(
    last_run: dict[str, object], phase: str | None
) -> None:
    """The form of a tenant's last run is undocumented, so an unknown form has no phase."""
    tenant = models.Tenant(1, "a", status=models.TenantStatus(last_run=last_run))
    info = TenantInfo.create(tenant)
    assert (info.last_run, info.current_run) == (phase, None)


def test_a_record_that_lacks_everything_optional_can_be_shown() -> None:
    """Fields that the API did not send are absent."""
    tenant = TenantInfo.create(models.Tenant(1, "a")).model_dump(exclude_none=True, context=str)
    assert tenant == {"id": 1, "name": "a", "paused": True, "connections": []}
    integration = models.Integration(1, "a", "A", models.IntegrationType("Odd"))
    assert IntegrationInfo.create(integration).model_dump(exclude_none=True, context=str) == {
        "id": 1,
        "name": "a",
        "long_name": "A",
        "type": "Odd",
        "connectors": [],
    }
    run = RunInfo.create(models.Run(1, models.RunMode("webhook"))).model_dump(
        exclude_none=True, context=str
    )
    assert run == {"id": 1, "mode": "webhook", "trigger_ids": []}


def test_confidential_and_long_fields_are_left_out() -> None:
    """A tenant's settings, a run's payloads and a release's schemas are not shown."""
    tenant = models.Tenant(1, "a", configs={"password": "secret"})
    trigger = models.RunTrigger(1, NOW, models.RunMode.NORMAL, "api", {"password": "secret"})
    run = models.Run(1, models.RunMode.NORMAL, models.RunStatus("Failed"), [trigger])
    release = models.Release(1, "a", "2", config_schema={"title": "secret"}, tag="v1")
    shown = [TenantInfo.create(tenant), RunInfo.create(run), ReleaseInfo.create(release)]
    assert "secret" not in "".join(one.model_dump_json(context=str) for one in shown)
