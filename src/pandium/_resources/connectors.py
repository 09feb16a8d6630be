"""The operations on connectors: ``/v2/tenants/{tenant_id}/connectors/{connector_name}``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from pandium._serialization.convert import decode_json, encode_json
from pandium._transport.spec import RequestSpec, RetrySafety
from pandium._validation import tenant_id_of
from pandium.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

    from pandium._http.connections import Response
    from pandium._resources.connector_transport import ConnectorTransport
    from pandium._transport.transport import Transport
    from pandium.models import Tenant

    Headers = Mapping[str, Any] | Sequence[Any]

__all__ = ["Connectors"]

_PATH = "/v2/tenants/{tenant_id}/connectors/{connector}"


@attrs.frozen
class Connectors:
    """
    Connectors: the systems that a tenant is connected to.

    Pandium's proxy adds the tenant's credentials to a request and forwards it to the connected
    system, which is called the upstream system.
    """

    _transport: Transport = attrs.field(repr=False)

    async def call(  # noqa: PLR0913 - the API's fields
        self,
        tenant_id: int | Tenant,
        connector: str,
        *,
        method: str,
        target_url: str,
        headers: Headers | None = None,
        query_params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """
        Call a REST endpoint of the upstream system.

        The request is retried only if it cannot have reached the upstream system.

        ```python
        contacts = await client.connectors.call(
            tenant_id, "crm", method="GET", target_url="https://api.example.com/v1/contacts"
        )
        ```

        API reference:
        [Proxy Connector Call Rest](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-rest)

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :param method: the HTTP method of the upstream request.
        :param target_url: the URL of the upstream endpoint, without a query string.
        :param headers: the headers of the upstream request.
        :param query_params: the query parameters of the upstream request.
        :param body: the JSON object to send to the upstream system.
        :returns: the upstream response data. The status and headers are not available.
        :raises ConnectorError: if the upstream system returns an error. The exception has the
            ``status_code`` and ``data`` of the response.
        :raises APIError: if Pandium itself rejects the request or returns an error.
        :raises ValueError: if an argument is not JSON-serializable. Nothing is sent.
        """
        return await self._send_fields(
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
        tenant_id: int | Tenant,
        connector: str,
        *,
        method: str,
        target_url: str,
        headers: Headers | None = None,
        query_params: Mapping[str, Any] | None = None,
        data: str | None = None,
    ) -> Any:
        """
        Call a SOAP endpoint of the upstream system.

        The request is retried only if it cannot have reached the upstream system.

        ```python
        envelope = '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"/>'
        result = await client.connectors.soap(
            tenant_id, "crm", method="POST", target_url="https://api.example.com/", data=envelope
        )
        ```

        API reference:
        [Proxy Connector Call Soap](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-soap)

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :param method: the HTTP method of the upstream request.
        :param target_url: the URL of the upstream endpoint, without a query string.
        :param headers: the headers of the upstream request.
        :param query_params: the query parameters of the upstream request.
        :param data: the SOAP envelope to send to the upstream system.
        :returns: the upstream response data. The status and headers are not available.
        :raises ConnectorError: if the upstream system returns an error. The exception has the
            ``status_code`` and ``data`` of the response.
        :raises APIError: if Pandium itself rejects the request or returns an error.
        :raises ValueError: if an argument is not JSON-serializable. Nothing is sent.
        """
        return await self._send_fields(
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
        tenant_id: int | Tenant,
        connector: str,
        *,
        method: str,
        target_url: str,
        headers: Headers | None = None,
        query_params: Mapping[str, Any] | None = None,
        data: str | None = None,
    ) -> Any:
        """
        Call an XML endpoint of the upstream system.

        The request is retried only if it cannot have reached the upstream system.

        ```python
        result = await client.connectors.xml(
            tenant_id, "crm", method="PUT", target_url="https://api.example.com/", data="<contact/>"
        )
        ```

        API reference:
        [Proxy Connector Call Xml](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-xml)

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :param method: the HTTP method of the upstream request.
        :param target_url: the URL of the upstream endpoint, without a query string.
        :param headers: the headers of the upstream request.
        :param query_params: the query parameters of the upstream request.
        :param data: the XML document to send to the upstream system.
        :returns: the upstream response data. The status and headers are not available.
        :raises ConnectorError: if the upstream system returns an error. The exception has the
            ``status_code`` and ``data`` of the response.
        :raises APIError: if Pandium itself rejects the request or returns an error.
        :raises ValueError: if an argument is not JSON-serializable. Nothing is sent.
        """
        return await self._send_fields(
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

    async def disconnect(self, tenant_id: int | Tenant, connector: str) -> Any:
        """
        Disconnect a tenant from a connector.

        The request is not retried if it may already have been executed.

        ```python
        await client.connectors.disconnect(tenant_id, "crm")
        ```

        ``PATCH /v2/tenants/{tenant_id}/connectors/{connector_name}/disconnect`` was added to the
        [API reference](https://docs.pandium.com/reference/pandium-api) later.

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :returns: the response as decoded JSON.
        """
        segments = {"tenant_id": tenant_id, "connector": connector}
        return await self._transport.request_json(
            RequestSpec.create("PATCH", _PATH + "/disconnect", segments)
        )

    def transport(self, tenant_id: int | Tenant, connector: str) -> ConnectorTransport:
        """
        Return a transport that lets any client built on httpx or httpx2 call the upstream system.

        ```python
        transport = client.connectors.transport(tenant_id, "crm")
        async with httpx.AsyncClient(transport=transport) as http:
            response = await http.get("https://api.example.com/v1/contacts")
            print(response.json())
        ```

        The transport sends requests in the same way as ``call``. It sends a request with an XML
        ``Content-Type``, or with an XML ``Accept`` header and no ``Content-Type``, in the same way
        as ``xml`` or ``soap``. Pandium adds the tenant's credentials. ``Authorization`` headers and
        credentials in the URL are dropped. The timeouts of the httpx client apply.

        An upstream error response keeps its status. A successful response always has the status
        200. Response headers are not available, except for a ``Content-Type`` that is derived
        from the data: JSON, XML or plain text. The proxy returns a response as a whole, so a
        streamed response arrives only when it is complete.

        API reference:
        [Proxy Connector Call Rest](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-rest)

        Requests through the transport raise the exceptions of the client's library, httpx or
        httpx2. The ``__cause__`` of each is the original ``PandiumError``.

        - ``UnsupportedProtocol``: the proxy cannot forward the request, and nothing was sent. The
          proxy does not support bodies other than JSON objects and XML in UTF-8 (such as forms,
          files and compressed bodies), repeated query parameters, non-ASCII headers, a ``Host``
          header that differs from the URL, the methods HEAD, OPTIONS, TRACE and CONNECT, or
          protocol upgrades.
        - ``ConnectError``: the request did not reach Pandium.
        - ``ProxyError``: Pandium rejected the request, for example because of an invalid API key,
          tenant or connector, or because of a rate limit.
        - ``ReadTimeout``: no response was received in time. The request may have been executed.
        - ``ReadError``: the response was lost or is invalid. The request may have been executed.
        - ``TypeError``: the transport was passed to a client that is neither of the two.

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :returns: a transport for ``httpx.AsyncClient`` or ``httpx2.AsyncClient``. Closing it has no
            effect.
        :raises ValueError: if an argument cannot be part of a URL.
        """
        from pandium._resources.connector_transport import (  # noqa: PLC0415 - imports httpx
            ConnectorTransport,
        )

        segments = {"tenant_id": tenant_id, "connector": connector}
        RequestSpec.create("POST", _PATH, segments)  # raises ValueError if an id is invalid
        return ConnectorTransport(tenant_id_of(tenant_id), connector, partial(self._send, segments))

    async def _send_fields(
        self, operation: str, segments: Mapping[str, object], fields: Mapping[str, object]
    ) -> Any:
        present = {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in fields.items()
            if value is not None
        }
        # Encode each field separately first, so that an error message names the field.
        for name, value in present.items():
            encode_json(value, name)
        return await self._send(segments, operation, encode_json(present, "fields"))

    async def _send(
        self,
        segments: Mapping[str, object],
        operation: str,
        content: bytes,
        timeout: httpx.Timeout | None = None,  # noqa: ASYNC109 - the time limit of one attempt
    ) -> Any:
        spec = RequestSpec.create(
            "POST",
            f"{_PATH}/{operation}",
            segments,
            content=content,
            safety=RetrySafety.PROXIED,
        )
        transport = self._transport
        if timeout is not None:
            transport = attrs.evolve(transport, timeout=timeout)
        return await transport.request(spec, _read_data)


def _read_data(response: Response) -> Any:
    body = decode_json(response.content)
    if not isinstance(body, dict) or "data" not in body:
        raise DecodeError("the proxy response contains no data", path="data")
    return body["data"]
