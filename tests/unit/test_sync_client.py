"""The synchronous client, against the emulator."""

from __future__ import annotations

import contextlib
import gc
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import trio

from pandium import (
    ConfigurationError,
    NotFound,
    Outcome,
    Pandium,
    PandiumError,
    Polling,
    ResponseEvent,
    Retry,
    TriggerStatus,
)
from pandium.emulator import Status
from support import KEY
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator

    from pandium.emulator import Emulator

variable: ContextVar[str] = ContextVar("variable", default="unset")
FAST = Polling(first=0.02, minimum=0.02, maximum=0.02, rate=1000)


def own_threads() -> list[str]:
    return [
        t.name
        for t in threading.enumerate()
        if t.name.startswith(("pandium", "AnyIO")) and t.name != "pandium-emulator"
    ]


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Pandium]:
    with Pandium(KEY, base_url=emulator.url) as open_client:
        yield open_client
    wait_until(lambda: own_threads() == [])


def test_operations_are_called_without_await(emulator: Emulator, client: Pandium) -> None:
    """An operation sends its request and returns the model."""
    tenant = client.tenants.create("acme", emulator.add_integration().id)
    assert client.tenants.find(name="acme") == tenant
    assert client.tenants.update_metadata(tenant.id, {"page": 3}).data == {"page": 3}
    assert client.request("GET", "/v2/tenants")[0]["name"] == "acme"
    trigger = client.tenants.sync(tenant, mode="normal")
    assert client.runs.wait(trigger, poll=FAST).outcome is Outcome.SUCCEEDED


def test_an_error_is_raised_with_the_line_that_called(client: Pandium) -> None:
    """An error of the API reaches the caller, and its traceback begins with the caller's line."""
    with pytest.raises(NotFound) as caught:
        client.tenants.metadata(99)
    [first, *_] = traceback.extract_tb(caught.value.__traceback__)
    assert first.line == "client.tenants.metadata(99)"
    assert KEY not in "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )


def test_invalid_arguments_are_rejected_before_anything_is_sent(
    emulator: Emulator, client: Pandium
) -> None:
    """An invalid argument raises the same error as in the asynchronous client."""
    with pytest.raises(ValueError, match="mode must be"):
        client.tenants.sync(1, mode="fast")
    with pytest.raises(ValueError, match="page_size"):
        client.tenants.list(page_size=501)
    with pytest.raises(ValueError, match="triggers must be"):
        client.runs.as_completed(7)  # type: ignore[arg-type]  # not an iterable
    with pytest.raises(ValueError, match="on_status must be callable"):
        client.runs.wait("1", on_status=7)  # type: ignore[arg-type]  # not a function
    assert len(emulator.requests) == 0


@pytest.mark.parametrize(
    "argument",
    [{"timeout": -1}, {"api_key": ""}, {"on_response": 7}, {"http_client": httpx.Client()}],
)
def test_the_constructor_rejects_invalid_arguments(argument: dict[str, object]) -> None:
    """The constructor raises the same errors as that of the asynchronous client."""
    arguments = {"api_key": KEY, **argument}
    with pytest.raises(ConfigurationError):
        Pandium(**arguments)  # type: ignore[arg-type]  # invalid


def test_its_repr_shows_the_host_but_not_the_key() -> None:
    """The repr names the class and the host."""
    assert repr(Pandium(KEY)) == "Pandium(base_url='https://api.pandium.io')"
    assert repr(object.__new__(Pandium)) == "Pandium()"


def test_a_view_shares_the_thread_and_connections(emulator: Emulator, client: Pandium) -> None:
    """A view has its own options. Closing it has no effect, and closing the client closes it."""
    emulator.add_tenant("acme")
    emulator.faults.add("tenants.list", Status(500), times=2)
    view = client.with_options(retry=Retry.never(), headers={"X-Own": "1"})
    with view, pytest.raises(PandiumError, match="500"):
        view.tenants.list().first()
    assert client.tenants.list().first() is not None
    assert emulator.requests[0].headers["x-own"] == "1"
    client.close()
    with pytest.raises(PandiumError, match="the client is closed"):
        view.tenants.list().first()


