"""
The exceptions raised by the library.

    PandiumError
    ├── ConfigurationError (ValueError)
    ├── TransportError                            no response was received
    │   ├── ConnectFailed                         the request was never sent
    │   ├── RequestTimeout (TimeoutError)
    │   └── ConnectionLost
    ├── APIError                                  the API responded with an error
    │   ├── BadRequest                            400
    │   ├── AuthenticationError                   401, 403
    │   ├── NotFound                              404
    │   ├── ValidationError                       422
    │   ├── RateLimited                           429
    │   ├── ServerError                           5xx
    │   └── ConnectorError                        a connector's upstream responded with an error
    ├── DecodeError                               a response could not be decoded
    ├── DriftError                                a listing may be incomplete
    ├── JournalError                              a journal failed during a bulk sync
    │   └── UnusableJournal (ConfigurationError)  a journal cannot be used, and nothing was sent
    ├── WaitTimeout (TimeoutError)                a run did not end in time
    └── RunFailed                                 a run failed

Invalid method arguments raise a plain ``ValueError`` before anything is sent. All errors can be
pickled and copied, and none of them contains the API key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pandium.models import TriggerStatus

__all__ = [
    "APIError",
    "Attempt",
    "AuthenticationError",
    "BadRequest",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectorError",
    "DecodeError",
    "DriftError",
    "ErrorDetail",
    "JournalError",
    "NotFound",
    "PandiumError",
    "RateLimited",
    "RequestTimeout",
    "RunFailed",
    "ServerError",
    "TransportError",
    "UnusableJournal",
    "ValidationError",
    "WaitTimeout",
]


@attrs.frozen
class Attempt:
    """
    One attempt to send a request.

    :ivar at: the time at which the attempt started, in UTC.
    :ivar seconds: the duration of the attempt, in seconds.
    :ivar result: the status code or the error message, as text. ``canceled`` if the attempt was
        canceled.
    """

    at: datetime
    seconds: float
    result: str


@attrs.frozen
class ErrorDetail:
    """
    A problem that the API found in a request.

    :ivar loc: the path to the invalid value, such as ``("query", "mode")``.
    :ivar msg: the description of the problem.
    :ivar type: the machine-readable type of the problem, such as ``"enum"``.
    """

    loc: tuple[str | int, ...]
    msg: str
    type: str


def _rebuild(
    cls: type[PandiumError], args: tuple[object, ...], state: dict[str, Any]
) -> PandiumError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class PandiumError(Exception):
    """
    The base class of all errors raised by this library.

    :ivar method: the HTTP method of the request, or ``None`` if the error does not concern one.
    :ivar url: the URL of the request, or ``None``.
    :ivar attempts: all attempts to send the request, oldest first.
    :ivar outcome_unknown: whether the request may have been executed despite the error. Before
        you send it again, check whether it was executed.
    :ivar resume_skip: for an error in a listing, the ``skip`` value to continue after the last
        delivered record, or ``None``. A listing that starts there does not notice what has changed
        before that record.
    """

    method: str | None = None
    url: str | None = None
    attempts: Sequence[Attempt] = ()
    outcome_unknown: bool = False
    resume_skip: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        text = " ".join(str(self.args[0]).split()) if self.args else ""
        if self.method is None or self.url is None:
            return text
        return f"{self.method} {self._shorten(self.url)}: {text}"

    def _shorten(self, url: str) -> str:
        return urlsplit(url).path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ConfigurationError(PandiumError, ValueError):
    """
    The client's configuration is invalid, and nothing was sent.

    The message names the argument, environment variable or file. Correct it and create a new
    client.
    """


class TransportError(PandiumError):
    """
    No complete response was received.

    If ``outcome_unknown`` is true, the request may have been executed. The client has already
    retried the request if that was safe.
    """

    outcome_unknown = True


class ConnectFailed(TransportError):
    """
    No connection could be made, so the request was never sent.

    Check the base URL, the network and the proxy. The request is safe to retry.
    """

    outcome_unknown = False

    def _shorten(self, url: str) -> str:
        # Keep the host, which may be the problem, but omit the query, which may contain a secret.
        return urlsplit(url)._replace(query="", fragment="").geturl()


class RequestTimeout(TransportError, TimeoutError):
    """No complete response was received within the client's ``timeout`` for one attempt."""


