"""
Wait for 1,000 runs on a clock that skips, by our schedule and by loops with a fixed pause.

The lengths of the runs are log-normal with a median of 60 s; 404 is the answer for the first 2 s. A
look is a whole call of the client, up to a transport that answers from memory. Then 10,000 triggers
that only wait: memory and CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import random
import statistics
import time
import tracemalloc
from collections import defaultdict
from typing import TYPE_CHECKING

import httpx

from pandium import AsyncPandium, NotFound, Outcome, Polling, Trigger
from pandium._clock import use_clock
from pandium.emulator import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Way = Callable[[AsyncPandium, "Server", float], Awaitable[None]]

MEDIAN, APPEARS_AFTER = 60.0, 2.0
RATE = 50.0


class Server:
    """Answers by the clock, and keeps the time of each look at each trigger."""

    def __init__(self, lengths: dict[str, float], clock: ManualClock) -> None:
        self.lengths = lengths
        self.clock = clock
        self.began: dict[str, float] = {}
        self.polls: dict[str, list[float]] = defaultdict(list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        trigger_id = request.url.path.split("/")[4]
        now = self.clock.now()
        self.polls[trigger_id].append(now)
        age = now - self.began[trigger_id]
        if age < APPEARS_AFTER:
            return httpx.Response(404, json={"detail": "no run yet"})
        word = "Succeeded" if age >= self.lengths[trigger_id] else "Running"
        return httpx.Response(200, json={"status": word})

    def most_in_a_second(self) -> int:
        times = sorted(at for looks in self.polls.values() for at in looks)
        first = most = 0
        for last, at in enumerate(times):
            while times[first] <= at - (1 - 1e-6):  # the clock adds up fractions
                first += 1
            most = max(most, last - first + 1)
        return most

    def lateness(self) -> list[tuple[float, float]]:
        """Give for each run how late its end was seen, and its length."""
        return [
            (self.polls[one][-1] - self.began[one] - length, length)
            for one, length in self.lengths.items()
        ]


async def arriving(server: Server, a_second: float) -> AsyncIterator[str]:
    for trigger_id in server.lengths:
        server.began[trigger_id] = server.clock.now()
        yield trigger_id
        if math.isfinite(a_second):
            await server.clock.sleep(1 / a_second)


async def by_schedule(client: AsyncPandium, server: Server, a_second: float) -> None:
    polling = Polling(rate=RATE)
    async with client.runs.as_completed(
        arriving(server, a_second), poll=polling, timeout=1e9
    ) as done:
        async for completed in done:
            assert completed.status is not None


def by_loops(pause: float) -> Way:
    async def loop(client: AsyncPandium, server: Server, trigger_id: str) -> None:
        while True:
            await server.clock.sleep(pause)
            try:
                status = await client.runs.status(trigger_id)
            except NotFound:
                continue
            if status.outcome is not Outcome.ACTIVE:
                return

    async def run(client: AsyncPandium, server: Server, a_second: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for trigger_id in arriving(server, a_second):
                tasks.create_task(loop(client, server, trigger_id))

    return run


WAYS: dict[str, Way] = {
    "pandium": by_schedule,
    "2 s loop": by_loops(2.0),
    "0.5 s loop": by_loops(0.5),
}


async def measure(way: Way, runs: int, a_second: float, spread: float) -> Server:
    lengths = random.Random(1)  # the same runs for each way
    clock = ManualClock()
    server = Server(
        {str(n): MEDIAN * math.exp(lengths.gauss(0, spread)) for n in range(runs)}, clock
    )
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as http, clock.autojump():
        with use_clock(clock):
            client = AsyncPandium("key", http_client=http, max_connections=1000)
        await way(client, server, a_second)
        await client.aclose()
    return server


def figures(server: Server) -> tuple[float, float, float]:
    """Give the looks a run, and the lateness: of all lengths, and the mean of each run's own."""
    late = server.lateness()
    looks = statistics.mean(len(times) for times in server.polls.values())
    of_sums = sum(by for by, _ in late) / sum(length for _, length in late)
    return looks, of_sums, statistics.mean(by / length for by, length in late)


def report(way: str, arrival: str, spread: float, server: Server) -> None:
    looks, of_sums, of_each = figures(server)
    print(
        f"{arrival:>11} {spread:>6} {way:>11} {server.most_in_a_second():>9} {looks:>10.1f}"
        f" {of_sums:>9.1%} {of_each:>10.1%}"
    )


async def wait_for(count: int) -> tuple[float, float]:
    """Give the bytes a trigger that waits, and the CPU seconds a second of waiting."""
    triggers = [Trigger(str(number)) for number in range(count)]
    async with AsyncPandium("key", base_url="http://127.0.0.1:9") as client:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        async with client.runs.as_completed(triggers, poll=Polling(first=1e6), timeout=1e9):
            await asyncio.sleep(1)
            memory = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            cpu, began = time.process_time(), time.perf_counter()
            await asyncio.sleep(5)
            return memory / count, (time.process_time() - cpu) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--spreads", type=float, nargs="*", default=[0.5, 1.0])
    parser.add_argument("--triggers", type=int, default=10_000)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    options = parser.parse_args()
    print("polls: most in any second, mean a run; lateness: of all lengths, mean of each")
    heads = ("arrival", "spread", "way", "looks/s", "looks/run", "late, sum", "late, each")
    print("{:>11} {:>6} {:>11} {:>9} {:>10} {:>9} {:>10}".format(*heads))
    arrivals = {"at once": math.inf, "10 a second": 10.0}
    for spread, arrival, way in itertools.product(options.spreads, arrivals, options.ways):
        server = asyncio.run(measure(WAYS[way], options.runs, arrivals[arrival], spread))
        report(way, arrival, spread, server)
    memory, cpu = asyncio.run(wait_for(options.triggers))
    print(f"{options.triggers} triggers waiting: {memory:.0f} bytes each, {cpu:.2%} of a CPU")


if __name__ == "__main__":
    main()