def test_a_closed_client_cannot_be_used(client: Pandium) -> None:
    """After closing, each call is a clear error, and closing again has no effect."""
    client.close()
    client.close()
    for call in (
        lambda: client.tenants.metadata(1),
        lambda: client.tenants.list().to_list(),
        lambda: next(iter(client.tenants.list())),
        lambda: client.runs.as_completed([]).__enter__(),
        client.__enter__,
    ):
        with pytest.raises(PandiumError, match="the client is closed"):
            call()


def test_a_user_supplied_http_client_is_closed_with_the_client(emulator: Emulator) -> None:
    """Requests are sent with the user's client, which is closed in the same event loop."""
    sent: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        sent.append(request.url.path)

    http_client = httpx.AsyncClient(event_hooks={"request": [on_request]})
    with Pandium(KEY, base_url=emulator.url, http_client=http_client) as client:
        client.tenants.list().first()
    assert sent == ["/v2/tenants"]
    assert http_client.is_closed


def test_a_hundred_threads_use_one_client(emulator: Emulator, client: Pandium) -> None:
    """A hundred threads at once list, sync and wait, and each gets its own results."""
    for _ in range(100):
        emulator.add_tenant()
    emulator.runs.script(phases=[("Succeeded", 0)])
    start = threading.Barrier(100)

    def work(number: int) -> tuple[int, str]:
        start.wait()
        [tenant] = client.tenants.list(skip=number, limit=1).to_list()
        trigger = client.tenants.sync(tenant, mode="normal")
        return tenant.id, client.runs.wait(trigger, poll=FAST).status

    with ThreadPoolExecutor(100) as pool:
        results = list(pool.map(work, range(100)))
    assert sorted(results) == [(number, "Succeeded") for number in range(1, 101)]
    for tenant in emulator.tenants:
        emulator.assert_triggered_once(tenant.id)


# Functions of the user


def test_on_status_runs_in_another_thread_with_the_callers_context(
    emulator: Emulator, client: Pandium
) -> None:
    """A plain function sees the caller's context variables, and may itself use the client."""
    tenant = emulator.add_tenant("acme")
    seen: list[tuple[str, str, object]] = []

    def on_status(status: TriggerStatus) -> None:
        name = client.tenants.metadata(tenant.id).tenant_id
        seen.append((threading.current_thread().name, variable.get(), name))

    token = variable.set("caller")
    try:
        client.runs.wait(
            client.tenants.sync(tenant.id, mode="normal"), poll=FAST, on_status=on_status
        )
    finally:
        variable.reset(token)
    assert set(seen) == {("pandium functions", "caller", tenant.id)}


def test_functions_of_one_call_never_run_at_the_same_time(
    emulator: Emulator, client: Pandium
) -> None:
    """``payload``, ``on_triggered`` and ``on_status`` of one call run one after another."""
    for _ in range(8):
        emulator.add_tenant()
    lock, threads, calls = threading.Lock(), set[int](), list[str]()

    def exclusive(name: str) -> None:
        assert lock.acquire(blocking=False), "two functions run at the same time"
        threads.add(threading.get_ident())
        calls.append(name)
        lock.release()

    def payload(tenant: object) -> dict[str, str]:
        exclusive("payload")
        return {"a": "b"}

    with client.tenants.sync_all(
        client.tenants.list(),
        mode="normal",
        poll=FAST,
        payload=payload,
        on_triggered=lambda trigger, tenant_id: exclusive("on_triggered"),
        on_status=lambda status, tenant_id: exclusive("on_status"),
    ) as results:
        assert all(result.outcome is Outcome.SUCCEEDED for result in results)
    assert len(threads) == 1
    assert (calls.count("payload"), calls.count("on_triggered")) == (8, 8)
    assert calls.count("on_status") >= 8
    assert results.progress.succeeded == 8


