"""Describe a request, including the failures after which it can be retried."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs

from pandium._redaction import KeyPattern, Redactor
from pandium._validation import encode_path_segment, validate_query_value
from pandium.errors import APIError, ConnectFailed, ConnectorError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandium._http.send_record import SendRecord

__all__ = ["RequestSpec", "RetrySafety", "SignedURL"]

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_TOO_MANY_REQUESTS = 429
_SHORTEST_SECRET = 16  # characters; a shorter value of a query might be an ordinary word
_MAX_SECRETS = 100  # of a query, so that a very long one does not block the event loop
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class RetrySafety(Enum):
    """The failures after which a request can be retried without risk of executing it twice."""

    IDEMPOTENT = "no response, or a transient error response"
    NOT_SENT = "no connection was made, or the response is 429"
    PROXIED = "no connection was made, or Pandium itself, not the upstream, responded with 429"

    def allows(self, error: BaseException) -> bool:
        """Return whether the request can be retried after an error."""
        if isinstance(error, ConnectorError):
            return False
        if isinstance(error, APIError):
            is_idempotent = self is RetrySafety.IDEMPOTENT
            return error.status_code in _TRANSIENT and (
                is_idempotent or error.status_code == _TOO_MANY_REQUESTS
            )
        if self is RetrySafety.IDEMPOTENT:
            return isinstance(error, TransportError)
        return isinstance(error, ConnectFailed)


class SignedURL(str):
    """A URL with secrets, which its ``repr`` does not show. Its path may repeat the API key."""

    __slots__ = ()

    def redact(self, value: Any) -> Any:
        """Replace the query and the long values in it, which a host may echo, in JSON-like data."""
        _, *queries = re.split("[?#]", self, maxsplit=1)
        values = [part.partition("=")[2] for query in queries for part in re.split("[&;?#]", query)]
        secrets = (*queries, *values[:_MAX_SECRETS])
        return Redactor(KeyPattern(secret, _SHORTEST_SECRET) for secret in secrets).redact(value)

    def __repr__(self) -> str:
        return "'***'"


@attrs.frozen
class RequestSpec:
    """
    A description of a request to send.

    :ivar method: the HTTP method, in upper case.
    :ivar path: the percent-encoded path or, for a signed URL, the full URL.
    :ivar template: the path before parameters are filled in, such as ``/v2/tenants/{tenant_id}``.
    :ivar params: the query parameters.
    :ivar content: the encoded JSON body.
    :ivar headers: the headers to send with this request only.
    :ivar safety: the rule for which failures can be retried.
    :ivar accepts_redirect: whether a 3xx response is a success.
    :ivar record: a record of whether the request may have been executed. An error that it raises
        is not retried.
    """

    method: str
    path: str
    template: str
    params: Mapping[str, Any] | None = None
    content: bytes | None = attrs.field(default=None, repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    safety: RetrySafety = RetrySafety.NOT_SENT
    accepts_redirect: bool = False
    record: SendRecord | None = None

    @property
    def is_signed(self) -> bool:
        """
        Whether ``path`` is a signed URL on another host.

        The API key is not sent to that host, and the query string is omitted from logs and errors.
        """
        return isinstance(self.path, SignedURL)

    @classmethod
    def create(  # noqa: PLR0913 - one argument for each part of a request
        cls,
        method: str,
        template: str,
        segments: Mapping[str, object] | None = None,
        *,
        params: Mapping[str, object] | None = None,
        content: bytes | None = None,
        safety: RetrySafety | None = None,
        accepts_redirect: bool = False,
    ) -> RequestSpec:
        """
        Create a request spec from a path template.

        :param method: the HTTP method, in upper case.
        :param template: the path template, such as ``/v2/tenants/{tenant_id}``.
        :param segments: the values for the names in braces.
        :param params: the query parameters. ``None`` values are omitted.
        :param content: the encoded JSON body.
        :param safety: the rule for which failures can be retried. By default, it is derived from
            the method.
        :param accepts_redirect: whether a 3xx response is a success.
        :returns: the request spec.
        :raises ValueError: if a segment or parameter is invalid.
        """
        encoded = {
            name: encode_path_segment(name, value) for name, value in (segments or {}).items()
        }
        present = {
            name: validate_query_value(name, value)
            for name, value in (params or {}).items()
            if value is not None
        }
        return cls(
            method,
            template.format_map(encoded),
            template,
            present or None,
            content,
            safety=safety_of_method(method) if safety is None else safety,
            accepts_redirect=accepts_redirect,
        )


def safety_of_method(method: str) -> RetrySafety:
    """Return the retry safety that HTTP defines for a method."""
    is_idempotent = method in _IDEMPOTENT_METHODS
    return RetrySafety.IDEMPOTENT if is_idempotent else RetrySafety.NOT_SENT
