"""
Sync tenants with a journal: the process that `support.syncing.SyncingProcess` starts.

Arguments: the event loop, and the options as JSON. The process writes one JSON line when it starts,
one for each result and each warning, and one at the end. While it runs, it reads commands of one
byte: ``f`` forks a child that syncs the same tenants, ``r`` reads the file of the journal again and
again.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import httpcore  # noqa: F401 - imported now, because a fork during an import can deadlock
import tenacity  # noqa: F401 - as above

from pandium import AsyncPandium, PandiumError, Polling, RunResult
from pandium._clock import RealClock, use_clock
from pandium.postgres import PostgresJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BACKEND, OPTIONS = sys.argv[1], json.loads(sys.argv[2])
# The speed of the clock: at 20, a lease of 10 seconds expires after half a second of real time.
SPEED: float = OPTIONS["speed"]
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

# If a thread forks while another one is importing a module, the child can never import that module.
# Wait until the first result, because by then all modules have been imported.
may_fork = threading.Event()


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
    # A single call, because `sys.stdout` has a lock and a buffer, which a fork would copy.
    os.write(1, json.dumps({"pid": os.getpid(), **fields}).encode() + b"\n")


class WrittenLog(logging.Handler):
    """A log handler that writes each record as a line."""

    def emit(self, record: logging.LogRecord) -> None:
        write(warning=record.getMessage())


def write_result(result: RunResult) -> None:
    write(
        tenant=result.tenant_id,
        trigger=result.trigger_id,
        status=result.status and result.status.status,
        unknown=getattr(result.error, "outcome_unknown", None),
        error=repr(result.error),
    )


async def tenants() -> AsyncIterator[int]:
    """Yield the ids of all tenants, each one at the time when it is due."""
    numbers = list(range(1, OPTIONS["tenants"] + 1))
    if OPTIONS["seed"] is not None:
        shuffle_due(numbers)
    for number in numbers:
        early = due_time(number) - time.time()
        if early > 0:
            await anyio.sleep(early)
        yield number


def due_time(number: int) -> float:
    return float(OPTIONS["began"] + number * OPTIONS["interval"])


def shuffle_due(numbers: list[int]) -> None:
    """Shuffle the tenants that are due, so that recorded tenants do not all come first."""
    count = sum(due_time(number) <= time.time() for number in numbers)
    due = numbers[:count]
    random.Random(OPTIONS["seed"]).shuffle(due)
    numbers[:count] = due


def open_journal() -> str | PostgresJournal:
    journal: str = OPTIONS["journal"]
    if OPTIONS["job"] is None:
        return journal
    return PostgresJournal(journal, job=OPTIONS["job"], lease=OPTIONS["lease"])


async def sync() -> None:
    with use_clock(FastClock()):
        client = AsyncPandium(
            "key",
            base_url=OPTIONS["url"],
            requests_per_second=OPTIONS["requests_per_second"],
        )
    async with client:
        write(started=True)
        async with client.tenants.sync_all(
            tenants(),
            mode="normal",
            journal=open_journal(),
            max_concurrency=OPTIONS["max_concurrency"],
            poll=Polling(first=1.0, minimum=1.0, maximum=4.0),
        ) as results:
            async for result in results:
                write_result(result)
                may_fork.set()


async def sync_and_report() -> None:
    try:
        await sync()
    except PandiumError as error:
        write(failed=f"{type(error).__name__}: {error}")
    else:
        write(done=True)
    finally:
        may_fork.set()


# Commands


def read_again_and_again() -> None:
    while True:
        with suppress(OSError):
            Path(OPTIONS["journal"]).read_bytes()
        time.sleep(0.001)


def fork_and_sync() -> None:
    may_fork.wait()
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        if status and not os.WIFSIGNALED(status):
            os._exit(70)
        return
    signal.set_wakeup_fd(-1)  # this is the parent's event loop token
    try:
        anyio.run(sync_and_report, backend=BACKEND)
    except BaseException:  # noqa: BLE001 - a forked child must not return into the parent's code
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)


def follow_commands(forks: list[threading.Thread]) -> None:
    # Not `sys.stdin`, which has a lock that the interpreter would wait for when it exits.
    while command := os.read(0, 1):
        target: Any = {b"f": fork_and_sync, b"r": read_again_and_again}[command]
        thread = threading.Thread(target=target, daemon=command == b"r")
        thread.start()
        if command == b"f":
            forks.append(thread)


async def main() -> None:
    forks: list[threading.Thread] = []
    threading.Thread(target=follow_commands, args=(forks,), daemon=True).start()
    await sync_and_report()
    for thread in forks:
        await anyio.to_thread.run_sync(thread.join)


if __name__ == "__main__":
    logging.getLogger("pandium").addHandler(WrittenLog())
    anyio.run(main, backend=BACKEND)
