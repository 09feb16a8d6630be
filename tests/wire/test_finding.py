"""Finding a tenant, and the run that a trigger started; a `Tenant` in place of its id."""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs

import pytest

from pandium import AsyncPandium, NotFound, Polling, Trigger
from pandium.emulator import Emulator, Polls
from pandium.models import Tenant
from support import KEY
from support.servers import Behavior, Misbehaving, Wire, answer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

FAST = Polling(first=0, minimum=0.01, maximum=0.01, rate=1000)
MANY = 3000


async def test_a_tenant_is_found_by_id_or_name(client: AsyncPandium, emulator: Emulator) -> None:
    """`tenants.find` returns the tenant with the id and the name, or None."""
    other = emulator.add_integration()
    acme = emulator.add_tenant("acme")
    twin = emulator.add_tenant("acme", integration_id=other.id)
    find = client.tenants.find
    assert await ids(find(acme.id), find(name="acme", integration_id=other.id)) == [1, twin.id]
    assert await ids(find(twin.id, name="acme")) == [twin.id]
    assert await find(twin.id, name="other") is None
    assert await find(99) is None
    assert await find(acme.id, integration_id=other.id) is None
    tenant = await find(acme.id)
    assert tenant is not None
    assert await find(tenant) == tenant


async def ids(*found: Awaitable[Tenant | None]) -> list[int | None]:
    return [None if (tenant := await one) is None else tenant.id for one in found]


async def test_a_search_stops_at_the_first_match(client: AsyncPandium, emulator: Emulator) -> None:
    """A tenant on the first page is found with one request, even if it is the last one there."""
    for _ in range(501):
        emulator.add_tenant()
    assert await ids(client.tenants.find(500)) == [500]
    assert len(emulator.requests) == 1
    assert await ids(client.tenants.find(501)) == [501]


@pytest.mark.parametrize("arguments", [{}, {"name": ""}, {"tenant_id": "1"}, {"tenant_id": True}])
async def test_a_search_requires_an_id_or_a_name(
    arguments: dict[str, Any], client: AsyncPandium, emulator: Emulator
) -> None:
    """A search without an id and a name, or with an invalid one, is a ValueError."""
    with pytest.raises(ValueError, match=r"tenant_id|name"):
        await client.tenants.find(**arguments)
    assert not list(emulator.requests)


# From a trigger to its run


async def test_bundled_triggers_lead_to_the_same_run(
    client: AsyncPandium, emulator: Emulator
) -> None:
    """Triggers that were combined into one run all lead to it, and to its log."""
    tenant = emulator.add_tenant()
    # The first run is in progress until it is polled, so the other triggers share the next run.
    emulator.runs.script(appears_after=0, phases=[("Running", Polls(1)), ("Failed (Timeout)", 0)])
    triggers = [await client.tenants.sync(tenant.id, mode="normal") for _ in range(4)]
    await client.runs.wait_all(triggers, poll=FAST)
    first, *others = [await client.runs.find(one, tenant_id=tenant.id) for one in triggers]
    assert first is not None
    shared = others[0]
    assert shared is not None
    assert [t.trigger_id for t in triggers[1:]] == [str(t.id) for t in shared.triggers]
    assert others == [shared] * 3
    assert first.id != shared.id
    assert "Failed (Timeout)" in await client.runs.log(shared.id)


async def test_a_run_that_has_not_started_is_not_found(
    client: AsyncPandium, emulator: Emulator
) -> None:
    """The result is None for a run that has not started, and for a trigger of another tenant."""
    first, second = emulator.add_tenant(), emulator.add_tenant()
    emulator.runs.script(appears_after=0, phases=[("Running", 1000)])
    running = await client.tenants.sync(first.id, mode="normal")
    waiting = await client.tenants.sync(first.id, mode="normal")
    assert await client.runs.find(waiting, tenant_id=first.id) is None
    assert await client.runs.find(running, tenant_id=second.id) is None
    assert await client.runs.find(int(running.trigger_id), tenant_id=first.id) is not None
    with pytest.raises(NotFound):
        await client.runs.find(running, tenant_id=99)


def emulate_runs(path: Path) -> Emulator:
    """Return an emulator with a tenant that has had many runs, from a saved state."""
    with Emulator() as first:
        first.add_tenant()
        first.runs.script(appears_after=0, phases=[("Succeeded", 0)])
        first.save(path)
    state = json.loads(path.read_text())
    state["runs"] = [make_run(number) for number in range(1, MANY + 1)]
    path.write_text(json.dumps(state))
    return Emulator(path)


DATE = "2026-01-01T00:00:00Z"
RUN = {
    "tenant_id": 1,
    "integration_id": 1,
    "mode": "normal",
    "is_scheduled": False,
    "script": {"appears_after": 0, "phases": [["Succeeded", 0]], "killed_after": 600.0},
    "step": 1,
    "started_date": DATE,
    "history": [{"date": DATE, "phase": "Succeeded"}],
    "phase": "Succeeded",
    "completed_date": DATE,
}
TRIGGER = {"created_date": DATE, "mode": "normal", "source": "api", "payload": {}}


