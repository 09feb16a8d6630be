"""Each operation sends a request that matches the OpenAPI document and parses the response."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import attrs
import pytest
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

from pandium import (
    AsyncPandium,
    BadRequest,
    ConnectorError,
    NotFound,
    Outcome,
    Polling,
    RunFailed,
    Trigger,
    TriggerStatus,
    ValidationError,
    models,
)
from pandium.emulator import ConnectorRequest, UpstreamFailure
from support.openapi import UNDOCUMENTED, merge_documents, operations_of

if TYPE_CHECKING:
    from pandium import Listing
    from pandium.emulator import Emulator, Request

pytestmark = pytest.mark.anyio

T = TypeVar("T")

DOCUMENT = {**merge_documents(), "servers": [{"url": "/"}]}  # matches the host of any emulator
OPENAPI = OpenAPI.from_dict(DOCUMENT)


class SentRequest:
    """A request received by the emulator, in the form that openapi-core validates."""

    host_url = "http://127.0.0.1"
    content_type = "application/json"

    def __init__(self, request: Request) -> None:
        self.method = request.method.lower()
        self.path = request.path
        self.full_url_pattern = self.host_url + request.path
        self.body = request.body or None
        # The emulator redacts the API key, but keeps the header.
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(parse_qsl(request.query, keep_blank_values=True)),
            header=Headers(dict(request.headers)),
        )


Operate = Callable[[AsyncPandium, "Emulator"], Awaitable[Any]]


@attrs.frozen
class Case:
    """An operation: its key in the OpenAPI document, an example call and the return type."""

    operation: str
    call: Operate
    result_type: type

    def __str__(self) -> str:
        return self.operation


def _echo(request: ConnectorRequest) -> Any:
    return {"method": request.method, "url": request.url}


async def _log(client: AsyncPandium, emulator: Emulator) -> str:
    del emulator
    trigger = await client.tenants.sync(1, mode="normal")
    await client.runs.wait(trigger)
    run = await client.tenants.runs(1).first()
    assert run is not None
    return await client.runs.log(run.id)


async def _status(client: AsyncPandium, emulator: Emulator) -> TriggerStatus:
    emulator.runs.script(appears_after=0)
    return await client.runs.status(await client.tenants.sync(1, mode="init"))


async def _first(listing: Listing[T]) -> T:
    items = await listing.to_list()
    return items[0]


FAST = Polling(first=0, minimum=0.01, maximum=0.01, rate=1000)
UPSTREAM = "https://api.example.com/v1/things"
CASES = [
    Case(
        "POST /v2/sourcecontrol/build",
        lambda c, _: c.builds.create(1, "v2", mode="normal"),
        object,
    ),
    Case("GET /v2/integrations", lambda c, _: _first(c.integrations.list()), models.Integration),
    Case(
        "GET /v2/integrations/{integration_id}",
        lambda c, _: c.integrations.get(1),
        models.Integration,
    ),
    Case(
        "POST /v2/integrations/{integration_id}/sync",
        lambda c, _: c.integrations.sync(1, user_name="ada", mode="init", payload={"a": 1}),
        Trigger,
    ),
    Case("GET /v2/integrations/{integration_id}/releases", lambda c, _: c.releases.list(1), list),
    Case(
        "GET /v2/integrations/{integration_id}/releases/{release_id}",
        lambda c, _: c.releases.get(1, 1),
        models.Release,
    ),
    Case(
        "GET /v2/integrations/{integration_id}/releases/default",
        lambda c, _: c.releases.default(1),
        models.Release,
    ),
    Case(
        "GET /v2/integrations/{integration_id}/releases/latest",
        lambda c, _: c.releases.latest(1),
        models.Release,
    ),
    Case(
        "GET /v2/tenants",
        lambda c, _: _first(
            c.tenants.list(
                integration_id=1, user_name="ada", archived=False, sort_by="name__DESC", limit=7
            )
        ),
        models.Tenant,
    ),
    Case(
        "POST /v2/tenants",
        lambda c, _: c.tenants.create(
            "acme", 1, user_schedule="0 * * * *", release_id=1, configs={"a": 1}
        ),
        models.Tenant,
    ),
    Case(
        "PATCH /v2/tenants/{tenant_id}",
        lambda c, _: c.tenants.update(1, paused=True),
        models.Tenant,
    ),
    Case("DELETE /v2/tenants/{tenant_id}", lambda c, _: c.tenants.archive(1), dict),
    Case("GET /v2/tenants/{tenant_id}/release", lambda c, _: c.tenants.release(1), models.Release),
    Case(
        "POST /v2/tenants/{tenant_id}/sync",
        lambda c, _: c.tenants.sync(1, mode="normal", payload={"since": "2026-01-01"}),
        Trigger,
    ),
    Case(
        "GET /v2/tenants/{tenant_id}/metadata",
        lambda c, _: c.tenants.metadata(1),
        models.TenantMetadata,
    ),
    Case(
        "PATCH /v2/tenants/{tenant_id}/metadata",
        lambda c, _: c.tenants.update_metadata(1, {"seen": 3}),
        models.TenantMetadata,
    ),
    Case(
        "GET /v2/tenants/{tenant_id}/runs",
        lambda c, _: c.tenants.runs(1, sort_by="id__DESC").to_list(),
        list,
    ),
    Case(
        "POST /v2/tenants/{tenant_id}/connectors/{connector_name}/call",
        lambda c, _: c.connectors.call(
            1,
            "crm",
            method="POST",
            target_url=UPSTREAM,
            headers={"Accept": "text/json"},
            query_params={"q": 1},
            body={"a": [1]},
        ),
        dict,
    ),
    Case(
        "POST /v2/tenants/{tenant_id}/connectors/{connector_name}/soap",
        lambda c, _: c.connectors.soap(1, "crm", method="POST", target_url=UPSTREAM, data="<a/>"),
        dict,
    ),
    Case(
        "POST /v2/tenants/{tenant_id}/connectors/{connector_name}/xml",
        lambda c, _: c.connectors.xml(1, "crm", method="PUT", target_url=UPSTREAM, data="<a/>"),
        dict,
    ),
    Case(
        "PATCH /v2/tenants/{tenant_id}/connectors/{connector_name}/disconnect",
        lambda c, _: c.connectors.disconnect(1, "crm"),
        object,
    ),
    Case("GET /v2/runs/triggers/{trigger_id}/status", _status, TriggerStatus),
    Case("GET /v2/runs/{run_id}/log", _log, str),
]


@pytest.fixture
def seeded(emulator: Emulator) -> Emulator:
    emulator.add_tenant("first", user_name="ada")
    for connector in ("crm", "shop"):
        emulator.connectors.register(connector, _echo)
    return emulator


def test_no_operation_is_forgotten() -> None:
    """There is a case for each documented operation and for the two undocumented ones."""
    operations = operations_of(DOCUMENT).keys() | UNDOCUMENTED
    cases = {case.operation for case in CASES}
    assert not operations - cases, f"CASES has no case of {sorted(operations - cases)}: add one"
    assert not cases - operations, f"the vendor does not mention {sorted(cases - operations)}"


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_each_operation(case: Case, client: AsyncPandium, seeded: Emulator) -> None:
    """The request matches the OpenAPI document, and the response is parsed."""
    assert isinstance(await case.call(client, seeded), case.result_type)
    sent = [
        request
        for request in seeded.requests
        if f"{request.method} {request.route}" == case.operation
    ]
    assert sent, [f"{request.method} {request.route}" for request in seeded.requests]
    for request in sent:
        assert request.headers["x-api-key"] == "***"
        assert request.headers["user-agent"].startswith("pandium-python/")
        if case.operation not in UNDOCUMENTED:
            OPENAPI.validate_request(SentRequest(request))


async def test_arguments_that_are_none_are_not_sent(client: AsyncPandium, seeded: Emulator) -> None:
    """Arguments that are None are omitted from the request."""
    await client.tenants.create("acme", 1)
    await client.tenants.list().first()
    await client.tenants.sync(1, mode="normal")
    create, listing, sync = seeded.requests
    assert json.loads(create.body) == {"name": "acme", "integration_id": 1}
    assert listing.query == "skip=0&limit=1"
    assert (sync.query, sync.body) == ("mode=normal", b"")


async def test_update_sends_null_and_the_names_of_the_api(
    client: AsyncPandium, seeded: Emulator
) -> None:
    """`update` sends None as null and translates short argument names to API field names."""
    tenant = await client.tenants.update(1, user_schedule=None, release_id=1)
    assert json.loads(seeded.requests[-1].body) == {
        "user_schedule": None,
        "integration_release_id": 1,
    }
    assert tenant.integration_release_id == 1


async def test_a_sync_carries_its_payload_to_the_run(
    client: AsyncPandium, seeded: Emulator
) -> None:
    """The payload of a sync reaches the run that it triggers."""
    seeded.runs.script(appears_after=0)
    trigger = await client.tenants.sync(1, mode="init", payload={"since": "2026-01-01"})
    run = await client.tenants.runs(1).first()
    assert run is not None
    assert [(str(t.id), t.payload) for t in run.triggers] == [
        (trigger.trigger_id, {"since": "2026-01-01"})
    ]


async def test_metadata_is_merged(client: AsyncPandium, seeded: Emulator) -> None:
    """A metadata update returns the complete, merged metadata."""
    await client.tenants.update_metadata(1, {"a": 1})
    merged = await client.tenants.update_metadata(1, {"b": 2})
    assert merged.data == {"a": 1, "b": 2}
    assert (await client.tenants.metadata(1)).data == {"a": 1, "b": 2}


async def test_a_validation_error_lists_the_rejected_values(
    client: AsyncPandium, seeded: Emulator
) -> None:
    """A 422 error contains the location and the message for each rejected value."""
    integration = seeded.add_integration(
        metadata_schema={"type": "object", "properties": {"n": {"type": "integer"}}}
    )
    tenant = seeded.add_tenant(integration_id=integration.id)
    with pytest.raises(ValidationError) as caught:
        await client.tenants.update_metadata(tenant.id, {"n": "many"})
    assert caught.value.details[0].loc[:2] == ("body", "n")
    assert caught.value.details[0].msg in str(caught.value)


async def test_an_upstream_error_is_distinguished_from_pandiums(
    client: AsyncPandium, seeded: Emulator
) -> None:
    """An upstream's 404 is a ConnectorError with its data. Pandium's own 400 is a BadRequest."""

    def fail(_: ConnectorRequest) -> UpstreamFailure:
        return UpstreamFailure(404, {"error": "no such thing"})

    seeded.connectors.register("crm", fail)
    with pytest.raises(ConnectorError) as caught:
        await client.connectors.call(1, "crm", method="GET", target_url=UPSTREAM)
    assert (caught.value.status_code, caught.value.data) == (404, {"error": "no such thing"})
    with pytest.raises(BadRequest):
        await client.connectors.call(99, "crm", method="GET", target_url=UPSTREAM)


async def test_the_storage_host_does_not_receive_the_key(
    client: AsyncPandium, seeded: Emulator
) -> None:
    """A log is downloaded from its signed URL on another host, without the API key."""
    assert "Succeeded" in await _log(client, seeded)
    [download] = seeded.storage_requests
    assert "x-api-key" not in download.headers


async def test_log_url_does_not_download_the_log(client: AsyncPandium, seeded: Emulator) -> None:
    """`log_url` returns a URL of another origin without requesting it."""
    seeded.runs.script(appears_after=0)
    await client.tenants.sync(1, mode="normal")
    run = await client.tenants.runs(1).first()
    assert run is not None
    url = await client.runs.log_url(run.id)
    assert not url.startswith(seeded.url)
    assert not list(seeded.storage_requests)


async def test_request_reaches_any_endpoint(client: AsyncPandium, seeded: Emulator) -> None:
    """`client.request` uses the same authentication and errors as the other operations."""
    tenants = await client.request("get", "/v2/tenants", params={"limit": 1, "archived": None})
    assert tenants[0]["name"] == "first"
    assert seeded.requests[-1].query == "limit=1"
    with pytest.raises(NotFound) as caught:
        await client.request("GET", "/v2/integrations/99")
    assert (caught.value.method, caught.value.url) == ("GET", f"{seeded.url}/v2/integrations/99")
    built = await client.request(
        "POST",
        "/v2/sourcecontrol/build",
        params={"mode": "normal"},
        json={"build_tag": "v3", "integration_id": 1},
        headers={"X-Trace": "abc"},
    )
    assert built is not None
    assert seeded.requests[-1].headers["x-trace"] == "abc"


async def test_a_view_has_its_own_options(client: AsyncPandium, seeded: Emulator) -> None:
    """A view adds its headers to those of its client, which remains unchanged."""
    view = client.with_options(headers={"X-A": "1"}).with_options(headers={"X-B": "2"})
    await view.tenants.list().first()
    await client.tenants.list().first()
    through_view, direct = seeded.requests
    assert (through_view.headers["x-a"], through_view.headers["x-b"]) == ("1", "2")
    assert "x-a" not in direct.headers


async def test_closing_a_view_leaves_the_client_open(
    client: AsyncPandium, seeded: Emulator
) -> None:
    """Closing a view does not close the connections, which belong to the client."""
    async with client.with_options(timeout=5) as view:
        await view.tenants.list().first()
    assert await client.tenants.list().first() is not None
    assert len(seeded.requests) == 2


async def test_a_wait_can_raise_on_failure(client: AsyncPandium, seeded: Emulator) -> None:
    """A failed run is returned as a status, or raised as RunFailed with raise_on_failure."""
    seeded.runs.script(appears_after=0, phases=[("Failed (Timeout)", 0)])
    trigger = await client.tenants.sync(1, mode="normal")
    assert (await client.runs.wait(trigger, poll=FAST)).outcome is Outcome.FAILED
    with pytest.raises(RunFailed) as caught:
        await client.runs.wait(trigger, poll=FAST, raise_on_failure=True)
    assert caught.value.status == TriggerStatus("Failed (Timeout)")


async def test_many_runs_complete(client: AsyncPandium, seeded: Emulator) -> None:
    """Results are in order of completion, or in the order of the triggers with `wait_all`."""
    for tenant_id, seconds in ((2, 1), (3, 0)):
        seeded.add_tenant()
        seeded.runs.script(tenant=tenant_id, appears_after=seconds, phases=[("Succeeded", 0)])
    triggers = [await client.tenants.sync(tenant_id, mode="normal") for tenant_id in (2, 3)]
    async with client.runs.as_completed(triggers, poll=FAST) as results:
        completed = [result.trigger_id async for result in results]
    assert completed == [trigger.trigger_id for trigger in reversed(triggers)]
    in_order = await client.runs.wait_all(triggers, poll=FAST)
    assert [result.trigger_id for result in in_order] == completed[::-1]


async def test_triggers_may_still_be_produced_while_runs_are_awaited(
    client: AsyncPandium, seeded: Emulator
) -> None:
    """An async iterable may trigger more syncs while the first runs are in progress."""
    seeded.runs.script(appears_after=0, phases=[("Succeeded", 0)])

    async def triggers() -> AsyncIterator[Trigger]:
        for _ in range(3):
            yield await client.tenants.sync(1, mode="normal")

    async with client.runs.as_completed(triggers(), poll=FAST) as results:
        assert [result.error async for result in results] == [None, None, None]
