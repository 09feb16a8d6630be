"""`api_key` as a function: when it is called, and what its errors do."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from pandium import (
    AsyncPandium,
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    ConnectFailed,
    Outcome,
    Polling,
    Retry,
    ServerError,
)
from support.failures import ODD_ERRORS, report_with_locals
from support.journals import by_tenant
from support.servers import Behavior, Misbehaving, Wire, answer, close, status

if TYPE_CHECKING:
    from pathlib import Path

    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio

FAST = Polling(first=0, minimum=0.01, maximum=0.01, rate=1000)
OLD, NEW = "an-old-key-0001", "the-new-key-0002"


@attrs.define
class KeyService:
    """A service that accepts one key, which rotates after a number of requests."""

    rotate_after: int
    valid: str = OLD
    keys: Counter[str] = attrs.field(factory=Counter)
    rejected: int = 0

    def behavior(self) -> Behavior:
        return Behavior("a service with keys", self._play, keeps=True)

    def read_key(self) -> str:
        """Return the key, as a secret manager does."""
        return self.valid

    async def _play(self, wire: Wire) -> None:
        assert wire.request is not None
        key = wire.request.header("x-api-key") or ""
        self.keys[key] += 1
        if key != self.valid:
            self.rejected += 1
            await wire.send(answer(b'{"detail": "Not authorized"}', "403 Forbidden"))
            return
        if self.keys.total() == self.rotate_after:
            self.valid = NEW
        await wire.send(answer(wire.good))


async def test_a_rotated_key_takes_effect_while_many_calls_are_in_flight() -> None:
    """Each request has the key of the moment at which it is sent, not that of its call.

    Only the requests that were in flight during the rotation can have the old key.
    """
    service = KeyService(rotate_after=10)
    rejected = 0

    async def call(client: AsyncPandium) -> None:
        nonlocal rejected
        try:
            await client.runs.status("1")
        except AuthenticationError:
            rejected += 1

    with Misbehaving(otherwise=service.behavior()) as server:
        options: dict[str, Any] = {"base_url": server.url, "max_connections": 4}
        async with AsyncPandium(service.read_key, **options) as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(100):
                    tasks.start_soon(call, client)
            await client.with_options(timeout=5).runs.status("1")
    assert rejected == service.rejected <= 3
    assert service.keys == {OLD: 10 + rejected, NEW: 91 - rejected}


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_function_is_called_before_every_request(*, is_async: bool) -> None:
    """The function is called once per request, retries included, and never by the constructor."""
    keys = iter(f"key-number-{number}" for number in range(100))

    def read() -> str:
        return next(keys) + "\n"

    async def read_later() -> str:
        return read()

    busy = status("503 Service Unavailable")
    with Misbehaving(busy, busy) as server:
        options: dict[str, Any] = {"base_url": server.url, "retry": Retry(initial=0)}
        async with AsyncPandium(read_later if is_async else read, **options) as client:
            await client.runs.status("1")
            await client.tenants.metadata(7)
    sent = [request.header("x-api-key") for request in server.requests]
    assert sent == [f"key-number-{number}" for number in range(4)]


class VaultError(Exception):
    """An error of a secret manager."""


@pytest.mark.parametrize(
    "error",
    [
        VaultError("sealed"),
        ConnectFailed("no vault"),
        ServerError("down", status_code=503),
        *ODD_ERRORS,
    ],
    ids=repr,
)
async def test_an_error_of_the_function_is_raised_unchanged(error: Exception) -> None:
    """The error reaches the caller as it is, whatever its class. Nothing is sent or retried."""
    calls, state = 0, dict(vars(error))

    async def fail() -> str:
        nonlocal calls
        calls += 1
        raise error

    with Misbehaving() as server:
        async with AsyncPandium(fail, base_url=server.url) as client:
            with pytest.raises(type(error)) as caught:
                await client.tenants.metadata(7)
    assert caught.value is error
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert vars(error) == state  # neither `outcome_unknown` nor `method` was set
    assert (calls, server.seen) == (1, 0)


async def test_an_error_of_a_rotation_does_not_hide_a_lost_request() -> None:
    """If an attempt was lost before the function fails, the library's errors say so."""
    error = ConnectFailed("no vault")

    def rotate() -> str:
        if server.seen:
            raise error
        return "key-number-1"

    with Misbehaving() as server:
        server.play([], otherwise=close("all"))
        retry = Retry(initial=0)
        async with AsyncPandium(rotate, base_url=server.url, retry=retry) as client:
            with pytest.raises(ConnectFailed) as caught:
                await client.tenants.update_metadata(7, {"plan": "gold"})
    assert caught.value is error
    assert caught.value.outcome_unknown
    assert server.seen == 1


