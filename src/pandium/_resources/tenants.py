"""The operations on tenants: ``/v2/tenants``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import attrs

from pandium._resources.paging import create_listing
from pandium._resources.trigger_status import StatusPoller, default_outcome
from pandium._serialization.convert import decode, encode_json_object
from pandium._transport.spec import RequestSpec, RetrySafety
from pandium._validation import (
    validate_flag,
    validate_iterable,
    validate_journal_path,
    validate_mapping,
    validate_mode,
    validate_release_choice,
    validate_sort_by,
    validate_tenant_name,
    validate_whole_number,
)
from pandium._waiting.polling import Polling
from pandium._waiting.results import RunResult, RunResults
from pandium.models import Release, ReleaseChannel, Run, RunMode, Tenant, TenantMetadata, Trigger

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping

    from pandium._listing.listing import Listing, OnDrift
    from pandium._resources.trigger_status import OnStatusOf
    from pandium._transport.transport import Transport
    from pandium._waiting.polling import Classify

    Given: TypeAlias = Mapping[str, Any] | None
    Payload: TypeAlias = Given | Callable[["T"], Given | Awaitable[Given]]

__all__ = ["Tenants"]

T = TypeVar("T", bound=int | Tenant)

_PATH = "/v2/tenants/{tenant_id}"
# The API's names of arguments that are shorter here.
_API_NAMES = {
    "release_id": "integration_release_id",
    "release_channel": "integration_release_channel",
}


@attrs.frozen
class Tenants:
    """
    Tenants: installations of integrations by customers.

    The API has no operation that returns one tenant by its id. List the tenants and select it.
    """

    _transport: Transport = attrs.field(repr=False)
    _poller: StatusPoller = attrs.field(repr=False)

    def list(  # noqa: PLR0913 - the API's filters and the paging arguments
        self,
        *,
        integration_id: int | None = None,
        user_name: str | None = None,
        archived: bool | None = None,
        sort_by: str | None = None,
        limit: int | None = None,
        page_size: int = 500,
        skip: int = 0,
        prefetch: int = 4,
        on_drift: OnDrift = "repair",
    ) -> Listing[Tenant]:
        """
        Return a listing of tenants. Requests are sent when it is iterated over.

        ```python
        async for tenant in client.tenants.list(integration_id=integration_id):
            print(tenant.id, tenant.name)
        ```

        API reference:
        [Get Many Tenants](https://docs.pandium.com/reference/pandium-api#get-many-tenants)

        :param integration_id: return only tenants of this integration.
        :param user_name: return only tenants of this marketplace user.
        :param archived: filter by whether a tenant is archived; no filter by default. The API
            reference does not say whether ``True`` excludes tenants that are not archived.
        :param sort_by: ``"<field>__ASC"`` or ``"<field>__DESC"``; the API's order by default.
        :param limit: maximum number of records to return; no limit by default.
        :param page_size: records per request, from 1 to 500.
        :param skip: number of records to skip at the start.
        :param prefetch: maximum number of concurrent page requests.
        :param on_drift: what to do if records shift between pages: ``"repair"``, ``"raise"`` or
            ``"ignore"``.
        :returns: a ``Listing``, which can be iterated over more than once.
        :raises ValueError: if an argument is invalid.
        """
        params = {
            "integration_id": integration_id,
            "user_name": user_name,
            "archived": archived,
            "sort_by": validate_sort_by(sort_by),
        }
        return create_listing(
            self._transport,
            Tenant,
            RequestSpec.create("GET", "/v2/tenants", params=params),
            limit=limit,
            page_size=page_size,
            skip=skip,
            prefetch=prefetch,
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
        Create a tenant. It starts paused and unconnected.

        The request is not retried if the tenant may already have been created.

        ```python
        tenant = await client.tenants.create(
            "acme-eu", integration_id, user_schedule="0 * * * *", release_channel="Default"
        )
        ```

        API reference:
        [Create One](https://docs.pandium.com/reference/pandium-api#create-one)

        :param name: lower-case letters and digits, with hyphens only between them.
        :param integration_id: id of the integration.
        :param user_schedule: cron expression for the tenant's regular runs.
        :param release_id: id of the tenant's release. Mutually exclusive with ``release_channel``;
            with neither, the tenant gets the integration's default release.
        :param release_channel: ``"Default"`` or ``"Latest"``, a ``ReleaseChannel``.
        :param configs: configuration of the tenant, by the schema of its release.
        :raises ValidationError: if the API rejects a value, such as ``configs`` that do not match
            the schema of the release.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        validate_release_choice(release_id, release_channel)
        body = {
            "name": validate_tenant_name(name),
            "integration_id": validate_whole_number("integration_id", integration_id),
            "user_schedule": user_schedule,
            "integration_release_id": None
            if release_id is None
            else validate_whole_number("release_id", release_id),
            "integration_release_channel": release_channel,
            "configs": None if configs is None else validate_mapping("configs", configs),
        }
        present = {name: value for name, value in body.items() if value is not None}
        spec = RequestSpec.create(
            "POST", "/v2/tenants", content=encode_json_object(present, "configs")
        )
        return await self._transport.request_model(spec, Tenant)

    async def update(self, tenant_id: int, **changes: Any) -> Tenant:
        """
        Change fields of a tenant, and return the updated tenant.

        The request is not retried if it may already have been carried out.

        ```python
        tenant = await client.tenants.update(tenant_id, paused=True)
        ```

        The [API reference](https://docs.pandium.com/reference/pandium-api) lists
        ``PATCH /v2/tenants/{tenant_id}`` without describing its fields. Known fields of a tenant
        are ``name``, ``configs``, ``paused``, ``archived``, ``user_schedule``, ``release_id`` and
        ``release_channel``.

        :param tenant_id: id of the tenant.
        :param changes: new values by field name. Unknown fields are sent too, and ``None`` is sent
            as null.
        :raises NotFound: if the tenant does not exist.
        :raises ValueError: if there are no changes or a value is invalid. Nothing is sent.
        """
        if not changes:
            raise ValueError("changes must name at least one field")
        body = {_API_NAMES.get(name, name): value for name, value in changes.items()}
        for short, name in _API_NAMES.items():
            if short in changes and name in changes:
                raise ValueError(f"{short} and {name} are one field: pass one of them")
        if "name" in body:
            validate_tenant_name(body["name"])
        validate_release_choice(*(body.get(name) for name in _API_NAMES.values()))
        spec = RequestSpec.create(
            "PATCH", _PATH, {"tenant_id": tenant_id}, content=encode_json_object(body, "changes")
        )
        return await self._transport.request_model(spec, Tenant)

    async def archive(self, tenant_id: int) -> dict[str, Any]:
        """
        Archive a tenant. The API has no documented operation that restores it.

        ```python
        await client.tenants.archive(tenant_id)
        ```

        API reference:
        [Delete Tenant](https://docs.pandium.com/reference/pandium-api#delete-tenant)

        :param tenant_id: id of the tenant.
        :returns: the decoded JSON of the response; empty if the response is.
        :raises NotFound: if the tenant does not exist.
        """
        spec = RequestSpec.create("DELETE", _PATH, {"tenant_id": tenant_id})
        return await self._transport.request(
            spec, lambda response: decode(response.content or b"{}", dict[str, Any])
        )

    async def release(self, tenant_id: int) -> Release:
        """
        Return the release that a tenant runs.

        ```python
        release = await client.tenants.release(tenant_id)
        ```

        The [API reference](https://docs.pandium.com/reference/pandium-api) lists
        ``GET /v2/tenants/{tenant_id}/release`` without describing its response.

        :param tenant_id: id of the tenant.
        :raises NotFound: if the tenant does not exist.
        """
        spec = RequestSpec.create("GET", _PATH + "/release", {"tenant_id": tenant_id})
        return await self._transport.request_model(spec, Release)

    async def sync(
        self, tenant_id: int, *, mode: RunMode | str, payload: Mapping[str, Any] | None = None
    ) -> Trigger:
        """
        Trigger a sync of a tenant.

        The request is not retried if it may already have started a run.

        ```python
        trigger = await client.tenants.sync(
            tenant_id, mode="normal", payload={"since": "2026-01-01"}
        )
        await client.runs.wait(trigger)
        ```

        API reference:
        [Sync By Tenant Id](https://docs.pandium.com/reference/pandium-api#sync-by-tenant-id)

        :param tenant_id: id of the tenant.
        :param mode: ``"init"`` or ``"normal"``.
        :param payload: data for the run, which must be JSON-serializable.
        :returns: the trigger, to pass to ``runs.wait``.
        :raises NotFound: if the tenant does not exist.
        """
        return await self._sync(tenant_id, validate_mode(mode), _payload_json(payload))

    async def _sync(self, tenant_id: int, mode: str, content: bytes | None) -> Trigger:
        segments, params = {"tenant_id": tenant_id}, {"mode": mode}
        spec = RequestSpec.create("POST", _PATH + "/sync", segments, params=params, content=content)
        return await self._transport.request_model(spec, Trigger)

    def sync_all(  # noqa: PLR0913 - each a separate choice of the caller
        self,
        tenants: Iterable[T] | AsyncIterable[T],
        *,
        mode: RunMode | str,
        payload: Payload[T] = None,
        journal: str | os.PathLike[str] | None = None,
        max_concurrency: int = 10,
        poll: Polling = Polling(),  # noqa: B008 - frozen
        timeout: float = 1800.0,
        retry_unknown: bool = False,
        on_status: OnStatusOf[int] | None = None,
        classify: Classify = default_outcome,
    ) -> RunResults[RunResult]:
        """
        Sync many tenants and wait for their runs: ``async with …sync_all(…) as done``.

        ``tenants`` is an iterable or async iterable of ids or tenants, such as a listing, which is
        walked while the first syncs run. Each of them, however often it comes, is one
        ``RunResult`` in order of completion; what went wrong with it is its ``error``. An error of
        ``tenants`` itself is raised after the results of what came before.

        ``payload`` is a mapping, or a function, plain or async, of what ``tenants`` gave. At most
        ``max_concurrency`` tenants are under way, from before the request until the run ends.
        ``timeout`` is that of each run, from its trigger on; it, ``poll`` and ``classify`` are
        those of
        ``runs.wait``. ``on_status`` is called with a status and the tenant's id. ``done.progress``
        is a ``Progress``.

        A sync whose answer is lost is not repeated; the ``error`` of its result has
        ``outcome_unknown`` set. ``journal`` is the path of a file that survives this process: when
        the same call is made with it again, runs that had begun are waited for, recorded results
        are given again, what may have been sent is reported as unknown (or is sent again, with
        ``retry_unknown``), and the rest is triggered. Processes that use one journal at once share
        the work. Each job needs a journal of its own.

        Source: Tenants, Sync By Tenant Id; Runs, Get Run Status From Trigger.

        :raises ValueError: if an argument cannot be used, before anything is sent; for a journal,
            in place of the first result.
        """
        # Here, since most who import this sync no tenants in bulk, and need no SQLite.
        from pandium._bulk.journal import Journal  # noqa: PLC0415
        from pandium._bulk.sync import Plan, sync_each  # noqa: PLC0415

        validate_iterable("tenants", tenants)
        options = self._poller.wait_options(
            poll=poll,
            timeout=timeout,
            classify=classify,
            on_status=on_status,
            on_status_args=lambda wait: (wait.key,),
        )
        word = validate_mode(mode)

        async def post(tenant_id: int, content: bytes | None) -> Trigger:
            return await self._sync(tenant_id, word, content)

        plan = Plan(
            _content_of(payload),
            post,
            validate_whole_number("max_concurrency", max_concurrency),
            validate_flag("retry_unknown", retry_unknown),
        )
        job = {"mode": word, "base_url": self._transport.config.base_url}
        path = validate_journal_path(journal)

        async def produce(send: Callable[[RunResult], Awaitable[None]]) -> None:
            # Each owner is another one, as is each entry into the block.
            await sync_each(tenants, plan, options, Journal(path, job, options.clock), send)

        return RunResults(produce, options.counters)

    async def metadata(self, tenant_id: int) -> TenantMetadata:
        """
        Return the metadata of a tenant.

        ```python
        metadata = await client.tenants.metadata(tenant_id)
        print(metadata.data)
        ```

        API reference:
        [Get Metadata](https://docs.pandium.com/reference/pandium-api#get-metadata)

        :param tenant_id: id of the tenant.
        :raises NotFound: if the tenant does not exist.
        """
        spec = RequestSpec.create("GET", _PATH + "/metadata", {"tenant_id": tenant_id})
        return await self._transport.request_model(spec, TenantMetadata)

    async def update_metadata(self, tenant_id: int, data: Mapping[str, Any]) -> TenantMetadata:
        """
        Merge data into the metadata of a tenant, and return the result.

        The request is retried on transient errors, since merging the same data twice has the same
        result.

        ```python
        metadata = await client.tenants.update_metadata(tenant_id, {"last_page": 3})
        ```

        API reference:
        [Patch Metadata](https://docs.pandium.com/reference/pandium-api#patch-metadata)

        :param tenant_id: id of the tenant.
        :param data: keys to add or replace; must be JSON-serializable.
        :raises NotFound: if the tenant does not exist.
        :raises ValidationError: if the data does not match the schema of the tenant's release.
        """
        spec = RequestSpec.create(
            "PATCH",
            _PATH + "/metadata",
            {"tenant_id": tenant_id},
            content=encode_json_object(data, "data"),
            safety=RetrySafety.IDEMPOTENT,
        )
        return await self._transport.request_model(spec, TenantMetadata)

    def runs(  # noqa: PLR0913 - the paging arguments
        self,
        tenant_id: int,
        *,
        sort_by: str | None = None,
        limit: int | None = None,
        page_size: int = 500,
        skip: int = 0,
        prefetch: int = 4,
        on_drift: OnDrift = "repair",
    ) -> Listing[Run]:
        """
        Return a listing of a tenant's runs. Requests are sent when it is iterated over.

        If the tenant does not exist, the first page raises ``NotFound``.

        ```python
        async for run in client.tenants.runs(tenant_id, sort_by="id__DESC", limit=10):
            print(run.id, run.status)
        ```

        ``GET /v2/tenants/{tenant_id}/runs`` is a later addition to the
        [API reference](https://docs.pandium.com/reference/pandium-api).

        :param tenant_id: id of the tenant.
        :param sort_by: ``"<field>__ASC"`` or ``"<field>__DESC"``; the API's order by default.
        :param limit: maximum number of records to return; no limit by default.
        :param page_size: records per request, from 1 to 500.
        :param skip: number of records to skip at the start.
        :param prefetch: maximum number of concurrent page requests.
        :param on_drift: what to do if records shift between pages: ``"repair"``, ``"raise"`` or
            ``"ignore"``.
        :returns: a ``Listing``, which can be iterated over more than once.
        :raises ValueError: if an argument is invalid.
        """
        params = {"sort_by": validate_sort_by(sort_by)}
        return create_listing(
            self._transport,
            Run,
            RequestSpec.create("GET", _PATH + "/runs", {"tenant_id": tenant_id}, params=params),
            limit=limit,
            page_size=page_size,
            skip=skip,
            prefetch=prefetch,
            on_drift=on_drift,
        )


def _payload_json(payload: object) -> bytes | None:
    return None if payload is None else encode_json_object(payload, "payload")


def _content_of(payload: Any) -> Callable[[Any], Awaitable[bytes | None]]:
    """Make what gives the body for a tenant; a payload that serves all is written once."""
    whole = None if callable(payload) else _payload_json(payload)

    async def content(item: Any) -> bytes | None:
        if not callable(payload):
            return whole
        given = payload(item)
        return _payload_json(await given if inspect.isawaitable(given) else given)

    return content
