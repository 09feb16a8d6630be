"""The vendor's notifications: which event sends which body."""

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest

from pandium.emulator import Emulator, ManualClock
from support.emulating import Api, served
from support.servers import Misbehaving

FAILING = [("Running", 5), ("Failed (Refresh)", 0)]
ACCOUNT = {"environment": "sandbox", "account_id": 1, "account_name": "Emulator"}
INTEGRATION = {"integration_id": 1, "integration_name": "integration-1"}
TENANT = {"tenant_id": 1, "tenant_name": "acme", **INTEGRATION}


@pytest.fixture
def receiver() -> Iterator[Misbehaving]:
    with Misbehaving() as server:
        yield server


@contextmanager
def notified(receiver: Misbehaving, seed: Any = None, **options: Any) -> Iterator[Api]:
    with served(seed) as api:
        api.clock.epoch = datetime(2026, 1, 1, tzinfo=UTC)
        api.emulator.reset()
        api.emulator.webhooks.send_to(f"{receiver.url}/hook?secret=s3", **options)
        yield api


def bodies(api: Api, receiver: Misbehaving) -> list[dict[str, Any]]:
    api.emulator.webhooks.drain()
    found = [json.loads(request.body or b"") for request in receiver.requests]
    receiver.requests.clear()
    return found


def types(api: Api, receiver: Misbehaving) -> list[str]:
    return [body["event_type"] for body in bodies(api, receiver)]


def common(event_type: str, seconds: int = 0) -> dict[str, Any]:
    timestamp = f"2026-01-01T00:00:{seconds:02}+00:00"
    return {"event_type": event_type, **ACCOUNT, "timestamp": timestamp}


def test_a_new_integration_is_notified(receiver: Misbehaving) -> None:
    """Adding an integration sends its id and name. Adding its release sends nothing."""
    with notified(receiver) as api:
        api.emulator.add_integration("orders")
        expected = {"integration_id": 2, "integration_name": "orders"}
        assert bodies(api, receiver) == [{**common("new_integration_created"), **expected}]


def test_a_new_tenant_is_notified(receiver: Misbehaving) -> None:
    """Creating a tenant, through the API or in the test, sends its name and its integration's."""
    with notified(receiver) as api:
        api.http.post("/v2/tenants", json={"name": "acme", "integration_id": 1})
        api.emulator.add_tenant("umbrella")
        other = {**TENANT, "tenant_id": 2, "tenant_name": "umbrella"}
        expected = [{**common("new_tenant_created"), **fields} for fields in (TENANT, other)]
        assert bodies(api, receiver) == expected


ARCHIVALS: dict[str, Callable[[Api], object]] = {
    "delete": lambda api: api.http.delete("/v2/tenants/1"),
    "patch": lambda api: api.http.patch("/v2/tenants/1", json={"archived": True}),
    "test": lambda api: api.emulator.archive_tenant(1),
    "drift": lambda api: api.emulator.drift.archive()(),
}


@pytest.mark.parametrize("archive", ARCHIVALS.values(), ids=list(ARCHIVALS))
def test_an_archived_tenant_is_notified_once(
    receiver: Misbehaving, archive: Callable[[Api], object]
) -> None:
    """Archiving a tenant by any means sends one notification, or none if it was archived before."""
    with notified(receiver, {"integrations": [{}], "tenants": [{"name": "acme"}]}) as api:
        archive(api)
        archive(api)
        api.http.patch("/v2/tenants/1", json={"name": "other"})
        assert bodies(api, receiver) == [{**common("tenant_archived"), **TENANT}]


def test_a_tenant_that_is_restored_can_be_archived_again(receiver: Misbehaving) -> None:
    """The second archival sends a second notification."""
    with notified(receiver, {"integrations": [{}], "tenants": [{}]}) as api:
        for archived in (True, False, True):
            api.http.patch("/v2/tenants/1", json={"archived": archived})
        assert types(api, receiver) == ["tenant_archived"] * 2


