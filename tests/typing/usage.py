"""Typical use of the public API, for type checkers only. It is never run."""

# Pyright honors mypy's comments in `type_errors`. An unnecessary comment is an error.
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

import httpx
import httpx2

import pandium
from pandium import (
    APIError,
    AsyncPandium,
    Attempt,
    ConfigurationError,
    ConnectorError,
    DecodeError,
    DriftError,
    ErrorDetail,
    Listing,
    Outcome,
    Page,
    Pandium,
    PandiumError,
    Polling,
    Progress,
    ResponseEvent,
    Retry,
    RunFailed,
    RunResult,
    SyncListing,
    TransportError,
    Trigger,
    TriggerStatus,
    ValidationError,
    WaitTimeout,
    to_dict,
    to_json,
)
from pandium.emulator import ConnectorRequest, Emulator, Polls, UpstreamFailure
from pandium.models import (
    Category,
    Connector,
    ConnectorStatus,
    Flag,
    Integration,
    IntegrationType,
    Release,
    ReleaseChannel,
    Run,
    RunMode,
    RunStatus,
    RunTrigger,
    Tag,
    Tenant,
    TenantAuthStatus,
    TenantMetadata,
    TenantStatus,
)


async def construction() -> None:
    client = AsyncPandium()
    AsyncPandium("key", environment="sandbox", timeout=5, retry=Retry.never())
    AsyncPandium(api_key="key", base_url="https://x.example", timeout=httpx.Timeout(5))
    AsyncPandium(http_client=httpx.AsyncClient(), max_connections=3, max_response_bytes=2**20)
    AsyncPandium(lambda: "key", requests_per_second=5, on_response=print)

    async def read_key() -> str:
        return "key"

    async def on_response(event: ResponseEvent) -> None:
        assert_type(event.headers, Mapping[str, str])
        assert_type(event.elapsed, float)

    AsyncPandium(read_key, on_response=on_response)
    assert_type(client.with_options(timeout=3, headers={"A": "b"}), AsyncPandium)
    assert_type(client.with_options(retry=Retry(attempts=6, max_elapsed=9)), AsyncPandium)
    async with client as opened:
        assert_type(opened, AsyncPandium)
    assert_type(await client.aclose(), None)
    version: str = pandium.__version__
    del version


async def requests(client: AsyncPandium) -> None:
    assert_type(await client.request("GET", "/v2", params={"a": 1}, json=[1]), Any)
    numbers: dict[str, int] = {"skip": 3}
    await client.request("GET", "/v2/tenants", params=numbers, headers={"A": "b"})
    await client.request("GET", "/v2/tenants", params={"a": ["b", 2], "c": None, "d": True})


async def integrations(client: AsyncPandium) -> None:
    listing = client.integrations.list(archived=False, sort_by="name__ASC", limit=3, skip=1)
    assert_type(listing, Listing[Integration])
    integration = await client.integrations.get(1)
    assert_type(integration, Integration)
    assert_type(integration.type, IntegrationType)
    assert_type(integration.created_date, datetime | None)
    assert_type(integration.connectors, list[Connector] | None)
    assert_type(integration.categories, list[Category])
    assert_type(integration.tags, list[Tag])
    assert_type(integration.flag, Flag | None)
    assert_type(integration.default_release_channel, ReleaseChannel | None)
    assert_type(await client.integrations.sync(1, user_name="ada", mode="init"), Trigger)
    assert_type(await client.builds.create(1, "v1", mode=RunMode.NORMAL, branch="main"), Any)
    assert_type(await client.builds.create(1, "v1"), Any)
    assert_type(await client.builds.wait(1, "v1", timeout=60, poll=Polling()), Release)


async def releases(client: AsyncPandium) -> None:
    assert_type(await client.releases.list(1), list[Release])
    assert_type(await client.releases.get(1, 2), Release)
    assert_type(await client.releases.default(1), Release)
    assert_type((await client.releases.latest(1)).config_schema, dict[str, Any] | None)


async def tenants(client: AsyncPandium) -> None:
    created = await client.tenants.create(
        "a", 1, user_schedule="0 * * * *", release_channel=ReleaseChannel.LATEST, configs={"a": 1}
    )
    assert_type(created, Tenant)
    assert_type(created.configs, dict[str, Any])
    assert_type(created.status, TenantStatus | None)
    assert_type(await client.tenants.create("a", 1, release_channel="Latest"), Tenant)
    assert_type(await client.tenants.update(1, paused=True, name="b"), Tenant)
    assert_type(await client.tenants.find(name="a"), Tenant | None)
    assert_type(await client.tenants.find(created, integration_id=1), Tenant | None)
    assert_type(await client.tenants.archive(1), dict[str, Any])
    assert_type(await client.tenants.archive(created), dict[str, Any])
    assert_type(await client.runs.find("7", tenant_id=created), Run | None)
    assert_type(await client.tenants.release(1), Release)
    assert_type(await client.tenants.metadata(1), TenantMetadata)
    assert_type((await client.tenants.update_metadata(1, {"a": [1]})).data, dict[str, Any])
    assert_type(await client.tenants.sync(1, mode="normal"), Trigger)
    assert_type(await client.tenants.sync(1, mode=RunMode.INIT, payload={}), Trigger)


