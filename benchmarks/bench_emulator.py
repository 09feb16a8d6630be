"""
Compare the emulator with an empty FastAPI application under uvicorn, and measure its fixture.

The startup time is measured from the start of the process to the first response. The request rate
is measured with 20 concurrent requests over persistent connections. To measure the cost of the
fixture, two child processes run the same number of tests with and without it. Each result is the
median of all rounds. Finally, a client waits for the runs of 200 tenants on a manual clock. This
measurement is made once per event loop. It includes the polls, which a plain `runs.status` call in
the same process puts into proportion.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import anyio

from pandium import AsyncPandium
from pandium._clock import use_clock
from pandium.emulator import Clock, Emulator, ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

EMPTY = """
import sys
import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/v2/tenants/1/metadata")
def read() -> dict[str, int]:
    return {"tenant_id": 1}


uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""
EMPTY_ASYNC = EMPTY.replace("def read", "async def read")
PATH = "/v2/tenants/1/metadata"
TESTS = 200
TENANTS = 200
CALLS = 2000


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running(name: str) -> Iterator[tuple[str, float]]:
    """Run one of the servers, and yield its URL and the time to its first response in seconds."""
    port = str(free_port())
    commands = {
        "empty, def": ["-c", EMPTY, port],
        "empty, async def": ["-c", EMPTY_ASYNC, port],
        "emulator": ["-m", "pandium.emulator", "--port", port, "--seed", "demo"],
    }
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *commands[name]], stdout=subprocess.DEVNULL)
    try:
        wait_for(int(port))
        yield f"http://127.0.0.1:{port}{PATH}", time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    request = (
        f"GET {PATH} HTTP/1.1\r\nhost: h\r\nx-api-key: k\r\nconnection: close\r\n\r\n".encode()
    )
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(request)
                if connection.recv(12).endswith(b"200"):
                    return
        except OSError:
            time.sleep(0.005)


async def load(url: str, seconds: float) -> float:
    """Return the number of requests per second."""
    count = 0
    async with aiohttp.ClientSession(headers={"x-api-key": "k"}) as session:
        end = time.perf_counter() + seconds

        async def send_requests() -> None:
            nonlocal count
            while time.perf_counter() < end:
                async with session.get(url) as response:
                    await response.read()
                    assert response.status == 200
                count += 1

        await asyncio.gather(*(send_requests() for _ in range(20)))
    return count / seconds


def seconds_of_tests(argument: str) -> float:
    """Return the time that pytest takes to run many tests with this argument, in seconds."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "test_many.py")
        path.write_text(
            "import pytest, pandium, pandium.emulator\n"
            f'@pytest.mark.parametrize("number", range({TESTS}))\n'
            f"def test_it(number{argument}): pass\n"
        )
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=directory)
        return time.perf_counter() - began


@asynccontextmanager
async def emulated(clock: Clock, minutes: float) -> AsyncIterator[tuple[AsyncPandium, list[str]]]:
    """Trigger a run of this length for each tenant, and yield a client and the trigger ids."""
    emulator = Emulator(clock=clock)
    phases = [("Running", minutes * 60), ("Succeeded", 0)]
    emulator.runs.script(appears_after=0, phases=phases, killed_after=1e9)
    tenants = [emulator.add_tenant().id for _ in range(TENANTS)]
    with emulator, use_clock(clock):
        async with AsyncPandium("k", base_url=emulator.url) as client:
            triggers = [await client.tenants.sync(one, mode="normal") for one in tenants]
            yield client, [one.trigger_id for one in triggers]


async def wait_on_manual_clock(minutes: float) -> tuple[int, float, float]:
    """Return the number of polls, the seconds and the seconds of CPU time of a wait."""
    clock = ManualClock()
    async with emulated(clock, minutes) as (client, triggers), clock.autojump():
        began, cpu = time.perf_counter(), time.process_time()
        results = await client.runs.wait_all(triggers, timeout=minutes * 120)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return sum(one.polls for one in results), seconds, cpu


async def call_one_by_one() -> float:
    """Return the CPU time of a call of `runs.status`, in seconds."""
    async with emulated(Clock(), minutes=1e6) as (client, [trigger, *_]):
        began = time.process_time()
        for _ in range(CALLS):
            await client.runs.status(trigger)
        return (time.process_time() - began) / CALLS


def measure_manual_clock(minutes: float) -> None:
    for backend in ("asyncio", "trio"):
        polls, seconds, cpu = anyio.run(wait_on_manual_clock, minutes, backend=backend)
        call = anyio.run(call_one_by_one, backend=backend)
        print(
            f"manual clock, {backend}: {minutes:g} minutes of {TENANTS} tenants in {seconds:.1f} s:"
            f" {polls} polls, each {seconds / polls * 1000:.2f} ms,"
            f" CPU {cpu / polls * 1000:.2f} ms; a runs.status call: CPU {call * 1000:.2f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--minutes", type=float, default=28.0)
    options = parser.parse_args()
    names = ("empty, def", "empty, async def", "emulator")
    starts: dict[str, list[float]] = {name: [] for name in names}
    rates: dict[str, list[float]] = {name: [] for name in names}
    fixture: list[float] = []
    for _ in range(options.rounds):
        for name in names:
            with running(name) as (url, start):
                starts[name].append(start)
                rates[name].append(asyncio.run(load(url, options.seconds)))
        fixture.append((seconds_of_tests(", pandium_emulator") - seconds_of_tests("")) / TESTS)
    print(f"{'server':>18} {'start s':>8} {'ratio':>6} {'requests/s':>10} {'ratio':>6}")
    for name in names:
        start, rate = statistics.median(starts[name]), statistics.median(rates[name])
        ratios = [
            statistics.median(
                mine / base for mine, base in zip(of[name], of[names[0]], strict=True)
            )
            for of in (starts, rates)
        ]
        print(f"{name:>18} {start:>8.2f} {ratios[0]:>6.2f} {rate:>10.0f} {ratios[1]:>6.2f}")
    print(f"a test with the fixture: {statistics.median(fixture) * 1000:.1f} ms more than without")
    measure_manual_clock(options.minutes)


if __name__ == "__main__":
    main()
