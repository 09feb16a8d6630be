"""A transport of httpx and httpx2 that sends each request through Pandium's connector proxy."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl

import attrs
import httpx

from pandium._serialization.convert import encode_json
from pandium._user_code import is_user_error
from pandium.errors import ConnectFailed, ConnectorError, PandiumError, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Self

    import httpx2

    AnyHeaders = httpx.Headers | httpx2.Headers
    AnyRequest = httpx.Request | httpx2.Request
    AnyURL = httpx.URL | httpx2.URL

    # Takes the proxy operation, the encoded fields and the request's timeout or None. Returns the
    # upstream response data.
    SendToProxy = Callable[[str, bytes, httpx.Timeout | None], Awaitable[Any]]

    # Type checkers accept the transport for a client of either library.
    class _EitherTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
        async def __aenter__(self) -> Self: ...
        async def handle_async_request(self, request: Any) -> Any: ...

else:
    # httpx2 may not be installed, and its clients do not check the base class.
    _EitherTransport = httpx.AsyncBaseTransport

__all__ = ["ConnectorTransport", "UnsupportedRequestError", "has_unsupported_body"]

_CALL, _XML, _SOAP = "call", "xml", "soap"
# The headers in the first two rows are hop-by-hop headers (RFC 9110, section 7.6.1) or are set by
# the proxy. Credentials are dropped because the proxy adds the tenant's credentials.
_DROPPED_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "keep-alive"),
        *("te", "trailer", "transfer-encoding"),
        *("authorization", "proxy-authorization"),
    }
)
# A response to one of these methods either opens a tunnel or consists mainly of headers, which the
# proxy does not return.
_REJECTED_METHODS = frozenset({"CONNECT", "HEAD", "OPTIONS", "TRACE"})
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';\s]+)""", re.IGNORECASE)
_XML_ENCODING = re.compile(r"""\A\ufeff?<\?xml[^>]*?\sencoding\s*=\s*["']([^"']+)""")
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


class UnsupportedRequestError(Exception):
    """The proxy cannot forward a request. Nothing was sent."""


@attrs.frozen(eq=False)
class ConnectorTransport(_EitherTransport):
    """
    A transport for an ``httpx.AsyncClient`` or ``httpx2.AsyncClient``.

    It sends the client's requests to the upstream system. Responses and errors are those of the
    client's library. The transport does not own any connections, so closing it has no effect.
    """

    tenant_id: object
    connector: str
    _send: SendToProxy = attrs.field(repr=False)

    async def handle_async_request(self, request: Any) -> Any:
        """
        Send one request through the proxy.

        The exceptions have the same names in httpx and httpx2.

        :raises UnsupportedProtocol: if the proxy cannot forward the request. Nothing is sent.
        :raises TransportError: if no response is received from the upstream system.
        :raises TypeError: if the request is not one of httpx or httpx2. Nothing is sent.
        """
        library = _library_of(request)
        try:
            operation, content = await _to_proxy_request(request)
        except UnsupportedRequestError as error:
            raise library.UnsupportedProtocol(str(error)) from None
        try:
            data = await self._send(operation, content, _timeout_of(request))
        except PandiumError as error:
            if is_user_error(error):
                raise
            if not isinstance(error, ConnectorError):
                raise _to_library_error(library, error) from error
            return _to_response(library, error.status_code, error.data, operation)
        return _to_response(library, library.codes.OK, data, operation)

    def handle_request(self, _request: object) -> NoReturn:
        """
        Raise an error: a synchronous client cannot use the transport.

        :raises TypeError: always.
        """
        raise TypeError(
            "a synchronous client cannot use the connector transport of an AsyncPandium: pass the"
            " transport to httpx.AsyncClient or httpx2.AsyncClient"
        )

    def __enter__(self) -> NoReturn:
        self.handle_request(None)

    def __getattr__(self, name: str) -> NoReturn:
        # Libraries that expect a client read its attributes, such as `timeout`.
        raise AttributeError(
            f"a connector transport has no attribute {name!r}, because it is not a client:"
            " pass httpx.AsyncClient(transport=…) or httpx2.AsyncClient(transport=…) instead"
        )


def _library_of(request: object) -> Any:
    """Return the library whose client sends a request: the module httpx or httpx2."""
    # A client of httpx2 has imported the module, so looking it up does not import anything.
    for name in ("httpx", "httpx2"):
        library = sys.modules.get(name)
        if library is not None and isinstance(request, library.Request):
            return library
    kind = f"{type(request).__module__}.{type(request).__qualname__}"
    raise TypeError(
        "a connector transport sends the requests of a client of httpx or httpx2,"
        f" not an object of type {kind}"
    )


def _reject(reason: str) -> NoReturn:
    raise UnsupportedRequestError(f"the connector proxy does not support {reason}")


async def _to_proxy_request(request: AnyRequest) -> tuple[str, bytes]:
    """Return the proxy operation for a request, together with its encoded fields."""
    operation, fields = await _to_proxy_fields(request)
    try:
        return operation, encode_json(fields, "the request")
    except ValueError as error:
        raise UnsupportedRequestError(str(error)) from None


async def _to_proxy_fields(request: AnyRequest) -> tuple[str, dict[str, Any]]:
    headers = request.headers
    if request.method in _REJECTED_METHODS:
        _reject(f"{request.method}, because it does not return response headers")
    fields: dict[str, Any] = {"method": request.method, "target_url": _target_url(request)}
    fields["headers"] = _forwarded_headers(headers)
    if params := _query_params(request.url):
        fields["query_params"] = params
    operation = _operation_for(headers)
    if body := await _read_body(request):
        name, parse = ("body", _parse_json) if operation == _CALL else ("data", _check_xml)
        fields[name] = parse(_decode_body(body, headers))
    return operation, fields


