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

from pandium.emulator.network.exchange import BufferedResponse, Exchange
from pandium.emulator.network.request_rules import (
    Condition,
    RequestRule,
    RequestRules,
    RuleOptions,
    validate_count,
    validate_seconds,
)
from pandium.emulator.runs.clock import Clock
from pandium.emulator.state.encoding import encode

PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Proxy</body></html>\n"
INVALID_JSON = b'\x00\x9c{"id": 1, "na'
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
        validate_seconds("seconds", self.seconds)

    async def apply(self, exchange: Exchange) -> None:
        """Wait."""
        with exchange.connection.idle():
            await asyncio.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class Status:
    """
    Respond with a status of failure, such as 503, before or after the work is done.

    The body is a message in JSON, unless there is another in `body`.
    """

    status: int
    after_work: bool = field(default=False, kw_only=True)
    body: bytes | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        if validate_count("status", self.status, 400) not in STATUSES:
            raise ValueError(f"status: must be 400 to 599, not {self.status}")
        for name, value in self.headers.items():
            if not TOKEN.fullmatch(name) or not TEXT.fullmatch(value):
                raise ValueError(f"headers: {name!r} or its value {value!r} cannot be sent")

    async def apply(self, exchange: Exchange) -> None:
        """Respond with the status."""
        if self.after_work:
            await exchange.execute()
        await exchange.respond(_error_response(self.status, self.body, self.headers))


@dataclass(frozen=True, slots=True)
class RateLimit:
    """
    Respond with 429 before any work is done, with a `Retry-After` or without.

    `retry_after` are seconds; with `as_date` the header has the date by the emulator's clock,
    rounded up to a whole second.
    """

    retry_after: int | None = None
    as_date: bool = False

    def __post_init__(self) -> None:
        if self.retry_after is not None:
            validate_count("retry_after", self.retry_after, 0)
        elif self.as_date:
            raise ValueError("retry_after: must be given, since as_date is")

    async def apply(self, exchange: Exchange) -> None:
        """Respond with 429."""
        headers = {} if self.retry_after is None else {"retry-after": self._value(exchange.clock)}
        await exchange.respond(_error_response(HTTPStatus.TOO_MANY_REQUESTS, None, headers))

    def _value(self, clock: Clock) -> str:
        if not self.as_date:
            return str(self.retry_after)
        date = clock.wall() + timedelta(seconds=(self.retry_after or 0) + 0.999999)
        return format_datetime(date.replace(microsecond=0), usegmt=True)


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection off without an answer, before or after the work is done."""

    after_work: bool = field(default=False, kw_only=True)

    async def apply(self, exchange: Exchange) -> None:
        """Break the connection off."""
        if self.after_work:
            await exchange.execute()
        await exchange.reset()


@dataclass(frozen=True, slots=True)
class Stall:
    """Do the work, send the head and half of the body, and then nothing until the client leaves."""

    async def apply(self, exchange: Exchange) -> None:
        """Send half of the answer, and wait."""
        await exchange.respond_half(await exchange.execute(), closes=False)


@dataclass(frozen=True, slots=True)
class Truncate:
    """Do the work, send half of the body that Content-Length promises, and close."""

    async def apply(self, exchange: Exchange) -> None:
        """Send half of the answer, and close."""
        await exchange.respond_half(await exchange.execute(), closes=True)


@dataclass(frozen=True, slots=True)
class Garbage:
    """Respond with 200 and a body that is not JSON, before or after the work."""

    body: bytes = INVALID_JSON
    after_work: bool = field(default=False, kw_only=True)

    async def apply(self, exchange: Exchange) -> None:
        """Respond with garbage."""
        if self.after_work:
            await exchange.execute()
        await exchange.respond(BufferedResponse(HTTPStatus.OK, self.body))


@dataclass(frozen=True, slots=True)
class ProxyPage:
    """Respond with 200 and an HTML page, as a proxy that requires a login, without any work."""

    async def apply(self, exchange: Exchange) -> None:
        """Respond with the page."""
        await exchange.respond(
            BufferedResponse(HTTPStatus.OK, PAGE, ((b"content-type", b"text/html"),))
        )


Fault = Latency | Status | RateLimit | Reset | Stall | Truncate | Garbage | ProxyPage


class Faults:
    """
    The faults of an emulator.

    They stand in front of the API, even of the check of the key. They are tried in the order in
    which they were added; of those that are due the first one is applied, and those behind it do
    not count the request. A `Latency` is applied beside another fault.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rules: RequestRules[Fault] = RequestRules(clock)

    def add(
        self, operation: str | None, fault: Fault, **options: Unpack[RuleOptions]
    ) -> RequestRule[Fault]:
        """
        Let a fault happen at requests of an operation, and return a handle of it.

        The handle's `hits` is how often it has happened; its `remove()` ends it.

        :param operation: a name as in the client, such as "tenants.sync"; or a method and path,
            such as "GET /v2/tenants/{tenant_id}/runs"; or None for all operations.
        :param options: which of them: `after`, `every`, `probability`, `seed`, `times`, `tenant`.
        :raises ValueError: names the argument that cannot be used.
        """
        return self._rules.add(RequestRule(_validate_fault(fault), Condition(operation, **options)))

    def outage(
        self, seconds: float | None = None, fault: Fault | None = None
    ) -> RequestRule[Fault]:
        """
        Let no request through, and return a handle that ends it by `remove()`.

        It goes before all other faults. The port stays open: each request is answered by `fault`,
        a reset connection unless it is another, such as `Status(503)`.

        :param seconds: when it ends by itself, by the emulator's clock.
        :raises ValueError: names the argument that cannot be used.
        """
        ends_at = math.inf
        if seconds is not None:
            ends_at = self._clock.now() + validate_seconds("seconds", seconds)
        rule = RequestRule(
            _validate_fault(Reset() if fault is None else fault), Condition(), ends_at
        )
        return self._rules.add(rule, is_first=True)

    def rules(self) -> list[RequestRule[Fault]]:
        """Return the handles of all faults that have not been removed, in the order of adding."""
        return self._rules.all()

    def clear(self) -> None:
        """End all faults."""
        self._rules.clear()

    def __len__(self) -> int:
        return len(self._rules)

    async def apply(self, exchange: Exchange) -> None:
        """Apply the faults that are due for a request, up to one that responds to it."""
        if not self._rules:
            return
        for rule in self._rules.take_due(exchange.operation, exchange.tenant, _produces_response):
            exchange.fault = repr(rule.action)
            await exchange.read()
            await rule.action.apply(exchange)


def _produces_response(fault: Fault) -> bool:
    return not isinstance(fault, Latency)


def _validate_fault(fault: Fault) -> Fault:
    if isinstance(fault, Fault):
        return fault
    known = ", ".join(one.__name__ for one in Fault.__args__)
    raise ValueError(f"fault: must be a value of {known}, not {fault!r}")


def _error_response(
    status: int, body: bytes | None, headers: Mapping[str, str]
) -> BufferedResponse:
    if body is None:
        body = encode({"message": responses.get(status, f"Status {status}")})
    given = {name.lower(): value for name, value in headers.items()}
    head = {"content-type": "application/json", **given}
    return BufferedResponse(status, body, tuple((k.encode(), v.encode()) for k, v in head.items()))