def test_progress_can_be_read_after_the_client_was_closed(
    emulator: Emulator, client: Pandium
) -> None:
    """The progress of results is their last one after the client was closed inside the block."""
    emulator.add_tenant("acme")
    with client.tenants.sync_all(client.tenants.list(), mode="normal", poll=FAST) as results:
        next(results)
        client.close()
        inside = results.progress
    assert (inside.succeeded, inside.active) == (1, 0)
    assert results.progress == inside


def test_it_can_be_used_in_a_trio_task(emulator: Emulator) -> None:
    """The event loop of the caller does not matter, because the client has its own."""
    emulator.add_tenant("acme")

    async def main() -> list[str]:
        with Pandium(KEY, base_url=emulator.url, requests_per_second=20) as client:
            with client.tenants.sync_all([1], mode="normal", poll=FAST) as results:
                assert next(results).outcome is Outcome.SUCCEEDED
            with client.tenants.list().stream() as tenants:
                assert len(list(tenants)) == 1
            for _ in range(3):
                client.tenants.metadata(1)
            return [tenant.name for tenant in client.tenants.list()]

    assert trio.run(main) == ["acme"]


class Job:
    """An object that refers to its own generator, so that only the garbage collector finds them."""

    def __init__(self, client: Pandium, source: AsyncIterator[int]) -> None:
        self.results = self.sync(client, source)

    def close(self) -> None:
        self.results.close()

    def sync(self, client: Pandium, source: AsyncIterator[int]) -> Generator[int | None]:
        with client.tenants.sync_all(source, mode="normal", poll=FAST) as results:
            for result in results:
                yield result.tenant_id


class Owner:
    """An object whose block is left when it is deleted."""

    def __init__(self, client: Pandium, source: AsyncIterator[int]) -> None:
        self._stack = contextlib.ExitStack()
        results = client.tenants.sync_all(source, mode="normal", poll=FAST)
        found = self._stack.enter_context(results)
        self.results = (result.tenant_id for result in found)
        self.myself = self

    def __del__(self) -> None:
        self._stack.close()


async def collect_in_event_loop() -> None:
    gc.collect()


async def collect_in_worker() -> None:
    await anyio.to_thread.run_sync(gc.collect)


@pytest.mark.parametrize("collect", [collect_in_event_loop, collect_in_worker])
@pytest.mark.parametrize("create", [Job, Owner])
def test_the_garbage_collector_stops_an_abandoned_job_in_any_thread(
    emulator: Emulator,
    client: Pandium,
    create: Callable[[Pandium, AsyncIterator[int]], Job | Owner],
    collect: Callable[[], Awaitable[None]],
) -> None:
    """The block of an abandoned generator is left, even in a thread that the job waits for."""
    emulator.add_tenant("acme")
    is_abandoned, is_canceled = threading.Event(), threading.Event()

    async def source() -> AsyncIterator[int]:
        yield 1
        await anyio.to_thread.run_sync(is_abandoned.wait)
        await collect()
        try:
            await anyio.sleep_forever()
        finally:
            is_canceled.set()

    job = create(client, source())
    assert next(job.results) == 1
    gc.disable()  # so that only `collect` finds the job
    try:
        del job
        is_abandoned.set()
        assert is_canceled.wait(30)
    finally:
        gc.enable()


def test_a_block_that_is_left_in_another_thread_ends_the_work(
    emulator: Emulator, client: Pandium
) -> None:
    """A generator may be closed by another thread, and its work has ended then."""
    emulator.add_tenant("acme")
    has_ended = threading.Event()

    async def source() -> AsyncIterator[int]:
        yield 1
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.1)  # so that the work does not end at once
            has_ended.set()

    job = Job(client, source())
    assert next(job.results) == 1
    with ThreadPoolExecutor(1) as pool:
        pool.submit(job.close).result()
    assert has_ended.is_set()