def make_run(number: int) -> dict[str, Any]:
    """Return the saved state of a run that was started by two triggers."""
    triggers = [{**TRIGGER, "id": 2 * number - 1}, {**TRIGGER, "id": 2 * number}]
    return {**copy.deepcopy(RUN), "id": number, "triggers": triggers}


@pytest.mark.parametrize("number", [1, MANY // 2, MANY])
async def test_a_run_is_found_among_thousands(number: int, tmp_path: Path) -> None:
    """Any run of a tenant with 3,000 runs is found, wherever the server lists it."""
    with emulate_runs(tmp_path / "state.json") as emulator:
        async with AsyncPandium(KEY, base_url=emulator.url) as client:
            run = await client.runs.find(str(2 * number), tenant_id=1)
            assert run is not None
            assert run.id == number
            assert await client.runs.find(str(2 * MANY + 1), tenant_id=1) is None


def list_runs(count: int) -> Behavior:
    """Return a service that lists runs, newest first, and has a log of none of them."""

    async def play(wire: Wire) -> None:
        assert wire.request is not None
        path, _, query = wire.request.target.partition("?")
        if path.endswith("/log"):
            await wire.send(answer(b'{"message": "no log"}', "404 Not Found"))
            return
        parts = {name: int(values[0]) for name, values in parse_qs(query).items()}
        numbers = range(count, 0, -1)[parts["skip"] : parts["skip"] + parts["limit"]]
        trigger = {"created_date": "2026-01-01T00:00:00Z", "mode": "normal", "source": "api"}
        runs = [
            {"id": n, "mode": "normal", "triggers": [{"id": n * 10, **trigger}]} for n in numbers
        ]
        await wire.send(answer(json.dumps(runs).encode()))

    return Behavior("runs", play, keeps=True)


async def test_the_newest_run_is_found_with_one_request() -> None:
    """If the server lists the newest runs first, one request finds a recent run."""
    with Misbehaving(otherwise=list_runs(MANY)) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            run = await client.runs.find(Trigger(str(MANY * 10)), tenant_id=7)
            assert run is not None
            assert server.seen == 1
            with pytest.raises(NotFound):  # the run has no log yet
                await client.runs.log(run.id)
            oldest = await client.runs.find(10, tenant_id=7)
    assert oldest is not None
    assert oldest.id == 1


# A `Tenant` in place of its id

Call: TypeAlias = Callable[[AsyncPandium, Any], Awaitable[Any]]
CALL: dict[str, Any] = {"method": "GET", "target_url": "https://api.example.com"}
CALLS: list[Call] = [
    lambda c, t: c.tenants.update(t, paused=True),
    lambda c, t: c.tenants.archive(t),
    lambda c, t: c.tenants.release(t),
    lambda c, t: c.tenants.sync(t, mode="normal"),
    lambda c, t: c.tenants.metadata(t),
    lambda c, t: c.tenants.update_metadata(t, {}),
    lambda c, t: c.tenants.runs(t).to_list(),
    lambda c, t: c.runs.find("1", tenant_id=t),
    lambda c, t: c.connectors.call(t, "crm", **CALL),
    lambda c, t: c.connectors.soap(t, "crm", **CALL),
    lambda c, t: c.connectors.xml(t, "crm", **CALL),
    lambda c, t: c.connectors.disconnect(t, "crm"),
]


@pytest.mark.parametrize("number", range(len(CALLS)))
async def test_a_tenant_stands_for_its_id(
    number: int, client: AsyncPandium, emulator: Emulator
) -> None:
    """Every operation on a tenant takes a `Tenant` or its id, and sends the same request."""
    emulator.connectors.register("crm", lambda _: {})
    emulator.add_tenant()
    [tenant] = await client.tenants.list().to_list()
    emulator.requests.clear()
    await CALLS[number](client, tenant)
    await CALLS[number](client, tenant.id)
    first, second = emulator.requests
    assert (first.method, first.path) == (second.method, second.path)


async def test_a_tenant_stands_for_no_other_id(client: AsyncPandium, emulator: Emulator) -> None:
    """A `Tenant` in place of another id is a ValueError, and nothing is sent."""
    tenant = Tenant(7, "acme")
    with pytest.raises(ValueError, match="integration_id must be an id"):
        await client.integrations.get(tenant)  # type: ignore[arg-type]  # a wrong type
    with pytest.raises(ValueError, match="run_id must be an id"):
        await client.runs.log(tenant)  # type: ignore[arg-type]  # a wrong type
    assert not list(emulator.requests)


def test_a_transport_takes_a_tenant() -> None:
    """A connector transport for a `Tenant` is a transport for its id."""
    transport = AsyncPandium(KEY).connectors.transport(Tenant(7, "acme"), "crm")
    assert repr(transport) == "ConnectorTransport(tenant_id=7, connector='crm')"
