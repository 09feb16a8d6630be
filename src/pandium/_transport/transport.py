"""Send a call, again where it may be, and give its answer as a value or an error."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import attrs

from pandium._serialization.convert import decode, decode_json
from pandium._transport.responses import error_of
from pandium._transport.retry import Retry, retrying
from pandium._transport.spec import RequestSpec, RetrySafety
from pandium._transport.telemetry import observed
from pandium._version import __version__
from pandium.errors import APIError, Attempt, DecodeError, PandiumError, RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx

    from pandium._clock import Clock
    from pandium._config import Config
    from pandium._http.connections import Answer, Connections, Timeout

__all__ = ["Transport"]

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
_REDIRECTION, _BAD_REQUEST, _TOO_MANY = 300, 400, 429


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

    async def request_model(self, spec: RequestSpec, cls: type[T]) -> T:
        """Send a request, and decode the response as a model or a list of models."""
        return await self.request(spec, lambda response: decode(response.content, cls))

    async def request_json(self, spec: RequestSpec) -> Any:
        """Send a request, and decode the response as JSON. An empty response is ``None``."""
        return await self.request(
            spec, lambda response: decode_json(response.content) if response.content else None
        )

    async def request(self, spec: RequestSpec, read: Callable[[Answer], T]) -> T:
        """Send a request, and return what ``read`` makes of the response."""
        request = self._build(spec)
        below = _BAD_REQUEST if spec.accepts_redirect else _REDIRECTION
        job = _Job(request, str(request.url), spec.template, spec.safety, below)
        return await self._repeat(job, read)

    async def download(self, url: str) -> bytes:
        """Download a signed URL of another host, without the API key and the user's headers."""
        headers = {"Accept-Encoding": _ENCODINGS, "User-Agent": _USER_AGENT}
        request = self.connections.build_signed(url, headers, self.timeout)
        shown = str(request.url.copy_with(query=None))
        job = _Job(request, shown, "(log)", RetrySafety.IDEMPOTENT, _REDIRECTION, is_foreign=True)
        return await self._repeat(job, lambda answer: answer.content)

    def _build(self, spec: RequestSpec) -> httpx.Request:
        own = _HEADERS if spec.content is None else _HEADERS_OF_JSON
        key = {_KEY_HEADER: self.config.api_key.reveal()}
        headers = _merged(own, self.headers, spec.headers, key)
        url = self.config.base_url + spec.path
        return self.connections.build(
            spec.method, url, headers, self.timeout, params=spec.params, content=spec.content
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
            with self.clock.waiting_for_io():
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
            is_proxied=job.repeat is RetrySafety.PROXIED,
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
    repeat: RetrySafety
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
