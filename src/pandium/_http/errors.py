"""Translate the exceptions of httpx, and of what lies below it, into this library's."""

from __future__ import annotations

import httpx

from pandium.errors import ConnectFailed, ConnectionLost, DecodeError, PandiumError, RequestTimeout

__all__ = ["FOREIGN_ERRORS", "INVALID_URL", "root_os_error", "translate"]

INVALID_URL = (httpx.InvalidURL, UnicodeError)
FOREIGN_ERRORS = (httpx.HTTPError, httpx.StreamError, *INVALID_URL, OSError)
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def translate(error: Exception) -> PandiumError:
    """Return the error to raise in place of one of `FOREIGN_ERRORS`."""
    # 1. httpx parses the target of a redirect, although it is not followed  2. never sent
    # 3. no response in time  4. anything else: the request may have been sent
    if isinstance(error, INVALID_URL) or isinstance(error.__context__, INVALID_URL):
        return DecodeError("the response redirects to an invalid URL")
    text = str(error) or str(root_os_error(error) or "") or type(error).__name__
    if isinstance(error, _NOT_SENT):
        return ConnectFailed(text)
    if isinstance(error, httpx.TimeoutException):
        return RequestTimeout(text)
    return ConnectionLost(text)


def root_os_error(error: BaseException) -> OSError | None:
    """Return the operating system's own error behind an exception, if there is one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause
