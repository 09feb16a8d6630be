"""Speak to ``/v2/tenants/{tenant_id}/connectors/{connector_name}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._convert import decode_json, encode_json
from pandium._transport import Call, Transport
from pandium.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandium._connections import Answer

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

        :raises ConnectorError: with the upstream's own status and data, if it answers with an
            error.
        :raises APIError: if the vendor's proxy itself refuses or fails.

        Source: Proxy Endpoints, Proxy Connector Call Rest.
        """
        return await self._proxy(
            _PATH + "/call",
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
        Call a SOAP endpoint; ``data`` is the envelope. Otherwise as :meth:`call`.

        Source: Proxy Endpoints, Proxy Connector Call Soap.
        """
        return await self._proxy(
            _PATH + "/soap",
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
        Call an XML endpoint; ``data`` is the document. Otherwise as :meth:`call`.

        Source: Proxy Endpoints, Proxy Connector Call Xml.
        """
        return await self._proxy(
            _PATH + "/xml",
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
        return await self._transport.call_json(Call.of("PATCH", _PATH + "/disconnect", segments))

    async def _proxy(
        self, template: str, segments: Mapping[str, object], fields: Mapping[str, object]
    ) -> Any:
        present = {name: value for name, value in fields.items() if value is not None}
        # Each by itself first, so that the error names the one that is no JSON.
        for name, value in present.items():
            encode_json(value, name)
        call = Call.of("POST", template, segments, content=encode_json(present, "fields"))
        return await self._transport.send(call, _data_of)


def _data_of(raw: Answer) -> Any:
    answer = decode_json(raw.content)
    if not isinstance(answer, dict) or "data" not in answer:
        raise DecodeError("the answer of the proxy has no data", path="data")
    return answer["data"]
