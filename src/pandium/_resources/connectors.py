"""Speak to ``/v2/tenants/{tenant_id}/connectors/{connector_name}``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from pandium._serialization.convert import decode_json, encode_json
from pandium._transport.spec import RequestSpec
from pandium.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

    from pandium._http.connections import Response
    from pandium._transport.transport import Transport

    Headers = Mapping[str, Any] | Sequence[Any]

__all__ = ["Connectors"]

_PATH = "/v2/tenants/{tenant_id}/connectors/{connector}"


@attrs.frozen
class Connectors:
    """Calls of other systems, with a tenant's credentials, through the vendor's proxy."""

    _transport: Transport = attrs.field(repr=False)

    async def call(  # noqa: PLR0913 - the API's fields
        self,
        tenant_id: int,
        connector: str,
        *,
        method: str,
        target_url: str,
        headers: Headers | None = None,
        query_params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """
        Call a REST endpoint of the connected system, and give the data that it answers.

        Status and headers of the upstream's answer do not come through the proxy. The request is
        repeated only if it surely never reached the upstream.

        Source: Proxy Endpoints, Proxy Connector Call Rest.

        :raises ConnectorError: with the upstream's own status and data, if it answers with an
            error.
        :raises APIError: if the vendor's proxy itself refuses or fails.
        """
        return await self._proxy(
            "call",
            {"tenant_id": tenant_id, "connector": connector},
            {
                "method": method,
                "target_url": target_url,
                "headers": headers,
                "query_params": query_params,
                "body": body,
            },
        )

    async def soap(  # noqa: PLR0913 - the API's fields
        self,
        tenant_id: int,
        connector: str,
        *,
        method: str,
        target_url: str,
        headers: Headers | None = None,
        query_params: Mapping[str, Any] | None = None,
        data: str | None = None,
    ) -> Any:
        """
        Call a SOAP endpoint; ``data`` is the envelope. Otherwise as ``call``.

        Source: Proxy Endpoints, Proxy Connector Call Soap.
        """
        return await self._proxy(
            "soap",
            {"tenant_id": tenant_id, "connector": connector},
            {
                "method": method,
                "target_url": target_url,
                "headers": headers,
                "query_params": query_params,
                "data": data,
            },
        )

    async def xml(  # noqa: PLR0913 - the API's fields
        self,
        tenant_id: int,
        connector: str,
        *,
        method: str,
        target_url: str,
        headers: Headers | None = None,
        query_params: Mapping[str, Any] | None = None,
        data: str | None = None,
    ) -> Any:
        """
        Call an XML endpoint; ``data`` is the document. Otherwise as ``call``.

        Source: Proxy Endpoints, Proxy Connector Call Xml.
        """
        return await self._proxy(
            "xml",
            {"tenant_id": tenant_id, "connector": connector},
            {
                "method": method,
                "target_url": target_url,
                "headers": headers,
                "query_params": query_params,
                "data": data,
            },
        )

    async def disconnect(self, tenant_id: int, connector: str) -> Any:
        """
        End a tenant's connection to a system, and give the API's answer as decoded JSON.

        It is not repeated when its outcome is unknown.

        Source: published after the reference, PATCH …/connectors/{connector_name}/disconnect.
        """
        segments = {"tenant_id": tenant_id, "connector": connector}
        return await self._transport.request_json(
            RequestSpec.create("PATCH", _PATH + "/disconnect", segments)
        )

    def transport(self, tenant_id: int, connector: str) -> httpx.AsyncBaseTransport:
        """
        Make a transport by which any client that is built on httpx calls the connected system.

        For instance ``httpx.AsyncClient(transport=client.connectors.transport(7, "crm"),
        base_url="https://api.example.com")``: what it sends goes by ``call``, or by ``xml`` or
        ``soap`` where ``Content-Type`` (``Accept``, if there is none) names XML. The credentials
        are the tenant's: ``Authorization`` is left out. Time limits are those of the httpx client;
        what may be repeated is as for ``call``. To close the transport does nothing.

        An error that the upstream answers is an answer here too, with its status. What does not
        come through the proxy: headers of the answer but a ``Content-Type`` by its data
        (JSON, else text or XML), and the status of a success, which is always 200.

        Source: Proxy Endpoints.

        Errors are httpx's, with this library's as ``__cause__``. While a request is sent:

        :raises httpx.UnsupportedProtocol: for what the proxy cannot carry; nothing is sent. This is
            a body that is neither a JSON object nor XML in UTF-8, such as a form, a file or a
            packed one; a query parameter several times; a header that is not ASCII, or a ``Host``
            other than the URL's; HEAD, OPTIONS, TRACE, CONNECT; an upgrade of the protocol.
        :raises httpx.ConnectError: if the request never reached the vendor.
        :raises httpx.ProxyError: if the vendor refuses it: its key, tenant, connector or rate.
        :raises httpx.ReadTimeout: if no answer came in time; it may have been carried out.
        :raises httpx.ReadError: if none came for another reason; it may have been carried out.
        """
        # Here, since httpx is imported with the first client, not with this package.
        from pandium._resources.connector_transport import UpstreamTransport  # noqa: PLC0415

        segments = {"tenant_id": tenant_id, "connector": connector}
        RequestSpec.create("POST", _PATH, segments)  # so that an id that cannot be one shows now
        return UpstreamTransport(tenant_id, connector, partial(self._send, segments))

    async def _proxy(
        self, operation: str, segments: Mapping[str, object], fields: Mapping[str, object]
    ) -> Any:
        present = {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in fields.items()
            if value is not None
        }
        # Each by itself first, so that the error names the one that is no JSON.
        for name, value in present.items():
            encode_json(value, name)
        return await self._send(segments, operation, encode_json(present, "fields"))

    async def _send(
        self,
        segments: Mapping[str, object],
        operation: str,
        content: bytes,
        timeout: httpx.Timeout | None = None,  # noqa: ASYNC109 - one attempt's, not the caller's
    ) -> Any:
        spec = RequestSpec.create("POST", f"{_PATH}/{operation}", segments, content=content)
        transport = self._transport
        if timeout is not None:
            transport = attrs.evolve(transport, timeout=timeout)
        return await transport.request(spec, _data_of)


def _data_of(raw: Response) -> Any:
    answer = decode_json(raw.content)
    if not isinstance(answer, dict) or "data" not in answer:
        raise DecodeError("the answer of the proxy has no data", path="data")
    return answer["data"]
