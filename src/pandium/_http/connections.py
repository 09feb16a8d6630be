"""Send individual requests over connections shared by all views of a client."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import nullcontext, suppress
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs
import httpx

from pandium._cancellation import CancellationGuard
from pandium._http.body import BoundedBody, UnreadableResponseError
from pandium._http.environment import is_connectable
from pandium._http.errors import (
    is_from_server,
    is_from_user_code,
    is_traceable,
    response_being_read,
    root_os_error,
    translate,
)
from pandium._http.limits import RetryBudget
from pandium._redaction import hide_frames
from pandium._user_code import UserCodeError
from pandium._validation import validate_seconds
from pandium.errors import (
    ConfigurationError,
    ConnectFailed,
    DecodeError,
    PandiumError,
    RequestTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from types import TracebackType

    from pandium._http.limits import RateLimitGate
    from pandium._http.send_record import SendRecord

__all__ = [
    "Connections",
    "Response",
    "Timeout",
    "validate_http_client",
    "validate_timeout",
    "validate_url",
]

Timeout = httpx.Timeout
_NO_GUARD = nullcontext()
_POOL = "pandium._http.pool"


@attrs.frozen(repr=False)  # a report with local variables would show what is secret in it
class Response:
    """
    A response.

    :ivar is_complete: whether ``content`` is the whole body. That of an error may be incomplete.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    is_complete: bool = True


def validate_url(url: str) -> None:
    """
    Validate that httpx accepts a base URL.

    :raises ConfigurationError: if httpx rejects the URL, for example because of its host.
    """
    try:
        _ = httpx.URL(url).host  # decodes an international domain name
    except (httpx.InvalidURL, ValueError) as error:
        reason = str(error)
    else:
        return
    raise ConfigurationError(f"base_url is not a valid URL: {reason}")


def validate_timeout(value: object) -> httpx.Timeout | float:
    """
    Validate a timeout: a number of seconds or an `httpx.Timeout`.

    :raises ConfigurationError: if the value is not a valid timeout.
    """
    if isinstance(value, httpx.Timeout):
        phases = value.connect, value.read, value.write
        if all(phase is None or _is_duration(phase) for phase in phases):
            return value
    elif _is_duration(value):
        return float(value)  # type: ignore[arg-type]  # a number
    raise ConfigurationError(
        f"timeout must be a positive number of seconds or an httpx.Timeout, not {value!r}"
    )


def _is_duration(value: object) -> bool:
    try:
        return validate_seconds("timeout", value) > 0
    except ValueError:
        return False


def validate_http_client(value: object) -> None:
    """
    Validate a user-supplied client, which may be `None`.

    :raises ConfigurationError: if the client is not an `httpx.AsyncClient` or is closed.
    """
    if value is not None and not isinstance(value, httpx.AsyncClient):
        name = type(value).__name__
        raise ConfigurationError(f"http_client must be an httpx.AsyncClient, not a {name}")
    if value is not None and value.is_closed:
        raise ConfigurationError("http_client is closed")


class _SignedRequest(httpx.Request):
    """A request for a URL whose query string is a secret, which its ``repr`` does not show."""

    def __repr__(self) -> str:
        return f"<Request({self.method!r}, {str(self.url.copy_with(query=None))!r})>"


