"""Connections: slots, time limits and the lifetime of a client."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import httpx
import pytest

from pandium import AsyncPandium, ConnectFailed, RequestTimeout, Retry
from support import KEY

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio


async def test_slots_are_first_come_first_served(emulator: Emulator) -> None:
    """Requests get slots in the order in which they arrive, without a time limit."""
    emulator.add_tenant()
    async with AsyncPandium(KEY, base_url=emulator.url, max_connections=1, timeout=5) as client:
        order: list[int] = []

        async def call(number: int) -> None:
            await client.tenants.metadata(1)
            order.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(call, number)
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
    assert order == sorted(order)


async def test_max_connections_limits_a_users_client(emulator: Emulator) -> None:
    """`max_connections` also limits the requests in flight on a user-supplied client."""
    emulator.add_tenant()
    running = most = 0

    async def enter(_: httpx.Request) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()

    async def leave(_: httpx.Response) -> None:
        nonlocal running
        running -= 1

    hooks: dict[str, Any] = {"request": [enter], "response": [leave]}
    async with (
        httpx.AsyncClient(event_hooks=hooks) as mine,
        AsyncPandium(KEY, base_url=emulator.url, max_connections=3, http_client=mine) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(20):
            tasks.start_soon(client.tenants.metadata, 1)
    assert (running, most) == (0, 3)


async def test_a_refused_connection_is_connect_failed() -> None:
    """If nothing listens, the error says that nothing was sent, and why."""
    async with AsyncPandium(KEY, base_url="http://127.0.0.1:9", retry=Retry(initial=0)) as client:
        with pytest.raises(ConnectFailed) as caught:
            await client.tenants.sync(1, mode="normal")
    assert not caught.value.outcome_unknown
    assert len(caught.value.attempts) == 4
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_handshake_that_times_out_is_connect_failed() -> None:
    """A timeout before the connection is established is a `ConnectFailed`: nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        async with AsyncPandium(KEY, base_url=url, timeout=0.1, retry=Retry.never()) as client:
            with pytest.raises(ConnectFailed, match=r"no connection within 0.1 s") as caught:
                await client.tenants.sync(1, mode="normal")
    assert not caught.value.outcome_unknown


async def test_a_response_that_times_out_is_an_unknown_outcome() -> None:
    """A timeout after the request was sent is a `RequestTimeout` with an unknown outcome."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with AsyncPandium(KEY, base_url=url, timeout=0.1) as client:
            with pytest.raises(
                RequestTimeout, match=r"no complete response within 0.1 s"
            ) as caught:
                await client.tenants.sync(1, mode="normal")
            with pytest.raises(RequestTimeout):
                view = client.with_options(timeout=httpx.Timeout(0.1))
                await view.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown
    assert len(caught.value.attempts) == 1


async def test_a_write_that_times_out_is_an_unknown_outcome() -> None:
    """A write timeout applies if the server does not read the request's body."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        timeout = httpx.Timeout(None, write=0.1)
        async with AsyncPandium(KEY, base_url=url, timeout=timeout, retry=Retry.never()) as client:
            with pytest.raises(RequestTimeout) as caught:
                await client.tenants.update_metadata(1, {"much": "x" * (1 << 24)})
    assert caught.value.outcome_unknown


async def test_an_unclosed_client_warns_where_it_was_created(httpx_mock: HTTPXMock) -> None:
    """An unclosed client emits a `ResourceWarning` with file and line when garbage collected."""
    httpx_mock.add_response(json={"tenant_id": 1})
    client, line = AsyncPandium(KEY), sys._getframe().f_lineno
    await client.tenants.metadata(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
    texts = [str(warning.message) for warning in caught]
    assert f"unclosed AsyncPandium, created at {__file__}:{line}" in texts


def test_an_unused_client_needs_no_closing() -> None:
    """A client that sent nothing is garbage collected without a warning."""
    client = AsyncPandium(KEY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del client
        gc.collect()


IMPORTS = """
import sys, threading, anyio
from pandium import AsyncPandium

key, url, backend = sys.argv[1:]
imported = []

def hook(event, args):
    if event == "import" and threading.current_thread() is threading.main_thread():
        imported.append(args[0])

async def main():
    client = AsyncPandium(key, base_url=url)
    sys.addaudithook(hook)
    async with client:
        await client.tenants.list().first()
        print(imported)

anyio.run(main, backend=backend)
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_entering_the_block_imports_modules_in_a_thread(emulator: Emulator, backend: str) -> None:
    """From `async with` to the first response, no import blocks the event loop."""
    command = [sys.executable, "-c", IMPORTS, KEY, emulator.url, backend]
    assert subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout == "[]\n"


WITHOUT_THREADS = """
import sys, threading
import anyio
from pandium import AsyncPandium

def fail(_):
    raise RuntimeError("can't start new thread")

async def main():
    threading.Thread.start = fail
    async with AsyncPandium(sys.argv[1], base_url=sys.argv[2]) as client:
        print(await client.tenants.list().first())

anyio.run(main, backend=sys.argv[3])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_needs_no_thread(emulator: Emulator, backend: str) -> None:
    """If no thread can be started, the first request imports modules on the event loop."""
    command = [sys.executable, "-c", WITHOUT_THREADS, KEY, emulator.url, backend]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert output == "None\n"


OCCUPIED_THREADS = """
import sys
import anyio
from anyio import from_thread, to_thread
from pandium import AsyncPandium

async def main():
    to_thread.current_default_thread_limiter().total_tokens = 1
    async with AsyncPandium(sys.argv[1], base_url=sys.argv[2]) as client:
        print(await client.tenants.list().first())

async def run():
    await to_thread.run_sync(from_thread.run, main)

anyio.run(run, backend=sys.argv[3])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_may_wait_for_the_first_request(emulator: Emulator, backend: str) -> None:
    """The first request needs none of the application's threads, all of which may wait for it."""
    command = [sys.executable, "-c", OCCUPIED_THREADS, KEY, emulator.url, backend]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=30)
    assert run.stdout == "None\n"
