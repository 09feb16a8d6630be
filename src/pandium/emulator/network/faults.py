"""Faults: what may go wrong with a request between a client and the service."""

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.client import responses
from typing import Unpack

from pandium.emulator.network.exchange import Answer, Exchange
from pandium.emulator.network.request_rules import (
    Occasions,
    Plan,
    Plans,
    When,
    read_count,
    read_seconds,
)
from pandium.emulator.runs.clock import Clock
from pandium.emulator.state.encoding import encode

PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Proxy</body></html>\n"
NO_JSON = b'\x00\x9c{"id": 1, "na'
STATUSES = range(400, 600)
TOKEN = re.compile(r"[-!#$%&'*+.^_`|~\w]+", re.ASCII)
TEXT = re.compile(r"[\t\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Latency:
    """
    Wait, then go on: with the next fault that is due, or as if nothing had been.

    `seconds` are seconds of the wall, whatever the emulator's clock does.
    """

    seconds: float

    def __post_init__(self) -> None:
        read_seconds("seconds", self.seconds)

    async def play(self, exchange: Exchange) -> None:
        """Wait."""
        with exchange.connection.idling():
            await asyncio.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class Status:
    """
    Answer with a status of failure, such as 503, before or after the work is done.

    The body is a message in JSON, unless there is another in `body`.
    """

    status: int
    after_work: bool = field(default=False, kw_only=True)
    body: bytes | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        if read_count("status", self.status, 400) not in STATUSES:
            raise ValueError(f"status: must be 400 to 599, not {self.status}")
        for name, value in self.headers.items():
            if not TOKEN.fullmatch(name) or not TEXT.fullmatch(value):
                raise ValueError(f"headers: {name!r} or its value {value!r} cannot be sent")

    async def play(self, exchange: Exchange) -> None:
        """Answer with the status."""
        if self.after_work:
            await exchange.work()
        await exchange.answer(_failure(self.status, self.body, self.headers))


@dataclass(frozen=True, slots=True)
class RateLimit:
    """
    Answer 429 before any work is done, with a `Retry-After` or without.

    `retry_after` are seconds; with `as_date` the header has the date by the emulator's clock,
    rounded up to a whole second.
    """

    retry_after: int | None = None
    as_date: bool = False

    def __post_init__(self) -> None:
        if self.retry_after is not None:
            read_count("retry_after", self.retry_after, 0)
        elif self.as_date:
            raise ValueError("retry_after: must be given, since as_date is")

    async def play(self, exchange: Exchange) -> None:
        """Answer 429."""
        headers = {} if self.retry_after is None else {"retry-after": self._value(exchange.clock)}
        await exchange.answer(_failure(HTTPStatus.TOO_MANY_REQUESTS, None, headers))

    def _value(self, clock: Clock) -> str:
        if not self.as_date:
            return str(self.retry_after)
        date = clock.wall() + timedelta(seconds=(self.retry_after or 0) + 0.999999)
        return format_datetime(date.replace(microsecond=0), usegmt=True)


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection off without an answer, before or after the work is done."""

    after_work: bool = field(default=False, kw_only=True)

    async def play(self, exchange: Exchange) -> None:
        """Break the connection off."""
        if self.after_work:
            await exchange.work()
        await exchange.reset()


@dataclass(frozen=True, slots=True)
class Stall:
    """Do the work, send the head and half of the body, and then nothing until the client leaves."""

    async def play(self, exchange: Exchange) -> None:
        """Send half of the answer, and wait."""
        await exchange.answer_half(await exchange.work(), closes=False)


@dataclass(frozen=True, slots=True)
class Truncate:
    """Do the work, send half of the body that Content-Length promises, and close."""

    async def play(self, exchange: Exchange) -> None:
        """Send half of the answer, and close."""
        await exchange.answer_half(await exchange.work(), closes=True)


@dataclass(frozen=True, slots=True)
class Garbage:
    """Answer 200 with a body that claims to be JSON and is not, before or after the work."""

    body: bytes = NO_JSON
    after_work: bool = field(default=False, kw_only=True)

    async def play(self, exchange: Exchange) -> None:
        """Answer with garbage."""
        if self.after_work:
            await exchange.work()
        await exchange.answer(Answer(HTTPStatus.OK, self.body))


@dataclass(frozen=True, slots=True)
class ProxyPage:
    """Answer 200 with a page of HTML, as a proxy does that wants a name first; no work is done."""

    async def play(self, exchange: Exchange) -> None:
        """Answer with the page."""
        await exchange.answer(Answer(HTTPStatus.OK, PAGE, ((b"content-type", b"text/html"),)))


Fault = Latency | Status | RateLimit | Reset | Stall | Truncate | Garbage | ProxyPage


class Faults:
    """
    The faults of an emulator.

    They stand in front of the API, even of the check of the key. They are tried in the order in
    which they were added; of those that are due the first one is played, and those behind it do
    not count the request. A `Latency` is played beside another fault.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._plans: Plans[Fault] = Plans(clock)

    def add(self, operation: str | None, fault: Fault, **when: Unpack[When]) -> Plan[Fault]:
        """
        Let a fault happen at requests of an operation, and return a handle of it.

        The handle's `hits` is how often it has happened; its `remove()` ends it.

        :param operation: a name as in the client, such as "tenants.sync"; or a method and path,
            such as "GET /v2/tenants/{tenant_id}/runs"; or None for all operations.
        :param when: at which of them: `after`, `every`, `probability`, `seed`, `times`, `tenant`.
        :raises ValueError: names the argument that cannot be used.
        """
        return self._plans.add(Plan(_read(fault), Occasions(operation, **when)))

    def outage(self, seconds: float | None = None, fault: Fault | None = None) -> Plan[Fault]:
        """
        Let no request through, and return a handle that ends it by `remove()`.

        It goes before all other faults. The port stays open: each request is answered by `fault`,
        a reset connection unless it is another, such as `Status(503)`.

        :param seconds: when it ends by itself, by the emulator's clock.
        :raises ValueError: names the argument that cannot be used.
        """
        ends_at = math.inf
        if seconds is not None:
            ends_at = self._clock.now() + read_seconds("seconds", seconds)
        plan = Plan(_read(Reset() if fault is None else fault), Occasions(), ends_at)
        return self._plans.add(plan, is_first=True)

    def clear(self) -> None:
        """End all faults."""
        self._plans.clear()

    def __len__(self) -> int:
        return len(self._plans)

    async def play(self, exchange: Exchange) -> None:
        """Play what is due at a request; if that answers it, the exchange is over."""
        if not self._plans:
            return
        for plan in self._plans.take(exchange.operation, exchange.tenant, _is_final):
            exchange.fault = repr(plan.what)
            await exchange.read()
            await plan.what.play(exchange)


def _is_final(fault: Fault) -> bool:
    return not isinstance(fault, Latency)


def _read(fault: Fault) -> Fault:
    if isinstance(fault, Fault):
        return fault
    known = ", ".join(one.__name__ for one in Fault.__args__)
    raise ValueError(f"fault: must be a value of {known}, not {fault!r}")


def _failure(status: int, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    if body is None:
        body = encode({"message": responses.get(status, f"Status {status}")})
    given = {name.lower(): value for name, value in headers.items()}
    head = {"content-type": "application/json", **given}
    return Answer(status, body, tuple((k.encode(), v.encode()) for k, v in head.items()))
