"""
Sync tenants with a journal: the process that test_killed.py kills.

Arguments: the event loop, the base URL, the journal, the number of tenants, the concurrency, and
what the process does beside the sync: ``nothing``, ``read`` (it reads the journal's file all the
time) or ``fork`` (a child syncs the same tenants). The process writes one JSON line when it starts,
one for each result, and one at the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from pandium import AsyncPandium, Polling, RunResult
from pandium._clock import RealClock, use_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

# The speed of the clock: a lease of 10 seconds expires after half a second of real time.
SPEED = 20.0
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FastClock(RealClock):
    """A clock that runs fast and shows the same date in all processes."""

    def now(self) -> float:
        return super().now() * SPEED

    def wall(self) -> datetime:
        elapsed: timedelta = datetime.now(UTC) - EPOCH
        return EPOCH + elapsed * SPEED

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / SPEED)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        return super().move_on_after(seconds / SPEED)


def write(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def write_result(result: RunResult) -> None:
    status = result.status and result.status.status
    is_unknown = getattr(result.error, "outcome_unknown", None)
    write(tenant=result.tenant_id, status=status, unknown=is_unknown, error=repr(result.error))


def tenants(count: int) -> Iterator[int]:
    yield from range(1, count + 1)


def read_again_and_again(path: Path) -> None:
    while True:
        with suppress(FileNotFoundError):
            path.read_bytes()


def fork_and_sync(*arguments: str) -> None:
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        if status:
            os._exit(70)
        return
    signal.set_wakeup_fd(-1)  # this is the parent's event loop token
    try:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the end of the process
        anyio.run(main, *arguments, backend=sys.argv[1])
    except BaseException:  # noqa: BLE001 - a forked child must not return into the parent's code
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)


def start_beside(action: str, *arguments: str) -> threading.Thread:
    if action == "fork":
        thread = threading.Thread(target=fork_and_sync, args=(*arguments, "nothing"))
    else:
        thread = threading.Thread(
            target=read_again_and_again, args=(Path(arguments[1]),), daemon=True
        )
    thread.start()
    return thread


async def main(*arguments: str) -> None:
    url, journal, count, max_concurrency, action = arguments
    thread: threading.Thread | None = None
    with use_clock(FastClock()):
        client = AsyncPandium("key", base_url=url)
    async with client:
        write(started=True)
        async with client.tenants.sync_all(
            tenants(int(count)),
            mode="normal",
            journal=journal,
            max_concurrency=int(max_concurrency),
            poll=Polling(first=1.0, minimum=1.0, maximum=4.0),
        ) as results:
            async for result in results:
                write_result(result)
                if thread is None and action != "nothing":
                    thread = start_beside(action, *arguments[:-1])
        if thread is not None and not thread.daemon:
            await anyio.to_thread.run_sync(thread.join)
        write(done=True)


if __name__ == "__main__":
    backend, *arguments = sys.argv[1:]
    anyio.run(main, *arguments, backend=backend)