class ConnectionLost(TransportError):
    """
    The connection failed before the response was complete.

    Either the connection was lost, or the server sent invalid HTTP.
    """


class APIError(PandiumError):
    """
    The API responded with an error.

    :ivar status_code: the HTTP status code.
    :ivar message: the message from the API, or ``""``. In the errors of waits and bulk syncs, only
        its first 2,000 characters.
    :ivar details: the problems that the API found in the request.
    :ivar body: the response body, as a decoded value if it is JSON, or else as text. In the
        errors of waits and bulk syncs, ``None`` if it is longer than 2,000 characters, because a
        program may keep many of them.
    :ivar headers: the response headers, with lower-case names.
    :ivar retry_after: the delay requested by the API, in seconds, or ``None``.
    """

    # For a user's subclass whose constructor does not call this one
    status_code: int = 0
    retry_after: float | None = None

    def __init__(  # noqa: PLR0913 - one argument for each documented attribute
        self,
        text: str,
        *,
        status_code: int,
        message: str = "",
        details: Sequence[ErrorDetail] = (),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        # The reference shows the annotations.
        self.status_code = status_code
        self.message: str = message
        self.details: Sequence[ErrorDetail] = details
        self.body: Any = body
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.retry_after = retry_after


class BadRequest(APIError):
    """400: the API could not process the request. ``message`` contains the reason."""


class AuthenticationError(APIError):
    """401 or 403: the API key is missing or invalid, or belongs to the other environment."""


class NotFound(APIError):
    """404: the record does not exist. For a trigger status, no run exists yet."""


class ValidationError(APIError):
    """422: the request is invalid. ``details`` lists the problems."""


class RateLimited(APIError):
    """
    429: too many requests were sent, and this one was not executed.

    Retry it after ``retry_after`` seconds, or allow longer delays with ``Retry.max_elapsed``.
    """


class ServerError(APIError):
    """5xx: the API or a gateway in front of it failed."""


class ConnectorError(APIError):
    """
    A connector's upstream responded with an error.

    :ivar status_code: the upstream's HTTP status code.
    :ivar data: the upstream's response body, or ``None``. If it could not be parsed, for example
        because it is too long, the text that Pandium sent.
    """

    status_code: int
    data: Any = None


class DecodeError(PandiumError):
    """
    A response was received but could not be decoded.

    :ivar path: the path to the invalid value, such as ``[3].status.auth``, or ``""`` for the whole
        response.
    """

    def __init__(self, text: str, *, path: str = "") -> None:
        super().__init__(text)
        self.path: str = path


class DriftError(PandiumError):
    """
    A listing changed during iteration, so the results may be incomplete.

    Start again, or sort by a field that does not change, for example with ``sort_by="id__ASC"``.
    """


class JournalError(PandiumError):
    """
    The journal of a bulk sync failed, for example because the disk is full.

    No more requests are sent. The journal may lack the last results.
    """


class UnusableJournal(JournalError, ConfigurationError):
    """
    A journal cannot be used, for example because it belongs to another job. Nothing was sent.

    The message names the journal and the reason.
    """


class WaitTimeout(PandiumError, TimeoutError):
    """
    A run did not end before the ``timeout`` expired. It may still be active.

    If the last poll failed, for example because the server could not be reached, the message names
    its error, and ``__cause__`` is that error with at most 2,000 characters of its ``message``, and
    with its ``body`` if that is not longer. Otherwise, ``__cause__`` is ``None``: the run was still
    active, or had not been created yet.

    :ivar trigger_id: the trigger's id, which can be passed to ``runs.wait`` again.
    :ivar last_status: the last known status, or ``None`` if no run existed yet.
    :ivar polls: the number of polls.
    """

    def __init__(
        self, text: str, *, trigger_id: str, last_status: TriggerStatus | None, polls: int
    ) -> None:
        super().__init__(text)
        self.trigger_id: str = trigger_id
        self.last_status: TriggerStatus | None = last_status
        self.polls: int = polls


class RunFailed(PandiumError):
    """
    A run failed.

    :ivar trigger_id: the trigger's id.
    :ivar status: the final status.
    """

    def __init__(self, text: str, *, trigger_id: str, status: TriggerStatus) -> None:
        super().__init__(text)
        self.trigger_id: str = trigger_id
        self.status: TriggerStatus = status
