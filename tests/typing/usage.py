"""How users write it: read by the type checkers, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import httpx

from pandium import (
    AsyncPandium,
    Completed,
    Listing,
    Outcome,
    Page,
    Polling,
    Progress,
    Retry,
    Trigger,
    TriggerStatus,
    to_dict,
    to_json,
)
from pandium.models import (
    Integration,
    IntegrationType,
    Release,
    ReleaseChannel,
    Run,
    RunMode,
    Tenant,
    TenantMetadata,
)


async def construction() -> None:
    client = AsyncPandium()
    AsyncPandium("key", environment="sandbox", timeout=5, retry=Retry.never())
    AsyncPandium(api_key="key", base_url="https://x.example", timeout=httpx.Timeout(5))
    AsyncPandium(http_client=httpx.AsyncClient(), max_connections=3)
    assert_type(client.with_options(timeout=3, headers={"A": "b"}), AsyncPandium)
    async with client as opened:
        assert_type(opened, AsyncPandium)
    assert_type(await client.request("GET", "/v2", params={"a": 1}, json=[1]), Any)


async def operations(client: AsyncPandium) -> None:
    assert_type(await client.integrations.get(1), Integration)
    assert_type((await client.integrations.get(1)).type, IntegrationType)
    assert_type(await client.releases.list(1), list[Release])
    assert_type(await client.releases.latest(1), Release)
    assert_type(await client.tenants.create("a", 1, release_channel="Latest"), Tenant)
    assert_type(await client.tenants.update(1, paused=True), Tenant)
    assert_type(await client.tenants.archive(1), dict[str, Any])
    assert_type(await client.tenants.metadata(1), TenantMetadata)
    assert_type(await client.tenants.sync(1, mode="normal"), Trigger)
    assert_type(await client.tenants.sync(1, mode=RunMode.INIT, payload={}), Trigger)
    assert_type(await client.connectors.soap(1, "crm", method="GET", target_url="", data=""), Any)
    assert_type(await client.runs.log(1), str)
    assert_type(ReleaseChannel("Other"), ReleaseChannel)


async def listings(client: AsyncPandium) -> None:
    listing = client.tenants.list(integration_id=1, limit=3, on_drift="raise")
    assert_type(listing, Listing[Tenant])
    assert_type(await listing.first(), Tenant | None)
    assert_type(await listing.to_list(), list[Tenant])
    async for tenant in listing:
        assert_type(tenant, Tenant)
        assert_type(to_dict(tenant), dict[str, Any])
        assert_type(to_json(tenant), bytes)
    async for page in listing.pages():
        assert_type(page, Page[Tenant])
    async with listing.stream(ahead=8) as items:
        async for tenant in items:
            assert_type(tenant, Tenant)
    assert_type(client.tenants.runs(1), Listing[Run])


async def waiting(client: AsyncPandium, triggers: list[Trigger]) -> None:
    assert_type(await client.runs.wait("1", poll=Polling(first=0)), TriggerStatus)
    assert_type((await client.runs.status(triggers[0])).outcome, Outcome)
    async with client.runs.as_completed(triggers) as done:
        async for result in done:
            assert_type(result, Completed)
    assert_type(await client.runs.wait_all(t.trigger_id for t in triggers), list[Completed])
    await client.runs.wait("1", classify=lambda status: status.outcome, on_status=print)
    async with client.runs.as_completed(triggers, on_status=tell_trigger) as done:
        assert_type(done.progress, Progress)
    await client.runs.wait_all(triggers, on_status=tell_trigger)


async def tell_trigger(status: TriggerStatus, trigger_id: str) -> None: ...


def tell_tenant(status: TriggerStatus, tenant_id: int) -> None: ...


async def payload_of(tenant: Tenant) -> dict[str, Any] | None:
    return {"name": tenant.name} if tenant.archived else None


async def syncing(client: AsyncPandium, tenants: list[int | Tenant]) -> None:
    listing = client.tenants.list()
    async with client.tenants.sync_all(listing, mode="normal", payload=payload_of) as done:
        async for result in done:
            assert_type(result, Completed)
            assert_type(result.tenant_id, int | None)
            assert_type(result.trigger_id, str | None)
            assert_type(done.progress, Progress)
            assert_type(done.progress.looks, int)
    client.tenants.sync_all(
        range(9),
        mode=RunMode.INIT,
        payload=lambda tenant_id: {"id": tenant_id + 1},
        journal=Path("journal"),
        repeat_unknown=True,
        on_status=tell_tenant,
    )
    client.tenants.sync_all(listing, mode="init", payload=lambda tenant: {"name": tenant.name})
    client.tenants.sync_all(tenants, mode="init", payload={"a": 1}, journal="journal", at_once=3)


def refused(client: AsyncPandium) -> None:
    client.tenants.list(on_drift="hope")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.tenants.list(5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.tenants.sync_all(["7"], mode="init")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    client.tenants.sync_all([7], mode="init", payload=payload_of)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Retry(tries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
