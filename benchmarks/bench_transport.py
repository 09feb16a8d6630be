"""
Compare `runs.status` with plain HTTP clients, with 1 to 1,000 concurrent calls.

In each round, every client sends requests to the same server, which runs in another process. CPU
time is measured in this process. Ratios to plain httpx are computed within a round, and the median
of all rounds is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import httpx2

from pandium import AsyncPandium
from server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATH = "/v2/runs/triggers/1/status"


@asynccontextmanager
async def ours(url: str, width: int, **options: Any) -> AsyncIterator[Any]:
    connections = min(width, 100)
    async with AsyncPandium("key", base_url=url, max_connections=connections, **options) as client:
        yield lambda: client.runs.status("1")


@asynccontextmanager
async def bare(library: Any, url: str, width: int) -> AsyncIterator[Any]:
    limits = library.Limits(max_connections=min(width, 100), max_keepalive_connections=100)
    timeout = library.Timeout(60, pool=None)
    async with library.AsyncClient(limits=limits, timeout=timeout) as client:

        async def call() -> object:
            return (await client.get(url + PATH, headers={"X-API-KEY": "key"})).json()

        yield call


@asynccontextmanager
async def with_aiohttp(url: str, width: int) -> AsyncIterator[Any]:
    connector = aiohttp.TCPConnector(limit=min(width, 100))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call() -> object:
            async with session.get(url + PATH, headers={"X-API-KEY": "key"}) as response:
                return json.loads(await response.read())

        yield call


CLIENTS: dict[str, Callable[[str, int], Any]] = {
    "httpx": lambda url, width: bare(httpx, url, width),
    "httpx2": lambda url, width: bare(httpx2, url, width),
    "aiohttp": with_aiohttp,
    "pandium": ours,
    # With a callback for each response, and a rate that is never reached.
    "pandium+": lambda url, width: ours(
        url, width, on_response=lambda _: None, requests_per_second=1e6
    ),
}


async def measure(make: Callable[[str, int], Any], url: str, width: int, calls: int) -> Any:
    """Return the elapsed time and the CPU time per call, in seconds."""
    async with make(url, width) as call:

        async def run(count: int) -> None:
            for _ in range(count):
                await call()

        await asyncio.gather(*(run(1) for _ in range(width)))
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(run(calls // width) for _ in range(width)))
        made = calls // width * width
        return (time.perf_counter() - began) / made, (time.process_time() - cpu) / made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--widths", type=int, nargs="*", default=[1, 10, 100, 1000])
    options = parser.parse_args()
    print(f"{'at once':>8} {'client':>8} {'CPU ms':>8} {'CPU ratio':>10} {'calls/s ratio':>14}")
    with serving(0.001) as url:
        for width in options.widths:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in CLIENTS}
            calls = max(options.calls, width)
            for _ in range(options.rounds):
                for name, make in CLIENTS.items():
                    found[name].append(asyncio.run(measure(make, url, width, calls)))
            report(width, found)


def report(width: int, found: dict[str, list[tuple[float, float]]]) -> None:
    for name, figures in found.items():
        pairs = list(zip(figures, found["httpx"], strict=True))
        cpu = statistics.median(cpu for _, cpu in figures)
        ratio = statistics.median(mine[1] / base[1] for mine, base in pairs)
        speed = statistics.median(base[0] / mine[0] for mine, base in pairs)
        print(f"{width:>8} {name:>8} {cpu * 1000:>8.3f} {ratio:>10.2f} {speed:>14.2f}")


if __name__ == "__main__":
    main()
