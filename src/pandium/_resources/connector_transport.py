"""Carry the requests of an httpx client through the vendor's proxy; it takes a send callable."""

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

    # The proxy's operation, the JSON of its fields, and the time limits of the request, if it has
    # any; gives the upstream's data.
    Send = Callable[[str, bytes, httpx.Timeout | None], Awaitable[Any]]

__all__ = ["UpstreamTransport"]

_CALL, _XML, _SOAP = "call", "xml", "soap"
# What the proxy sets itself, or what concerns one connection alone (RFC 9110, section 7.6.1); and
# credentials, which are the tenant's.
_NOT_CARRIED = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "keep-alive"),
        *("te", "trailer", "transfer-encoding"),
        *("authorization", "proxy-authorization"),
    }
)
# Their answers are headers, or no answers at all.
_METHODS_REFUSED = frozenset({"CONNECT", "HEAD", "OPTIONS", "TRACE"})
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';\s]+)""", re.IGNORECASE)
_XML_ENCODING = re.compile(r"""\A\ufeff?<\?xml[^>]*?\sencoding\s*=\s*["']([^"']+)""")
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


@attrs.frozen(eq=False)
class UpstreamTransport(httpx.AsyncBaseTransport):
    """What an ``httpx.AsyncClient`` of the upstream sends by; to close it does nothing."""

    tenant_id: int
    connector: str
    _send: Send = attrs.field(repr=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Send one request through the proxy.

        :raises httpx.UnsupportedProtocol: unsent, if the proxy cannot carry the request.
        :raises httpx.TransportError: if the upstream's answer did not come.
        """
        operation, fields = await _carried(request)
        try:
            content = encode_json(fields, "the request")
        except ValueError as error:
            raise httpx.UnsupportedProtocol(str(error)) from None
        try:
            answer = await self._send(operation, content, _timeout_of(request))
        except ConnectorError as error:
            return _response(error.status_code, error.data, operation)
        except PandiumError as error:
            raise _as_httpx(error) from error
        return _response(httpx.codes.OK, answer, operation)


def _refuse(what: str) -> NoReturn:
    raise httpx.UnsupportedProtocol(f"a connector's proxy cannot carry {what}")


async def _carried(request: httpx.Request) -> tuple[str, dict[str, Any]]:
    """Give the proxy's operation for a request, and its fields."""
    headers = request.headers
    if request.method in _METHODS_REFUSED:
        _refuse(f"{request.method}: headers of the answer do not come back")
    fields: dict[str, Any] = {"method": request.method, "target_url": _target_of(request)}
    fields["headers"] = _headers_of(headers)
    if params := _query_of(request.url):
        fields["query_params"] = params
    operation = _operation_of(headers)
    if body := await _body_of(request):
        name, read = ("body", _json_object) if operation == _CALL else ("data", _xml_text)
        fields[name] = read(_text_of(body, headers))
    return operation, fields


def _target_of(request: httpx.Request) -> str:
    url = request.url
    if url.scheme not in ("http", "https") or not url.host:
        _refuse("a URL without http:// or https:// and a host")
    netloc = url.netloc.decode("ascii")
    if request.headers.get("host", netloc).lower() != netloc:
        _refuse("a Host header other than the URL's")
    path = url.raw_path.partition(b"?")[0].decode("ascii")
    return f"{url.scheme}://{netloc}{path}"


def _headers_of(headers: httpx.Headers) -> dict[str, str]:
    if "upgrade" in headers:
        _refuse("an upgrade to another protocol")
    # A header that is there several times is one list (RFC 9110, section 5.3), which httpx joins.
    carried = {name: value for name, value in headers.items() if name not in _NOT_CARRIED}
    for name, value in carried.items():
        if not value.isascii():
            _refuse(f"a header that is not ASCII: {name}")
    return carried


def _query_of(url: httpx.URL) -> dict[str, str]:
    try:
        pairs = parse_qsl(url.query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        _refuse("query parameters that are not UTF-8")
    params = dict(pairs)
    if len(params) < len(pairs):
        _refuse("a query parameter several times")
    return params


def _essence_of(header: str) -> str:
    return re.split("[;,]", header, maxsplit=1)[0].strip().lower()


def _is_xml(essence: str) -> bool:
    return essence in ("application/xml", "text/xml") or essence.endswith("+xml")


def _is_json(essence: str) -> bool:
    return essence == "application/json" or essence.endswith("+json")


def _operation_of(headers: httpx.Headers) -> str:
    # What has no body to name its type may say by its Accept what it wants.
    essence = _essence_of(headers.get("content-type") or headers.get("accept", ""))
    if not _is_xml(essence):
        return _CALL
    return _SOAP if essence == "application/soap+xml" or "soapaction" in headers else _XML


async def _body_of(request: httpx.Request) -> bytes:
    essence = _essence_of(request.headers.get("content-type", ""))
    packing = request.headers.get("content-encoding", "identity").lower()
    is_text = (_is_json(essence) or _is_xml(essence)) and packing == "identity"
    # Before what may be a large upload is read.
    has_body = _is_announced(request.headers)
    body = b"" if has_body and not is_text else await request.aread()
    if (body or has_body) and not is_text:
        kind = essence or "no type" if packing == "identity" else packing
        _refuse(f"a body of {kind}: only JSON objects and XML")
    return body


def _is_announced(headers: httpx.Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _text_of(body: bytes, headers: httpx.Headers) -> str:
    if named := _CHARSET.search(headers["content-type"]):
        _check_encoding(named[1])
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        _refuse(f"a body that is not UTF-8: {error}")


def _check_encoding(name: str) -> None:
    if name.lower() not in _UTF_8:
        _refuse(f"a body in {name}: only UTF-8")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(f"a body that is not JSON: {error}")
    if not isinstance(value, dict):
        _refuse("a JSON body that is not an object")
    return value


def _xml_text(text: str) -> str:
    # A string has no encoding: the proxy chooses one for it, and the text must not name another.
    if named := _XML_ENCODING.match(text):
        _check_encoding(named[1])
    return text


def _timeout_of(request: httpx.Request) -> httpx.Timeout | None:
    limits: Mapping[str, float | None] | None = request.extensions.get("timeout")
    return None if limits is None else httpx.Timeout(None, **limits)


def _response(status: int, data: Any, operation: str) -> httpx.Response:
    if not isinstance(data, str):
        return _made(status, "application/json", json.dumps(data))
    is_xml = operation != _CALL and data.lstrip("\ufeff \t\r\n").startswith("<")
    return _made(status, f"{'application/xml' if is_xml else 'text/plain'}; charset=utf-8", data)


def _made(status: int, content_type: str, text: str) -> httpx.Response:
    content = text.encode(errors="replace")  # of lone surrogates, which JSON can escape
    return httpx.Response(status, headers={"Content-Type": content_type}, content=content)


def _as_httpx(error: PandiumError) -> httpx.TransportError:
    # 1. never sent  2. too slow  3. it may have been carried out  4. the proxy refused it; in this
    # order, since who repeats requests goes by these classes
    if isinstance(error, ConnectFailed):
        return httpx.ConnectError(str(error))
    if isinstance(error, RequestTimeout):
        return httpx.ReadTimeout(str(error))
    if error.outcome_unknown:
        return httpx.ReadError(str(error))
    return httpx.ProxyError(str(error))
