"""Deliveries: each notification is sent once in the background, whatever the receiver does."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest
import trustme

from pandium.emulator import Delivery, Emulator
from support import servers
from support.servers import Behavior, Misbehaving, Wire


@pytest.fixture
def receiver() -> Iterator[Misbehaving]:
    with Misbehaving() as server:
        yield server


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


def deliver(emulator: Emulator, url: str, timeout: float = 10.0) -> Delivery:
    emulator.webhooks.send_to(url, timeout=timeout)
    emulator.add_tenant()
    emulator.webhooks.drain()
    [delivery] = emulator.webhooks.deliveries
    return delivery


def test_a_notification_is_posted_as_json_without_a_signature(
    emulator: Emulator, receiver: Misbehaving
) -> None:
    """The request has a JSON body and no header beyond those of HTTP."""
    delivery = deliver(emulator, f"{receiver.url}/a/hook?secret=s%2F3")
    [request] = receiver.requests
    assert (request.method, request.target) == ("POST", "/a/hook?secret=s%2F3")
    assert dict(request.headers) == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/json",
        "content-length": str(len(request.body or b"")),
        "connection": "close",
    }
    assert json.loads(request.body or b"") == delivery.body
    assert delivery.event_type == delivery.body["event_type"] == "new_tenant_created"
    assert (delivery.status, delivery.error, delivery.is_delivered) == (200, None, True)
    assert delivery.duration > 0


def test_a_url_without_a_path_leads_to_the_root(emulator: Emulator, receiver: Misbehaving) -> None:
    """An empty path is sent as `/`, with the query if there is one."""
    emulator.webhooks.send_to(receiver.url)
    emulator.add_tenant()
    emulator.webhooks.send_to(f"{receiver.url}?secret=1")
    emulator.add_tenant()
    emulator.webhooks.drain()
    assert [request.target for request in receiver.requests] == ["/", "/?secret=1"]


@pytest.mark.parametrize(
    ("behavior", "status"),
    [
        (servers.status("204 No Content"), 204),
        (servers.status("302 Found", Location="/elsewhere"), 302),
        (servers.status("404 Not Found"), 404),
        (servers.status("500 Internal Server Error"), 500),
        (servers.status("503 Service Unavailable"), 503),
        (servers.continue_first(), 200),
        (servers.half_a_body(), 200),
        (servers.status_and_reset("429 Too Many Requests"), 429),
        (servers.close_after_the_answer(), 200),
        (servers.tiny_pieces(), 200),
        (servers.switch_protocols(), 101),
        (servers.old_http(), 200),
    ],
    ids=lambda value: value.name if isinstance(value, Behavior) else "",
)
def test_a_status_is_recorded_and_nothing_is_sent_again(
    emulator: Emulator, receiver: Misbehaving, behavior: Behavior, status: int
) -> None:
    """Whatever the status, the notification is sent once, and no redirect is followed."""
    receiver.play([behavior])
    delivery = deliver(emulator, receiver.url)
    assert (delivery.status, delivery.error) == (status, None)
    assert delivery.is_delivered is (200 <= status < 300)
    assert (receiver.accepted, receiver.seen) == (1, 1)


BAD_LENGTH = b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"
CLOSED = "ConnectionError: the receiver closed the connection without a response"
NOT_HTTP = "ValueError: the response is not HTTP/1.1"


@pytest.mark.parametrize(
    ("behavior", "error"),
    [
        (servers.reset("all"), "ConnectionResetError: "),
        (servers.close("all"), CLOSED),
        (servers.half_a_status_line(), NOT_HTTP),
        (servers.garbage(), NOT_HTTP),
        (servers.stall_before_the_answer(), "no response within 0.2 seconds"),
        (servers.stall_in_the_head(), "no response within 0.2 seconds"),
        (servers.byte_by_byte(0.05), "no response within 0.2 seconds"),
        (servers.garbage(BAD_LENGTH), "ValueError: invalid literal"),
    ],
    ids=lambda value: value.name if isinstance(value, Behavior) else "",
)
def test_without_a_response_the_error_is_recorded(
    emulator: Emulator, receiver: Misbehaving, behavior: Behavior, error: str
) -> None:
    """The error states what the receiver did, and the notification is not sent again."""
    receiver.play([behavior])
    delivery = deliver(emulator, f"{receiver.url}/?secret=s3", timeout=0.2)
    assert (delivery.status, delivery.is_delivered) == (None, False)
    assert delivery.error is not None
    assert delivery.error.startswith(error)
    assert "s3" not in repr(delivery)
    assert receiver.seen == 1


def test_an_endless_line_is_an_error(emulator: Emulator, receiver: Misbehaving) -> None:
    """A response with an endless first line is read only up to a limit."""
    receiver.play([servers.garbage(b"x" * 200_000)])
    error = deliver(emulator, receiver.url).error
    assert error is not None
    assert error.startswith("ValueError: ")


def test_a_refused_connection_is_an_error(emulator: Emulator) -> None:
    """If nothing listens on the port of the URL, the error is recorded."""
    with Misbehaving(is_listening=False) as receiver:
        error = deliver(emulator, receiver.url).error
    assert error is not None
    assert error.startswith("ConnectionRefusedError: ")


def test_an_unknown_host_is_an_error(emulator: Emulator) -> None:
    """If the name of the host cannot be resolved, the error is recorded."""
    error = deliver(emulator, "http://receiver.invalid/").error
    assert error is not None
    assert error.startswith("gaierror: ")


def test_a_failure_of_any_kind_ends_no_later_delivery(
    emulator: Emulator, receiver: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where sockets are blocked, as by pytest-socket, the error is recorded."""

    class BlockedSocket(socket.socket):
        def __new__(cls, *args: object, **options: object) -> Self:
            raise RuntimeError("sockets are blocked")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", BlockedSocket)
        assert deliver(emulator, receiver.url).error == "RuntimeError: sockets are blocked"
    emulator.webhooks.clear()
    assert deliver(emulator, receiver.url).status == 200