def _target_url(request: AnyRequest) -> str:
    url = request.url
    if url.scheme not in ("http", "https") or not url.host:
        _reject("a URL that is not an absolute http:// or https:// URL")
    netloc = url.netloc.decode("ascii")
    if request.headers.get("host", netloc).lower() != netloc:
        _reject("a Host header that differs from the URL")
    path = url.raw_path.partition(b"?")[0].decode("ascii")
    return f"{url.scheme}://{netloc}{path}"


def _forwarded_headers(headers: AnyHeaders) -> dict[str, str]:
    if "upgrade" in headers:
        _reject("an upgrade to another protocol")
    # httpx joins repeated headers with commas, as RFC 9110, section 5.3 allows.
    forwarded = {name: value for name, value in headers.items() if name not in _DROPPED_HEADERS}
    for name, value in forwarded.items():
        if not value.isascii():
            _reject(f"a non-ASCII value in the header {name}")
    return forwarded


def _query_params(url: AnyURL) -> dict[str, str]:
    try:
        pairs = parse_qsl(url.query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        _reject("query parameters that are not UTF-8")
    params = dict(pairs)
    if len(params) < len(pairs):
        _reject("a repeated query parameter")
    return params


def _media_type(header: str) -> str:
    """Return the first media type in a header, without its parameters."""
    return re.split("[;,]", header, maxsplit=1)[0].strip().lower()


def _is_xml(media_type: str) -> bool:
    return media_type in ("application/xml", "text/xml") or media_type.endswith("+xml")


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def _operation_for(headers: AnyHeaders) -> str:
    # A request without a body has no Content-Type, but its Accept header may specify XML.
    media_type = _media_type(headers.get("content-type") or headers.get("accept") or "")
    if not _is_xml(media_type):
        return _CALL
    return _SOAP if media_type == "application/soap+xml" or "soapaction" in headers else _XML


async def _read_body(request: AnyRequest) -> bytes:
    # Do not read a body that is going to be rejected, because it may be a large upload.
    is_rejected = has_unsupported_body(request)
    body = b"" if is_rejected else await request.aread()
    if is_rejected or (body and not _is_text(request.headers)):
        encoding = _encoding(request.headers)
        media_type = _media_type(request.headers.get("content-type", "")) or "unspecified type"
        kind = media_type if encoding == "identity" else encoding
        _reject(f"a body of {kind}, only JSON objects and XML")
    return body


def has_unsupported_body(request: AnyRequest) -> bool:
    """Return whether the headers of a request announce a body that the proxy cannot forward."""
    return _announces_body(request.headers) and not _is_text(request.headers)


def _is_text(headers: AnyHeaders) -> bool:
    media_type = _media_type(headers.get("content-type", ""))
    return (_is_json(media_type) or _is_xml(media_type)) and _encoding(headers) == "identity"


def _encoding(headers: AnyHeaders) -> str:
    return headers.get("content-encoding", "identity").lower()


def _announces_body(headers: AnyHeaders) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _decode_body(body: bytes, headers: AnyHeaders) -> str:
    if charset := _CHARSET.search(headers["content-type"]):
        _require_utf_8(charset[1])
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        _reject(f"a body that is not UTF-8: {error}")


def _require_utf_8(encoding: str) -> None:
    if encoding.lower() not in _UTF_8:
        _reject(f"a body in {encoding}, only UTF-8")


def _parse_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        _reject(f"a body that is not JSON: {error}")
    if not isinstance(value, dict):
        _reject("a JSON body that is not an object")
    return value


def _check_xml(text: str) -> str:
    # The document is sent as a JSON string, and the proxy chooses how to encode it. A declaration
    # of any encoding other than UTF-8 would be wrong.
    if declared := _XML_ENCODING.match(text):
        _require_utf_8(declared[1])
    return text


def _timeout_of(request: AnyRequest) -> httpx.Timeout | None:
    timeout: Mapping[str, float | None] | None = request.extensions.get("timeout")
    return None if timeout is None else httpx.Timeout(None, **timeout)


def _to_response(library: Any, status: int, data: Any, operation: str) -> Any:
    if not isinstance(data, str):
        return _create_response(library, status, "application/json", json.dumps(data))
    is_xml = operation != _CALL and data.lstrip("\ufeff \t\r\n").startswith("<")
    media_type = "application/xml" if is_xml else "text/plain"
    return _create_response(library, status, f"{media_type}; charset=utf-8", data)


def _create_response(library: Any, status: int, content_type: str, text: str) -> Any:
    # JSON can contain lone surrogates, which UTF-8 cannot encode.
    content = text.encode(errors="replace")
    return library.Response(status, headers={"Content-Type": content_type}, content=content)


def _to_library_error(library: Any, error: PandiumError) -> Any:
    # Check in this order, because clients use the class to decide whether to retry:
    # 1. the request was never sent  2. it timed out  3. it may have been executed  4. Pandium
    # rejected it
    if isinstance(error, ConnectFailed):
        return library.ConnectError(str(error))
    if isinstance(error, RequestTimeout):
        return library.ReadTimeout(str(error))
    if error.outcome_unknown:
        return library.ReadError(str(error))
    return library.ProxyError(str(error))
