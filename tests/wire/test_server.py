"""What the MCP server offers, and how it reports errors."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import TextContent

from pandium import AsyncPandium, Retry
from pandium._mcp.server import create_server
from pandium.emulator import Garbage, Status
from support import KEY
from support.agents import open_agent, start_agent
from support.servers import (
    Behavior,
    Misbehaving,
    answer,
    garbage,
    reset,
    stall_before_the_answer,
    status,
)

if TYPE_CHECKING:
    from pandium.emulator import Emulator
    from support.servers import Wire

pytestmark = pytest.mark.anyio

WRITES = {"create_build", "sync_tenant"}


async def test_the_tools_only_read_by_default(client: AsyncPandium) -> None:
    """Without permission to write, no tool that changes something is listed."""
    async with open_agent(client) as agent:
        tools = await agent.tools()
        assert not WRITES & set(tools)
        hints = [tool.annotations for tool in tools.values()]
        assert all(hint is not None and hint.read_only_hint for hint in hints)
        assert "no tool changes anything" in str(agent.client.instructions)


async def test_writes_are_offered_on_request(client: AsyncPandium) -> None:
    """With permission to write, syncs and builds are offered too."""
    async with open_agent(client) as agent:
        reading = set(await agent.tools())
    async with open_agent(client, allow_writes=True) as agent:
        assert set(await agent.tools()) == reading | WRITES
        assert "only if the user asked" in str(agent.client.instructions)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sync_tenant", "sync_tenant changes data: it requires --allow-writes"),
        ("archive_tenant", "there is no tool 'archive_tenant'"),
        (f"tool_{KEY}", "there is no tool 'tool_***'"),
    ],
)
async def test_a_tool_that_is_not_offered_cannot_be_called(
    name: str, message: str, emulator: Emulator, client: AsyncPandium
) -> None:
    """A call of a tool that is not listed is an error of the protocol, and sends nothing."""
    tenant = emulator.add_tenant()
    async with open_agent(client) as agent:
        with pytest.raises(MCPError) as caught:
            await agent.client.call_tool(name, {"tenant_id": tenant.id})
    assert str(caught.value) == message
    assert len(emulator.requests) == 0


async def test_invalid_arguments_are_named_and_nothing_is_sent(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """Invalid arguments are a tool error, so that the agent can correct them."""
    async with open_agent(client, allow_writes=True) as agent:
        message = await agent.fail("sync_tenant", tenant="acme")
    assert "tenant is not an argument" in message
    assert "tenant_id is required" in message
    assert "executed" not in message
    assert len(emulator.requests) == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Status(403), "403 Forbidden"),
        (Status(500), "500 Internal Server Error"),
        (Garbage(), "GET /v2/integrations"),
        (Status(404, body=f"no {KEY}".encode()), "404 Not Found: no ***"),
    ],
)
async def test_an_error_of_the_service_is_one_sentence(
    fault: Garbage | Status, message: str, emulator: Emulator
) -> None:
    """Whatever the service returns is reported in one sentence, without the key."""
    emulator.faults.add(None, fault)
    async with (
        AsyncPandium(KEY, base_url=emulator.url, retry=Retry.never()) as client,
        open_agent(client) as agent,
    ):
        text = await agent.fail("list_integrations")
    assert message in text
    assert KEY not in text


async def test_a_wrong_key_is_explained(emulator: Emulator) -> None:
    """A key that the service rejects may belong to another environment."""
    async with (
        AsyncPandium("another-key", base_url=emulator.url) as client,
        open_agent(client) as agent,
    ):
        message = await agent.fail("list_tenants")
    assert message.endswith("the API key may belong to another environment")
    assert "another-key" not in message


@pytest.mark.parametrize(
    ("behavior", "may_have_run"),
    [
        (reset("all"), True),
        (garbage(), True),
        (stall_before_the_answer(), True),
        (status("429 Too Many Requests", Retry_After="1000"), False),
        (status("422 Unprocessable Entity"), False),
    ],
)
async def test_a_write_that_may_have_been_executed_is_reported_as_such(
    behavior: Behavior, *, may_have_run: bool
) -> None:
    """An error says whether the sync may have been triggered, and the sync is sent once."""
    with Misbehaving(otherwise=behavior) as server:
        async with (
            AsyncPandium(KEY, base_url=server.url) as client,
            open_agent(client, allow_writes=True, call_timeout=0.5) as agent,
        ):
            message = await agent.fail("sync_tenant", tenant_id=7)
        assert server.seen == 1
    assert ("it may have been executed" in message) is may_have_run


async def test_a_server_that_is_down_is_one_sentence() -> None:
    """If no connection can be made, the message names the URL."""
    with Misbehaving(is_listening=False) as server:
        async with (
            AsyncPandium(KEY, base_url=server.url, retry=Retry.never()) as client,
            open_agent(client) as agent,
        ):
            message = await agent.fail("list_tenants")
            assert server.url in message


async def test_a_call_is_bounded() -> None:
    """A call that takes too long ends with an error, and its connection is closed."""
    with Misbehaving(otherwise=stall_before_the_answer()) as server:
        async with (
            AsyncPandium(KEY, base_url=server.url) as client,
            open_agent(client, call_timeout=0.05) as agent,
        ):
            message = await agent.fail("find_tenant", tenant_id=1)
            await server.until_idle()
    assert message == "the Pandium API did not respond within 0.05 s"


async def test_an_unexpected_error_is_one_sentence_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error of the user's own key function ends only the call, and is logged without the key."""
    keys = iter([KEY])

    def next_key() -> str:
        for key in keys:
            return key
        raise LookupError(f"the vault\nhas no {KEY}")

    with Misbehaving(otherwise=status("404 Not Found")) as server:
        async with (
            AsyncPandium(next_key, base_url=server.url) as client,
            open_agent(client) as agent,
        ):
            await agent.fail("list_releases", integration_id=1)
            message = await agent.fail("list_releases", integration_id=1)
    assert message == "unexpected LookupError: the vault has no ***"
    [record] = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "pandium.mcp")
    assert record.getMessage() == f"list_releases failed: {message}"


