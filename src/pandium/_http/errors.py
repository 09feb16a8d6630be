"""Translate exceptions from httpx and lower layers into Pandium errors."""

from __future__ import annotations

import builtins
import socket
import ssl
from typing import TYPE_CHECKING

import httpx
from httpx._client import BoundAsyncStream

from pandium._http.body import UnreadableResponseError
from pandium.errors import ConnectFailed, ConnectionLost, DecodeError, PandiumError, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

__all__ = [
    "is_from_server",
    "is_from_user_code",
    "is_traceable",
    "response_being_read",
    "root_os_error",
    "translate",
]

# The functions of httpx that call event hooks and authentication, and the functions in which it
# calls the transport and parses a redirect target. None of them is public.
_CALLS_USER_CODE: tuple[CodeType, ...] = (
    httpx.AsyncClient._send_handling_auth.__code__,  # noqa: SLF001 - see above
    httpx.AsyncClient._send_handling_redirects.__code__,  # noqa: SLF001 - see above
)
_SENDS: CodeType = httpx.AsyncClient._send_single_request.__code__  # noqa: SLF001 - see above
_PARSES_REDIRECT: CodeType = httpx.AsyncClient._build_redirect_request.__code__  # noqa: SLF001 - see above
_READS_BODY: CodeType = httpx.Response.aiter_bytes.__code__  # `aread` calls it, too
# The classes of the standard library. A class of another library may show the URL, as those of
# requests do, and cannot be created from its arguments alone.
_OS_ERRORS = {
    one
    for module in (builtins, socket, ssl)
    for one in vars(module).values()
    if isinstance(one, type) and issubclass(one, OSError)
}
_ReceivedStream = BoundAsyncStream  # the type of a response body that httpx received


def translate(error: Exception, *, is_not_sent: bool, route: str = "") -> PandiumError:
    """
    Translate an exception from a lower layer and return the error to raise instead.

    :param error: an exception from httpx, a lower layer or a user-supplied transport.
    :param is_not_sent: whether the request is known not to have been sent. The class of ``error``
        is not reliable, because transports raise ``ConnectError`` in different situations.
    :param route: text that names the proxy, if there is one, to add to the message.
    """
    # These cases are checked in order:  1. a response that we could not read  2. a redirect target
    # that httpx parsed, but does not follow  3. a request that was never sent  4. a timeout  5. a
    # request that may have been sent
    if isinstance(error, UnreadableResponseError):
        return DecodeError(str(error))
    if _passed_through(error, _PARSES_REDIRECT):
        return DecodeError("the response redirects to an invalid URL")
    text = _text_of(error) + route
    if is_not_sent:
        return ConnectFailed(text)
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return RequestTimeout(text)
    return ConnectionLost(text)


def _text_of(error: Exception) -> str:
    texts = (_str_of(root) for root in (_first_of(error), root_os_error(error)) if root is not None)
    return next(filter(None, texts), type(_first_of(error)).__name__)


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _str_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - `__str__` of a foreign exception may fail
        return type(error).__name__


def root_os_error(error: BaseException) -> OSError | None:
    """Return the operating system error that caused an exception, or ``None``."""
    # Do not follow `__context__`, which may be an unrelated error that the caller is handling.
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and not isinstance(cause, OSError):
        if id(cause) in seen:  # a foreign exception may be its own cause
            return None
        seen.add(id(cause))
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__
    return cause if type(cause) in _OS_ERRORS else None


def is_traceable(client: httpx.AsyncClient, url: httpx.URL) -> bool:
    """
    Return whether the trace events of a user-supplied client report everything that it sends.

    Another transport may report some of its requests only. For example, it may pass a request to
    httpx first and, if that fails, send it in another way. So may a function that replaces the
    method of a client or transport.
    """
    transport = client._transport_for_url(url)  # noqa: SLF001 - httpx has no public equivalent
    if type(client).send is not httpx.AsyncClient.send or "send" in vars(client):
        return False
    if type(transport) is not httpx.AsyncHTTPTransport:
        return False
    return "handle_async_request" not in vars(transport)


def is_from_server(response: httpx.Response, request: httpx.Request) -> bool:
    """Return whether httpx received a response to a request, rather than user code creating it."""
    return isinstance(response.stream, _ReceivedStream) and response.request is request


def response_being_read(error: BaseException, request: httpx.Request) -> httpx.Response | None:
    """
    Return the response to a request if an error was raised while its body was being read.

    An event hook or auth handler may read the body, for example to log it. If the connection fails
    meanwhile, this is not an error of the hook.
    """
    if isinstance(error, httpx.StreamError):  # the hook used the response incorrectly
        return None
    frames = (frame for frame in _frames_of(error) if frame.f_code is _READS_BODY)
    responses: Iterator[httpx.Response] = (frame.f_locals["self"] for frame in frames)
    return next((response for response in responses if is_from_server(response, request)), None)


def is_from_user_code(error: BaseException) -> bool:
    """Return whether an event hook or auth handler of a user-supplied client raised an error."""
    is_inside = False
    for frame in _frames_of(error):
        if frame.f_code in (_SENDS, _PARSES_REDIRECT):
            return False
        if frame.f_code in _CALLS_USER_CODE:
            is_inside = True
        elif is_inside and not _is_of_httpx(frame):
            return True
    return not isinstance(error, (httpx.HTTPError, httpx.StreamError, UnreadableResponseError))


def _is_of_httpx(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "httpx"


def _passed_through(error: BaseException, function: CodeType) -> bool:
    return any(frame.f_code is function for frame in _frames_of(error))


def _frames_of(error: BaseException) -> Iterator[FrameType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next
