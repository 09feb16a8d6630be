"""
Sync tenants with a journal: the process that test_killed.py kills.

Arguments: the event loop, the base URL, the journal, the number of tenants, the concurrency. The
process writes one JSON line when it starts, one for each result, and one at the end.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio

from pandium import AsyncPandium, Polling, RunResult
from pandium._clock import RealClock, use_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

# How much faster the clock runs: a lease of 10 seconds expires after half a second.
SPEED = 20.0
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FastClock(RealClock):
    """A clock that runs fast, and shows the same date in all processes."""

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


async def main(*arguments: str) -> None:
    url, journal, count, max_concurrency = arguments
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
        write(done=True)


if __name__ == "__main__":
    backend, *arguments = sys.argv[1:]
    anyio.run(main, *arguments, backend=backend)
