"""Speak to ``/v2/integrations``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._resources._checks import checked_mode, checked_sort, checked_text, object_json
from pandium._resources._listings import listing
from pandium._transport import Call, Transport
from pandium.models import Integration, RunMode, Trigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandium._paging import Listing, OnDrift

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
        ahead: int = 4,
        on_drift: OnDrift = "repair",
    ) -> Listing[Integration]:
        """
        List integrations; nothing is sent before the listing is iterated over.

        ``sort_by`` is ``<field>__ASC`` or ``<field>__DESC``. ``limit`` is the number of records
        in all, ``page_size`` (1 to 500) that of one request, ``skip`` where to begin, ``ahead``
        the most requests at once; ``on_drift`` is ``repair``, ``raise`` or ``ignore``.

        Source: Integrations, Get Many Integrations.
        """
        return listing(
            self._transport,
            Integration,
            "/v2/integrations",
            {},
            {"archived": archived, "sort_by": checked_sort(sort_by)},
            limit=limit,
            page_size=page_size,
            skip=skip,
            ahead=ahead,
            on_drift=on_drift,
        )

    async def get(self, integration_id: int) -> Integration:
        """
        Give one integration.

        Source: Integrations, Get One Integration.

        :raises NotFound: if there is no such integration.
        """
        call = Call.of(
            "GET", "/v2/integrations/{integration_id}", {"integration_id": integration_id}
        )
        return await self._transport.call(call, Integration)

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
        call = Call.of(
            "POST",
            "/v2/integrations/{integration_id}/sync",
            {"integration_id": integration_id},
            params={"mode": checked_mode(mode), "user_name": checked_text("user_name", user_name)},
            content=None if payload is None else object_json(payload, "payload"),
        )
        return await self._transport.call(call, Trigger)