def statuses(status: TenantStatus, run: Run) -> None:
    assert_type(status.auth, TenantAuthStatus)
    assert_type(status.last_run, dict[str, Any])
    for connector in status.auth.connectors:
        assert_type(connector, ConnectorStatus)
    assert_type(run.status, RunStatus | None)
    assert_type(run.mode, RunMode)
    assert_type(run.triggers, list[RunTrigger])
    assert_type(ReleaseChannel("Other"), ReleaseChannel)


async def connectors(client: AsyncPandium) -> None:
    data = await client.connectors.call(
        1, "crm", method="GET", target_url="", headers={"A": "b"}, query_params={"a": 1}, body={}
    )
    assert_type(data, Any)
    assert_type(await client.connectors.soap(1, "crm", method="GET", target_url="", data=""), Any)
    assert_type(await client.connectors.xml(1, "crm", method="GET", target_url="", data=""), Any)
    assert_type(await client.connectors.disconnect(1, "crm"), Any)
    transport = client.connectors.transport(7, "crm")
    async with httpx.AsyncClient(transport=transport, base_url="https://x.example") as upstream:
        assert_type(await upstream.get("/v1"), httpx.Response)
    async with httpx2.AsyncClient(transport=transport, base_url="https://x.example") as upstream2:
        assert_type(await upstream2.get("/v1"), httpx2.Response)


async def listings(client: AsyncPandium) -> None:
    listing = client.tenants.list(
        integration_id=1,
        user_name="ada",
        archived=True,
        limit=3,
        page_size=100,
        prefetch=2,
        on_drift="raise",
    )
    assert_type(listing, Listing[Tenant])
    assert_type(await listing.first(), Tenant | None)
    assert_type(listing.raw(), Listing[dict[str, Any]])
    assert_type(await listing.raw().first(), dict[str, Any] | None)
    assert_type(await listing.to_list(), list[Tenant])
    async for tenant in listing:
        assert_type(tenant, Tenant)
        assert_type(to_dict(tenant), dict[str, Any])
        assert_type(to_json(tenant), bytes)
    async for page in listing.pages():
        assert_type(page, Page[Tenant])
        assert_type(page.items, list[Tenant])
        assert_type((page.skip, page.next_skip, page.drift), tuple[int, int, int])
    async with listing.stream(prefetch=8) as items:
        async for tenant in items:
            assert_type(tenant, Tenant)
    assert_type(client.tenants.runs(1, sort_by="id__DESC", limit=1), Listing[Run])


async def waiting(client: AsyncPandium, triggers: list[Trigger]) -> None:
    assert_type(await client.runs.wait("1", poll=Polling(first=0)), TriggerStatus)
    await client.runs.wait("1", classify=lambda status: status.outcome, on_status=print)
    await client.runs.wait(triggers[0], timeout=60, raise_on_failure=True, on_status=log_status)
    status = await client.runs.status(triggers[0])
    assert_type((status.status, status.outcome), tuple[str, Outcome])
    async with client.runs.as_completed(triggers, timeout=60, poll=Polling(rate=5)) as results:
        async for result in results:
            assert_type(result, RunResult)
            assert_type(result.error, Exception | None)
            assert_type(result.outcome, Outcome)
            assert_type(result.outcome_unknown, bool)
            assert_type(result.status, TriggerStatus | None)
    async with client.runs.as_completed(trigger_all(client)):
        pass
    assert_type(
        await client.runs.wait_all(trigger.trigger_id for trigger in triggers), list[RunResult]
    )
    assert_type(await client.runs.log(1), str)
    assert_type(await client.runs.log_url(1), str)

    async with client.runs.as_completed(triggers, on_status=log_trigger_status) as results:
        assert_type(results.progress, Progress)
    await client.runs.wait_all(triggers, on_status=log_trigger_status)


async def log_status(status: TriggerStatus) -> None:
    del status


async def trigger_all(client: AsyncPandium) -> AsyncIterator[Trigger]:
    async for tenant in client.tenants.list():
        yield await client.tenants.sync(tenant.id, mode="normal")


