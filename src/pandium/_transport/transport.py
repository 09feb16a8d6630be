"""Send requests with retries, and return each response as a value or raise an error."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import anyio.to_thread
import attrs

from pandium._config import KeyFunction, Secret
from pandium._redaction import RedactedLogs, hide_frames, hide_url_secrets
from pandium._serialization.convert import decode, decode_json, prepare_decoding
from pandium._transport.events import OnResponse, ResponseEvent, notify
from pandium._transport.responses import error_from_response, shorten
from pandium._transport.retry import Retry, send_with_retries
from pandium._transport.spec import RequestSpec, RetrySafety, SignedURL
from pandium._transport.telemetry import load_instruments, observe_call
from pandium._user_code import UserCodeError
from pandium._version import __version__
from pandium.errors import Attempt, ConfigurationError, DecodeError, PandiumError, RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import httpx

    from pandium._clock import Clock
    from pandium._config import Config
    from pandium._http.connections import Connections, Response, Timeout

__all__ = ["Transport"]

_log = logging.getLogger("pandium")

T = TypeVar("T")

_KEY_HEADER = "X-API-KEY"
_SECRET = "pandium.secret"  # noqa: S105 - the name of an extension of a request
# Request only gzip. By default, httpx may also request br and zstd, which `_http.body` does not
# support.
_DOWNLOAD_HEADERS = {"Accept-Encoding": "gzip", "User-Agent": f"pandium-python/{__version__}"}
_HEADERS = {"Accept": "application/json", **_DOWNLOAD_HEADERS}
_JSON_HEADERS = {**_HEADERS, "Content-Type": "application/json"}
_FIRST_SUCCESS, _FIRST_REDIRECT, _FIRST_ERROR = 200, 300, 400
_REDIRECTS = range(_FIRST_REDIRECT, _FIRST_ERROR)
_MAX_TEXT = 2100  # of an exception, whose message from the server may have 2000 characters
_RETRY_HEADERS = frozenset({"retry-after", "date"})


@attrs.frozen
class Transport:
    """
    A transport that sends requests with a given set of options.

    Each view of a client has its own ``timeout``, ``retry`` and ``headers``. All views share the
    other attributes.
    """

    config: Config
    connections: Connections
    clock: Clock
    timeout: Timeout | float
    retry: Retry
    on_response: OnResponse | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def without_retries(self) -> Transport:
        """Return a transport that sends each request once, for callers that repeat it."""
        return attrs.evolve(self, retry=attrs.evolve(self.retry, attempts=1))

    async def request_model(self, spec: RequestSpec, cls: type[T]) -> T:
        """Send a request and decode the response as a model or a list of models."""
        return await self.request(spec, lambda response: decode(response.content, cls))

    async def request_json(self, spec: RequestSpec) -> Any:
        """Send a request and decode the response as JSON. Return `None` if it is empty."""
        return await self.request(
            spec, lambda response: decode_json(response.content) if response.content else None
        )

    async def download(self, url: SignedURL) -> bytes:
        """Download a signed URL from another host, without the API key or the user's headers."""
        spec = RequestSpec("GET", url, "(log)", safety=RetrySafety.IDEMPOTENT)
        return await self.request(spec, lambda response: response.content)

    async def prepare(self) -> None:
        """Do the slow part of the first request in a thread to avoid blocking the event loop."""
        if not self.connections.is_prepared:
            # The application may occupy all threads of the default limiter and wait for a request.
            limiter = anyio.CapacityLimiter(1)
            # If the process has too many threads, the request does the same on the event loop.
            with self.clock.waiting_for_io(), suppress(RuntimeError):
                await anyio.to_thread.run_sync(self._prepare, limiter=limiter)

    def _prepare(self) -> None:
        with suppress(ConfigurationError):  # the request raises it again and records an attempt
            self.connections.prepare()
        prepare_decoding()
        load_instruments()

    async def request(
        self, spec: RequestSpec, read: Callable[[Response], T], *, unwrap: bool = True
    ) -> T:
        """
        Send a request and return the result of calling ``read`` on the response.

        :param spec: the request to send.
        :param read: a function that decodes the response.
        :param unwrap: whether to re-raise an error raised by user code, such as an event hook,
            unchanged. If not, it is raised as a ``UserCodeError``.
        :raises TransportError: if no complete response was received.
        :raises APIError: if the API responded with an error.
        :raises DecodeError: if the response could not be decoded.
        :raises Exception: if user code, such as an event hook, raised an error.
        """
        if not self.connections.is_prepared:
            await self.prepare()
        request = self._build(spec)
        attempts: list[Attempt] = []
        outcome_unknown = False
        outer = sys.exception()

        async def attempt() -> Response:
            nonlocal outcome_unknown
            try:
                return await self._attempt(spec, request, attempts)
            except PandiumError as error:
                outcome_unknown |= error.outcome_unknown
                raise

        budget, clock = self.connections.budget, self.clock
        origin = _origin_of(request.url) if spec.is_signed else self.config.base_url
        try:
            with observe_call(spec.method, spec.template, origin, attempts, clock.now):
                response = await send_with_retries(
                    attempt, self.retry, spec.safety, budget, clock=clock, attempts=attempts
                )
                return read(response)
        except UserCodeError as error:
            error.may_be_sent |= outcome_unknown  # by an earlier attempt
            if not unwrap:
                raise
            error.reraise()
        except PandiumError as error:
            self._describe(error, spec, request)
            error.attempts = tuple(attempts)
            # If a response was received but could not be decoded, the request was executed.
            error.outcome_unknown |= outcome_unknown or isinstance(error, DecodeError)
            hide_frames(error, outer)
            raise

    def _build(self, spec: RequestSpec) -> httpx.Request:
        if spec.is_signed:
            return self.connections.build_signed_request(spec.path, _DOWNLOAD_HEADERS, self.timeout)
        own = _HEADERS if spec.content is None else _JSON_HEADERS
        request = self.connections.build_request(
            spec.method,
            self.config.base_url + spec.path,
            _merge_headers(own, self.headers, spec.headers),
            self.timeout,
            params=spec.params,
            content=spec.content,
        )
        if isinstance(self.config.api_key, Secret):
            # Set the key last, so that no frame that can raise holds it in a local variable.
            request.headers[_KEY_HEADER] = self.config.api_key.reveal()
        return request

    async def _update_key(self, request: httpx.Request, key: KeyFunction) -> None:
        """Set the key that the user's function returns now."""
        try:
            secret = await key.call()
        except Exception as error:  # noqa: BLE001 - a user-supplied function may raise anything
            raise UserCodeError(error, may_be_sent=False) from None
        # Keep the secret as long as the request, whose response may echo the key.
        request.extensions[_SECRET] = accepted = key.accept(secret)
        request.headers[_KEY_HEADER] = accepted.reveal()

    async def _attempt(
        self, spec: RequestSpec, request: httpx.Request, attempts: list[Attempt]
    ) -> Response:
        """Send a request once. Raise an error if the response is unsuccessful."""
        key = self.config.api_key
        async with self.connections.slot(self.retry.max_elapsed):
            if isinstance(key, KeyFunction) and not spec.is_signed:
                await self._update_key(request, key)
            if spec.record is not None:
                spec.record.begin_attempt()
            at, began, result = self.clock.wall(), self.clock.now(), "canceled"
            try:
                with self.clock.waiting_for_io(), RedactedLogs(self._redactor(spec)):
                    response = await self.connections.exchange(request, self.timeout, spec.record)
                result = str(response.status)
            except PandiumError as error:
                self._describe(error, spec, request)
                _record_failure(spec, error)
                result = f"{type(error).__name__}: {error.args[0]}"
                raise
            except UserCodeError as error:
                result = f"{type(error.error).__name__} in user code"
                raise
            finally:
                attempts.append(Attempt(at, self.clock.now() - began, result))
                self._log_attempt(spec, request, attempts)
        first_failure = _FIRST_ERROR if spec.accepts_redirect else _FIRST_REDIRECT
        is_success = _FIRST_SUCCESS <= response.status < first_failure
        # A 429 pauses the client now, not only after the user's function.
        failure = None if is_success else self._error_from(spec, request, response)
        if failure is not None:
            _record_failure(spec, failure)
        if self.on_response is not None:
            await notify(self.on_response, self._create_event(spec, request, response, attempts))
        if failure is not None:
            raise failure
        return response

    def _create_event(
        self, spec: RequestSpec, request: httpx.Request, response: Response, attempts: list[Attempt]
    ) -> ResponseEvent:
        key = self.config.api_key
        return ResponseEvent(
            method=spec.method,
            path=self._shown_path(spec, request) if spec.is_signed else key.redact(spec.path),
            template=spec.template,
            status_code=response.status,
            headers=key.redact_headers(_visible_headers(spec, response)),
            elapsed=attempts[-1].seconds,
            attempt=len(attempts),
        )

    def _error_from(
        self, spec: RequestSpec, request: httpx.Request, response: Response
    ) -> PandiumError:
        error = error_from_response(
            response.status,
            _visible_headers(spec, response),
            # The body of a redirect often repeats the location.
            b"" if spec.is_signed or _is_redirect(spec, response) else response.content,
            is_complete=response.is_complete,
            is_proxied=spec.safety is RetrySafety.PROXIED,
            redact=self._redactor(spec),
            now=self.clock.wall(),
            has_key=not spec.is_signed,
        )
        self._describe(error, spec, request)
        is_our_limit = isinstance(error, RateLimited) and not spec.is_signed
        if is_our_limit and error.retry_after is not None:
            self.connections.gate.pause(error.retry_after)
        return error

    def _describe(self, error: PandiumError, spec: RequestSpec, request: httpx.Request) -> None:
        """Add the request's method and URL to an error, and redact and shorten its texts."""
        error.method, error.url = spec.method, self._shown_url(spec, request)
        error.args = tuple(self._shown_arguments(spec, error))
        cause = error.__cause__
        if isinstance(cause, OSError):
            # The error of another transport may refer to the request, for example in its context.
            error.__cause__ = type(cause)(*self._shown_arguments(spec, cause))

    def _shown_arguments(self, spec: RequestSpec, error: Exception) -> Iterator[object]:
        """Yield the arguments of an error, without the API key and a signed URL's secrets."""
        # Redact first, because a key that is cut in two is not found.
        for shown in self._redactor(spec)(list(error.args)):
            if isinstance(shown, str):
                # The transport of the user's client may show the URL in its errors.
                text = hide_url_secrets(shown) if spec.is_signed else shown
                yield shorten(text, _MAX_TEXT)
            else:
                yield shown if shown is None or isinstance(shown, int) else type(shown).__name__

    def _redactor(self, spec: RequestSpec) -> Callable[[Any], Any]:
        """Return a function that hides the API key and a signed URL's secrets in JSON-like data."""
        url, redact_key = spec.path, self.config.api_key.redact
        if not isinstance(url, SignedURL):
            return redact_key
        # The function must not refer to the client. The event loop keeps it until the time limit.
        return lambda data: url.redact(redact_key(data))

    def _shown_url(self, spec: RequestSpec, request: httpx.Request) -> str:
        """Return the URL for errors and logs, without the API key and a signed URL's secrets."""
        url = request.url
        if spec.is_signed:
            url = url.copy_with(userinfo=b"", query=None, fragment=None)
        shown: str = self._redactor(spec)(str(url))
        return shown

    def _shown_path(self, spec: RequestSpec, request: httpx.Request) -> str:
        return urlsplit(self._shown_url(spec, request)).path

    def _log_attempt(
        self, spec: RequestSpec, request: httpx.Request, attempts: list[Attempt]
    ) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            last = attempts[-1]
            _log.debug(
                "%s %s: %s (attempt %d, %.0f ms)",
                spec.method,
                self._shown_path(spec, request),
                last.result,
                len(attempts),
                last.seconds * 1000,
            )