async def test_an_error_of_a_rotation_does_not_show_the_old_key() -> None:
    """If the function fails between two attempts, no local variable of ours holds the old key."""
    keys = iter([OLD])

    def read() -> str:
        try:
            return next(keys)
        except StopIteration:
            raise VaultError("sealed") from None

    with Misbehaving(status("503 Service Unavailable")) as server:
        options: dict[str, Any] = {"base_url": server.url, "retry": Retry(initial=0)}
        async with AsyncPandium(read, **options) as client:
            with pytest.raises(VaultError) as caught:
                await client.runs.status("1")
    assert OLD not in report_with_locals(caught.value)


@pytest.mark.parametrize("key", ["", " \n", "a\nb", "ä-key", None, 7, b"bytes"])
async def test_what_the_function_returns_is_validated(key: Any) -> None:
    """A value that is not a key is a ConfigurationError that names api_key. Nothing is sent."""
    with Misbehaving() as server:
        async with AsyncPandium(lambda: key, base_url=server.url) as client:
            with pytest.raises(ConfigurationError, match="the key that api_key returned") as caught:
                await client.runs.status("1")
    assert server.seen == 0
    assert not caught.value.outcome_unknown
    if isinstance(key, str) and key.strip():
        assert repr(key) not in report_with_locals(caught.value)


async def test_current_and_earlier_keys_are_redacted() -> None:
    """A response that echoes the key of an earlier request shows neither key in the error."""
    keys = iter([OLD, NEW])
    echo = status("422 Unprocessable Content", f'{{"message": "{OLD}, {NEW}"}}'.encode())
    with Misbehaving(status("200 OK"), echo) as server:
        async with AsyncPandium(lambda: next(keys), base_url=server.url) as client:
            await client.request("GET", "/v2/x")
            with pytest.raises(Exception, match=r"\*\*\*, \*\*\*") as caught:
                await client.request("GET", "/v2/x")
            assert OLD not in repr(client)
    text = f"{caught.value!r} {vars(caught.value)}"
    assert OLD not in text
    assert NEW not in text


async def test_the_key_of_a_request_is_redacted_until_it_ends() -> None:
    """A response that echoes its own key does not show it, however many keys followed that one."""
    keys = (f"rotating-key-{number:04d}" for number in itertools.count())
    barrier, texts = asyncio.Barrier(20), list[str]()

    async def echo(wire: Wire) -> None:
        assert wire.request is not None
        await barrier.wait()
        key = wire.request.header("x-api-key") or ""
        await wire.send(answer(f'{{"message": "no {key}"}}'.encode(), "400 Bad", {"X-Echo": key}))

    async def fail(client: AsyncPandium) -> None:
        with pytest.raises(BadRequest) as caught:
            await client.runs.status("1")
        texts.append(f"{caught.value!r} {vars(caught.value)}")

    with Misbehaving(otherwise=Behavior("echo", echo, keeps=True)) as server:
        client = AsyncPandium(lambda: next(keys), base_url=server.url)
        async with client, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(fail, client)
    assert len(texts) == 20
    assert not [text for text in texts if "rotating-key" in text]


