"""
Compare the synchronous client with other synchronous clients and with the asynchronous client.

The calls are `runs.status`, made by 1 and by 16 threads, or by as many tasks for the asynchronous
client. The listing has 100,000 tenants. In each round, every client sends its requests to the same
server, which runs in another process. CPU time is measured in this process, in all threads. Ratios
to the asynchronous client are computed within a round, and the median of all rounds is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeAlias

import httpx
import requests
from requests.adapters import HTTPAdapter

from pandium import AsyncPandium, Pandium
from server import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATH = "/v2/runs/triggers/1/status"
HEADERS = {"X-API-KEY": "key"}
TENANTS, PAGE_SIZE = 100_000, 500

Call: TypeAlias = "Callable[[], object]"
# The elapsed time and the CPU time, in seconds.
Figures: TypeAlias = tuple[float, float]


@contextmanager
def ours(url: str, width: int) -> Iterator[Call]:
    with Pandium("key", base_url=url, max_connections=width) as client:
        yield lambda: client.runs.status("1")


@contextmanager
def with_httpx(url: str, width: int) -> Iterator[Call]:
    limits = httpx.Limits(max_connections=width, max_keepalive_connections=width)
    with httpx.Client(limits=limits, headers=HEADERS) as client:
        yield lambda: client.get(url + PATH).json()


@contextmanager
def with_requests(url: str, width: int) -> Iterator[Call]:
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=width))
        yield lambda: session.get(url + PATH, headers=HEADERS, timeout=30).json()


CLIENTS: dict[str, Callable[[str, int], AbstractContextManager[Call]]] = {
    "httpx": with_httpx,
    "requests": with_requests,
    "Pandium": ours,
}


def measure_threads(call: Call, width: int, count: int) -> Figures:
    """Make calls in several threads."""

    def make_calls(number: int) -> None:
        for _ in range(number):
            call()

    with ThreadPoolExecutor(width) as pool:
        list(pool.map(make_calls, [1] * width))
        began, cpu = time.perf_counter(), time.process_time()
        list(pool.map(make_calls, [count // width] * width))
        return time.perf_counter() - began, time.process_time() - cpu


async def measure_tasks(url: str, width: int, count: int) -> Figures:
    """Make calls with the asynchronous client in several tasks."""
    async with AsyncPandium("key", base_url=url, max_connections=width) as client:

        async def make_calls(number: int) -> None:
            for _ in range(number):
                await client.runs.status("1")

        await asyncio.gather(*(make_calls(1) for _ in range(width)))
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(make_calls(count // width) for _ in range(width)))
        return time.perf_counter() - began, time.process_time() - cpu


def compare_calls(width: int, count: int, rounds: int) -> None:
    found: dict[str, list[Figures]] = {name: [] for name in ("AsyncPandium", *CLIENTS)}
    with serving(0.001) as url:
        for _ in range(rounds):
            found["AsyncPandium"].append(asyncio.run(measure_tasks(url, width, count)))
            for name, make in CLIENTS.items():
                with make(url, width) as call:
                    found[name].append(measure_threads(call, width, count))
    for name, figures in found.items():
        cpu = statistics.median(cpu for _, cpu in figures) / count * 1000
        speed = statistics.median(count / seconds for seconds, _ in figures)
        cpu_ratio, speed_ratio = ratios(figures, found["AsyncPandium"])
        line = f"{cpu:>9.3f} {cpu_ratio:>10.2f} {speed:>9.0f} {speed_ratio:>14.2f}"
        print(f"{width:>8} {name:>13} {line}")


def ratios(figures: list[Figures], base: list[Figures]) -> Figures:
    """Return the medians of the ratios of CPU time and of speed."""
    pairs = list(zip(figures, base, strict=True))
    cpu = statistics.median(mine[1] / other[1] for mine, other in pairs)
    return cpu, statistics.median(other[0] / mine[0] for mine, other in pairs)


def walk(url: str) -> Figures:
    """List all tenants with the synchronous client."""
    with Pandium("key", base_url=url) as client:
        client.runs.status("1")
        began, cpu = time.perf_counter(), time.process_time()
        seen = sum(1 for _ in client.tenants.list(page_size=PAGE_SIZE))
        assert seen == TENANTS
        return time.perf_counter() - began, time.process_time() - cpu


async def walk_async(url: str, *, is_stream: bool) -> Figures:
    """List all tenants with the asynchronous client."""
    async with AsyncPandium("key", base_url=url) as client:
        await client.runs.status("1")
        began, cpu = time.perf_counter(), time.process_time()
        listing = client.tenants.list(page_size=PAGE_SIZE)
        seen = 0
        if is_stream:
            async with listing.stream() as tenants:
                async for _ in tenants:
                    seen += 1
        else:
            async for _ in listing:
                seen += 1
        assert seen == TENANTS
        return time.perf_counter() - began, time.process_time() - cpu


def compare_listings(rounds: int) -> None:
    found: dict[str, list[Figures]] = {"async for": [], "async stream": [], "for": []}
    with serving(0.0, TENANTS) as url:
        for _ in range(rounds):
            found["async for"].append(asyncio.run(walk_async(url, is_stream=False)))
            found["async stream"].append(asyncio.run(walk_async(url, is_stream=True)))
            found["for"].append(walk(url))
    for name, figures in found.items():
        cpu, speed = ratios(figures, found["async for"])
        micros = statistics.median(cpu for _, cpu in figures) / TENANTS * 1e6
        seconds = statistics.median(seconds for seconds, _ in figures)
        print(f"{name:>13} {micros:>12.2f} {cpu:>10.2f} {seconds:>8.2f} {1 / speed:>11.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    print(f"{'at once':>8} {'client':>13} {'CPU ms':>9} {'CPU ratio':>10}", end=" ")
    print(f"{'calls/s':>9} {'calls/s ratio':>14}")
    for width in (1, 16):
        compare_calls(width, options.calls, options.rounds)
    print(f"\n{'iteration':>13} {'µs a tenant':>12} {'CPU ratio':>10} {'seconds':>8}", end=" ")
    print(f"{'time ratio':>11}")
    compare_listings(options.rounds)


if __name__ == "__main__":
    main()
