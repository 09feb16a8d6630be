"""
Tell what went wrong, and whether the request may have been carried out.

    PandiumError
    ├── ConfigurationError (ValueError)
    ├── TransportError                  no answer came
    │   ├── ConnectFailed               the request was never sent
    │   ├── RequestTimeout (TimeoutError)
    │   └── ConnectionLost
    ├── APIError                        the API answered with an error
    │   ├── BadRequest                  400
    │   ├── AuthenticationError         401, 403
    │   ├── NotFound                    404
    │   ├── ValidationError             422
    │   ├── RateLimited                 429
    │   ├── ServerError                 5xx
    │   └── ConnectorError              an upstream's answer, through the proxy
    ├── DecodeError                     the answer could not be read
    ├── DriftError                      a listing cannot be shown to be complete
    ├── WaitTimeout (TimeoutError)      a run did not end in time
    └── RunFailed                       a run ended badly

Every error pickles and copies, and none holds the API key.
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
    "NotFound",
    "PandiumError",
    "RateLimited",
    "RequestTimeout",
    "RunFailed",
    "ServerError",
    "TransportError",
    "ValidationError",
    "WaitTimeout",
]


@attrs.frozen
class Attempt:
    """One time that a request was sent: when it began, for how many seconds, and what came."""

    at: datetime
    seconds: float
    result: str


@attrs.frozen
class ErrorDetail:
    """
    One thing that the API found wrong with a request.

    ``loc`` is the way to it, such as ``("query", "mode")``; ``msg`` says it in words;
    ``type`` is a word for programs, such as ``"enum"``.
    """

    loc: tuple[str | int, ...]
    msg: str
    type: str


def _revive(
    cls: type[PandiumError], args: tuple[object, ...], state: dict[str, Any]
) -> PandiumError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class PandiumError(Exception):
    """
    Anything that this library raises of its own.

    ``method`` and ``url`` name the request, where there was one; ``attempts`` lists each time
    that it was sent; ``outcome_unknown`` is true where the request may have been carried out
    although it did not end well; ``skip`` is, for an error of a listing, the number of records
    to skip in order to go on from there.
    """

    method: str | None = None
    url: str | None = None
    attempts: Sequence[Attempt] = ()
    outcome_unknown: bool = False
    resume_skip: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        text = " ".join(str(self.args[0]).split()) if self.args else ""
        if self.method is None or self.url is None:
            return text
        return f"{self.method} {self._target(self.url)}: {text}"

    def _target(self, url: str) -> str:
        return urlsplit(url).path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ConfigurationError(PandiumError, ValueError):
    """The client cannot be made from what it was given; nothing was sent."""


class TransportError(PandiumError):
    """No answer came; ``outcome_unknown`` says whether the request may have been carried out."""

    outcome_unknown = True


class ConnectFailed(TransportError):
    """No connection was made, so the request was never sent."""

    outcome_unknown = False

    def _target(self, url: str) -> str:
        # With the host, which may be what is wrong; without a query, which may hold a secret.
        return urlsplit(url)._replace(query="", fragment="").geturl()


class RequestTimeout(TransportError, TimeoutError):
    """No whole answer came within the time limit of one attempt."""


class ConnectionLost(TransportError):
    """The connection ended, or spoke something other than HTTP, before a whole answer came."""


class APIError(PandiumError):
    """
    The API answered with an error.

    ``status_code`` is HTTP's; ``message`` is the API's own sentence; ``details`` lists what it
    found wrong; ``body`` is the decoded JSON, or text where it is none; ``headers`` have lower-case
    names; ``retry_after`` is in seconds.
    """

    def __init__(  # noqa: PLR0913 - one argument a documented attribute
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
        self.status_code = status_code
        self.message = message
        self.details = details
        self.body = body
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.retry_after = retry_after


class BadRequest(APIError):
    """400: the API cannot work with the request."""


class AuthenticationError(APIError):
    """401 or 403: the key is missing, wrong, or of the other environment."""


class NotFound(APIError):
    """404: there is no such thing; of a trigger's status: not yet."""


class ValidationError(APIError):
    """422: the request breaks a rule; ``details`` says which."""


class RateLimited(APIError):
    """429: too many requests; it was not carried out."""


class ServerError(APIError):
    """5xx: the API, or a gateway before it, failed."""


class ConnectorError(APIError):
    """An upstream's own error, passed on by the proxy: ``status_code`` and ``data`` are its own."""

    data: Any = None


class DecodeError(PandiumError):
    """
    The answer came but cannot be read as what it should be.

    ``path`` leads to the place, such as ``[3].status.auth``; it is empty for the whole.
    """

    def __init__(self, text: str, *, path: str = "") -> None:
        super().__init__(text)
        self.path = path


class DriftError(PandiumError):
    """A listing changed under the walk so that it cannot be shown to be complete."""


class WaitTimeout(PandiumError, TimeoutError):
    """
    A run did not end within the time limit.

    ``last_status`` is ``None`` where the trigger never answered anything but 404; ``polls`` is
    the number of looks.
    """

    def __init__(
        self, text: str, *, trigger_id: str, last_status: TriggerStatus | None, polls: int
    ) -> None:
        super().__init__(text)
        self.trigger_id = trigger_id
        self.last_status = last_status
        self.polls = polls


class RunFailed(PandiumError):
    """A run ended, and not well; ``status`` has the vendor's word for it."""

    def __init__(self, text: str, *, trigger_id: str, status: TriggerStatus) -> None:
        super().__init__(text)
        self.trigger_id = trigger_id
        self.status = status