def test_https_needs_a_trusted_certificate(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An unknown certificate is an error. One that the environment trusts is accepted."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Misbehaving(tls=context) as receiver:
        error = deliver(emulator, receiver.url).error
        assert error is not None
        assert error.startswith("SSLCertVerificationError: ")
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        emulator.webhooks.clear()
        assert deliver(emulator, receiver.url).status == 200


def test_a_receiver_that_hangs_delays_no_request(emulator: Emulator, receiver: Misbehaving) -> None:
    """While a receiver does not respond, the API does, and the next notification waits."""
    receiver.play([servers.stall_before_the_answer()])
    emulator.webhooks.send_to(receiver.url)
    with httpx.Client(base_url=emulator.url, headers={"x-api-key": "k"}, timeout=60) as http:
        for name in ("first", "second"):
            tenant = {"name": name, "integration_id": 1}
            assert http.post("/v2/tenants", json=tenant).status_code == 200
        receiver.wait_until(lambda: receiver.seen == 1)
        assert http.get("/v2/tenants").status_code == 200
    assert emulator.webhooks.deliveries == []
    with pytest.raises(TimeoutError, match=r"^2 notifications have not been sent after 0 seconds$"):
        emulator.webhooks.drain(timeout=0)


def test_a_receiver_that_hangs_delays_no_other_receiver(
    emulator: Emulator, receiver: Misbehaving
) -> None:
    """A notification to another URL is sent while the first receiver does not respond."""
    receiver.play([servers.stall_before_the_answer()])
    emulator.webhooks.send_to(receiver.url, timeout=600)
    emulator.add_tenant()
    receiver.wait_until(lambda: receiver.seen == 1)
    with Misbehaving() as other:
        emulator.webhooks.send_to(other.url)
        emulator.add_tenant()
        other.wait_until(lambda: other.seen == 1)
    assert (receiver.seen, other.seen) == (1, 1)


def test_notifications_are_sent_in_the_order_of_the_events(
    emulator: Emulator, receiver: Misbehaving
) -> None:
    """A receiver gets any number of notifications once each, one after another."""
    emulator.webhooks.send_to(receiver.url)
    names = [emulator.add_tenant().name for _ in range(50)]
    emulator.webhooks.drain()
    assert [json.loads(one.body or b"")["tenant_name"] for one in receiver.requests] == names
    assert [one.body["tenant_name"] for one in emulator.webhooks.deliveries] == names


def test_events_of_several_threads_are_all_sent(emulator: Emulator, receiver: Misbehaving) -> None:
    """Tenants may be added from any thread."""
    emulator.webhooks.send_to(receiver.url)
    threads = [threading.Thread(target=emulator.add_tenant) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emulator.webhooks.drain()
    sent = {json.loads(one.body or b"")["tenant_id"] for one in receiver.requests}
    assert sent == set(range(1, 21))
    assert len(receiver.requests) == 20


def test_deliveries_can_be_removed(emulator: Emulator, receiver: Misbehaving) -> None:
    """`clear` removes the deliveries. The URL is kept."""
    deliver(emulator, receiver.url)
    emulator.webhooks.clear()
    assert emulator.webhooks.deliveries == []
    assert deliver(emulator, receiver.url).status == 200


def test_stopping_sends_what_waits(receiver: Misbehaving) -> None:
    """A receiver that responds gets all pending notifications before the emulator stops."""
    with Emulator() as emulator:
        emulator.webhooks.send_to(receiver.url)
        for _ in range(5):
            emulator.add_tenant()
    assert [one.status for one in emulator.webhooks.deliveries] == [200] * 5


def test_stopping_ends_a_delivery_that_hangs(receiver: Misbehaving) -> None:
    """Notifications without a response, or not sent at all, are recorded with the reason."""
    receiver.play([servers.stall_before_the_answer()])
    with Emulator() as emulator:
        emulator.webhooks.send_to(receiver.url)
        for _ in range(3):
            emulator.add_tenant()
        receiver.wait_until(lambda: receiver.seen == 1)
    results = [(one.status, one.error) for one in emulator.webhooks.deliveries]
    assert results == [(None, "the emulator was stopped")] * 3
    assert receiver.seen == 1
    receiver.wait_until(lambda: not receiver.open)


def test_events_before_the_start_are_sent_at_the_start(receiver: Misbehaving) -> None:
    """An emulator that is stopped and started again keeps the URL and the events."""
    emulator = Emulator()
    for count in (1, 2):
        emulator.webhooks.send_to(receiver.url)
        emulator.add_tenant()
        assert len(receiver.requests) == count - 1
        with emulator:
            emulator.webhooks.drain()
        assert len(receiver.requests) == count
        assert len(emulator.webhooks.deliveries) == count


def test_a_reset_forgets_what_waits(emulator: Emulator, receiver: Misbehaving) -> None:
    """A notification in progress is not recorded, and those after it are not sent."""
    may_answer = threading.Event()

    async def answer_later(wire: Wire) -> None:
        await asyncio.to_thread(may_answer.wait)
        await wire.send(servers.answer(b""))

    receiver.play([Behavior("answer later", answer_later)])
    emulator.webhooks.send_to(receiver.url)
    for _ in range(3):
        emulator.add_tenant()
    receiver.wait_until(lambda: receiver.seen == 1)
    emulator.reset()
    may_answer.set()
    assert deliver(emulator, receiver.url).status == 200
    assert receiver.seen == 2


def test_a_reset_ends_the_wait_for_what_it_removes(receiver: Misbehaving) -> None:
    """`drain` returns once pending notifications have been removed by a reset."""
    emulator = Emulator()  # not started, so nothing is sent
    emulator.webhooks.send_to(receiver.url)
    emulator.add_tenant()
    draining = threading.Thread(target=emulator.webhooks.drain, args=[60])
    draining.start()
    emulator.reset()
    draining.join(30)
    assert not draining.is_alive()