def _record_failure(spec: RequestSpec, error: PandiumError) -> None:
    """Record that an attempt was not executed, if its error shows that."""
    # If a response could not be decoded, the request was executed.
    is_executed = error.outcome_unknown or isinstance(error, DecodeError)
    if spec.record is not None and not is_executed:
        spec.record.mark_not_executed()


def _visible_headers(spec: RequestSpec, response: Response) -> Mapping[str, str]:
    """Return the headers for errors and events, without those that may contain a signed URL."""
    if isinstance(spec.path, SignedURL):  # the storage host's response may repeat parts of the URL
        kept = [(k, v) for k, v in response.headers.items() if k.lower() in _RETRY_HEADERS]
        return {k: spec.path.redact(hide_url_secrets(v)) for k, v in kept}
    if not (spec.accepts_redirect or _is_redirect(spec, response)):
        return response.headers
    # The signed URL of a log is in `location`, and `link` or `refresh` may repeat it.
    return {
        k: hide_url_secrets(v)
        for k, v in response.headers.items()
        if k.lower() != "location" or not spec.accepts_redirect
    }


def _origin_of(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _is_redirect(spec: RequestSpec, response: Response) -> bool:
    """Return whether a response may refer to the signed URL of a log, unlike an upstream's."""
    return response.status in _REDIRECTS and spec.safety is not RetrySafety.PROXIED


def _merge_headers(*layers: Mapping[str, str]) -> Mapping[str, str]:
    """Merge headers, ignoring case. Later layers take precedence over earlier ones."""
    first, *others = (layer for layer in layers if layer)
    if not others:
        return first
    merged = {name.lower(): (name, value) for layer in layers for name, value in layer.items()}
    return dict(merged.values())
