"""The operations on tenants: ``/v2/tenants``."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import attrs

from pandium._resources.paging import create_listing, find_first
from pandium._resources.trigger_status import StatusPoller, decode_trigger, default_outcome
from pandium._serialization.convert import decode, encode_json_object
from pandium._transport.spec import RequestSpec, RetrySafety
from pandium._user_code import UserCodeError
from pandium._validation import (
    tenant_id_of,
    validate_callable,
    validate_flag,
    validate_id,
    validate_if_given,
    validate_iterable,
    validate_journal_path,
    validate_mapping,
    validate_mode,
    validate_release_choice,
    validate_sort_by,
    validate_tenant_name,
    validate_text,
    validate_whole_number,
)
from pandium._waiting.polling import Polling
from pandium._waiting.results import RunResult, RunResults
from pandium.models import Release, ReleaseChannel, Run, RunMode, Tenant, TenantMetadata

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping

    from pandium._bulk.journal import Journal
    from pandium._bulk.sync import OnTriggered
    from pandium._clock import Clock
    from pandium._http.send_record import SendRecord
    from pandium._listing.listing import ConfirmEnd, Listing, OnDrift
    from pandium._resources.trigger_status import OnStatusOf
    from pandium._transport.transport import Transport
    from pandium._waiting.polling import Classify
    from pandium.models import Trigger
    from pandium.postgres import PostgresJournal

    Given: TypeAlias = Mapping[str, Any] | None
    Payload: TypeAlias = Given | Callable[["T"], Given | Awaitable[Given]]

__all__ = ["Tenants"]

T = TypeVar("T", bound=int | Tenant)

_PATH = "/v2/tenants/{tenant_id}"
# Arguments whose names are shorter than the API's field names.
_API_NAMES = {
    "release_id": "integration_release_id",
    "release_channel": "integration_release_channel",
}


@attrs.frozen
class Tenants:
    """
    Tenants: customers' installations of integrations.

    The API has no operation to get a tenant by id. Use ``find``, which lists the tenants until it
    finds the one you need.
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
        prefetch: int = 8,
        on_drift: OnDrift = "repair",
        confirm_end: ConfirmEnd = "auto",
    ) -> Listing[Tenant]:
        """
        Return a listing of tenants. Requests are sent during iteration.

        ```python
        async for tenant in client.tenants.list(integration_id=integration_id):
            print(tenant.id, tenant.name)
        ```

        API reference:
        [Get Many Tenants](https://docs.pandium.com/reference/pandium-api#get-many-tenants)

        :param integration_id: the id of the integration to list tenants for. Default: no filter.
        :param user_name: the marketplace user to list tenants for. Default: no filter.
        :param archived: a filter on whether the tenant is archived. Default: not sent. The API
            reference does not specify what the API lists then, or whether ``True`` excludes tenants
            that are not archived.
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
            "integration_id": validate_if_given(validate_id, "integration_id", integration_id),
            "user_name": validate_if_given(validate_text, "user_name", user_name),
            "archived": validate_if_given(validate_flag, "archived", archived),
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
            confirm_end=confirm_end,
        )

    async def find(
        self,
        tenant_id: int | Tenant | None = None,
        *,
        name: str | None = None,
        integration_id: int | None = None,
    ) -> Tenant | None:
        """
        Find a tenant by id or by name. Lists the tenants and stops at the first match.

        ```python
        tenant = await client.tenants.find(name="acme", integration_id=integration_id)
        if tenant is not None:
            print(tenant.id, tenant.paused)
        ```

        API reference:
        [Get Many Tenants](https://docs.pandium.com/reference/pandium-api#get-many-tenants)

        :param tenant_id: the tenant's id, or a ``Tenant`` to request again.
        :param name: the tenant's name. Names are unique only within an integration. If both
            ``tenant_id`` and ``name`` are passed, both must match.
        :param integration_id: the id of the integration to search. Default: all integrations.
        :returns: the tenant, or ``None`` if no listed tenant matches.
        :raises ValueError: if neither ``tenant_id`` nor ``name`` is passed, or if an argument is
            invalid. Nothing is sent.
        :raises DriftError: if the tenant was not found and records might have been missed.
        """
        if tenant_id is None and name is None:
            raise ValueError("tenant_id or name must be passed to find a tenant")
        wanted_id = None
        if tenant_id is not None:
            wanted_id = validate_whole_number("tenant_id", tenant_id_of(tenant_id), minimum=0)
        wanted_name = validate_if_given(validate_text, "name", name)
        return await find_first(
            self.list(integration_id=integration_id),
            lambda tenant: wanted_id in (None, tenant.id) and wanted_name in (None, tenant.name),
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
        Create a tenant. It is initially paused and not connected.

        The request is not retried if it may already have created the tenant.

        ```python
        tenant = await client.tenants.create(
            "acme-eu", integration_id, user_schedule="0 * * * *", release_channel="Default"
        )
        ```

        API reference:
        [Create One](https://docs.pandium.com/reference/pandium-api#create-one)

        :param name: the tenant's name, which consists of lower-case letters, digits and inner
            hyphens.
        :param integration_id: the integration's id.
        :param user_schedule: a cron expression for the tenant's scheduled runs.
        :param release_id: the id of the tenant's release. Mutually exclusive with
            ``release_channel``. If neither is passed, the tenant uses the integration's default
            release.
        :param release_channel: a ``ReleaseChannel``, ``"Default"`` or ``"Latest"``.
        :param configs: the tenant's configuration, which must match the release's schema.
        :raises ValidationError: if the API rejects a value, for example ``configs`` that do not
            match the schema.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        validate_release_choice(release_id, release_channel)
        body = {
            "name": validate_tenant_name(name),
            "integration_id": validate_whole_number("integration_id", integration_id),
            "user_schedule": user_schedule,
            "integration_release_id": validate_if_given(
                validate_whole_number, "release_id", release_id
            ),
            "integration_release_channel": release_channel,
            "configs": validate_if_given(validate_mapping, "configs", configs),
        }
        present = {name: value for name, value in body.items() if value is not None}
        spec = RequestSpec.create(
            "POST", "/v2/tenants", content=encode_json_object(present, "configs")
        )
        return await self._transport.request_model(spec, Tenant)

    async def update(self, tenant_id: int | Tenant, **changes: Any) -> Tenant:
        """
        Update a tenant and return the result.

        The request is not retried if it may already have been executed.

        ```python
        tenant = await client.tenants.update(tenant_id, paused=True)
        ```

        The [API reference](https://docs.pandium.com/reference/pandium-api) lists
        ``PATCH /v2/tenants/{tenant_id}`` but does not describe its fields. The known fields are
        ``name``, ``configs``, ``paused``, ``archived``, ``user_schedule``, ``release_id`` and
        ``release_channel``.

        :param tenant_id: a ``Tenant`` or its id.
        :param changes: the fields to change and their new values. Unknown fields are also sent,
            and ``None`` is sent as null.
        :raises NotFound: if the tenant does not exist.
        :raises ValueError: if no field is passed or a value is invalid. Nothing is sent.
        """
        if not changes:
            raise ValueError("changes must contain at least one field")
        body = {_API_NAMES.get(name, name): value for name, value in changes.items()}
        for short, name in _API_NAMES.items():
            if short in changes and name in changes:
                raise ValueError(f"{short} and {name} are the same field: pass only one of them")
        if "name" in body:
            validate_tenant_name(body["name"])
        validate_release_choice(*(body.get(name) for name in _API_NAMES.values()))
        spec = RequestSpec.create(
            "PATCH", _PATH, {"tenant_id": tenant_id}, content=encode_json_object(body, "changes")
        )
        return await self._transport.request_model(spec, Tenant)

    async def archive(self, tenant_id: int | Tenant) -> dict[str, Any]:
        """
        Archive a tenant. The API documents no operation to restore it.

        ```python
        await client.tenants.archive(tenant_id)
        ```

        API reference:
        [Delete Tenant](https://docs.pandium.com/reference/pandium-api#delete-tenant)

        :param tenant_id: a ``Tenant`` or its id.
        :returns: the response as decoded JSON, or an empty dictionary if the response is empty.
        :raises NotFound: if the tenant does not exist.
        """
        spec = RequestSpec.create("DELETE", _PATH, {"tenant_id": tenant_id})
        return await self._transport.request(
            spec, lambda response: decode(response.content or b"{}", dict[str, Any])
        )

    async def release(self, tenant_id: int | Tenant) -> Release:
        """
        Return the release that a tenant uses.

        ```python
        release = await client.tenants.release(tenant_id)
        ```

        The [API reference](https://docs.pandium.com/reference/pandium-api) lists
        ``GET /v2/tenants/{tenant_id}/release`` but does not describe its response.

        :param tenant_id: a ``Tenant`` or its id.
        :raises NotFound: if the tenant does not exist.
        """
        spec = RequestSpec.create("GET", _PATH + "/release", {"tenant_id": tenant_id})
        return await self._transport.request_model(spec, Release)

    async def sync(
        self,
        tenant_id: int | Tenant,
        *,
        mode: RunMode | str,
        payload: Mapping[str, Any] | None = None,
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

        :param tenant_id: a ``Tenant`` or its id.
        :param mode: the run mode, ``"init"`` or ``"normal"``.
        :param payload: the JSON-serializable data to pass to the run.
        :returns: the trigger, which can be passed to ``runs.wait``.
        :raises NotFound: if the tenant does not exist.
        """
        spec = _sync_spec(tenant_id, validate_mode(mode), _payload_json(payload))
        return await self._transport.request(spec, decode_trigger)

    def sync_all(  # noqa: PLR0913 - the options are independent
        self,
        tenants: Iterable[T] | AsyncIterable[T],
        *,
        mode: RunMode | str,
        payload: Payload[T] = None,
        journal: str | os.PathLike[str] | PostgresJournal | None = None,
        max_concurrency: int = 10,
        poll: Polling = Polling(),  # noqa: B008 - frozen
        timeout: float = 1800.0,
        retry_unknown: bool = False,
        on_triggered: OnTriggered | None = None,
        on_status: OnStatusOf[int] | None = None,
        classify: Classify = default_outcome,
    ) -> RunResults[RunResult]:
        """
        Trigger a sync for each of many tenants and wait for their runs.

        Yields one ``RunResult`` per tenant, in order of completion. A tenant that occurs more than
        once is synced once. If a sync fails, the result contains the ``error``, and the other syncs
        continue. ``results.progress`` is a ``Progress`` with the current counts. It may be read
        from any task, at any time.

        ```python
        async with client.tenants.sync_all(
            client.tenants.list(integration_id=1), mode="normal", journal="sync.db"
        ) as results:
            async for result in results:
                print(result.tenant_id, result.status or result.error)
        ```

        If the response to a request is lost, the request is not retried, because that could start a
        second run. The result's ``error`` has ``outcome_unknown`` set.

        With a ``journal``, the job can be resumed after its process has ended. To resume it, repeat
        the call with the same file: it waits for runs in progress, returns recorded results without
        sending a request, and triggers the remaining tenants. If it is unknown whether a tenant
        was triggered, its outcome is reported as unknown, unless ``retry_unknown`` is set.
        Processes that use the same journal at the same time share the work. Use a separate journal
        for each job: nothing is sent for tenants whose results are in the journal. The first such
        result logs a warning on the logger ``pandium.journal``.

        API reference:
        [Sync By Tenant Id](https://docs.pandium.com/reference/pandium-api#sync-by-tenant-id),
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param tenants: an iterable or async iterable of tenant ids or ``Tenant`` objects. A listing
            is read while the first syncs are in progress.
        :param mode: the run mode, ``"init"`` or ``"normal"``.
        :param payload: the JSON-serializable mapping to pass to every run, or a sync or async
            function that takes an item of ``tenants`` and returns a mapping for its run.
        :param journal: the path of an SQLite file in which to record progress, which is created if
            it does not exist, or a ``PostgresJournal``, which many hosts can share.
        :param max_concurrency: the maximum number of active tenants. A tenant is active from when
            its request is sent until its run ends.
        :param poll: the polling settings, including the maximum rate across all runs.
        :param timeout: the time limit for each run, in seconds from when it is triggered.
        :param retry_unknown: whether to retry a sync whose outcome the journal does not record.
            This may run the sync twice.
        :param on_triggered: a sync or async function that is called with the trigger and the tenant
            id for each sync that this call triggers, after the trigger is recorded in the journal.
            It is not called for triggers found in the journal. If it raises an exception, the
            exception becomes that tenant's ``error``: the trigger stays recorded, but this call
            does not wait for its run. It is called even if the task is canceled just after the
            response was received. In that case, an async function is canceled at its first
            ``await``.
        :param on_status: a sync or async function that is called with the status and the tenant id
            whenever a run's status changes.
        :param classify: a function that maps a ``TriggerStatus`` to an ``Outcome``.
        :returns: an async context manager and async iterator over the results.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        :raises UnusableJournal: during the iteration, if the journal cannot be used or belongs to
            another job. Nothing is sent.
        :raises JournalError: during the iteration, after the other results, if the journal fails or
            is no longer the file that was opened. An exception raised by ``tenants`` is re-raised
            in the same way. A cancellation that belongs to another task is replaced with a
            ``RuntimeError``.
        """
        from pandium._bulk.sync import (  # noqa: PLC0415 - rarely used
            NotSentError,
            SyncOptions,
            sync_each,
        )

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

        async def send(tenant_id: int, body: bytes | None, record: SendRecord) -> Trigger:
            spec = attrs.evolve(_sync_spec(tenant_id, mode, body), record=record)
            try:
                return await self._transport.request(spec, decode_trigger, unwrap=False)
            except UserCodeError as error:
                if error.may_be_sent:
                    error.reraise()
                raise NotSentError(error.error) from None

        options = SyncOptions(
            _body_encoder(payload),
            send,
            validate_whole_number("max_concurrency", max_concurrency),
            validate_flag("retry_unknown", retry_unknown),
            on_triggered,
            partial(self._transport.connections.gate.set_share, object()),
        )
        job = {"mode": mode, "base_url": self._transport.config.base_url}
        open_journal = _journal_opener(journal)

        async def produce(report: Callable[[RunResult], Awaitable[None]]) -> None:
            # Each iteration needs a separate journal, because each one has its own id for leases.
            worker_journal = open_journal(
                job, wait_options.clock, lambda: wait_options.counters.active
            )
            await sync_each(tenants, options, wait_options, worker_journal, report)

        return RunResults(produce, wait_options.counters)

    async def metadata(self, tenant_id: int | Tenant) -> TenantMetadata:
        """
        Return a tenant's metadata.

        ```python
        metadata = await client.tenants.metadata(tenant_id)
        print(metadata.data)
        ```

        API reference:
        [Get Metadata](https://docs.pandium.com/reference/pandium-api#get-metadata)

        :param tenant_id: a ``Tenant`` or its id.
        :raises NotFound: if the tenant does not exist.
        """
        spec = RequestSpec.create("GET", _PATH + "/metadata", {"tenant_id": tenant_id})
        return await self._transport.request_model(spec, TenantMetadata)

    async def update_metadata(
        self, tenant_id: int | Tenant, data: Mapping[str, Any]
    ) -> TenantMetadata:
        """
        Merge data into a tenant's metadata and return the result.

        The request is retried after a transient error, because merging the same data twice has no
        further effect.

        ```python
        metadata = await client.tenants.update_metadata(tenant_id, {"last_page": 3})
        ```

        API reference:
        [Patch Metadata](https://docs.pandium.com/reference/pandium-api#patch-metadata)

        :param tenant_id: a ``Tenant`` or its id.
        :param data: the keys to add or replace. Must be JSON-serializable.
        :raises NotFound: if the tenant does not exist.
        :raises ValidationError: if the data does not match the schema of the tenant's
            release.
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
        tenant_id: int | Tenant,
        *,
        sort_by: str | None = None,
        limit: int | None = None,
        page_size: int = 500,
        skip: int = 0,
        prefetch: int = 8,
        on_drift: OnDrift = "repair",
        confirm_end: ConfirmEnd = "auto",
    ) -> Listing[Run]:
        """
        Return a listing of a tenant's runs. Requests are sent during iteration.

        If the tenant does not exist, the first page raises ``NotFound``.

        ```python
        async for run in client.tenants.runs(tenant_id, sort_by="id__DESC", limit=10):
            print(run.id, run.status)
        ```

        ``GET /v2/tenants/{tenant_id}/runs`` was added to the
        [API reference](https://docs.pandium.com/reference/pandium-api) later.

        :param tenant_id: a ``Tenant`` or its id.
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
            confirm_end=confirm_end,
        )


def _sync_spec(tenant_id: int | Tenant, mode: str, content: bytes | None) -> RequestSpec:
    segments, params = {"tenant_id": tenant_id}, {"mode": mode}
    return RequestSpec.create("POST", _PATH + "/sync", segments, params=params, content=content)


def _journal_opener(
    journal: object,
) -> Callable[[Mapping[str, str], Clock, Callable[[], int]], Journal]:
    """Return a function that creates one worker's journal for a job."""
    # Most programs never sync in bulk and do not need a database.
    from pandium.postgres import PostgresJournal  # noqa: PLC0415 - rarely used

    if isinstance(journal, PostgresJournal):
        from pandium._bulk.postgres_worker import PostgresWorker  # noqa: PLC0415 - rarely used

        return lambda job, clock, _: PostgresWorker(journal, job, clock)
    from pandium._bulk.sqlite import SQLiteJournal  # noqa: PLC0415 - rarely used

    return partial(SQLiteJournal, validate_journal_path(journal))


def _payload_json(payload: object) -> bytes | None:
    return None if payload is None else encode_json_object(payload, "payload")


def _body_encoder(payload: Any) -> Callable[[Any], Awaitable[bytes | None]]:
    """Return a function that encodes an item's request body. A fixed payload is encoded once."""
    fixed = None if callable(payload) else _payload_json(payload)

    async def encode_body(item: Any) -> bytes | None:
        if not callable(payload):
            return fixed
        returned = payload(item)
        return _payload_json(await returned if inspect.isawaitable(returned) else returned)

    return encode_body
