"""The tools that change something, called by an agent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.agents import open_agent
from support.cli import sent_posts

if TYPE_CHECKING:
    from pandium import AsyncPandium
    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("arguments", "query", "body"),
    [
        ({}, "mode=normal", None),
        ({"mode": "init", "payload": {"since": 1}}, "mode=init", {"since": 1}),
    ],
)
async def test_a_sync_returns_a_trigger(
    arguments: dict[str, Any],
    query: str,
    body: dict[str, Any] | None,
    emulator: Emulator,
    client: AsyncPandium,
) -> None:
    """One call triggers one sync, and the result leads to `wait_for_run`."""
    tenant = emulator.add_tenant()
    async with open_agent(client, allow_writes=True) as agent:
        result = await agent.call("sync_tenant", tenant_id=tenant.id, **arguments)
        assert result["tenant_id"] == tenant.id
        waited = await agent.call("wait_for_run", trigger_id=result["trigger_id"])
        assert waited["ended"] is True
    assert sent_posts(emulator) == [f"/v2/tenants/{tenant.id}/sync"]
    [request] = [request for request in emulator.requests if request.method == "POST"]
    assert request.query == query
    assert json.loads(request.body or b"null") == body


async def test_a_build_leads_to_its_release(emulator: Emulator, client: AsyncPandium) -> None:
    """One call creates one build, whose release is found by its tag."""
    integration = emulator.add_integration()
    where = {"integration_id": integration.id, "tag": "v7"}
    async with open_agent(client, allow_writes=True) as agent:
        created = await agent.call("create_build", branch="main", **where)
        assert created == {**where, "note": "call find_release with the tag and wait_seconds"}
        found = await agent.call("find_release", wait_seconds=10, **where)
    assert found["release"]["tag"] == "v7"
    assert sent_posts(emulator) == ["/v2/sourcecontrol/build"]
