"""Translate the exceptions of httpx, and of what lies below it, into this library's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from pandium.errors import ConnectFailed, ConnectionLost, DecodeError, PandiumError, RequestTimeout

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["is_from_user_code", "root_os_error", "translate"]

_MAX_TEXT = 500
# Where httpx calls the transport, and where it parses the target of a redirect. Event hooks and
# authentication run outside of both.
_SENDS: CodeType = httpx.AsyncClient._send_single_request.__code__  # noqa: SLF001 - no public hook
_PARSES_REDIRECT: CodeType = httpx.AsyncClient._build_redirect_request.__code__  # noqa: SLF001 - as above


def translate(error: Exception, *, is_not_sent: bool) -> PandiumError:
    """
    Return the error to raise in place of one that a lower layer raised.

    :param error: any exception of httpx, of what lies below it, or of a user's transport.
    :param is_not_sent: whether it was observed that the request was not sent. The class of
        ``error`` proves nothing: transports disagree about what a ``ConnectError`` is.
    """
    # 1. httpx parses the target of a redirect, although it is not followed  2. never sent
    # 3. no response in time  4. anything else: the request may have been sent
    if _passed_through(error, _PARSES_REDIRECT):
        return DecodeError("the response redirects to an invalid URL")
    text = _text_of(error)
    if is_not_sent:
        return ConnectFailed(text)
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return RequestTimeout(text)
    return ConnectionLost(text)


def _text_of(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error) or str(root_os_error(error) or "") or type(error).__name__
    return text[:_MAX_TEXT]


def root_os_error(error: BaseException) -> OSError | None:
    """Return the operating system's own error that caused an exception, if there is one."""
    # Not by `__context__`, which leads to whatever the caller is handling.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__
    return cause


def is_from_user_code(error: BaseException) -> bool:
    """Return whether an event hook or the authentication of a user's client raised this."""
    return not isinstance(error, (httpx.HTTPError, httpx.StreamError)) and not _passed_through(
        error, _SENDS, _PARSES_REDIRECT
    )


def _passed_through(error: BaseException, *functions: CodeType) -> bool:
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in functions:
            return True
        traceback = traceback.tb_next
    return False
