"""Deliver notifications in the background, each only once and in order to each receiver."""

import asyncio
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pandium.emulator.state.encoding import encode

GRACE = 1.0
MAX_DELIVERIES = 10_000
MAX_READ = 65_536
STOPPED = "the emulator was stopped"
INTERIM = frozenset({HTTPStatus.CONTINUE, HTTPStatus.PROCESSING, HTTPStatus.EARLY_HINTS})
SUCCESSES = range(200, 300)
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: .*)?\r?\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification that has not been sent, and its receiver."""

    event_type: str
    body: Mapping[str, Any]
    url: str = field(repr=False)  # its query may contain a secret
    timeout: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    A notification that was sent, and the receiver's response.

    :ivar status: the status of the response, or None if there was none.
    :ivar error: the reason why there was no response, or None.
    :ivar duration: the time that the delivery took, in seconds of real time.
    """

    event_type: str
    body: Mapping[str, Any]
    status: int | None
    error: str | None
    duration: float

    @property
    def is_delivered(self) -> bool:
        """Whether the response had a 2xx status, as the vendor expects."""
        return self.status in SUCCESSES


class Outbox:
    """The pending notifications and the deliveries. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[Notification]] = {}  # by the URL of the receiver
        self._deliveries: deque[Delivery] = deque(maxlen=MAX_DELIVERIES)
        self._unsent = 0

    @property
    def deliveries(self) -> list[Delivery]:
        """The deliveries, oldest first."""
        with self._changed:
            return list(self._deliveries)

    def put(self, notification: Notification) -> None:
        """Add a notification."""
        with self._changed:
            self._waiting.setdefault(notification.url, deque()).append(notification)
            self._unsent += 1

    @property
    def is_pending(self) -> bool:
        """Whether a notification has not been sent, or is being sent."""
        return self._unsent > 0

    def receivers(self) -> list[str]:
        """Return the URLs for which there are pending notifications."""
        with self._changed:
            return list(self._waiting)

    def take(self, url: str) -> Notification | None:
        """Return the next pending notification for a URL, or None."""
        with self._changed:
            if waiting := self._waiting.get(url):
                return waiting.popleft()
            self._waiting.pop(url, None)
            return None

    def discard(self) -> None:
        """Remove the pending notifications. Those that are being sent are not affected."""
        with self._changed:
            self._unsent -= sum(map(len, self._waiting.values()))
            self._waiting.clear()
            self._changed.notify_all()

    def record(self, notification: Notification, began: float, outcome: int | str) -> None:
        """Record the outcome of a delivery: the status of the response, or an error."""
        status, error = (outcome, None) if isinstance(outcome, int) else (None, outcome)
        duration = time.monotonic() - began
        event_type, body = notification.event_type, notification.body
        with self._changed:
            self._deliveries.append(Delivery(event_type, body, status, error, duration))
            self._unsent -= 1
            self._changed.notify_all()

    def forget_deliveries(self) -> None:
        """Remove the deliveries. Pending notifications are still sent."""
        with self._changed:
            self._deliveries.clear()

    def drain(self, timeout: float | None = None) -> int:
        """Wait until everything is sent. Return the number of pending notifications."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unsent, timeout)
            return self._unsent


class DeliveryWorker:
    """
    A worker that sends the notifications of an outbox until the emulator is stopped.

    :param outbox: a function that returns the current outbox. A reset replaces it.
    :param watch: a function that adds notifications that are due, and returns the number of seconds
        until the next call, or None.
    """

    def __init__(self, outbox: Callable[[], Outbox], watch: Callable[[], float | None]) -> None:
        self._outbox = outbox
        self._watch = watch
        self._changed = asyncio.Event()
        self._is_ending = False
        self._senders: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Check the outbox now. Called in the event loop."""
        self._changed.set()

    def end(self) -> None:
        """Stop once everything is sent, or after one second."""
        self._is_ending = True
        self._changed.set()

    async def run(self) -> None:
        """Send notifications until the worker is stopped. Record the remaining ones as errors."""
        while not self._is_ending:
            self._changed.clear()
            pause = self._watch()
            self._start_senders()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)
        self._watch()
        self._start_senders()
        await self._stop_senders()

    def _start_senders(self) -> None:
        for url in self._outbox().receivers():
            if url not in self._senders:
                self._senders[url] = asyncio.create_task(self._send_to(url))

    async def _send_to(self, url: str) -> None:
        while notification := (outbox := self._outbox()).take(url):
            await _deliver(notification, outbox)
        del self._senders[url]

    async def _stop_senders(self) -> None:
        senders = list(self._senders.values())
        if senders:
            await asyncio.wait(senders, timeout=GRACE)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        outbox = self._outbox()
        for url in outbox.receivers():
            while notification := outbox.take(url):
                outbox.record(notification, time.monotonic(), STOPPED)


async def _deliver(notification: Notification, outbox: Outbox) -> None:
    began = time.monotonic()
    outcome: int | str = STOPPED
    try:
        outcome = await _post(notification)
    except TimeoutError:
        outcome = f"no response within {notification.timeout:g} seconds"
    except Exception as error:  # noqa: BLE001 - a failure must not prevent later deliveries
        outcome = f"{type(error).__name__}: {error}"
    finally:
        outbox.record(notification, began, outcome)


async def _post(notification: Notification) -> int:
    """Send a notification on a new connection, and return the status of the response."""
    url = urlsplit(notification.url)
    is_tls = url.scheme == "https"
    port = url.port or (443 if is_tls else 80)
    async with asyncio.timeout(notification.timeout):
        reader, writer = await asyncio.open_connection(url.hostname, port, ssl=is_tls or None)
        try:
            writer.write(_request(url, encode(notification.body)))
            status, length = await _read_head(reader)
        except BaseException:
            writer.transport.abort()
            raise
    await _close(reader, writer, length)
    return status


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, float]:
    """Skip interim responses. Return the status of the response and the length of its body."""
    status, length = 0, math.inf
    while not status or status in INTERIM:
        status = _parse_status(await reader.readline())
        while (line := await reader.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
    return status, length


def _parse_status(line: bytes) -> int:
    if not line:
        raise ConnectionError("the receiver closed the connection without a response")
    if (match := STATUS_LINE.fullmatch(line)) is None:
        raise ValueError("the response is not HTTP/1.1")
    return int(match[1])


async def _close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: float) -> None:
    """Read the rest of the response, then close. Otherwise the receiver would see an error."""
    try:
        with suppress(OSError):
            async with asyncio.timeout(GRACE):
                while length > 0 and (chunk := await reader.read(MAX_READ)):
                    length -= len(chunk)
    finally:
        writer.transport.abort()


def _request(url: SplitResult, body: bytes) -> bytes:
    target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    head = (
        f"POST {target} HTTP/1.1",
        f"host: {url.netloc}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
