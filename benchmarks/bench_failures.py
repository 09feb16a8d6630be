"""
Count what goes wrong when the service misbehaves, with a loop, a generated client and pandium.

The service is the emulator. The loop is written with care: it retries with a growing delay, and it
knows that a 404 means that the run does not exist yet. The generated client has no retries.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

import peer_generated
from pandium import AsyncPandium, Polling
from pandium.emulator import Emulator, RateLimit, Reset, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

API = "generated_pandium.api"
LIST = "get_many_tenants_v2_tenants_get"
SYNC = "sync_by_tenant_id_v2_tenants_tenant_id_sync_post"
STATUS = "get_run_status_from_trigger_v2_runs_triggers_trigger_id_status_get"
HEADERS = {"X-API-KEY": "key"}
RETRIED = {429, 500, 502, 503, 504}
FINAL = ("Succeeded", "Failed")
AT_ONCE = 10


class Loop:
    """A loop over httpx with retries."""

    def connect(self, url: str) -> Any:
        return httpx.AsyncClient(base_url=url, headers=HEADERS)

    async def send(self, client: Any, method: str, path: str, **params: Any) -> httpx.Response:
        for pause in (0.05, 0.1, 0.2):
            with suppress(httpx.TransportError):
                response: httpx.Response = await client.request(method, path, params=params)
                if response.status_code not in RETRIED:
                    return response
            await asyncio.sleep(pause)
        response = await client.request(method, path, params=params)
        return response.raise_for_status()

    async def page(self, client: Any, skip: int, limit: int) -> list[int]:
        response = await self.send(client, "GET", "/v2/tenants", skip=skip, limit=limit)
        return [tenant["id"] for tenant in response.json()]

    async def trigger(self, client: Any, tenant: int) -> str:
        response = await self.send(client, "POST", f"/v2/tenants/{tenant}/sync", mode="normal")
        trigger: str = response.raise_for_status().json()["trigger_id"]
        return trigger

    async def status(self, client: Any, trigger: str) -> str:
        response = await self.send(client, "GET", f"/v2/runs/triggers/{trigger}/status")
        is_found = response.status_code == httpx.codes.OK
        return str(response.json()["status"]) if is_found else ""

    async def list_tenants(self, url: str, page_size: int) -> list[int]:
        found: list[int] = []
        async with self.connect(url) as client:
            while True:
                page = await self.page(client, len(found), page_size)
                found += page
                if len(page) < page_size:
                    return found

    async def sync(self, url: str, tenants: list[int], _: Path) -> int:
        slots = asyncio.Semaphore(AT_ONCE)

        async def sync_one(client: Any, tenant: int) -> None:
            async with slots:
                trigger, status = await self.trigger(client, tenant), ""
                while not status.startswith(FINAL):
                    await asyncio.sleep(0.1)
                    status = await self.status(client, trigger)

        async with self.connect(url) as client:
            jobs = [sync_one(client, tenant) for tenant in tenants]
            results = await asyncio.gather(*jobs, return_exceptions=True)
        return sum(isinstance(result, BaseException) for result in results)


class Generated(Loop):
    """The same loop over a client that openapi-python-client generated."""

    def connect(self, url: str) -> Any:
        package: Any = importlib.import_module("generated_pandium")
        return package.AuthenticatedClient(
            url,
            token="key",
            prefix="",
            auth_header_name="X-API-KEY",
            raise_on_unexpected_status=True,
        )

    async def page(self, client: Any, skip: int, limit: int) -> list[int]:
        operation: Any = importlib.import_module(f"{API}.default.{LIST}")
        page = await operation.asyncio(client=client, skip=skip, limit=limit)
        return [tenant.id for tenant in page]

    async def trigger(self, client: Any, tenant: int) -> str:
        operation: Any = importlib.import_module(f"{API}.tenants.{SYNC}")
        mode = importlib.import_module("generated_pandium.models").V2RunMode.NORMAL
        result = await operation.asyncio(tenant, client=client, mode=mode, body=None)
        return str(result.trigger_id)

    async def status(self, client: Any, trigger: str) -> str:
        operation: Any = importlib.import_module(f"{API}.runs.{STATUS}")
        result = await operation.asyncio(trigger, client=client)
        return str(getattr(result, "status", ""))  # a 404 is a value of another class


class Pandium:
    """This library."""

    async def list_tenants(self, url: str, page_size: int) -> list[int]:
        async with AsyncPandium("key", base_url=url) as client:
            return [tenant.id async for tenant in client.tenants.list(page_size=page_size)]

    async def sync(self, url: str, tenants: list[int], journal: Path) -> int:
        poll = Polling(first=0.1, minimum=0.1, rate=1000)
        async with (
            AsyncPandium("key", base_url=url) as client,
            client.tenants.sync_all(
                tenants, mode="normal", max_concurrency=AT_ONCE, poll=poll, journal=journal
            ) as results,
        ):
            return sum([result.error is not None async for result in results])


CLIENTS: dict[str, Any] = {
    "a loop over httpx": Loop(),
    "generated client": Generated(),
    "pandium": Pandium(),
}


@contextmanager
def emulator_with(tenants: int) -> Iterator[Emulator]:
    with Emulator() as emulator:
        for _ in range(tenants):
            emulator.add_tenant()
        yield emulator


def listings() -> None:
    """List 1,000 tenants, 100 a page. After each page, the oldest tenant is archived."""
    for name, client in CLIENTS.items():
        with emulator_with(1000) as emulator:
            emulator.drift.after("tenants.list", emulator.drift.archive(1))
            found = asyncio.run(client.list_tenants(emulator.url, 100))
            remaining = {tenant.id for tenant in emulator.tenants if not tenant.archived}
            missed, twice = len(remaining - set(found)), len(found) - len(set(found))
        print(f"{name:>20}: missed {missed:>4}, listed twice {twice:>3}")


def short_pages() -> None:
    """List 1,000 tenants, 500 a page, from a server that returns at most 50 a page."""
    for name, client in CLIENTS.items():
        with emulator_with(1000) as emulator:
            emulator.page_limit = 50
            found = asyncio.run(client.list_tenants(emulator.url, 500))
        print(f"{name:>20}: missed {1000 - len(set(found)):>4}")


def syncs() -> None:
    """Sync 200 tenants once. Of the syncs, 5% lose their response, 5% get a 503, and 5% a 429."""
    for name, client in CLIENTS.items():
        with emulator_with(200) as emulator, tempfile.TemporaryDirectory() as directory:
            add = emulator.faults.add
            add("tenants.sync", Reset(after_work=True), probability=0.05, seed=1)
            add("tenants.sync", Status(503), probability=0.05, seed=2)
            add("tenants.sync", RateLimit(retry_after=1), probability=0.05, seed=3)
            tenants = [tenant.id for tenant in emulator.tenants]
            errors = asyncio.run(client.sync(emulator.url, tenants, Path(directory, "journal")))
            report(name, emulator, f", reported errors {errors:>3}")


def killed() -> None:
    """Sync 200 tenants once. The process is killed after 100 syncs, and started again."""
    for name in CLIENTS:
        with emulator_with(200) as emulator, tempfile.TemporaryDirectory() as directory:
            command = [
                sys.executable,
                __file__,
                "--child",
                name,
                emulator.url,
                directory,
                sys.path[0],
            ]
            with subprocess.Popen(command) as child:
                while emulator.effects.total() < 100:
                    time.sleep(0.001)
                child.send_signal(signal.SIGKILL)
            subprocess.run(command, check=True)
            report(name, emulator)


def report(name: str, emulator: Emulator, text: str = "") -> None:
    times = Counter(emulator.effects["tenants.sync", tenant.id] for tenant in emulator.tenants)
    more = sum(count for number, count in times.items() if number > 1)
    print(f"{name:>20}: triggered twice {more:>3}, never {times[0]:>3}{text}")


PARTS: dict[str, Callable[[], None]] = {
    part.__name__: part for part in (listings, short_pages, syncs, killed)
}


def run_child(name: str, url: str, directory: str, generated: str) -> None:
    sys.path.insert(0, generated)
    client: Any = CLIENTS[name]
    tenants = list(range(1, 201))
    job: Awaitable[int] = client.sync(url, tenants, Path(directory, "journal"))
    asyncio.run(job)  # type: ignore[arg-type]  # it is a coroutine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=1, help="ignored: the results are counts")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(*options.child)
        return
    with peer_generated.generated() as directory:
        sys.path.insert(0, directory)
        for name in options.parts or PARTS:
            print(f"{name}: {PARTS[name].__doc__}")
            PARTS[name]()


if __name__ == "__main__":
    main()