def test_a_partner_s_update_is_notified_on_demand(receiver: Misbehaving) -> None:
    """The emulator has no partners, so the test decides when the notification is sent."""
    with notified(receiver) as api:
        webhooks = api.emulator.webhooks
        webhooks.partner_integration_updated(1, partner_id=5, partner_name="Ann's")
        partner = {"partner_id": 5, "partner_name": "Ann's"}
        expected = {**common("partner_integration_updated"), **INTEGRATION, **partner}
        assert bodies(api, receiver) == [expected]
        with pytest.raises(LookupError, match="Integration 9 not found"):
            webhooks.partner_integration_updated(9)


def test_a_failed_run_is_notified_with_the_date_of_its_end(receiver: Misbehaving) -> None:
    """The body has the status and links, and the links lead to the run."""
    seed = {"integrations": [{}], "tenants": [{"name": "acme"}]}
    with notified(receiver, seed) as api:
        api.emulator.runs.script(appears_after=2, phases=FAILING)
        trigger = api.sync()
        api.clock.advance(7)
        [body] = bodies(api, receiver)
        links = {name: body.pop(name) for name in list(body) if name.endswith("link")}
        run = {"run_id": 1, "run_status": "Failed (Refresh)"}
        assert body == {**common("run_failed", 7), **run, **TENANT}
        assert list(links) == ["admin_link", "api_link", "api_status_link", "api_triggers_link"]
        assert all(api.http.get(link).status_code == 200 for link in links.values())
        [row] = api.http.get(links["api_link"]).json()
        assert row["triggers"][0]["id"] == int(trigger)
        status = {"status": "Failed (Refresh)"}
        assert api.http.get(links["api_status_link"]).json() == status


def test_a_run_that_succeeds_is_not_notified(receiver: Misbehaving) -> None:
    """Only failures are sent: of two runs, the one that failed."""
    with notified(receiver, {"integrations": [{}], "tenants": [{}, {}]}) as api:
        api.emulator.runs.script(tenant=2, appears_after=0, phases=FAILING)
        api.sync(1)
        api.sync(2)
        assert bodies(api, receiver) == []
        api.clock.advance(30)
        assert [one["tenant_id"] for one in bodies(api, receiver)] == [2]


def test_a_killed_and_a_scheduled_run_are_notified(receiver: Misbehaving) -> None:
    """A run that takes too long has failed, whatever triggered it."""
    seed = {"integrations": [{}], "tenants": [{"user_schedule": "*/30 * * * *"}]}
    with notified(receiver, seed) as api:
        api.emulator.runs.script(phases=[("Running", math.inf)])
        api.clock.advance(1900)
        assert bodies(api, receiver) == []
        api.clock.advance(600)
        [body] = bodies(api, receiver)
        assert body["run_id"] == 1
        assert (body["run_status"], body["timestamp"][11:19]) == ("Failed (Timeout)", "00:40:00")


def test_a_failed_run_is_noticed_without_any_request(receiver: Misbehaving) -> None:
    """With a real-time clock, the failure is detected even if nobody polls the run."""
    with Emulator() as emulator:
        tenant = emulator.add_tenant()
        emulator.runs.script(appears_after=0, phases=[("Running", 0.05), ("Failed", 0)])
        emulator.webhooks.send_to(receiver.url)
        emulator.runs.trigger(tenant, mode="normal", source="api", payload=None)
        receiver.wait_until(lambda: len(receiver.requests) == 1)
        assert json.loads(receiver.requests[0].body or b"")["run_status"] == "Failed"


@pytest.mark.anyio
async def test_a_failed_run_is_noticed_on_a_manual_clock(receiver: Misbehaving) -> None:
    """After the clock was advanced, the notification has the date at which the run ended."""
    clock = ManualClock()
    with Emulator(clock=clock) as emulator:
        tenant = emulator.add_tenant()
        emulator.runs.script(appears_after=60, phases=[("Running", 60), ("Failed", 0)])
        emulator.webhooks.send_to(receiver.url)
        emulator.runs.trigger(tenant, mode="normal", source="api", payload=None)
        await clock.advance(3600)
        await anyio.to_thread.run_sync(emulator.webhooks.drain)
        [delivery] = emulator.webhooks.deliveries
        assert delivery.body["timestamp"] == "2026-01-01T00:02:00+00:00"


