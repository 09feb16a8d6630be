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
    validate_callable,
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

    from pandium._bulk.sync import OnTriggered
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

    def sync_all(  # noqa: PLR0913 - each is a separate choice of the caller
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
        on_triggered: OnTriggered | None = None,
        on_status: OnStatusOf[int] | None = None,
        classify: Classify = default_outcome,
    ) -> RunResults[RunResult]:
        """
        Trigger a sync for each of many tenants, and wait for their runs.

        Returns one ``RunResult`` per tenant, in order of completion. A tenant that occurs more than
        once is synced once. If a tenant fails, its result has the ``error``, and the others
        continue. ``results.progress`` is a ``Progress`` with the current counts.

        ```python
        async with client.tenants.sync_all(
            client.tenants.list(integration_id=1), mode="normal", journal="sync.db"
        ) as results:
            async for result in results:
                print(result.tenant_id, result.status or result.error)
        ```

        A request whose response is lost is not retried, because a second request would start a
        second run. The ``error`` of its result has ``outcome_unknown`` set.

        With a ``journal``, the job survives its process. Make the same call again with the same
        file: runs in progress are waited for, recorded results are returned without a request, and
        the remaining tenants are triggered. A tenant that may or may not have been triggered is
        returned as unknown, unless ``retry_unknown`` is set. Processes that use the same journal at
        the same time share the work. Use a separate journal for each job.

        API reference:
        [Sync By Tenant Id](https://docs.pandium.com/reference/pandium-api#sync-by-tenant-id),
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param tenants: tenant ids or ``Tenant`` objects, as an iterable or async iterable. A
            listing is read while the first syncs are running.
        :param mode: ``"init"`` or ``"normal"``.
        :param payload: a mapping for the integration to read, the same for every tenant. Or a
            function, sync or async, that takes an item of ``tenants`` and returns the mapping.
        :param journal: the path of an SQLite file in which to record progress. It is created if it
            does not exist.
        :param max_concurrency: the maximum number of active tenants. A tenant is active from before
            its request until its run has ended.
        :param poll: how often to poll the status of the runs.
        :param timeout: the time limit of each run, in seconds from its trigger on.
        :param retry_unknown: send a sync again if the journal does not know its outcome. May run it
            twice.
        :param on_triggered: a function, sync or async, called as ``on_triggered(trigger,
            tenant_id)`` once for each trigger that this call sends, after it is recorded in the
            journal, or at the time limit of the run if another process locks the journal until
            then. It is not called for triggers found in the journal. If it raises, the exception is
            that tenant's ``error``: the trigger stays recorded, but this call does not wait for its
            run. An async function is cancelled at the time limit of the run. The function is called
            even if the task is cancelled just after the response arrived; in that case, an async
            function is itself cancelled at its first ``await``.
        :param on_status: a function, sync or async, called as ``on_status(status, tenant_id)`` for
            each new status.
        :param classify: a function that maps a ``TriggerStatus`` to an ``Outcome``.
        :returns: an async context manager and async iterator over the results.
        :raises ValueError: if an argument is invalid; nothing has been sent then.
        :raises ConfigurationError: by the iteration, if the journal cannot be used or belongs to
            another job; nothing has been sent then.
        :raises PandiumError: by the iteration, after the other results, if the journal fails, or is
            no longer the file that was opened. An exception of ``tenants`` is raised in the same
            way. If it is the cancellation of another task, it is raised as a ``RuntimeError``.
        """
        # Imported here because most programs sync no tenants in bulk, and need no SQLite.
        from pandium._bulk.sqlite import SQLiteJournal  # noqa: PLC0415
        from pandium._bulk.sync import SyncOptions, sync_each  # noqa: PLC0415

        validate_iterable("tenants", tenants)
        wait_options = self._poller.wait_options(
            poll=poll,
            timeout=timeout,
            classify=classify,
            on_status=on_status,
            on_status_args=lambda wait: (wait.key,),
        )
        mode = validate_mode(mode)
        if on_triggered is not None:
            validate_callable("on_triggered", on_triggered)

        async def send(tenant_id: int, body: bytes | None) -> Trigger:
            return await self._sync(tenant_id, mode, body)

        options = SyncOptions(
            _body_encoder(payload),
            send,
            validate_whole_number("max_concurrency", max_concurrency),
            validate_flag("retry_unknown", retry_unknown),
            on_triggered,
        )
        job = {"mode": mode, "base_url": self._transport.config.base_url}
        path = validate_journal_path(journal)

        async def produce(report: Callable[[RunResult], Awaitable[None]]) -> None:
            # A new journal each time, because each has its own id as an owner of leases.
            worker_journal = SQLiteJournal(path, job, wait_options.clock)
            await sync_each(tenants, options, wait_options, worker_journal, report)

        return RunResults(produce, wait_options.counters)

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


def _body_encoder(payload: Any) -> Callable[[Any], Awaitable[bytes | None]]:
    """Return a function that encodes the body for one item. A fixed payload is encoded once."""
    fixed = None if callable(payload) else _payload_json(payload)

    async def encode_body(item: Any) -> bytes | None:
        if not callable(payload):
            return fixed
        returned = payload(item)
        return _payload_json(await returned if inspect.isawaitable(returned) else returned)

    return encode_body