def synchronous(client: Pandium, triggers: list[Trigger]) -> None:
    assert_type(client.request("GET", "/v2/tenants"), Any)
    assert_type(client.with_options(timeout=3.0), Pandium)
    assert_type(client.integrations.get(1), Integration)
    assert_type(client.releases.list(1), list[Release])
    assert_type(client.tenants.find(name="acme"), Tenant | None)
    assert_type(client.tenants.sync(1, mode="normal"), Trigger)
    assert_type(client.runs.wait(triggers[0], on_status=print), TriggerStatus)
    assert_type(client.runs.wait_all(trigger.trigger_id for trigger in triggers), list[RunResult])
    listing = client.tenants.list(limit=3)
    assert_type(listing, SyncListing[Tenant])
    assert_type(listing.raw(), SyncListing[dict[str, Any]])
    assert_type(listing.first(), Tenant | None)
    assert_type(listing.to_list(), list[Tenant])
    for tenant in listing:
        assert_type(tenant, Tenant)
    for page in listing.pages():
        assert_type(page, Page[Tenant])
    with listing.stream(prefetch=2) as tenants:
        for tenant in tenants:
            assert_type(tenant, Tenant)
    with client.runs.as_completed(iter(triggers)) as results:
        for result in results:
            assert_type(result, RunResult)
    with client.tenants.sync_all(
        listing, mode="normal", payload=lambda tenant: {"name": tenant.name}
    ) as results:
        assert_type(results.progress, Progress)
    transport = client.connectors.transport(1, "crm")
    with httpx.Client(transport=transport) as http:
        assert_type(http.get("https://api.example.com"), httpx.Response)
    with httpx2.Client(transport=transport) as http2:
        assert_type(http2.get("https://api.example.com"), httpx2.Response)


async def errors(client: AsyncPandium) -> None:
    try:
        await client.tenants.metadata(1)
    except ConnectorError as error:
        assert_type(error.data, Any)
    except ValidationError as error:
        assert_type(error.details, Sequence[ErrorDetail])
        assert_type(error.details[0].loc, tuple[str | int, ...])
    except APIError as error:
        assert_type((error.status_code, error.message), tuple[int, str])
        assert_type(error.headers, Mapping[str, str])
        assert_type(error.retry_after, float | None)
        assert_type(error.body, Any)
    except DecodeError as error:
        assert_type(error.path, str)
    except WaitTimeout as error:
        assert_type(error.last_status, TriggerStatus | None)
        as_timeout: TimeoutError = error
        del as_timeout
    except RunFailed as error:
        assert_type(error.status, TriggerStatus)
    except (TransportError, DriftError) as error:
        assert_type(error.outcome_unknown, bool)
        assert_type(error.resume_skip, int | None)
    except PandiumError as error:
        assert_type(error.attempts, Sequence[Attempt])
        assert_type((error.method, error.url), tuple[str | None, str | None])
    try:
        AsyncPandium()
    except ConfigurationError as error:
        as_value_error: ValueError = error
        del as_value_error


async def emulator() -> None:
    def respond(request: ConnectorRequest) -> object:
        return UpstreamFailure(404, {"url": request.url}) if request.data else {"a": 1}

    with Emulator("demo", api_key="k") as api:
        api.connectors.register("crm", respond, host="x.example")
        assert_type(api.add_tenant("acme").id, int)
        assert_type(api.add_tenant(user_name="ann", connected=["crm"]).connected, bool | list[str])
        assert_type(api.add_integration("orders", connectors=["crm"]).schedule, str | None)
        assert_type(api.add_release(1, default=True).default, bool)
        api.runs.script(tenant=1, appears_after=Polls(2), phases=[("Running", 1.5), (None, 1)])
    async with Emulator() as api:
        assert_type(api.url, str)


async def log_trigger_status(status: TriggerStatus, trigger_id: str) -> None: ...


def log_tenant_status(status: TriggerStatus, tenant_id: int) -> None: ...


async def log_trigger(trigger: Trigger, tenant_id: int) -> None: ...


async def build_payload(tenant: Tenant) -> dict[str, Any] | None:
    return {"name": tenant.name} if tenant.archived else None


async def bulk_sync(client: AsyncPandium, tenants: list[int | Tenant]) -> None:
    listing = client.tenants.list()
    async with client.tenants.sync_all(listing, mode="normal", payload=build_payload) as results:
        async for result in results:
            assert_type(result, RunResult)
            assert_type(result.tenant_id, int | None)
            assert_type(result.trigger_id, str | None)
            assert_type(results.progress, Progress)
            assert_type(results.progress.polls, int)
            assert_type(results.progress.total, int | None)
            assert_type(results.progress.recorded, int)
    client.tenants.sync_all(
        range(9),
        mode=RunMode.INIT,
        payload=lambda tenant_id: {"id": tenant_id + 1},
        journal=Path("journal"),
        retry_unknown=True,
        on_triggered=log_trigger,
        on_status=log_tenant_status,
    )
    client.tenants.sync_all(listing, mode="init", payload=lambda tenant: {"name": tenant.name})
    client.tenants.sync_all(
        tenants, mode="init", payload={"a": 1}, journal="journal", max_concurrency=3
    )


def type_errors(client: AsyncPandium) -> None:
    client.tenants.list(
        on_drift="guess"  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
    )
    client.tenants.list(
        5  # type: ignore[call-arg]  # ty: ignore[too-many-positional-arguments]
    )
    client.tenants.sync_all(
        ["7"],  # type: ignore[type-var]  # ty: ignore[invalid-argument-type]
        mode="init",
    )
    client.tenants.sync_all(
        [7],
        mode="init",
        payload=build_payload,  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
    )
    Retry(tries=3)  # type: ignore[call-arg]  # ty: ignore[unknown-argument]
    client.connectors.transport(
        "7",  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
        "crm",
    )
    _ = pandium.Tennant  # type: ignore[attr-defined]  # ty: ignore[missing-attribute]