@pytest.mark.anyio
async def test_a_receiver_may_run_in_the_test_s_event_loop() -> None:
    """While a thread waits for the deliveries, the event loop can respond."""
    with Emulator() as emulator:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)

            async def answer(stream: anyio.abc.SocketStream) -> None:
                async with stream:
                    await stream.receive()
                    await stream.send(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, answer)
                emulator.webhooks.send_to(f"http://127.0.0.1:{port}")
                emulator.add_tenant()
                await anyio.to_thread.run_sync(emulator.webhooks.drain)
                tasks.cancel_scope.cancel()
        assert [one.status for one in emulator.webhooks.deliveries] == [202]


def test_each_event_can_be_switched_on_by_itself(receiver: Misbehaving) -> None:
    """Only the selected types are sent."""
    with notified(receiver, events=["tenant_archived", "new_integration_created"]) as api:
        assert api.emulator.webhooks.events == ["new_integration_created", "tenant_archived"]
        api.emulator.runs.script(appears_after=0, phases=FAILING)
        api.emulator.add_integration()
        api.emulator.add_tenant()
        api.sync()
        api.clock.advance(60)
        api.emulator.webhooks.partner_integration_updated(1)
        api.emulator.archive_tenant(1)
        assert types(api, receiver) == ["new_integration_created", "tenant_archived"]


def test_nothing_is_sent_without_a_url(receiver: Misbehaving) -> None:
    """Before the URL is set and after it is removed, no notifications are sent."""
    with served() as api:
        webhooks = api.emulator.webhooks
        assert (webhooks.url, webhooks.events) == (None, [])
        api.emulator.add_tenant("before")
        webhooks.send_to(receiver.url)
        api.emulator.add_tenant("during")
        webhooks.send_to(None)
        api.emulator.add_tenant("after")
        assert [body["tenant_name"] for body in bodies(api, receiver)] == ["during"]


def test_another_url_gets_later_events_alone(receiver: Misbehaving) -> None:
    """An event goes to the URL that was set when it happened."""
    with Misbehaving() as other, notified(receiver) as api:
        api.emulator.add_tenant("first")
        api.emulator.webhooks.send_to(other.url)
        api.emulator.add_tenant("second")
        assert [body["tenant_name"] for body in bodies(api, receiver)] == ["first"]
        assert [body["tenant_name"] for body in bodies(api, other)] == ["second"]


def test_loading_sends_nothing_and_removes_the_url(receiver: Misbehaving) -> None:
    """Records of a seed or a saved state send nothing. A reset also removes the URL."""
    with notified(receiver) as api:
        api.emulator.runs.script(appears_after=0, phases=FAILING)
        api.emulator.add_tenant()
        api.sync()
        state = api.http.get("/_emulator/state").json()
        api.emulator.webhooks.drain()
        receiver.requests.clear()
        api.clock.advance(60)
        api.emulator.load(state)
        assert (api.emulator.webhooks.url, api.emulator.webhooks.deliveries) == (None, [])
        assert types(api, receiver) == []
        api.emulator.webhooks.send_to(receiver.url)
        api.emulator.reset()
        api.emulator.add_tenant()
        assert types(api, receiver) == []


