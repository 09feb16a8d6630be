"""
Sync tenants with a journal, for as long as it lives: the process that test_killed.py kills.

Arguments: the event loop, the URL, the journal, the number of tenants, how many at once. It writes
a line when it begins, one for each result, and one at its end.
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

# So much faster time goes by, so that a lease of ten seconds takes half of one.
SPEED = 20.0
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FastClock(RealClock):
    """A clock that goes fast, and shows the same time in all processes."""

    def now(self) -> float:
        return super().now() * SPEED

    def wall(self) -> datetime:
        since: timedelta = datetime.now(UTC) - EPOCH
        return EPOCH + since * SPEED

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / SPEED)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        return super().move_on_after(seconds / SPEED)


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def say_result(result: RunResult) -> None:
    word = result.status and result.status.status
    is_unknown = getattr(result.error, "outcome_unknown", None)
    say(tenant=result.tenant_id, word=word, unknown=is_unknown, error=repr(result.error))


def tenants(count: int) -> Iterator[int]:
    yield from range(1, count + 1)


async def main(*words: str) -> None:
    url, journal, count, max_concurrency = words
    with use_clock(FastClock()):
        client = AsyncPandium("key", base_url=url)
    async with client:
        say(begun=True)
        async with client.tenants.sync_all(
            tenants(int(count)),
            mode="normal",
            journal=journal,
            max_concurrency=int(max_concurrency),
            poll=Polling(first=1.0, minimum=1.0, maximum=4.0),
        ) as done:
            async for result in done:
                say_result(result)
        say(done=True)


if __name__ == "__main__":
    backend, *words = sys.argv[1:]
    anyio.run(main, *words, backend=backend)
