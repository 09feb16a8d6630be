"""The operations on connectors: ``/v2/tenants/{tenant_id}/connectors/{connector_name}``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from pandium._serialization.convert import decode_json, encode_json
from pandium._transport.spec import RequestSpec, RetrySafety
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
    """
    Connectors: the other systems that a tenant is connected to.

    Pandium's proxy forwards requests to such a system, the upstream, with the tenant's
    credentials.
    """

    _transport: Transport = attrs.field(repr=False)

    async def call(  # noqa: PLR0913 - the fields of the API
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
        Call a REST endpoint of the upstream.

        The request is retried only if it cannot have reached the upstream.

        ```python
        contacts = await client.connectors.call(
            tenant_id, "crm", method="GET", target_url="https://api.example.com/v1/contacts"
        )
        ```

        API reference:
        [Proxy Connector Call Rest](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-rest)

        :param tenant_id: id of the tenant.
        :param connector: name of the connector.
        :param method: HTTP method of the request to the upstream.
        :param target_url: URL of the upstream's endpoint, without a query.
        :param headers: headers of the request to the upstream.
        :param query_params: query parameters of the request to the upstream.
        :param body: JSON object to send to the upstream.
        :returns: the data of the upstream's response. Its status and headers are not available.
        :raises ConnectorError: if the upstream responds with an error, with its status and data.
        :raises APIError: if Pandium itself rejects the request or fails.
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

    async def soap(  # noqa: PLR0913 - the fields of the API
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
        Call a SOAP endpoint of the upstream.

        The request is retried only if it cannot have reached the upstream.

        ```python
        envelope = '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"/>'
        result = await client.connectors.soap(
            tenant_id, "crm", method="POST", target_url="https://api.example.com/", data=envelope
        )
        ```

        API reference:
        [Proxy Connector Call Soap](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-soap)

        :param tenant_id: id of the tenant.
        :param connector: name of the connector.
        :param method: HTTP method of the request to the upstream.
        :param target_url: URL of the upstream's endpoint, without a query.
        :param headers: headers of the request to the upstream.
        :param query_params: query parameters of the request to the upstream.
        :param data: the SOAP envelope to send to the upstream.
        :returns: the data of the upstream's response. Its status and headers are not available.
        :raises ConnectorError: if the upstream responds with an error, with its status and data.
        :raises APIError: if Pandium itself rejects the request or fails.
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

    async def xml(  # noqa: PLR0913 - the fields of the API
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
        Call an XML endpoint of the upstream.

        The request is retried only if it cannot have reached the upstream.

        ```python
        result = await client.connectors.xml(
            tenant_id, "crm", method="PUT", target_url="https://api.example.com/", data="<contact/>"
        )
        ```

        API reference:
        [Proxy Connector Call Xml](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-xml)

        :param tenant_id: id of the tenant.
        :param connector: name of the connector.
        :param method: HTTP method of the request to the upstream.
        :param target_url: URL of the upstream's endpoint, without a query.
        :param headers: headers of the request to the upstream.
        :param query_params: query parameters of the request to the upstream.
        :param data: the XML document to send to the upstream.
        :returns: the data of the upstream's response. Its status and headers are not available.
        :raises ConnectorError: if the upstream responds with an error, with its status and data.
        :raises APIError: if Pandium itself rejects the request or fails.
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

    async def disconnect(self, tenant_id: int, connector: str) -> Any:
        """
        Disconnect a tenant from a connector.

        The request is not retried if it may already have been carried out.

        ```python
        await client.connectors.disconnect(tenant_id, "crm")
        ```

        ``PATCH /v2/tenants/{tenant_id}/connectors/{connector_name}/disconnect`` is a later addition
        to the [API reference](https://docs.pandium.com/reference/pandium-api).

        :param tenant_id: id of the tenant.
        :param connector: name of the connector.
        :returns: the decoded JSON of the response.
        """
        segments = {"tenant_id": tenant_id, "connector": connector}
        return await self._transport.request_json(
            RequestSpec.create("PATCH", _PATH + "/disconnect", segments)
        )

    def transport(self, tenant_id: int, connector: str) -> httpx.AsyncBaseTransport:
        """
        Return a transport with which any client built on httpx calls the upstream.

        ```python
        transport = client.connectors.transport(tenant_id, "crm")
        async with httpx.AsyncClient(transport=transport) as http:
            response = await http.get("https://api.example.com/v1/contacts")
            print(response.json())
        ```

        Requests are sent like those of ``call``. If ``Content-Type`` names XML, or ``Accept`` does
        and there is no ``Content-Type``, they are sent like those of ``xml`` or ``soap``. The
        upstream gets the tenant's credentials; ``Authorization`` headers and credentials in the
        URL are dropped. Time limits are those of the httpx client.

        An error response of the upstream is returned with its status. The status of a success is
        always 200. Response headers are not available, except for a ``Content-Type`` that is
        derived from the data: JSON, XML or plain text.

        API reference:
        [Proxy Connector Call Rest](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-rest)

        Requests through the transport raise httpx's own errors. The error of this library is their
        ``__cause__``.

        - ``httpx.UnsupportedProtocol``: the proxy cannot forward the request, and nothing was
          sent. Not supported are a body other than a JSON object or XML in UTF-8 (forms, files,
          compressed bodies), repeated query parameters, headers that are not ASCII, a ``Host``
          other than the URL's, the methods HEAD, OPTIONS, TRACE and CONNECT, and protocol upgrades.
        - ``httpx.ConnectError``: the request did not reach Pandium.
        - ``httpx.ProxyError``: Pandium rejected the request because of its key, tenant, connector
          or rate.
        - ``httpx.ReadTimeout``: there was no response in time. The request may have been carried
          out.
        - ``httpx.ReadError``: the response was lost or is invalid. The request may have been
          carried out.

        :param tenant_id: id of the tenant.
        :param connector: name of the connector.
        :returns: a transport for ``httpx.AsyncClient``. Closing it has no effect.
        :raises ValueError: if an argument cannot be part of a URL.
        """
        # Imported here because httpx is only imported with the first client.
        from pandium._resources.connector_transport import ConnectorTransport  # noqa: PLC0415

        segments = {"tenant_id": tenant_id, "connector": connector}
        RequestSpec.create("POST", _PATH, segments)  # raises now if an id is invalid
        return ConnectorTransport(tenant_id, connector, partial(self._send, segments))

    async def _send_fields(
        self, operation: str, segments: Mapping[str, object], fields: Mapping[str, object]
    ) -> Any:
        present = {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in fields.items()
            if value is not None
        }
        # Each field is encoded on its own first, so that the error names the field.
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
        raise DecodeError("the response of the proxy has no data", path="data")
    return body["data"]
