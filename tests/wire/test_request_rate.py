"""`requests_per_second`: the rate of a whole client, on a manual clock and in real time."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from pandium import AsyncPandium, ConfigurationError, Polling, Retry
from pandium._clock import Clock, RealClock, use_clock
from pandium.emulator import Emulator, ManualClock, Status
from support import KEY

pytestmark = pytest.mark.anyio

TASKS = 200
MARGIN = 1e-5  # seconds, for rounding


class RecordingTransport(httpx.AsyncHTTPTransport):
    """A transport that records the time at which each request is sent."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.times: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.times.append(self._clock.now())
        return await super().handle_async_request(request)


async def work(client: AsyncPandium, emulator: Emulator) -> int:
    """Call two views from 200 tasks, and sync 20 tenants. Return the number of requests."""
    view = client.with_options(retry=Retry(initial=0.01))
    tenants = [emulator.add_tenant().id for _ in range(20)]
    emulator.runs.script(appears_after=0.5, phases=[("Succeeded", 0)])
    emulator.faults.add("tenants.metadata", Status(503), times=20)
    poll = Polling(first=0, minimum=0.1, rate=1000)
    async with anyio.create_task_group() as tasks:
        for number in range(TASKS):
            tasks.start_soon((client, view)[number % 2].tenants.metadata, tenants[0])
        async with client.tenants.sync_all(tenants, mode="normal", poll=poll) as results:
            assert {result.error async for result in results} == {None}
    return len(emulator.requests)


def assert_rate(times: list[float], begins: list[float], rate: float) -> None:
    """Assert that no window that begins at one of the times has too many requests."""
    for begin in begins:
        since = [time for time in times if time >= begin]
        for count, time in enumerate(since, 1):
            assert count <= max(1.0, rate / 10) + rate * (time - begin + MARGIN)


@pytest.mark.parametrize("clock_type", [ManualClock, RealClock])
async def test_the_rate_of_many_tasks_views_and_a_bulk_sync_is_kept(clock_type: Any) -> None:
    """200 tasks on two views, with polls and retries, together never exceed the rate.

    In real time, a request may leave late. The limit therefore holds from the start on. On a manual
    clock, it holds in every window.
    """
    clock = clock_type()
    rate = 300 if isinstance(clock, RealClock) else 10
    emulator_clock = clock if isinstance(clock, ManualClock) else None
    transport = RecordingTransport(clock)
    with use_clock(clock), Emulator(api_key=KEY, clock=emulator_clock) as emulator:
        async with (
            httpx.AsyncClient(transport=transport) as http,
            AsyncPandium(
                KEY,
                base_url=emulator.url,
                http_client=http,
                requests_per_second=rate,
                max_connections=50,
            ) as client,
        ):
            began = clock.now()
            if isinstance(clock, ManualClock):
                async with clock.autojump():
                    count = await work(client, emulator)
            else:
                count = await work(client, emulator)
    assert len(transport.times) == count >= TASKS + 20 + 20 + 20  # calls, retries, syncs, polls
    times = transport.times
    assert_rate(times, times if isinstance(clock, ManualClock) else [began], rate)


@pytest.mark.parametrize("rate", [0, -1, 5e-324, float("nan"), "10", True])
def test_an_invalid_rate_is_a_configuration_error(rate: Any) -> None:
    """The rate must be a number of at least one request in 30 years."""
    with pytest.raises(ConfigurationError, match="requests_per_second must be"):
        AsyncPandium(KEY, requests_per_second=rate)