def test_a_function_that_blocks_does_not_block_the_client(
    emulator: Emulator, client: Pandium
) -> None:
    """While a function blocks, other threads can use the client."""
    tenant = emulator.add_tenant("acme")
    entered, release = threading.Event(), threading.Event()

    def on_status(status: TriggerStatus) -> None:
        entered.set()
        assert release.wait(10)

    with ThreadPoolExecutor(1) as pool:
        trigger = client.tenants.sync(tenant.id, mode="normal")
        wait = pool.submit(lambda: client.runs.wait(trigger, poll=FAST, on_status=on_status))
        assert entered.wait(10)
        assert client.tenants.list().first() is not None
        release.set()
        assert wait.result(10).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("error", [LookupError("no"), SystemExit(3), StopIteration()])
def test_an_error_of_a_function_ends_the_wait(
    emulator: Emulator, client: Pandium, error: BaseException
) -> None:
    """An error in ``on_status`` is raised by the wait, and the client can still be used."""
    tenant = emulator.add_tenant("acme")

    def on_status(status: TriggerStatus) -> None:
        raise error

    trigger = client.tenants.sync(tenant.id, mode="normal")
    expected = LookupError if isinstance(error, LookupError) else RuntimeError
    with pytest.raises(expected):
        client.runs.wait(trigger, poll=FAST, on_status=on_status)
    assert client.tenants.list().first() is not None


def test_async_functions_run_in_the_event_loop(emulator: Emulator, client: Pandium) -> None:
    """Async functions and functions that return awaitables are awaited."""
    tenant = emulator.add_tenant("acme")
    seen: list[str] = []

    async def note(status: TriggerStatus) -> None:
        seen.append(threading.current_thread().name)

    def call(function: Callable[[TriggerStatus], Awaitable[None]], status: TriggerStatus) -> Any:
        return function(status)

    client.runs.wait(client.tenants.sync(tenant.id, mode="normal"), poll=FAST, on_status=note)
    client.runs.wait(
        client.tenants.sync(tenant.id, mode="normal"), poll=FAST, on_status=partial(call, note)
    )
    assert set(seen) == {"pandium"}


def test_classify_must_not_call_the_client(emulator: Emulator, client: Pandium) -> None:
    """``classify`` runs in the event loop, where calling the client is an error and not a hang."""
    tenant = emulator.add_tenant("acme")

    def classify(status: TriggerStatus) -> Outcome:
        client.tenants.list().first()
        return Outcome.SUCCEEDED

    trigger = client.tenants.sync(tenant.id, mode="normal")
    with pytest.raises(RuntimeError, match="cannot be called in its own event loop"):
        client.runs.wait(trigger, poll=FAST, classify=classify)


def test_the_key_and_each_response_pass_through_functions(emulator: Emulator) -> None:
    """``api_key`` and ``on_response`` may be plain functions that block and use a client."""
    emulator.add_tenant("acme")
    events: list[ResponseEvent] = []
    threads: set[str] = set()

    def api_key() -> str:
        threads.add(threading.current_thread().name)
        return KEY

    def on_response(event: ResponseEvent) -> None:
        threads.add(threading.current_thread().name)
        events.append(event)
        if len(events) == 1:
            own.tenants.metadata(1)

    with Pandium(api_key, base_url=emulator.url, on_response=on_response) as own:
        own.tenants.list().first()
    assert [event.template for event in events] == [
        "/v2/tenants",
        "/v2/tenants/{tenant_id}/metadata",
    ]
    assert threads == {"pandium functions"}


def test_an_error_of_the_key_function_is_raised_unchanged(emulator: Emulator) -> None:
    """An error that ``api_key`` raises reaches the caller, and nothing is sent."""

    def api_key() -> str:
        raise LookupError("no key")

    with Pandium(api_key, base_url=emulator.url) as client, pytest.raises(LookupError):
        client.tenants.list().first()
    assert len(emulator.requests) == 0
