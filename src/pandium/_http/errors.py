"""Translate exceptions from httpx and lower layers into Pandium errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from pandium.errors import ConnectFailed, ConnectionLost, DecodeError, PandiumError, RequestTimeout

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["is_from_user_code", "root_os_error", "translate"]

_MAX_TEXT = 500
# The functions in which httpx calls the transport and parses a redirect target. Event hooks and
# authentication run outside both.
_SENDS: CodeType = httpx.AsyncClient._send_single_request.__code__  # noqa: SLF001 - not public
_PARSES_REDIRECT: CodeType = httpx.AsyncClient._build_redirect_request.__code__  # noqa: SLF001 - not public


def translate(error: Exception, *, is_not_sent: bool) -> PandiumError:
    """
    Translate an exception from a lower layer and return the error to raise instead.

    :param error: an exception from httpx, a lower layer or a user-supplied transport.
    :param is_not_sent: whether the request is known not to have been sent. The class of ``error``
        is not reliable, because transports raise ``ConnectError`` in different situations.
    """
    # These cases are checked in order:  1. a redirect target that httpx parsed, but does not
    # follow  2. a request that was never sent  3. a timeout  4. a request that may have been sent
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
    """Return the operating system error that caused an exception, or ``None``."""
    # Do not follow `__context__`, which may be an unrelated error that the caller is handling.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__
    return cause


def is_from_user_code(error: BaseException) -> bool:
    """Return whether an event hook or auth handler of a user-supplied client raised an error."""
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