async def test_records_are_redacted(emulator: Emulator, client: AsyncPandium) -> None:
    """A record that contains the key is shown without it."""
    emulator.add_integration(name=KEY, long_name=f"about {KEY}")
    async with open_agent(client) as agent:
        *_, shown = (await agent.call("list_integrations"))["integrations"]
    assert (shown["name"], shown["long_name"]) == ("***", "about ***")


async def test_no_part_of_the_key_is_left_where_a_record_is_cut(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """A long text is redacted before it is cut to 300 characters, so that the key is found."""
    lengths = range(300 - len(KEY), 301)
    for length in lengths:
        emulator.add_integration(name="-" * length + KEY)
    async with open_agent(client) as agent:
        shown = (await agent.call("list_integrations", limit=100))["integrations"]
    names = [one["name"] for one in shown if one["name"].startswith("-")]
    assert [name.rstrip("*…") for name in names] == ["-" * length for length in lengths]


async def test_the_server_introduces_itself(client: AsyncPandium, emulator: Emulator) -> None:
    """The instructions name the API that the tools use, and never the key."""
    server: Any = create_server(client)
    assert (server.name, server.title) == ("pandium", "Pandium")
    assert emulator.url in server.instructions
    assert KEY not in server.instructions


@pytest.mark.parametrize("code", ["200 OK", "422 Unprocessable Content"])
async def test_text_that_cannot_be_encoded_does_not_end_the_server(code: str) -> None:
    """Lone surrogates in a response are replaced. The protocol could not encode them."""

    async def play(wire: Wire) -> None:
        body = (
            {"detail": "odd \ud800"}
            if "422" in code
            else {"trigger_id": "1", "status": "Failed \ud800"}
        )
        await wire.send(answer(json.dumps(body).encode(), code))

    with Misbehaving(otherwise=Behavior("surrogates", play, keeps=True)) as server:
        async with start_agent(server.url) as agent:
            for _ in range(2):
                result = await agent.client.call_tool(
                    "wait_for_run", {"trigger_id": "1", "seconds": 1}
                )
                [content] = result.content
                assert isinstance(content, TextContent)
                assert "\ufffd" in content.text
                assert result.is_error == ("422" in code)
