"""Speak to ``/v2/tenants``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import attrs

from pandium._resources.paging import listing
from pandium._resources.polls import Waiting, outcome_of
from pandium._serialization.convert import decode, encode_json_object
from pandium._transport.spec import RequestSpec
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
from pandium._waiting.polling import Polling, RunResult
from pandium._waiting.results import RunResults
from pandium.models import Release, ReleaseChannel, Run, RunMode, Tenant, TenantMetadata, Trigger

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping

    from pandium._bulk.sync import OnTriggered
    from pandium._listing.listing import Listing, OnDrift
    from pandium._resources.polls import OnStatusOf
    from pandium._transport.transport import Transport
    from pandium._waiting.polling import Classify

    Given: TypeAlias = Mapping[str, Any] | None
    Payload: TypeAlias = Given | Callable[["T"], Given | Awaitable[Given]]

__all__ = ["Tenants"]

T = TypeVar("T", bound=int | Tenant)

_PATH = "/v2/tenants/{tenant_id}"
# What the API calls the arguments that users write shorter.
_API_NAMES = {
    "release_id": "integration_release_id",
    "release_channel": "integration_release_channel",
}


@attrs.frozen
class Tenants:
    """
    Tenants: installations of integrations by customers.

    The API has no operation that gets one tenant by its id: list them, and pick it out.
    """

    _transport: Transport = attrs.field(repr=False)
    _waiting: Waiting = attrs.field(repr=False)

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
        prefetch: int = 4,
        on_drift: OnDrift = "repair",
    ) -> Listing[Tenant]:
        """
        List tenants; nothing is sent before the listing is iterated over.

        ``sort_by`` is ``<field>__ASC`` or ``<field>__DESC``. ``limit`` is the number of records
        in all, ``page_size`` (1 to 500) that of one request, ``skip`` where to begin, ``prefetch``
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
                "sort_by": validate_sort_by(sort_by),
            },
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
        Create a tenant, which is paused and not connected.

        ``name`` is lower-case letters and digits, with hyphens only between them;
        ``user_schedule`` is a cron string; a release is chosen by id or by channel, or is the
        integration's default.

        Source: Tenants, Create One.

        :raises ValidationError: if the API refuses a value, such as ``configs`` that do not fit
            the release's schema.
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
        Change some fields of a tenant, and give it as it is then.

        The vendor names this operation but not its form. Likely fields are ``name``, ``configs``,
        ``paused``, ``archived``, ``user_schedule``, ``release_id`` or ``release_channel``; any
        other is sent as it is, and ``None`` is sent as null. It is not repeated when its outcome
        is unknown.

        Source: Tenants, PATCH /v2/tenants/{tenant_id}; undocumented by the vendor.

        :raises NotFound: if there is no such tenant.
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
        Archive a tenant, and give the API's answer; nothing documented takes it back.

        Source: Tenants, Delete Tenant.

        :raises NotFound: if there is no such tenant.
        """
        spec = RequestSpec.create("DELETE", _PATH, {"tenant_id": tenant_id})
        return await self._transport.request(
            spec, lambda answer: decode(answer.content or b"{}", dict[str, Any])
        )

    async def release(self, tenant_id: int) -> Release:
        """
        Give the release that a tenant runs.

        The vendor names this operation but not its form.

        Source: Tenants, GET /v2/tenants/{tenant_id}/release; undocumented by the vendor.

        :raises NotFound: if there is no such tenant.
        """
        spec = RequestSpec.create("GET", _PATH + "/release", {"tenant_id": tenant_id})
        return await self._transport.request_model(spec, Release)

    async def sync(
        self, tenant_id: int, *, mode: RunMode | str, payload: Mapping[str, Any] | None = None
    ) -> Trigger:
        """
        Ask for a sync of a tenant.

        ``mode`` is ``init`` or ``normal``; ``payload`` is what the integration reads. It is not
        repeated when its outcome is unknown, as a second request is a second run.

        Source: Tenants, Sync By Tenant Id.

        :raises NotFound: if there is no such tenant.
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
        classify: Classify = outcome_of,
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
            journal. It is not called for triggers found in the journal. If it raises, the exception
            is that tenant's ``error``: the trigger stays recorded, but this call does not wait for
            its run. It is called even if the task is cancelled just after the response arrived; in
            that case, an async function is itself cancelled at its first ``await``.
        :param on_status: a function, sync or async, called as ``on_status(status, tenant_id)`` for
            each new status.
        :param classify: a function that maps a ``TriggerStatus`` to an ``Outcome``.
        :returns: an async context manager and async iterator over the results.
        :raises ValueError: if an argument is invalid; nothing has been sent then.
        :raises ConfigurationError: by the iteration, if the journal cannot be used or belongs to
            another job; nothing has been sent then.
        :raises PandiumError: by the iteration, after the other results, if the journal fails. An
            exception of ``tenants`` is raised in the same way.
        """
        # Imported here because most programs sync no tenants in bulk, and need no SQLite.
        from pandium._bulk.sqlite import SQLiteJournal  # noqa: PLC0415
        from pandium._bulk.sync import SyncOptions, sync_each  # noqa: PLC0415

        validate_iterable("tenants", tenants)
        wait_options = self._waiting.options(poll, timeout, classify, on_status, lambda w: (w.key,))
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
        Give the metadata of a tenant.

        Source: Tenants, Get Metadata.

        :raises NotFound: if there is no such tenant.
        """
        spec = RequestSpec.create("GET", _PATH + "/metadata", {"tenant_id": tenant_id})
        return await self._transport.request_model(spec, TenantMetadata)

    async def update_metadata(self, tenant_id: int, data: Mapping[str, Any]) -> TenantMetadata:
        """
        Merge data into the metadata of a tenant, and give it as it is then.

        Source: Tenants, Patch Metadata.

        :raises NotFound: if there is no such tenant.
        :raises ValidationError: if the data does not fit the schema of the tenant's release.
        """
        spec = RequestSpec.create(
            "PATCH",
            _PATH + "/metadata",
            {"tenant_id": tenant_id},
            content=encode_json_object(data, "data"),
        )
        return await self._transport.request_model(spec, TenantMetadata)

    def runs(  # noqa: PLR0913 - the common arguments of listings
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
        List the runs of a tenant; nothing is sent before the listing is iterated over.

        The arguments are those of ``list``. The first page of a tenant that does not exist raises
        ``NotFound``.

        Source: published after the reference, GET /v2/tenants/{tenant_id}/runs.
        """
        return listing(
            self._transport,
            Run,
            _PATH + "/runs",
            {"tenant_id": tenant_id},
            {"sort_by": validate_sort_by(sort_by)},
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
