"""Faults that occur between a client and the service."""

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
from pandium.emulator.network.request_selection import (
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
    A delay before the request is executed, or before another fault occurs.

    :param seconds: the delay in real time, regardless of the emulator's clock.
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
    A response with an error status, such as 503.

    :param status: the status, 400 to 599.
    :param after_work: whether to execute the request first, so that only its response is lost.
    :param body: the body. By default, it is a JSON message.
    :param headers: additional headers.
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
                raise ValueError(f"headers: {name!r} or its value {value!r} cannot be sent in HTTP")

    async def apply(self, exchange: Exchange) -> None:
        """Respond with the status."""
        if self.after_work:
            await exchange.execute()
        await exchange.respond(_error_response(self.status, self.body, self.headers))


@dataclass(frozen=True, slots=True)
class RateLimit:
    """
    A 429 with or without `Retry-After`. The request is not executed.

    :param retry_after: the number of seconds in `Retry-After`. By default, there is no such header.
    :param as_date: whether to send a date on the emulator's clock instead, rounded up to a whole
        second.
    """

    retry_after: int | None = None
    as_date: bool = False

    def __post_init__(self) -> None:
        if self.retry_after is not None:
            validate_count("retry_after", self.retry_after, 0)
        elif self.as_date:
            raise ValueError("retry_after: must be specified if as_date is true")

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
    """
    A connection that is reset without a response.

    :param after_work: whether to execute the request first, so that only its response is lost.
    """

    after_work: bool = field(default=False, kw_only=True)

    async def apply(self, exchange: Exchange) -> None:
        """Reset the connection."""
        if self.after_work:
            await exchange.execute()
        await exchange.reset()


@dataclass(frozen=True, slots=True)
class Stall:
    """Half of a response, then nothing until the client disconnects. The request is executed."""

    async def apply(self, exchange: Exchange) -> None:
        """Send half of the response, and wait."""
        await exchange.respond_half(await exchange.execute(), closes=False)


@dataclass(frozen=True, slots=True)
class Truncate:
    """Half of a response, then the end of the connection. The request is executed."""

    async def apply(self, exchange: Exchange) -> None:
        """Send half of the response, and close the connection."""
        await exchange.respond_half(await exchange.execute(), closes=True)


@dataclass(frozen=True, slots=True)
class Garbage:
    """
    A 200 with a body that is not valid JSON.

    :param body: the body.
    :param after_work: whether to execute the request first, so that only its response is lost.
    """

    body: bytes = INVALID_JSON
    after_work: bool = field(default=False, kw_only=True)

    async def apply(self, exchange: Exchange) -> None:
        """Respond with the body."""
        if self.after_work:
            await exchange.execute()
        await exchange.respond(BufferedResponse(HTTPStatus.OK, self.body))


@dataclass(frozen=True, slots=True)
class ProxyPage:
    """A 200 with the HTML page of a proxy that requires a login. The request is not executed."""

    async def apply(self, exchange: Exchange) -> None:
        """Respond with the page."""
        await exchange.respond(
            BufferedResponse(HTTPStatus.OK, PAGE, ((b"content-type", b"text/html"),))
        )


Fault = Latency | Status | RateLimit | Reset | Stall | Truncate | Garbage | ProxyPage


class Faults:
    """
    The faults of an emulator.

    They occur before the API handles a request, even before it checks the key. Faults are evaluated
    in the order in which they were added. The first one that is due occurs, and later ones do not
    count the request. A `Latency` occurs in addition to another fault.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rules: RequestRules[Fault] = RequestRules(clock)

    def add(
        self, operation: str | None, fault: Fault, **options: Unpack[RuleOptions]
    ) -> RequestRule[Fault]:
        """
        Add a fault for the requests of an operation.

        :param operation: a method of the client, such as "tenants.sync"; or an HTTP method and path
            template, such as "GET /v2/tenants/{tenant_id}/runs"; or None for all operations.
        :param fault: the fault, such as `Status(503)`.
        :param options: the options that select requests: see `RuleOptions`.
        :return: a handle. `hits` is the number of times that the fault has occurred, and `remove()`
            removes it.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        return self._rules.add(RequestRule(_validate_fault(fault), Condition(operation, **options)))

    def outage(
        self, seconds: float | None = None, fault: Fault | None = None
    ) -> RequestRule[Fault]:
        """
        Make every request fail until the outage ends or is removed.

        An outage takes precedence over all other faults. The port remains open.

        :param seconds: the duration on the emulator's clock. By default, it is unlimited.
        :param fault: the fault for each request, such as `Status(503)`. By default, the connection
            is reset.
        :return: a handle, whose `remove()` ends the outage.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        ends_at = math.inf
        if seconds is not None:
            ends_at = self._clock.now() + validate_seconds("seconds", seconds)
        rule = RequestRule(
            _validate_fault(Reset() if fault is None else fault), Condition(), ends_at
        )
        return self._rules.add(rule, is_first=True)

    def rules(self) -> list[RequestRule[Fault]]:
        """Return the handles of all faults that have not been removed, oldest first."""
        return self._rules.all()

    def clear(self) -> None:
        """Remove all faults and outages."""
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
    raise ValueError(f"fault: must be an instance of {known}, not {fault!r}")


def _error_response(
    status: int, body: bytes | None, headers: Mapping[str, str]
) -> BufferedResponse:
    if body is None:
        body = encode({"message": responses.get(status, f"Status {status}")})
    given = {name.lower(): value for name, value in headers.items()}
    head = {"content-type": "application/json", **given}
    return BufferedResponse(status, body, tuple((k.encode(), v.encode()) for k, v in head.items()))
