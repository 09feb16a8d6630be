"""Call the tools of the MCP server as an agent does, with the official client."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
from mcp import Client, StdioServerParameters, stdio_client

from pandium._mcp.server import create_server
from support.cli import RUN_CHILD, api_variables, child_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.types import Tool

    from pandium import AsyncPandium


@attrs.frozen
class Agent:
    """A client that calls tools and checks what every result must fulfill."""

    client: Client

    async def tools(self) -> dict[str, Tool]:
        return {tool.name: tool for tool in (await self.client.list_tools()).tools}

    async def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that succeeds, and return its structured result."""
        result = await self.client.call_tool(name, arguments)
        [content] = result.content
        assert content.type == "text"
        assert not result.is_error, content.text
        assert json.loads(content.text) == result.structured_content
        structured: dict[str, Any] = result.structured_content
        return structured

    async def fail(self, name: str, /, **arguments: Any) -> str:
        """Call a tool that fails, and return the message."""
        result = await self.client.call_tool(name, arguments)
        [content] = result.content
        assert content.type == "text"
        assert result.is_error
        assert result.structured_content is None
        assert len(content.text.splitlines()) == 1
        assert len(content.text) < 1000
        text: str = content.text
        return text


@asynccontextmanager
async def open_agent(client: AsyncPandium, **options: Any) -> AsyncIterator[Agent]:
    """Connect to a server in this process, whose tools use the client."""
    async with Client(create_server(client, **options)) as agent:
        yield Agent(agent)


@asynccontextmanager
async def start_agent(url: str, *arguments: str, mode: str = "auto") -> AsyncIterator[Agent]:
    """Start `pandium-api mcp` as a child process, as agents do, and connect to it."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-c", RUN_CHILD, "mcp", *arguments],
        env=child_environment(api_variables(url)),
    )
    async with Client(stdio_client(server), mode=mode) as agent:
        yield Agent(agent)