def test_the_secret_in_the_query_is_sent_and_never_shown(receiver: Misbehaving) -> None:
    """The receiver gets the complete URL. `url`, reprs and errors omit the query."""
    with notified(receiver) as api:
        api.emulator.add_tenant()
        api.emulator.webhooks.drain()
        assert receiver.requests[0].target == "/hook?secret=s3"
        assert api.emulator.webhooks.url == f"{receiver.url}/hook?***"
        assert "s3" not in repr(api.emulator.webhooks.deliveries)
    with pytest.raises(ValueError, match=r"^url: .* not 'ftp://x/\?\*\*\*'$"):
        Emulator().webhooks.send_to("ftp://x/?secret=s3")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://localhost/",
        "http://",
        "http:///path",
        "http://localhost:99999/",
        "http://localhost:0/",
        "http://[::1/",
        "http://localhost/a b",
        "http://localhost/\r\nx: y",
        "http://münchen.example/",
        "http://user:password@localhost/",
        7,
    ],
)
def test_a_url_that_cannot_be_sent_is_refused(url: Any) -> None:
    """The error names the argument, and the URL is unchanged."""
    webhooks = Emulator().webhooks
    webhooks.send_to("http://localhost:1/")
    with pytest.raises(ValueError, match=r"^url: must ") as caught:
        webhooks.send_to(url)
    assert "password" not in str(caught.value)
    assert webhooks.url == "http://localhost:1/"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"events": ["run_faild"]}, "events: 'run_faild' is unknown: use new_"),
        ({"events": "run_fail"}, "events: 'run_fail' is unknown: use "),
        ({"timeout": -1}, "timeout: must be "),
        ({"timeout": "1"}, "timeout: must be "),
    ],
)
def test_an_invalid_option_is_refused(options: dict[str, Any], message: str) -> None:
    """The error names the argument and its value."""
    webhooks = Emulator().webhooks
    with pytest.raises(ValueError, match=f"^{message}"):
        webhooks.send_to("http://localhost/", **options)
    assert webhooks.url is None


def test_one_type_can_be_given_as_a_string(receiver: Misbehaving) -> None:
    """A single type can be passed without a list."""
    with notified(receiver, events="tenant_archived") as api:
        api.emulator.add_tenant()
        assert types(api, receiver) == []
        assert api.emulator.webhooks.events == ["tenant_archived"]


class Receiver:
    """A receiver in the event loop of the test, which records the time of each notification."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.received: list[tuple[float, str]] = []
        self.url = ""

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            request = await stream.receive()
            while not request.endswith(b"}"):
                request += await stream.receive()
            await anyio.sleep(0.02)  # real time, in which the clock must not advance
            event_type = json.loads(request.partition(b"\r\n\r\n")[2])["event_type"]
            self.received.append((self.clock.now(), event_type))
            await stream.send(b"HTTP/1.1 204 No Content\r\n\r\n")


@asynccontextmanager
async def receiving(clock: ManualClock) -> AsyncIterator[Receiver]:
    receiver = Receiver(clock)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        receiver.url = f"http://127.0.0.1:{port}/"
        tasks.start_soon(listener.serve, receiver.handle)
        yield receiver
        tasks.cancel_scope.cancel()


async def advance(clock: ManualClock) -> None:
    await clock.advance(60)


async def jump(clock: ManualClock) -> None:
    async with clock.autojump():
        await clock.sleep(60)


@pytest.mark.anyio
@pytest.mark.parametrize("pass_time", [advance, jump])
async def test_a_manual_clock_waits_for_notifications(
    pass_time: Callable[[ManualClock], Awaitable[None]],
) -> None:
    """Each notification is delivered at the time of its event, even to the test's event loop."""
    clock = ManualClock()
    seed: dict[str, Any] = {"integrations": [{}], "tenants": [{}, {}]}
    with Emulator(seed, clock=clock) as emulator:
        async with receiving(clock) as receiver, httpx.AsyncClient(base_url=emulator.url) as http:
            emulator.webhooks.send_to(receiver.url)
            emulator.runs.script(tenant=1, appears_after=2, phases=FAILING)
            emulator.runs.script(tenant=2, appears_after=9, phases=FAILING)
            for tenant in (1, 2):
                path = f"/v2/tenants/{tenant}/sync?mode=normal"
                assert (await http.post(path, headers={"x-api-key": "k"})).is_success
            emulator.archive_tenant(1)
            await pass_time(clock)
            expected = [(0, "tenant_archived"), (7, "run_failed"), (14, "run_failed")]
            assert receiver.received == expected
            assert clock.now() == 60


@pytest.mark.anyio
async def test_a_manual_clock_does_not_wait_for_a_stopped_emulator() -> None:
    """Once the emulator has stopped, its pending notifications do not block the clock."""
    clock = ManualClock()
    with Emulator(clock=clock) as emulator:
        pass
    emulator.webhooks.send_to("http://127.0.0.1:9/")
    emulator.add_tenant()
    await clock.advance(60)
    assert clock.now() == 60
