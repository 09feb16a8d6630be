"""What speaks of asyncio itself: its task groups, its time limits, its event loops."""

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
async def test_calls_run_side_by_side_in_a_task_group(emulator: Emulator) -> None:
    """Many tasks share one client."""
    tenants = [emulator.add_tenant() for _ in range(30)]
    async with AsyncPandium(KEY, base_url=emulator.url) as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.tenants.metadata(tenant.id)) for tenant in tenants]
        assert [(await task).tenant_id for task in tasks] == [tenant.id for tenant in tenants]


@pytest.mark.asyncio
async def test_a_wait_ends_with_asyncio_timeout(emulator: Emulator) -> None:
    """The caller's own time limit ends a wait, and the client works on."""
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
async def test_a_block_that_is_cancelled_leaves_no_task(emulator: Emulator) -> None:
    """A cancelled `async with as_completed(…)` ends all that it began."""
    emulator.add_tenant()
    async with AsyncPandium(KEY, base_url=emulator.url) as client:
        trigger = await client.tenants.sync(1, mode="normal")
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                async with client.runs.as_completed([trigger], poll=Polling(first=1000)) as done:
                    async for _ in done:
                        pytest.fail("nothing can have ended yet")
        assert asyncio.all_tasks() == before


def test_a_second_event_loop_is_a_clear_error(emulator: Emulator) -> None:
    """A client belongs to the event loop of its first request; another gets a clear error."""
    emulator.add_tenant()
    client = AsyncPandium(KEY, base_url=emulator.url)

    async def use_and_leave_open() -> None:
        await client.tenants.metadata(1)
        await client._transport.connections._client().aclose()

    asyncio.run(use_and_leave_open())
    with pytest.raises(PandiumError, match="another event loop"):
        asyncio.run(client.tenants.metadata(1))
    asyncio.run(client.aclose())
    with pytest.raises(PandiumError, match="closed"):
        asyncio.run(client.tenants.metadata(1))


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


def test_a_forked_process_gets_a_clear_error(emulator: Emulator) -> None:
    """A client that was used before a fork says so in the child, and works on in the parent."""
    emulator.add_tenant()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, KEY, emulator.url],
        capture_output=True,
        text=True,
        check=True,
    )
    said, tenant_id = done.stdout.splitlines()
    assert "another event loop or process" in said
    assert (tenant_id, done.stderr) == ("1", "")


@pytest.mark.asyncio
async def test_nothing_is_left_after_closing(emulator: Emulator) -> None:
    """Closing twice is no error, and no task outlives the client."""
    emulator.add_tenant()
    before = asyncio.all_tasks()
    client = AsyncPandium(KEY, base_url=emulator.url)
    await asyncio.gather(*(client.tenants.metadata(1) for _ in range(10)))
    await client.aclose()
    await client.aclose()
    assert asyncio.all_tasks() == before
