"""Speak to ``/v2/integrations``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._resources.paging import listing
from pandium._serialization.convert import encode_json_object
from pandium._transport.spec import RequestSpec
from pandium._validation import validate_mode, validate_sort_by, validate_text
from pandium.models import Integration, RunMode, Trigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandium._listing.listing import Listing, OnDrift
    from pandium._transport.transport import Transport

__all__ = ["Integrations"]


@attrs.frozen
class Integrations:
    """Integrations: the applications on the platform."""

    _transport: Transport = attrs.field(repr=False)

    def list(  # noqa: PLR0913 - the API's filters and the common arguments of listings
        self,
        *,
        archived: bool | None = None,
        sort_by: str | None = None,
        limit: int | None = None,
        page_size: int = 500,
        skip: int = 0,
        prefetch: int = 4,
        on_drift: OnDrift = "repair",
    ) -> Listing[Integration]:
        """
        List integrations; nothing is sent before the listing is iterated over.

        ``sort_by`` is ``<field>__ASC`` or ``<field>__DESC``. ``limit`` is the number of records
        in all, ``page_size`` (1 to 500) that of one request, ``skip`` where to begin, ``prefetch``
        the most requests at once; ``on_drift`` is ``repair``, ``raise`` or ``ignore``.

        Source: Integrations, Get Many Integrations.
        """
        return listing(
            self._transport,
            Integration,
            "/v2/integrations",
            {},
            {"archived": archived, "sort_by": validate_sort_by(sort_by)},
            limit=limit,
            page_size=page_size,
            skip=skip,
            prefetch=prefetch,
            on_drift=on_drift,
        )

    async def get(self, integration_id: int) -> Integration:
        """
        Give one integration.

        Source: Integrations, Get One Integration.

        :raises NotFound: if there is no such integration.
        """
        spec = RequestSpec.create(
            "GET", "/v2/integrations/{integration_id}", {"integration_id": integration_id}
        )
        return await self._transport.request_model(spec, Integration)

    async def sync(
        self,
        integration_id: int,
        *,
        user_name: str,
        mode: RunMode | str,
        payload: Mapping[str, Any] | None = None,
    ) -> Trigger:
        """
        Ask for a sync of the tenant that a user of the in-app marketplace has installed.

        ``mode`` is ``init`` or ``normal``; ``payload`` is what the integration reads. It is not
        repeated when its outcome is unknown, as a second request is a second run.

        Source: Integrations, Sync By Integration Id.

        :raises NotFound: if there is no such integration, or no tenant of that user.
        """
        spec = RequestSpec.create(
            "POST",
            "/v2/integrations/{integration_id}/sync",
            {"integration_id": integration_id},
            params={
                "mode": validate_mode(mode),
                "user_name": validate_text("user_name", user_name),
            },
            content=None if payload is None else encode_json_object(payload, "payload"),
        )
        return await self._transport.request_model(spec, Trigger)
