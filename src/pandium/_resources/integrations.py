"""The operations on integrations: ``/v2/integrations``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._resources.paging import create_listing
from pandium._resources.trigger_status import decode_trigger
from pandium._serialization.convert import encode_json_object
from pandium._transport.spec import RequestSpec
from pandium._validation import (
    validate_flag,
    validate_if_given,
    validate_mode,
    validate_sort_by,
    validate_text,
)
from pandium.models import Integration, RunMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandium._listing.listing import ConfirmEnd, Listing, OnDrift
    from pandium._transport.transport import Transport
    from pandium.models import Trigger

__all__ = ["Integrations"]

_PATH = "/v2/integrations/{integration_id}"


@attrs.frozen
class Integrations:
    """Integrations: the applications that run on Pandium."""

    _transport: Transport = attrs.field(repr=False)

    def list(  # noqa: PLR0913 - the API's filters and the paging arguments
        self,
        *,
        archived: bool | None = None,
        sort_by: str | None = None,
        limit: int | None = None,
        page_size: int = 500,
        skip: int = 0,
        prefetch: int = 8,
        on_drift: OnDrift = "repair",
        confirm_end: ConfirmEnd = "auto",
    ) -> Listing[Integration]:
        """
        Return a listing of integrations. Requests are sent during iteration.

        ```python
        async for integration in client.integrations.list(sort_by="name__ASC"):
            print(integration.id, integration.name)
        ```

        API reference:
        [Get Many Integrations](https://docs.pandium.com/reference/pandium-api#get-many-integrations)

        :param archived: a filter on whether the integration is archived. Default: not sent. The API
            reference does not specify what the API lists then.
        :param sort_by: the sort order, as ``"<field>__ASC"`` or ``"<field>__DESC"``. Default: the
            API's order.
        :param limit: the maximum number of records to return. Default: no limit.
        :param page_size: the number of records per request, from 1 to 500.
        :param skip: the number of records to skip at the start.
        :param prefetch: the maximum number of concurrent page requests.
        :param on_drift: what to do if records shift between pages: ``"repair"``, ``"raise"`` or
            ``"ignore"``.
        :param confirm_end: whether to confirm that a short page is the last one by requesting
            another page, which must contain no new records. ``"auto"`` skips this for a single-page
            listing, unless the page's length is suspicious: a multiple of 10, or at least half of
            ``page_size``.
        :returns: a ``Listing``, which can be iterated over repeatedly.
        :raises ValueError: if an argument is invalid.
        """
        params = {
            "archived": validate_if_given(validate_flag, "archived", archived),
            "sort_by": validate_sort_by(sort_by),
        }
        return create_listing(
            self._transport,
            Integration,
            RequestSpec.create("GET", "/v2/integrations", params=params),
            limit=limit,
            page_size=page_size,
            skip=skip,
            prefetch=prefetch,
            on_drift=on_drift,
            confirm_end=confirm_end,
        )

    async def get(self, integration_id: int) -> Integration:
        """
        Return one integration.

        ```python
        integration = await client.integrations.get(integration_id)
        print(integration.name)
        ```

        API reference:
        [Get One Integration](https://docs.pandium.com/reference/pandium-api#get-one-integration)

        :param integration_id: the integration's id.
        :raises NotFound: if the integration does not exist.
        """
        spec = RequestSpec.create("GET", _PATH, {"integration_id": integration_id})
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
        Trigger a sync of a marketplace user's tenant.

        The request is not retried if it may already have started a run.

        ```python
        trigger = await client.integrations.sync(integration_id, user_name="ann", mode="normal")
        await client.runs.wait(trigger)
        ```

        API reference:
        [Sync By Integration Id](https://docs.pandium.com/reference/pandium-api#sync-by-integration-id)

        :param integration_id: the integration's id.
        :param user_name: the user's name in the in-app marketplace.
        :param mode: the run mode, ``"init"`` or ``"normal"``.
        :param payload: the JSON-serializable data to pass to the run.
        :returns: the trigger, which can be passed to ``runs.wait``.
        :raises NotFound: if the integration does not exist or the user has not installed it.
        """
        spec = RequestSpec.create(
            "POST",
            _PATH + "/sync",
            {"integration_id": integration_id},
            params={
                "mode": validate_mode(mode),
                "user_name": validate_text("user_name", user_name),
            },
            content=None if payload is None else encode_json_object(payload, "payload"),
        )
        return await self._transport.request(spec, decode_trigger)
