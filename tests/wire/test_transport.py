"""The transport's log messages and its rate limit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from pandium import AsyncPandium, NotFound, RateLimited, Retry
from support import KEY

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio


async def test_each_request_is_one_debug_line(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A request is logged with its method, path, status, attempt and duration, without the key."""
    with caplog.at_level(logging.DEBUG, logger="pandium"):
        async with AsyncPandium(KEY, base_url=emulator.url) as client:
            with pytest.raises(NotFound):
                await client.tenants.metadata(7)
    [line] = [record.getMessage() for record in caplog.records if record.name == "pandium"]
    assert line.startswith("GET /v2/tenants/7/metadata: 404 (attempt 1, ")
    assert KEY not in caplog.text


async def test_nothing_is_logged_at_level_info(
    httpx_mock: HTTPXMock, caplog: pytest.LogCaptureFixture
) -> None:
    """At level INFO, neither our logger nor httpx's logs a request."""
    httpx_mock.add_response(status_code=404)
    with caplog.at_level(logging.INFO):
        async with AsyncPandium(KEY) as client:
            with pytest.raises(NotFound):
                await client.tenants.metadata(7)
    assert caplog.messages == []


async def test_a_retry_is_a_warning(
    httpx_mock: HTTPXMock, caplog: pytest.LogCaptureFixture
) -> None:
    """A retry is logged with its reason, delay and attempt number."""
    httpx_mock.add_response(status_code=503)
    httpx_mock.add_response(json={"tenant_id": 1})
    async with AsyncPandium(KEY, retry=Retry(initial=0)) as client:
        await client.tenants.metadata(1)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "GET /v2/tenants/1/metadata: 503 Service Unavailable; retrying in 0.0 s (attempt 2)"
    ]


async def test_a_rate_limit_beyond_max_elapsed_is_raised(httpx_mock: HTTPXMock) -> None:
    """While the client is rate limited for longer than max_elapsed, nothing is sent."""
    httpx_mock.add_response(status_code=429, headers={"Retry-After": "3600"})
    async with AsyncPandium(KEY) as client:
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                await client.tenants.metadata(1)
    assert caught.value.attempts == ()
    assert 3500 < (caught.value.retry_after or 0) <= 3600
    assert len(httpx_mock.get_requests()) == 1
