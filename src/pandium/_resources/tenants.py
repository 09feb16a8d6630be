"""Speak to ``/v2/tenants``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._resources._checks import (
    checked_mode,
    checked_name,
    checked_release,
    checked_sort,
    object_json,
)
from pandium._resources._listings import listing
from pandium._transport import Call, Transport
from pandium.models import Release, ReleaseChannel, Run, RunMode, Tenant, TenantMetadata, Trigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandium._paging import Listing, OnDrift

__all__ = ["Tenants"]

_PATH = "/v2/tenants/{tenant_id}"
# What the API calls the arguments that users write shorter.
_API_NAMES = {
    "release_id": "integration_release_id",
    "release_channel": "integration_release_channel",
}


@attrs.frozen
class Tenants:
    """Tenants: installations of integrations by customers."""

    _transport: Transport = attrs.field(repr=False)

    def list(  # noqa: PLR0913 - the API's filters and the common arguments of listings
        self,
        *,
        integration_id: int | None = None,
        user_name: str | None = None,
        archived: bool | None = None,
        sort_by: str | None = None,
        limit: int | None = None,
        page_size: int = 500,
        skip: int = 0,
        ahead: int = 4,
        on_drift: OnDrift = "repair",
    ) -> Listing[Tenant]:
        """
        List tenants; nothing is sent before the listing is iterated over.

        ``sort_by`` is ``<field>__ASC`` or ``<field>__DESC``. ``limit`` is the number of records
        in all, ``page_size`` (1 to 500) that of one request, ``skip`` where to begin, ``ahead``
        the most requests at once; ``on_drift`` is ``repair``, ``raise`` or ``ignore``. Whether
        ``archived=True`` gives archived tenants only or also, the vendor does not say.

        Source: Tenants, Get Many Tenants.
        """
        return listing(
            self._transport,
            Tenant,
            "/v2/tenants",
            {},
            {
                "integration_id": integration_id,
                "user_name": user_name,
                "archived": archived,
                "sort_by": checked_sort(sort_by),
            },
            limit=limit,
            page_size=page_size,
            skip=skip,
            ahead=ahead,
            on_drift=on_drift,
        )

    async def create(  # noqa: PLR0913 - the API's fields
        self,
        name: str,
        integration_id: int,
        *,
        user_schedule: str | None = None,
        release_id: int | None = None,
        release_channel: ReleaseChannel | str | None = None,
        configs: Mapping[str, Any] | None = None,
    ) -> Tenant:
        """
        Create a tenant, which is paused and not connected.

        ``name`` is lower-case letters and digits, with hyphens only between them;
        ``user_schedule`` is a cron string; a release is chosen by id or by channel, or is the
        integration's default.

        :raises ValidationError: if the API refuses a value, such as ``configs`` that do not fit
            the release's schema.

        Source: Tenants, Create One.
        """
        checked_release(release_id, release_channel)
        body = {
            "name": checked_name(name),
            "integration_id": integration_id,
            "user_schedule": user_schedule,
            "integration_release_id": release_id,
            "integration_release_channel": release_channel,
            "configs": configs if configs is None else dict(configs),
        }
        present = {name: value for name, value in body.items() if value is not None}
        call = Call.of("POST", "/v2/tenants", content=object_json(present, "configs"))
        return await self._transport.call(call, Tenant)

    async def update(self, tenant_id: int, **changes: Any) -> Tenant:
        """
        Change some fields of a tenant, and give it as it is then.

        The vendor names this operation but not its form. Likely fields are ``name``, ``configs``,
        ``paused``, ``archived``, ``user_schedule``, ``release_id`` or ``release_channel``; any
        other is sent as it is, and ``None`` is sent as null. It is not repeated when its outcome
        is unknown.

        :raises NotFound: if there is no such tenant.

        Source: Tenants, PATCH /v2/tenants/{tenant_id}; undocumented by the vendor.
        """
        if not changes:
            raise ValueError("changes must name at least one field")
        body = {_API_NAMES.get(name, name): value for name, value in changes.items()}
        if "name" in body:
            checked_name(body["name"])
        checked_release(*(body.get(name) for name in _API_NAMES.values()))
        call = Call.of(
            "PATCH", _PATH, {"tenant_id": tenant_id}, content=object_json(body, "changes")
        )
        return await self._transport.call(call, Tenant)

    async def archive(self, tenant_id: int) -> dict[str, Any]:
        """
        Archive a tenant, and give the API's answer; nothing documented takes it back.

        :raises NotFound: if there is no such tenant.

        Source: Tenants, Delete Tenant.
        """
        call = Call.of("DELETE", _PATH, {"tenant_id": tenant_id})
        return await self._transport.call(call, dict[str, Any])

    async def release(self, tenant_id: int) -> Release:
        """
        Give the release that a tenant runs.

        The vendor names this operation but not its form.

        :raises NotFound: if there is no such tenant.

        Source: Tenants, GET /v2/tenants/{tenant_id}/release; undocumented by the vendor.
        """
        call = Call.of("GET", _PATH + "/release", {"tenant_id": tenant_id})
        return await self._transport.call(call, Release)

    async def sync(
        self, tenant_id: int, *, mode: RunMode | str, payload: Mapping[str, Any] | None = None
    ) -> Trigger:
        """
        Ask for a sync of a tenant.

        ``mode`` is ``init`` or ``normal``; ``payload`` is what the integration reads. It is not
        repeated when its outcome is unknown, as a second request is a second run.

        :raises NotFound: if there is no such tenant.

        Source: Tenants, Sync By Tenant Id.
        """
        call = Call.of(
            "POST",
            _PATH + "/sync",
            {"tenant_id": tenant_id},
            params={"mode": checked_mode(mode)},
            content=None if payload is None else object_json(payload, "payload"),
        )
        return await self._transport.call(call, Trigger)

    async def metadata(self, tenant_id: int) -> TenantMetadata:
        """
        Give the metadata of a tenant.

        :raises NotFound: if there is no such tenant.

        Source: Tenants, Get Metadata.
        """
        call = Call.of("GET", _PATH + "/metadata", {"tenant_id": tenant_id})
        return await self._transport.call(call, TenantMetadata)

    async def update_metadata(self, tenant_id: int, data: Mapping[str, Any]) -> TenantMetadata:
        """
        Merge data into the metadata of a tenant, and give it as it is then.

        :raises NotFound: if there is no such tenant.
        :raises ValidationError: if the data does not fit the schema of the tenant's release.

        Source: Tenants, Patch Metadata.
        """
        call = Call.of(
            "PATCH",
            _PATH + "/metadata",
            {"tenant_id": tenant_id},
            content=object_json(data, "data"),
        )
        return await self._transport.call(call, TenantMetadata)

    def runs(  # noqa: PLR0913 - the common arguments of listings
        self,
        tenant_id: int,
        *,
        sort_by: str | None = None,
        limit: int | None = None,
        page_size: int = 500,
        skip: int = 0,
        ahead: int = 4,
        on_drift: OnDrift = "repair",
    ) -> Listing[Run]:
        """
        List the runs of a tenant; nothing is sent before the listing is iterated over.

        The arguments are those of :meth:`list`. The first page of a tenant that does not exist
        raises :class:`pandium.NotFound`.

        Source: published after the reference, GET /v2/tenants/{tenant_id}/runs.
        """
        return listing(
            self._transport,
            Run,
            _PATH + "/runs",
            {"tenant_id": tenant_id},
            {"sort_by": checked_sort(sort_by)},
            limit=limit,
            page_size=page_size,
            skip=skip,
            ahead=ahead,
            on_drift=on_drift,
        )
