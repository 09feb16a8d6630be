"""An httpx transport that sends each request through Pandium's connector proxy."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl

import attrs
import httpx

from pandium._serialization.convert import encode_json
from pandium.errors import ConnectFailed, ConnectorError, PandiumError, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    # Takes the proxy operation, the encoded fields and the request's timeout or None. Returns the
    # upstream response data.
    SendToProxy = Callable[[str, bytes, httpx.Timeout | None], Awaitable[Any]]

__all__ = ["ConnectorTransport"]

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


@attrs.frozen(eq=False)
class ConnectorTransport(httpx.AsyncBaseTransport):
    """
    A transport for an ``httpx.AsyncClient`` that sends requests to the upstream system.

    It does not own any connections, so closing it has no effect.
    """

    tenant_id: object
    connector: str
    _send: SendToProxy = attrs.field(repr=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Send one request through the proxy.

        :raises httpx.UnsupportedProtocol: if the proxy cannot forward the request. Nothing is sent.
        :raises httpx.TransportError: if no response is received from the upstream system.
        """
        operation, fields = await _to_proxy_fields(request)
        try:
            content = encode_json(fields, "the request")
        except ValueError as error:
            raise httpx.UnsupportedProtocol(str(error)) from None
        try:
            data = await self._send(operation, content, _timeout_of(request))
        except ConnectorError as error:
            return _to_response(error.status_code, error.data, operation)
        except PandiumError as error:
            raise _to_httpx_error(error) from error
        return _to_response(httpx.codes.OK, data, operation)


def _reject(reason: str) -> NoReturn:
    raise httpx.UnsupportedProtocol(f"the connector proxy does not support {reason}")


async def _to_proxy_fields(request: httpx.Request) -> tuple[str, dict[str, Any]]:
    """Return the proxy operation for a request, together with its fields."""
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


def _target_url(request: httpx.Request) -> str:
    url = request.url
    if url.scheme not in ("http", "https") or not url.host:
        _reject("a URL that is not an absolute http:// or https:// URL")
    netloc = url.netloc.decode("ascii")
    if request.headers.get("host", netloc).lower() != netloc:
        _reject("a Host header that differs from the URL")
    path = url.raw_path.partition(b"?")[0].decode("ascii")
    return f"{url.scheme}://{netloc}{path}"


def _forwarded_headers(headers: httpx.Headers) -> dict[str, str]:
    if "upgrade" in headers:
        _reject("an upgrade to another protocol")
    # httpx joins repeated headers with commas, as RFC 9110, section 5.3 allows.
    forwarded = {name: value for name, value in headers.items() if name not in _DROPPED_HEADERS}
    for name, value in forwarded.items():
        if not value.isascii():
            _reject(f"a non-ASCII value in the header {name}")
    return forwarded


def _query_params(url: httpx.URL) -> dict[str, str]:
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


def _operation_for(headers: httpx.Headers) -> str:
    # A request without a body has no Content-Type, but its Accept header may specify XML.
    media_type = _media_type(headers.get("content-type") or headers.get("accept", ""))
    if not _is_xml(media_type):
        return _CALL
    return _SOAP if media_type == "application/soap+xml" or "soapaction" in headers else _XML


async def _read_body(request: httpx.Request) -> bytes:
    media_type = _media_type(request.headers.get("content-type", ""))
    encoding = request.headers.get("content-encoding", "identity").lower()
    is_text = (_is_json(media_type) or _is_xml(media_type)) and encoding == "identity"
    # Do not read a body that is going to be rejected, because it may be a large upload.
    is_announced = _announces_body(request.headers)
    body = b"" if is_announced and not is_text else await request.aread()
    if (body or is_announced) and not is_text:
        kind = media_type or "unspecified type" if encoding == "identity" else encoding
        _reject(f"a body of {kind}, only JSON objects and XML")
    return body


def _announces_body(headers: httpx.Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _decode_body(body: bytes, headers: httpx.Headers) -> str:
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


def _timeout_of(request: httpx.Request) -> httpx.Timeout | None:
    timeout: Mapping[str, float | None] | None = request.extensions.get("timeout")
    return None if timeout is None else httpx.Timeout(None, **timeout)


def _to_response(status: int, data: Any, operation: str) -> httpx.Response:
    if not isinstance(data, str):
        return _create_response(status, "application/json", json.dumps(data))
    is_xml = operation != _CALL and data.lstrip("\ufeff \t\r\n").startswith("<")
    media_type = "application/xml" if is_xml else "text/plain"
    return _create_response(status, f"{media_type}; charset=utf-8", data)


def _create_response(status: int, content_type: str, text: str) -> httpx.Response:
    # JSON can contain lone surrogates, which UTF-8 cannot encode.
    content = text.encode(errors="replace")
    return httpx.Response(status, headers={"Content-Type": content_type}, content=content)


def _to_httpx_error(error: PandiumError) -> httpx.TransportError:
    # Check in this order, because clients use the class to decide whether to retry:
    # 1. the request was never sent  2. it timed out  3. it may have been executed  4. Pandium
    # rejected it
    if isinstance(error, ConnectFailed):
        return httpx.ConnectError(str(error))
    if isinstance(error, RequestTimeout):
        return httpx.ReadTimeout(str(error))
    if error.outcome_unknown:
        return httpx.ReadError(str(error))
    return httpx.ProxyError(str(error))
