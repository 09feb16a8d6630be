"""What an application's log contains at level INFO."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx
import pytest

from pandium import AsyncPandium, Polling
from pandium.emulator import Polls
from support import KEY

if TYPE_CHECKING:
    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio

FAST = Polling(first=0, minimum=0, maximum=0, jitter=0, rate=1e6)


def client_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return all records but those of the emulator's server, which runs in this process."""
    return [record for record in caplog.records if not record.name.startswith("uvicorn")]


async def test_a_thousand_polls_leave_no_line_at_level_info(
    emulator: Emulator, client: AsyncPandium, caplog: pytest.LogCaptureFixture
) -> None:
    """With the root logger at INFO, neither this library nor httpx logs a line per request."""
    for _ in range(10):
        emulator.add_tenant()
    emulator.runs.script(appears_after=0, phases=[("Running", Polls(100)), ("Succeeded", 0)])
    with caplog.at_level(logging.INFO):
        async with client.tenants.sync_all(
            client.tenants.list(), mode="normal", poll=FAST
        ) as results:
            assert [result.error async for result in results] == [None] * 10
        assert "Succeeded" in await client.runs.log(1)
    assert len(emulator.requests) >= 1000
    assert client_records(caplog) == []


async def test_each_request_is_logged_at_level_debug(
    emulator: Emulator, client: AsyncPandium, caplog: pytest.LogCaptureFixture
) -> None:
    """With the logger `pandium` at DEBUG, each request is one line."""
    emulator.add_tenant()
    with caplog.at_level(logging.DEBUG, "pandium"):
        await client.tenants.metadata(1)
    [record] = [record for record in caplog.records if record.name == "pandium"]
    assert "GET /v2/tenants/1/metadata: 200" in record.getMessage()


async def test_the_log_of_a_users_own_client_is_left_alone(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A user-supplied `http_client` logs as httpx does."""
    emulator.add_tenant()
    with caplog.at_level(logging.INFO):
        async with (
            httpx.AsyncClient() as http,
            AsyncPandium(KEY, base_url=emulator.url, http_client=http) as client,
        ):
            await client.tenants.metadata(1)
    assert [record.name for record in client_records(caplog)] == ["httpx"]