async def test_earlier_keys_are_redacted_in_events() -> None:
    """The headers of an event contain neither the current key nor an earlier one."""
    keys, headers = iter([OLD, NEW]), list[str]()
    echo = status("200 OK", b"{}", X_Echo=f"{OLD} {NEW} of this request")
    with Misbehaving(status("200 OK"), echo) as server:
        async with AsyncPandium(
            lambda: next(keys),
            base_url=server.url,
            on_response=lambda event: headers.append(event.headers.get("x-echo", "")),
        ) as client:
            await client.request("GET", "/v2/x")
            await client.request("GET", "/v2/x")
    assert headers == ["", "*** *** of this request"]


async def test_the_storage_host_needs_no_key(emulator: Emulator) -> None:
    """The download of a log neither calls the function nor sends the key."""
    calls = 0

    def read() -> str:
        nonlocal calls
        calls += 1
        return "a-key-of-the-tests"

    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    tenant = emulator.add_tenant()
    async with AsyncPandium(read, base_url=emulator.url) as client:
        await client.tenants.sync(tenant.id, mode="normal")
        assert await client.runs.log(1)
    [download] = emulator.storage_requests
    assert "x-api-key" not in download.headers
    assert calls == len(emulator.requests) == 2


async def test_a_tenant_without_a_key_was_certainly_not_triggered(
    emulator: Emulator, tmp_path: Path
) -> None:
    """If the function fails, a bulk sync reports the error, and a later call sends the sync."""
    for _ in range(3):
        emulator.add_tenant()
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    is_sealed = True

    def read() -> str:
        if is_sealed:
            raise VaultError("sealed")
        return "a-key-of-the-tests"

    async with AsyncPandium(read, base_url=emulator.url) as client:

        async def sync() -> Any:
            syncs = client.tenants.sync_all(
                [1, 2, 3], mode="normal", journal=tmp_path / "j", poll=FAST
            )
            async with syncs as results:
                return by_tenant([result async for result in results])

        failed = await sync()
        assert {str(result.error) for result in failed.values()} == {"sealed"}
        assert {result.outcome for result in failed.values()} == {Outcome.FAILED}
        is_sealed = False
        assert {result.outcome for result in (await sync()).values()} == {Outcome.SUCCEEDED}
    for tenant_id in (1, 2, 3):
        emulator.assert_triggered_once(tenant_id)


FORKING = """
import os, sys, anyio
from pandium import AsyncPandium, PandiumError

def read():
    global child
    child = os.fork()
    return "a-key-of-the-tests"

async def main():
    async with AsyncPandium(read, base_url=sys.argv[1]) as client:
        try:
            await client.tenants.sync(1, mode="normal")
        except PandiumError as error:
            print(error, flush=True)
        if child == 0:
            os._exit(0)
    os.waitpid(child, 0)

anyio.run(main, backend="trio")
"""


@pytest.mark.posix
def test_a_request_that_was_begun_before_a_fork_is_sent_once(emulator: Emulator) -> None:
    """If the function forks the process, as trio allows, the request is an error in the child."""
    emulator.add_tenant()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, emulator.url],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "another event loop or process" in done.stdout
    assert done.stderr == ""
    emulator.assert_triggered_once(1)


async def test_a_request_can_be_canceled_while_the_function_runs(emulator: Emulator) -> None:
    """A cancellation ends the function, sends nothing, and frees the connection."""
    emulator.add_tenant()
    is_slow = True

    async def read() -> str:
        if is_slow:
            await anyio.sleep_forever()
        return "a-key-of-the-tests"

    async with AsyncPandium(read, base_url=emulator.url, max_connections=1) as client:
        with anyio.move_on_after(0.05) as scope:
            await client.tenants.metadata(1)
        assert scope.cancelled_caught
        assert not list(emulator.requests)
        is_slow = False
        assert (await client.tenants.metadata(1)).tenant_id == 1
