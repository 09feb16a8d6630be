"""Send a call, again where it may be, and give its answer as a value or an error."""

from __future__ import annotations

import logging
import operator
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import attrs

from pandium._answers import error_of
from pandium._convert import decode, decode_json
from pandium._retry import Repeat, Retry, repeat_of, retrying
from pandium._telemetry import observed
from pandium._version import __version__
from pandium.errors import APIError, Attempt, DecodeError, PandiumError, RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from pandium._clock import Clock
    from pandium._config import Config
    from pandium._connections import Answer, Connections, Timeout

__all__ = ["Call", "Transport", "checked_headers", "checked_mapping", "checked_value"]

_log = logging.getLogger("pandium")

T = TypeVar("T")

_KEY_HEADER = "X-API-KEY"
_USER_AGENT = f"pandium-python/{__version__}"
_ENCODINGS = "gzip"  # of which `_connections` bounds what comes out
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": _ENCODINGS,
    "User-Agent": _USER_AGENT,
}
_HEADERS_OF_JSON = {**_HEADERS, "Content-Type": "application/json"}
_REDIRECTION, _TOO_MANY = 300, 429
_OWN_HEADERS = frozenset({"x-api-key", "host", "content-length", "transfer-encoding"})


@attrs.frozen
class Call:
    """A request before it is sent: `path` is percent-encoded, `template` is what it was made of."""

    method: str
    path: str
    template: str
    params: Mapping[str, Any] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def of(
        cls,
        method: str,
        template: str,
        segments: Mapping[str, object] | None = None,
        *,
        params: Mapping[str, object] | None = None,
        content: bytes | None = None,
    ) -> Call:
        """Make a call from a template such as ``/v2/tenants/{tenant_id}``; `None`s are not sent."""
        path = template.format_map({k: _segment(k, v) for k, v in (segments or {}).items()})
        present = {k: checked_value(k, v) for k, v in (params or {}).items() if v is not None}
        return cls(method, path, template, present or None, content)


def _segment(name: str, value: object) -> str:
    if isinstance(value, (bool, float)):
        raise ValueError(f"{name} must be an id, not {type(value).__name__}")
    text = str(checked_value(name, value, "an id"))
    # Dots alone would not be percent-encoded, and would lead to another path.
    if text in ("", ".", ".."):
        raise ValueError(f"{name} must be an id, not {text!r}")
    return quote(text, safe="")


