"""The tools that only read, called by an agent."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import AsyncPandium, Retry
from pandium._mcp.reading import MAX_WAIT
from pandium.emulator import Status
from support import KEY
from support.agents import open_agent
from support.servers import Behavior, Misbehaving, Wire, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pandium.emulator import Emulator
    from support.agents import Agent

pytestmark = pytest.mark.anyio


@pytest.fixture
async def agent(client: AsyncPandium) -> AsyncIterator[Agent]:
    async with open_agent(client) as opened:
        yield opened


async def read_all(agent: Agent, name: str, records: str, **arguments: Any) -> list[Any]:
    """Follow a listing to its end, as its results say."""
    found: list[Any] = []
    skip: int | None = 0
    while skip is not None:
        page = await agent.call(name, skip=skip, **arguments)
        assert len(page[records]) <= arguments.get("limit", 20)
        found += page[records]
        skip = page.get("next_skip")
    return [record["id"] for record in found]


# Listings


@pytest.mark.parametrize(("limit", "calls"), [(1, 7), (3, 3), (7, 1), (20, 1), (100, 1)])
async def test_a_listing_is_bounded_and_can_be_continued(
    limit: int, calls: int, agent: Agent, emulator: Emulator
) -> None:
    """A listing returns at most `limit` records, and `next_skip` if there are more."""
    ids = [emulator.add_tenant().id for _ in range(7)]
    assert await read_all(agent, "list_tenants", "tenants", limit=limit) == ids
    requests = [request for request in emulator.requests if request.path == "/v2/tenants"]
    assert len(requests) >= calls


async def test_tenants_can_be_filtered(agent: Agent, emulator: Emulator) -> None:
    """Tenants are listed by integration and by whether they are archived."""
    first, second = emulator.add_integration(), emulator.add_integration()
    emulator.add_tenant(integration_id=first.id)
    tenant = emulator.add_tenant(integration_id=second.id)
    assert await read_all(agent, "list_tenants", "tenants", integration_id=second.id) == [tenant.id]
    archived = await agent.call("list_tenants", archived=True)
    assert archived == {"tenants": []}


async def test_integrations_are_listed(agent: Agent, emulator: Emulator) -> None:
    """Integrations are listed by their names and connectors."""
    emulator.add_integration(name="orders", connectors=["crm"])
    page = await agent.call("list_integrations")
    found = {one["name"]: one["connectors"] for one in page["integrations"]}
    assert found["orders"] == ["crm"]


async def test_large_records_are_complete(agent: Agent, emulator: Emulator) -> None:
    """No record is missing from a listing whose records add up to hundreds of kilobytes."""
    connectors = [f"{number:0100}" for number in range(50)]
    for number in range(50):
        emulator.add_integration(name=f"app-{number}", connectors=connectors)
    page = await agent.call("list_integrations", limit=50)
    assert len(page["integrations"]) == 50
    assert all(one["connectors"] == connectors for one in page["integrations"][-49:])


async def test_releases_are_listed_newest_first(agent: Agent, emulator: Emulator) -> None:
    """Releases, which the API does not paginate, are still listed in bounded parts."""
    integration = emulator.add_integration()
    for number in range(4):
        emulator.add_release(integration_id=integration.id, tag=f"v{number}")
    ids = await read_all(agent, "list_releases", "releases", integration_id=integration.id, limit=2)
    assert len(ids) >= 4
    assert ids == sorted(ids, reverse=True)


# Searches


async def test_a_tenant_is_found_by_id_and_by_name(agent: Agent, emulator: Emulator) -> None:
    """A tenant that does not exist is not an error, but an absent tenant with a note."""
    emulator.add_tenant("acme")
    tenant = emulator.add_tenant("umbrella")
    by_id = await agent.call("find_tenant", tenant_id=tenant.id)
    assert by_id["tenant"]["name"] == "umbrella"
    assert by_id == await agent.call("find_tenant", name="umbrella")
    nothing = await agent.call("find_tenant", name="initech")
    assert nothing == {"note": "no listed tenant matches; list_tenants shows all tenants"}


async def test_a_release_is_found_by_tag_and_by_channel(agent: Agent, emulator: Emulator) -> None:
    """Of several releases with a tag, the newest one is found."""
    integration = emulator.add_integration()
    for tag in ("v1", "v1", "v2"):
        release = emulator.add_release(integration_id=integration.id, tag=tag)
    where = {"integration_id": integration.id}
    found = await agent.call("find_release", tag="v1", **where)
    assert found["release"]["id"] == release.id - 1
    latest = await agent.call("find_release", channel="latest", **where)
    assert latest["release"]["tag"] == "v2"
    default = await agent.call("find_release", channel="default", **where)
    assert default["release"]["id"] <= release.id
    nothing = await agent.call("find_release", tag="v3", **where)
    assert "release" not in nothing
    assert nothing["note"].startswith("no release has the tag v3 yet")


async def test_the_release_of_a_new_build_is_waited_for(agent: Agent, emulator: Emulator) -> None:
    """With `wait_seconds`, the search lasts until the release is listed or the time is over."""
    integration = emulator.add_integration()
    where = {"integration_id": integration.id, "tag": "v1", "wait_seconds": 1}
    assert "release" not in await agent.call("find_release", **where)
    emulator.add_release(integration_id=integration.id, tag="v1")
    assert (await agent.call("find_release", **where))["release"]["tag"] == "v1"


# Runs


@pytest.fixture
def paced_emulator(pandium_emulator: Emulator) -> Emulator:
    return pandium_emulator


@pytest.mark.pandium(clock="manual")
@pytest.mark.parametrize(
    ("status", "outcome", "hint"),
    [("Succeeded", "succeeded", None), ("Failed (Timeout)", "failed", "get_run_log")],
)
async def test_a_run_is_followed_to_its_log(
    status: str,
    outcome: str,
    hint: str | None,
    paced_emulator: Emulator,
    pandium_client: AsyncPandium,
) -> None:
    """A trigger leads to the outcome of its run, to the run and to its log."""
    tenant = paced_emulator.add_tenant()
    paced_emulator.runs.script(appears_after=5, phases=[("Running", 10), (status, 0)])
    trigger = await pandium_client.tenants.sync(tenant.id, mode="normal")
    trigger_id = trigger.trigger_id
    async with paced_emulator.clock.autojump(), open_agent(pandium_client) as agent:
        before = await agent.call("find_run", trigger_id=trigger_id, tenant_id=tenant.id)
        assert "run" not in before
        ended = await agent.call("wait_for_run", trigger_id=trigger_id)
        assert (ended["ended"], ended["outcome"], ended["status"]) == (True, outcome, status)
        assert (hint or "") in ended.get("note", "")
        found = await agent.call("find_run", trigger_id=int(trigger_id), tenant_id=tenant.id)
        runs = await agent.call("list_runs", tenant_id=tenant.id, sort_by="id__DESC")
        assert runs["runs"] == [found["run"]]
        assert found["run"]["trigger_ids"] == [trigger_id]
        log = await agent.call("get_run_log", run_id=found["run"]["id"])
        assert log["log"].endswith(status)
        assert log["omitted_lines"] == 0


@pytest.mark.pandium(clock="manual")
async def test_a_wait_is_bounded_and_can_be_continued(
    paced_emulator: Emulator, pandium_client: AsyncPandium
) -> None:
    """A wait ends after at most 45 seconds, and returns the trigger to continue with."""
    tenant = paced_emulator.add_tenant()
    paced_emulator.runs.script(
        appears_after=60, phases=[("Running", 60), ("Succeeded", 0)], killed_after=math.inf
    )
    trigger = await pandium_client.tenants.sync(tenant.id, mode="normal")
    arguments = {"trigger_id": trigger.trigger_id, "seconds": MAX_WAIT}
    async with paced_emulator.clock.autojump(), open_agent(pandium_client) as agent:
        results = [await agent.call("wait_for_run", **arguments) for _ in range(3)]
    assert {result["trigger_id"] for result in results} == {trigger.trigger_id}
    assert [result["ended"] for result in results] == [False, False, True]
    assert [result.get("status") for result in results] == [None, "Running", "Succeeded"]
    assert "has not started, or there is no such trigger" in results[0]["note"]
    assert "has not ended; call wait_for_run again" in results[1]["note"]


@pytest.mark.pandium(clock="manual")
async def test_a_wait_says_why_it_learned_nothing(
    paced_emulator: Emulator, pandium_client: AsyncPandium
) -> None:
    """If the last poll failed, the note of an unfinished wait contains the reason."""
    paced_emulator.faults.add(None, Status(503))
    async with paced_emulator.clock.autojump(), open_agent(pandium_client) as agent:
        result = await agent.call("wait_for_run", trigger_id="17", seconds=5)
    assert result["ended"] is False
    assert "the last request failed: " in result["note"]
    assert "503" in result["note"]


@pytest.mark.pandium(clock="manual")
async def test_a_wait_for_a_release_says_why_it_failed(
    paced_emulator: Emulator, pandium_client: AsyncPandium
) -> None:
    """If the service fails during the whole wait, the result is an error with the reason."""
    paced_emulator.faults.add(None, Status(503))
    async with paced_emulator.clock.autojump(), open_agent(pandium_client) as agent:
        message = await agent.fail("find_release", integration_id=1, tag="v1", wait_seconds=30)
    assert "no release has the tag 'v1' after 30 s" in message
    assert "503" in message


# Logs


def serving_log(log: str) -> Behavior:
    """Return a service with one run, whose log is at a signed URL."""

    async def play(wire: Wire) -> None:
        assert wire.request is not None
        if wire.request.path == "/storage":
            await wire.send(answer(log.encode()))
        else:
            location = f"http://{wire.request.header('host')}/storage?signature=signed"
            await wire.send(answer(b"", "302 Found", {"Location": location}))

    return Behavior("a log", play, keeps=True)


async def read_log(log: str, **arguments: Any) -> dict[str, Any]:
    with Misbehaving(otherwise=serving_log(log)) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client, open_agent(client) as agent:
            return await agent.call("get_run_log", run_id=5, **arguments)


@pytest.mark.parametrize(("arguments", "kept"), [({}, 100), ({"max_lines": 3}, 3)])
async def test_a_long_log_is_shortened_from_its_beginning(
    arguments: dict[str, int], kept: int
) -> None:
    """The end of a log is kept, and a note says how many lines are missing."""
    lines = [f"line {number}" for number in range(1, 1001)]
    result = await read_log("\n".join(lines), **arguments)
    assert result["log"].splitlines() == lines[-kept:]
    assert result["omitted_lines"] == 1000 - kept
    assert result["note"] == f"the first {1000 - kept} lines are not shown"


@pytest.mark.parametrize("log", ["a\n\n", "\n\n\n", "a\n\n\nb\n"])
async def test_empty_lines_of_a_short_log_are_not_missing(log: str) -> None:
    """No line is said to be missing from a log that is shown as a whole."""
    result = await read_log(log)
    assert (result["omitted_lines"], result.get("note")) == (0, None)


async def test_a_huge_log_is_bounded() -> None:
    """A log of megabytes results in at most 16 KiB, even if it is a single line."""
    for log in ("x" * 2**22 + "end", "x\n" * 2**20 + "end", ("x" * 1000 + "\n") * 5000 + "end"):
        result = await read_log(log, max_lines=500)
        assert result["log"].endswith("end")
        assert len(result["log"]) <= 16 * 1024 + 1
        assert len(json.dumps(result)) < 40_000
        assert result["omitted_lines"] == len(log.splitlines()) - len(result["log"].splitlines())


@pytest.mark.parametrize("after", [0, 100, 16_384 - 9, 2**16 - 9, 2**16 - 1])
@pytest.mark.parametrize("key", [KEY, KEY.replace("-", "%2D"), KEY.upper()])
async def test_the_key_is_redacted_wherever_the_log_is_cut(after: int, key: str) -> None:
    """No part of the key is shown, even if the log is cut in the middle of it."""
    result = await read_log("start " + key * 4000 + "." * after)
    text = result["log"].lower()
    assert "-key-of" not in text
    assert "tests" not in text
    assert "of%2d" not in text


async def test_a_signed_url_is_never_shown() -> None:
    """An error of the storage host does not contain the URL of the log."""

    async def play(wire: Wire) -> None:
        assert wire.request is not None
        if wire.request.path == "/storage":
            await wire.send(answer(b"<Error>signature=signed</Error>", "403 Forbidden"))
        else:
            location = f"http://{wire.request.header('host')}/storage?signature=signed"
            await wire.send(answer(b"", "302 Found", {"Location": location}))

    with Misbehaving(otherwise=Behavior("a refused log", play, keeps=True)) as server:
        async with (
            AsyncPandium(KEY, base_url=server.url, retry=Retry.never()) as client,
            open_agent(client) as agent,
        ):
            message = await agent.fail("get_run_log", run_id=5)
    assert "403" in message
    assert "signed" not in message


async def test_a_canceled_call_leaves_no_request(client: AsyncPandium) -> None:
    """Canceling a call closes the connection of its request."""
    stalled = Behavior("stalled", Wire.until_gone)
    with Misbehaving(otherwise=stalled) as server:
        async with AsyncPandium(KEY, base_url=server.url) as other, open_agent(other) as agent:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(agent.fail, "list_tenants")
                await server.until(lambda: server.seen == 1)
                tasks.cancel_scope.cancel()
            await server.until_idle()
            assert server.seen == 1
