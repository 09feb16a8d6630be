"""
Compare ``as_completed`` with loops that poll at a fixed interval, for 1,000 runs on a manual clock.

The run durations are log-normally distributed with a median of 60 s, and the status is 404 for the
first 2 s. Each poll is a complete client request to a transport that responds from memory. The
script also measures the memory and CPU time of 10,000 idle triggers.
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

    Method = Callable[[AsyncPandium, "Server", float], Awaitable[None]]

MEDIAN, APPEARS_AFTER = 60.0, 2.0
RATE = 50.0


class Server:
    """A handler that derives each response from the clock and records the time of every poll."""

    def __init__(self, durations: dict[str, float], clock: ManualClock) -> None:
        self.durations = durations
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
        status = "Succeeded" if age >= self.durations[trigger_id] else "Running"
        return httpx.Response(200, json={"status": status})

    def max_polls_per_second(self) -> int:
        times = sorted(time for polls in self.polls.values() for time in polls)
        first = most = 0
        for last, polled_at in enumerate(times):
            while times[first] <= polled_at - (1 - 1e-6):  # tolerate clock rounding errors
                first += 1
            most = max(most, last - first + 1)
        return most

    def lateness(self) -> list[tuple[float, float]]:
        """Return the lateness and the duration of each run, in seconds."""
        return [
            (self.polls[trigger_id][-1] - self.began[trigger_id] - duration, duration)
            for trigger_id, duration in self.durations.items()
        ]


async def produce_triggers(server: Server, per_second: float) -> AsyncIterator[str]:
    for trigger_id in server.durations:
        server.began[trigger_id] = server.clock.now()
        yield trigger_id
        if math.isfinite(per_second):
            await server.clock.sleep(1 / per_second)


async def by_scheduler(client: AsyncPandium, server: Server, per_second: float) -> None:
    polling = Polling(rate=RATE)
    async with client.runs.as_completed(
        produce_triggers(server, per_second), poll=polling, timeout=1e9
    ) as results:
        async for result in results:
            assert result.status is not None


def by_loops(interval: float) -> Method:
    async def loop(client: AsyncPandium, server: Server, trigger_id: str) -> None:
        while True:
            await server.clock.sleep(interval)
            try:
                status = await client.runs.status(trigger_id)
            except NotFound:
                continue
            if status.outcome is not Outcome.ACTIVE:
                return

    async def run(client: AsyncPandium, server: Server, per_second: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for trigger_id in produce_triggers(server, per_second):
                tasks.create_task(loop(client, server, trigger_id))

    return run


METHODS: dict[str, Method] = {
    "pandium": by_scheduler,
    "2 s loop": by_loops(2.0),
    "0.5 s loop": by_loops(0.5),
}


async def measure(method: Method, runs: int, per_second: float, spread: float) -> Server:
    generator = random.Random(1)  # every method gets the same runs
    clock = ManualClock()
    server = Server(
        {str(n): MEDIAN * math.exp(generator.gauss(0, spread)) for n in range(runs)}, clock
    )
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as http, clock.autojump():
        with use_clock(clock):
            client = AsyncPandium("key", http_client=http, max_connections=1000)
        await method(client, server, per_second)
        await client.aclose()
    return server


def figures(server: Server) -> tuple[float, float, float]:
    """
    Return the polls per run, the total lateness and the mean lateness.

    The total lateness is relative to the total duration, the mean lateness to each run's duration.
    """
    lateness = server.lateness()
    polls = statistics.mean(len(times) for times in server.polls.values())
    total = sum(late for late, _ in lateness) / sum(duration for _, duration in lateness)
    return polls, total, statistics.mean(late / duration for late, duration in lateness)


def report(method: str, arrival: str, spread: float, server: Server) -> None:
    polls, total, mean = figures(server)
    print(
        f"{arrival:>11} {spread:>6} {method:>11} {server.max_polls_per_second():>9} {polls:>10.1f}"
        f" {total:>11.1%} {mean:>11.1%}"
    )


async def measure_idle(count: int) -> tuple[float, float]:
    """Return the memory per waiting trigger in bytes, and the CPU share of all triggers."""
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
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    options = parser.parse_args()
    print("polls/s: maximum; late: lateness relative to duration, in total and as the mean per run")
    heads = ("arrival", "spread", "method", "polls/s", "polls/run", "late, total", "late, mean")
    print("{:>11} {:>6} {:>11} {:>9} {:>10} {:>11} {:>11}".format(*heads))
    arrivals = {"at once": math.inf, "10/s": 10.0}
    for spread, arrival, method in itertools.product(options.spreads, arrivals, options.methods):
        server = asyncio.run(measure(METHODS[method], options.runs, arrivals[arrival], spread))
        report(method, arrival, spread, server)
    memory, cpu = asyncio.run(measure_idle(options.triggers))
    print(f"{options.triggers} triggers waiting: {memory:.0f} bytes each, {cpu:.2%} of a CPU")


if __name__ == "__main__":
    main()
