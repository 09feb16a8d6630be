"""The client with asyncio's own task groups, timeouts and event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pandium import AsyncPandium, PandiumError, Polling
from support import KEY

if TYPE_CHECKING:
    from pandium.emulator import Emulator


@pytest.mark.asyncio
async def test_tasks_of_a_group_share_a_client(emulator: Emulator) -> None:
    """Concurrent tasks of a task group share one client."""
    tenants = [emulator.add_tenant() for _ in range(30)]
    async with AsyncPandium(KEY, base_url=emulator.url) as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.tenants.metadata(tenant.id)) for tenant in tenants]
        assert [(await task).tenant_id for task in tasks] == [tenant.id for tenant in tenants]


@pytest.mark.asyncio
async def test_a_wait_ends_with_asyncio_timeout(emulator: Emulator) -> None:
    """An asyncio timeout ends a wait, and the client remains usable."""
    emulator.add_tenant()
    async with AsyncPandium(KEY, base_url=emulator.url) as client:
        trigger = await client.tenants.sync(1, mode="normal")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.runs.wait(trigger, poll=Polling(first=1000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.runs.wait(trigger, poll=Polling(first=1000)), 0.05)
        assert (await client.runs.wait(trigger, poll=Polling(first=0.5))).status == "Succeeded"


@pytest.mark.asyncio
async def test_a_canceled_block_leaves_no_task(emulator: Emulator) -> None:
    """A canceled `async with as_completed(…)` block leaves no task running."""
    emulator.add_tenant()
    async with AsyncPandium(KEY, base_url=emulator.url) as client:
        trigger = await client.tenants.sync(1, mode="normal")
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                async with client.runs.as_completed([trigger], poll=Polling(first=1000)) as results:
                    async for _ in results:
                        pytest.fail("no run can have ended yet")
        assert asyncio.all_tasks() == before


def test_a_second_event_loop_is_a_clear_error(emulator: Emulator) -> None:
    """Using a client in an event loop other than that of its first request raises an error."""
    emulator.add_tenant()
    client = AsyncPandium(KEY, base_url=emulator.url)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(client.tenants.metadata(1))
        with pytest.raises(PandiumError, match="another event loop"):
            second.run(client.tenants.metadata(1))
        first.run(client.aclose())
        with pytest.raises(PandiumError, match="closed"):
            second.run(client.tenants.metadata(1))


FORKING = """
import asyncio, os, sys
from pandium import AsyncPandium, PandiumError

client = AsyncPandium(sys.argv[1], base_url=sys.argv[2])
loop = asyncio.new_event_loop()
loop.run_until_complete(client.tenants.metadata(1))
if os.fork() == 0:
    try:
        asyncio.run(client.tenants.metadata(1))
    except PandiumError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
print(loop.run_until_complete(client.tenants.metadata(1)).tenant_id)
loop.run_until_complete(client.aclose())
loop.close()
"""


@pytest.mark.posix
def test_a_forked_process_gets_a_clear_error(emulator: Emulator) -> None:
    """A client used before a fork raises an error in the child and still works in the parent."""
    emulator.add_tenant()
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, KEY, emulator.url],
        capture_output=True,
        text=True,
        check=True,
    )
    error, tenant_id = process.stdout.splitlines()
    assert "another event loop or process" in error
    assert (tenant_id, process.stderr) == ("1", "")


@pytest.mark.asyncio
async def test_nothing_is_left_after_closing(emulator: Emulator) -> None:
    """Closing a client twice is not an error, and no task outlives the client."""
    emulator.add_tenant()
    before = asyncio.all_tasks()
    client = AsyncPandium(KEY, base_url=emulator.url)
    await asyncio.gather(*(client.tenants.metadata(1) for _ in range(10)))
    await client.aclose()
    await client.aclose()
    assert asyncio.all_tasks() == before
