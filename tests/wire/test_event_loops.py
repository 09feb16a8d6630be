"""The main operations on event loops that run tasks in another order than asyncio's default."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import AsyncPandium, Outcome, Polling, WaitTimeout
from support import KEY
from support.posix import IS_POSIX

if TYPE_CHECKING:
    from pathlib import Path

    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio

FAST = Polling(first=0, minimum=0.01, maximum=0.01, rate=1000)


def create_eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # Python 3.12
    return loop


LOOPS: dict[str, dict[str, Any]] = {"debug": {"debug": True}}
if IS_POSIX:
    LOOPS["uvloop"] = {"use_uvloop": True}
if sys.version_info >= (3, 12):
    LOOPS["eager tasks"] = {"loop_factory": create_eager_loop}


@pytest.fixture(params=LOOPS.values(), ids=[*LOOPS])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", request.param


async def test_a_listing_is_complete_on_any_event_loop(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """Each record is listed once, however many pages are requested at the same time."""
    expected = [emulator.add_tenant().id for _ in range(300)]
    for prefetch in (1, 4):
        tenants = client.tenants.list(page_size=20, prefetch=prefetch)
        assert [tenant.id async for tenant in tenants] == expected


async def test_a_bulk_job_can_be_canceled_and_resumed_on_any_event_loop(
    emulator: Emulator, tmp_path: Path
) -> None:
    """No tenant is triggered twice, and each has a result, if the job is canceled at any time."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    ids = [emulator.add_tenant().id for _ in range(40)]
    found: dict[int | None, Outcome] = {}

    async def sync(stop_after: int) -> None:
        async with (
            AsyncPandium(KEY, base_url=emulator.url) as client,
            client.tenants.sync_all(
                ids, mode="normal", journal=tmp_path / "sync.db", poll=FAST, max_concurrency=7
            ) as results,
        ):
            async for result in results:
                found[result.tenant_id] = result.outcome
                stop_after -= 1
                if not stop_after:
                    task.cancel()

    for stop_after in (1, 5, 10, 100):
        task = asyncio.create_task(sync(stop_after))
        await asyncio.wait([task])
    assert not task.cancelled()
    assert task.exception() is None
    assert sorted(tenant_id or 0 for tenant_id in found) == ids
    # The request of a tenant that is unknown was canceled before its response.
    assert set(found.values()) <= {Outcome.SUCCEEDED, Outcome.UNKNOWN}
    posts = Counter(one.path for one in emulator.requests if one.method == "POST")
    assert set(posts.values()) == {1}


async def test_a_wait_ends_at_its_time_limit_on_any_event_loop(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """The time limit of a wait and a cancel scope around it end the wait."""
    emulator.runs.script(appears_after=1000, phases=[("Succeeded", 0)])
    emulator.add_tenant()
    trigger = await client.tenants.sync(1, mode="normal")
    with pytest.raises(WaitTimeout):
        await client.runs.wait(trigger, timeout=0.05, poll=FAST)
    with anyio.move_on_after(0.05) as scope:
        await client.runs.wait(trigger, poll=FAST)
    assert scope.cancelled_caught