def checked_value(
    name: str, value: object, kind: str = "text, a number or a truth value"
) -> str | float:
    """
    Let a value pass that a URL can hold; of an enumeration it is the value, not the name.

    :raises ValueError: if it is none.
    """
    if isinstance(value, str):
        if not _is_unicode(value):
            raise ValueError(f"{name} must be {kind}, and {value!r} is no text")
        return str.__str__(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    try:
        return operator.index(value)  # type: ignore[arg-type]  # it checks; of numpy, too
    except TypeError:
        raise ValueError(f"{name} must be {kind}, not {type(value).__name__}") from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_mapping(argument: str, value: object) -> dict[str, Any]:
    """Let a mapping pass, as a dictionary of its own."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{argument} must be a mapping, not {type(value).__name__}")
    return dict(value)


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """
    Let headers pass that a user may add.

    :raises ValueError: if one is the library's own, or would end its line.
    """
    given = checked_mapping("headers", headers)
    for name, value in given.items():
        if not isinstance(name, str):
            raise ValueError(f"headers has a name that is no text: {name!r}")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"headers must not set {name}")
        if not (name.isascii() and name.isprintable() and name and not set(name) & set(" :")):
            raise ValueError(f"headers has a name that cannot be sent: {name!r}")
        if not (isinstance(value, str) and value.isascii() and value.isprintable()):
            raise ValueError(f"headers has a value for {name} that cannot be sent")
    return given


def _merged(*layers: Mapping[str, str]) -> dict[str, str]:
    """Give each header once, however its name is written; the last layer that has it wins."""
    found = {name.lower(): (name, value) for layer in layers for name, value in layer.items()}
    return dict(found.values())


@attrs.frozen
class Transport:
    """Send calls with one set of options; views with others share its connections."""

    config: Config
    connections: Connections
    clock: Clock
    timeout: Timeout | float
    retry: Retry
    headers: Mapping[str, str] = attrs.field(factory=dict)

    async def call(self, call: Call, cls: type[T]) -> T:
        """Send, and read the answer as a model or a list of models."""
        return await self.send(call, lambda answer: decode(answer.content, cls))

    async def call_json(self, call: Call) -> Any:
        """Send, and read the answer as plain JSON; an empty one, as of 204, is `None`."""
        return await self.send(
            call, lambda answer: decode_json(answer.content) if answer.content else None
        )

    async def send(
        self, call: Call, read: Callable[[Answer], T], *, below: int = _REDIRECTION
    ) -> T:
        """Send, and read the answer by a function; a status of `below` or more is an error."""
        request = self._build(call)
        repeat = repeat_of(call.method, call.path)
        job = _Job(request, str(request.url), call.template, repeat, below)
        return await self._repeat(job, read)

    async def fetch(self, url: str) -> bytes:
        """Fetch a signed URL of another host, which sees neither the key nor the user's headers."""
        headers = {"Accept-Encoding": _ENCODINGS, "User-Agent": _USER_AGENT}
        request = self.connections.build_signed(url, headers, self.timeout)
        shown = str(request.url.copy_with(query=None))
        job = _Job(request, shown, "(log)", Repeat.IDEMPOTENT, _REDIRECTION, is_foreign=True)
        return await self._repeat(job, lambda answer: answer.content)

    def _build(self, call: Call) -> httpx.Request:
        own = _HEADERS if call.content is None else _HEADERS_OF_JSON
        key = {_KEY_HEADER: self.config.api_key.reveal()}
        headers = _merged(own, self.headers, call.headers, key)
        url = self.config.base_url + call.path
        return self.connections.build(
            call.method, url, headers, self.timeout, params=call.params, content=call.content
        )

    async def _repeat(self, job: _Job, read: Callable[[Answer], T]) -> T:
        attempts: list[Attempt] = []
        may_have_run = False

        async def attempt() -> Answer:
            nonlocal may_have_run
            try:
                return await self._attempt(job, attempts)
            except PandiumError as error:
                may_have_run |= error.outcome_unknown
                raise

        budget, base_url = self.connections.budget, self.config.base_url
        try:
            with observed(job.request.method, job.template, base_url, attempts, self.clock.now):
                return read(await retrying(attempt, self.retry, job.repeat, budget, self.clock))
        except PandiumError as error:
            self._sign(error, job)
            error.attempts = tuple(attempts)
            # An answer that cannot be read is one all the same: the request was carried out.
            error.outcome_unknown |= may_have_run or isinstance(error, DecodeError)
            raise

    async def _attempt(self, job: _Job, attempts: list[Attempt]) -> Answer:
        await self._wait_for_hold()
        at, began, result = self.clock.wall(), self.clock.now(), "cancelled"
        try:
            answer = await self._exchange(job)
            result = str(answer.status)
        except PandiumError as error:
            self._sign(error, job)
            result = f"{type(error).__name__}: {error.args[0]}"
            raise
        finally:
            attempts.append(Attempt(at, self.clock.now() - began, result))
            job.log(attempts)
        if HTTPStatus.OK <= answer.status < job.below:
            return answer
        raise self._error_of(job, answer)

    def _sign(self, error: PandiumError, job: _Job) -> None:
        """Put the request into an error, and take the key out of what somebody else wrote."""
        error.method, error.url = job.request.method, job.shown_url
        error.args = tuple(self.config.api_key.redact(list(error.args)))

    async def _exchange(self, job: _Job) -> Answer:
        while True:
            with self.clock.at_work():
                answer = await self.connections.exchange(job.request, self.timeout, self._is_held)
            if answer is not None:
                return answer
            await self._wait_for_hold()  # a 429 came while this one waited for its connection

    def _is_held(self) -> bool:
        return self.connections.held_until > self.clock.now()

    async def _wait_for_hold(self) -> None:
        while (seconds := self.connections.held_until - self.clock.now()) > 0:
            if seconds > self.retry.max_elapsed:
                text = f"429 before: no request may be sent for another {seconds:.0f} s"
                raise RateLimited(text, status_code=_TOO_MANY, retry_after=seconds)
            await self.clock.sleep(seconds)

    def _error_of(self, job: _Job, answer: Answer) -> APIError:
        error = error_of(
            answer.status,
            _pauses_of(answer) if job.is_foreign else answer.headers,
            b"" if job.is_foreign else answer.content,
            is_proxied=job.repeat is Repeat.PROXIED,
            redact=self.config.api_key.redact,
            now=self.clock.wall(),
        )
        self._sign(error, job)
        if isinstance(error, RateLimited) and error.retry_after is not None and not job.is_foreign:
            until = self.clock.now() + error.retry_after
            self.connections.held_until = max(self.connections.held_until, until)
        return error


def _pauses_of(answer: Answer) -> dict[str, str]:
    """Give the headers that say when to come again."""
    return {k: v for k, v in answer.headers.items() if k.lower() in ("retry-after", "date")}


@attrs.frozen
class _Job:
    """
    A request with what to do about its answer; `shown_url` is what errors may show of it.

    What a foreign host says of a signed URL may be as good as the URL, and is not shown either.
    """

    request: httpx.Request
    shown_url: str
    template: str
    repeat: Repeat
    below: int
    is_foreign: bool = False

    def log(self, attempts: Sequence[Attempt]) -> None:
        """Write one line of the last attempt."""
        if _log.isEnabledFor(logging.DEBUG):
            last, path = attempts[-1], urlsplit(self.shown_url).path
            _log.debug(
                "%s %s: %s (attempt %d, %.0f ms)",
                self.request.method,
                path,
                last.result,
                len(attempts),
                last.seconds * 1000,
            )