class Connections:
    """
    The state that all views of a client share: connections, request slots and rate limits.

    It is bound to the event loop and process of the first request, because open sockets cannot be
    used in any other.

    :ivar gate: the gate that delays requests while the client is rate limited.
    :ivar budget: the retry budget.
    """

    def __init__(
        self,
        max_connections: int,
        max_response_bytes: int,
        http_client: httpx.AsyncClient | None,
        gate: RateLimitGate,
        created_at: str,
    ) -> None:
        self._max_connections = max_connections
        self._max_response_bytes = max_response_bytes
        self._created_at = created_at
        self._is_borrowed = http_client is not None
        self._client = http_client
        self._slots: anyio.Semaphore | None = None
        self._home: object = None
        self._is_closed = False
        self.gate = gate
        self.budget = RetryBudget()

    def build_request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        timeout: httpx.Timeout | float,
        **body: Any,
    ) -> httpx.Request:
        """
        Build a request.

        :raises ValueError: if the URL is invalid.
        :raises PandiumError: if the client is closed or belongs to another event loop.
        """
        self.raise_if_unusable()
        # Only a user-supplied client has default headers, parameters and cookies to merge.
        is_ours = self._client is None or not self._is_borrowed
        build = httpx.Request if is_ours else self._client.build_request  # type: ignore[union-attr]  # not None
        try:
            return build(
                method,
                url,
                headers=headers,
                extensions={"timeout": self._phase_timeouts(timeout)},
                **body,
            )
        except httpx.InvalidURL as error:
            raise ValueError(f"path and params must form a valid URL: {error}") from None

    def build_signed_request(
        self, url: str, headers: Mapping[str, str], timeout: httpx.Timeout | float
    ) -> httpx.Request:
        """
        Build a GET request for a signed URL, without the defaults of a user-supplied client.

        :raises DecodeError: if the URL, which was received in a response, is invalid.
        """
        self.raise_if_unusable()
        extensions = {"timeout": self._phase_timeouts(timeout)}
        request: httpx.Request | None = None
        with suppress(httpx.InvalidURL, ValueError):
            parsed = _SignedRequest("GET", url, headers=headers, extensions=extensions)
            if is_connectable(parsed.url):
                request = parsed
        if request is None:
            raise DecodeError("the response redirects to an invalid URL")
        return request

    def _phase_timeouts(self, timeout: httpx.Timeout | float) -> dict[str, float | None]:
        """Return the timeouts for connecting, reading and writing. Slots have no timeout."""
        if isinstance(timeout, httpx.Timeout):
            return {**timeout.as_dict(), "pool": None}
        if self._is_borrowed:  # a user-supplied transport may rely on these timeouts
            return {"connect": timeout, "read": timeout, "write": timeout, "pool": None}
        return {}  # `exchange` limits the total time, and each additional timeout would cost time

    def slot(self, max_pause: float) -> Slot:
        """
        Reserve one of ``max_connections`` slots: ``async with connections.slot(60.0)``.

        Entering the block waits for a free slot, in order of arrival and without a timeout. It
        then waits until the client is no longer rate limited, for at most ``max_pause`` seconds,
        and until the rate of the client's requests permits another one.
        """
        if self._slots is None:
            self._slots = anyio.Semaphore(self._max_connections, fast_acquire=True)
        return Slot(self, self._slots, max_pause)

    async def exchange(
        self,
        request: httpx.Request,
        timeout: httpx.Timeout | float,  # noqa: ASYNC109 - the limit for one attempt
        record: SendRecord | None = None,
    ) -> Response:
        """
        Send a request once and read the complete response. The caller must hold a slot.

        :param request: the request to send.
        :param timeout: the limit for the whole exchange in seconds, or an `httpx.Timeout` with a
            limit for each phase.
        :param record: a record to validate again once there is a connection, if the transport
            reports this. If the task is canceled before that, the record shows it.
        :raises TransportError: if no complete response was received.
        :raises DecodeError: if the response is too large or cannot be decompressed.
        :raises UserCodeError: if an event hook or auth handler raised an error.
        """
        client = self._open_client()
        seconds = inf if isinstance(timeout, httpx.Timeout) else timeout
        progress = _ExchangeProgress(self._max_response_bytes, record)
        request.extensions["trace"] = progress.on_event
        failure: Exception
        cause: OSError | None = None
        outer = sys.exception()
        guard = CancellationGuard("the http_client") if self._is_borrowed else _NO_GUARD
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + seconds), guard:
                return await _cancelable(_read(self._start(client, request), progress))
        except Exception as error:
            if error is progress.record_error:
                raise
            if (response := _response_of_hook(error, request)) is not None:
                return response
            failure = self._translate(error, client, request, progress)
            cause = root_os_error(error)
            # Only an error raised by user code is re-raised. A transport's is at most the cause.
            hide_frames(error, outer, keeps_user_code=isinstance(failure, UserCodeError))
        except BaseException as error:
            if record is not None and self._is_not_sent(client, request, progress):
                record.mark_not_executed()
            hide_frames(error, outer, keeps_user_code=False)
            raise
        else:
            is_not_sent = self._is_not_sent(client, request, progress)
            route = self._route_to(client, request.url)
            failure = _timeout_error(seconds, is_not_sent=is_not_sent, route=route)
        finally:
            request.extensions.pop("trace", None)
        if (response := progress.error_response()) is not None:
            return response
        # Raise outside the handler. Otherwise the httpx error, which refers to the request, would
        # be attached as the context.
        raise failure from cause

    def _start(
        self, client: httpx.AsyncClient, request: httpx.Request
    ) -> Awaitable[httpx.Response]:
        """Send a request and return the response, whose body has not been read."""
        if not self._is_borrowed:
            # `AsyncClient.send` would take a tenth of the duration of a call for redirects,
            # credentials, cookies and hooks. respx patches `_transport_for_url`.
            transport = client._transport_for_url(request.url)  # noqa: SLF001 - not public
            return transport.handle_async_request(request)
        if isinstance(request, _SignedRequest):
            # The client may have credentials. Do not send them to the storage host.
            return client.send(request, auth=None, stream=True, follow_redirects=False)
        return client.send(request, stream=True, follow_redirects=False)

    def _translate(
        self,
        error: Exception,
        client: httpx.AsyncClient,
        request: httpx.Request,
        progress: _ExchangeProgress,
    ) -> Exception:
        if self._is_borrowed and progress.response is None:
            progress.response = response_being_read(error, request)
            if progress.response is None and is_from_user_code(error):
                return UserCodeError(error)
        if not self._is_borrowed and isinstance(error, ConfigurationError):
            return error  # the environment sets an invalid proxy
        is_not_sent = self._is_not_sent(client, request, progress)
        return translate(error, is_not_sent=is_not_sent, route=self._route_to(client, request.url))

    def _is_not_sent(
        self, client: httpx.AsyncClient, request: httpx.Request, progress: _ExchangeProgress
    ) -> bool:
        if not progress.is_not_sent:
            return False
        return not self._is_borrowed or is_traceable(client, request.url)

    def _route_to(self, client: httpx.AsyncClient, url: httpx.URL) -> str:
        """Return text that names the proxy for a URL, because the proxy may be the problem."""
        if self._is_borrowed:
            return ""
        transport: Any = client._transport_for_url(url)  # noqa: SLF001 - not public
        proxy = transport.proxy_for(url) if hasattr(transport, "proxy_for") else None  # or a mock
        return "" if proxy is None else f" (through the proxy {proxy})"

    @property
    def is_prepared(self) -> bool:
        """Whether a request can be sent without first importing modules or loading certificates."""
        return self._client is not None or _POOL in sys.modules

    def prepare(self) -> None:
        """
        Import the connection pool and load the certificates, which takes about 0.1 seconds.

        :raises ConfigurationError: if an environment variable is invalid.
        """
        _import_pool().create_ssl_context()

    def _open_client(self) -> httpx.AsyncClient:
        # While the request was waiting, the client may have been closed or the process forked.
        self.raise_if_unusable()
        if self._client is None:
            self._client = _import_pool().create_http_client(self._max_connections)
        return self._client

    def raise_if_closed(self) -> None:
        """
        Raise an error if the client is closed.

        :raises PandiumError: if the client is closed.
        """
        if self._is_closed:
            raise PandiumError("the client is closed")
        if self._is_borrowed and self._client is not None and self._client.is_closed:
            raise PandiumError("the http_client is closed")

    def raise_if_unusable(self) -> None:
        """
        Raise an error if the client is closed or belongs to another event loop or process.

        :raises PandiumError: if the client cannot be used.
        """
        self.raise_if_closed()
        here = _current_loop()
        if self._home is None:
            self._home = here
        elif self._home != here:
            raise PandiumError(
                "the client belongs to another event loop or process: create one client for each"
            )

    async def aclose(self) -> None:
        """Close all connections except those of a user-supplied client. Safe to call twice."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None and not self._is_borrowed and self._home == _current_loop():
            await client.aclose()

    def __del__(self) -> None:
        if not self._is_closed and not self._is_borrowed and self._client is not None:
            warnings.warn(
                f"unclosed AsyncPandium, created at {self._created_at}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


def _import_pool() -> Any:
    # Defer this import, because importing httpcore2 takes half as long as importing httpx.
    return import_module(_POOL)


def _current_loop() -> object:
    return os.getpid(), anyio.lowlevel.current_token()


class Slot:
    """A context manager that reserves the right to send one request."""

    __slots__ = ("_connections", "_max_pause", "_semaphore")

    def __init__(
        self, connections: Connections, semaphore: anyio.Semaphore, max_pause: float
    ) -> None:
        self._connections = connections
        self._semaphore = semaphore
        self._max_pause = max_pause

    async def __aenter__(self) -> None:
        await self._semaphore.acquire()
        try:
            # The client may have been closed or rate limited while the request was waiting.
            self._connections.raise_if_closed()
            await self._connections.gate.wait(self._max_pause)
        except BaseException:
            self._semaphore.release()
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._semaphore.release()


class _ExchangeProgress:
    """
    The progress of one exchange.

    The trace events of httpcore show whether sending the request has begun. A response with an
    error status is returned even if reading its body fails, because the status is what matters.

    :ivar record_error: the error that the record raised, if any. The request was not sent.
    """

    def __init__(self, max_response_bytes: int, record: SendRecord | None = None) -> None:
        self.response: httpx.Response | None = None
        self.body = BoundedBody(max_response_bytes)
        self.record_error: Exception | None = None
        self._record = record
        self._is_told = False
        self._is_sent = False

    @property
    def is_not_sent(self) -> bool:
        """Whether the trace events show that the request was not sent."""
        return self._is_told and not self._is_sent

    async def on_event(self, event: str, info: Mapping[str, Any]) -> None:
        self._is_told = True
        # A CONNECT request only opens a tunnel through a proxy. The actual request follows it.
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self._confirm()
            self._is_sent = True
            # Later events add nothing and cost time.
            info["request"].extensions.pop("trace", None)

    def _confirm(self) -> None:
        if self._record is not None:
            try:
                self._record.begin_attempt()
            except Exception as error:
                self.record_error = error
                raise

    def error_response(self) -> Response | None:
        """Return the response, with a possibly incomplete body, if its status is an error."""
        response = self.response
        if response is None or response.is_success:
            return None
        content = self.body.partial()
        return Response(response.status_code, response.headers, content, is_complete=False)


async def _cancelable(work: Awaitable[Response]) -> Response:
    """
    Await work, and re-raise a cancellation as an exception that cancel scopes recognize.

    Some transports, such as that of pyreqwest, raise their own ``CancelledError`` instead. No scope
    would catch it, so a time limit would cancel the task of the caller.
    """
    try:
        return await work
    except anyio.get_cancelled_exc_class():
        await anyio.lowlevel.checkpoint_if_cancelled()
        raise


async def _read(start: Awaitable[httpx.Response], progress: _ExchangeProgress) -> Response:
    response = await start
    try:
        if not isinstance(response.status_code, int):  # that of a mock
            raise UnreadableResponseError(
                f"the status must be an integer, not {response.status_code!r}"
            )
        _validate_redirect(response)
        progress.response = response
        content = await progress.body.read(response)
    finally:
        await response.aclose()
    return Response(response.status_code, response.headers, content)


def _validate_redirect(response: httpx.Response) -> None:
    if not response.has_redirect_location:
        return
    with suppress(httpx.InvalidURL, ValueError):
        url = httpx.URL(response.headers["location"])
        if not url.scheme or is_connectable(url):
            return
    raise UnreadableResponseError("the response redirects to an invalid URL")


def _timeout_error(seconds: float, *, is_not_sent: bool, route: str) -> PandiumError:
    if is_not_sent:
        return ConnectFailed(f"no connection within {seconds:g} s{route}")
    return RequestTimeout(f"no complete response within {seconds:g} s{route}")


def _response_of_hook(error: Exception, request: httpx.Request) -> Response | None:
    """Return the error response for which a user's event hook called ``raise_for_status``."""
    if not isinstance(error, httpx.HTTPStatusError):
        return None
    response = getattr(error, "response", None)
    if not isinstance(response, httpx.Response):  # the user's class or value is something else
        return None
    if response.is_success or not is_from_server(response, request):
        return None
    try:
        content, is_complete = response.content, True
    except httpx.ResponseNotRead:
        content, is_complete = b"", False
    return Response(response.status_code, response.headers, content, is_complete)
