"""
The operations of the synchronous client. Each runs an asynchronous operation in the event loop.

This module is generated. To update it, run:

    python tools/generate_sync.py > src/pandium/_sync/resources.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._resources.trigger_status import default_outcome
from pandium._sync.functions import UserFunctions
from pandium._sync.iteration import SyncListing, SyncRunResults
from pandium._waiting.polling import Polling

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import AsyncIterable, Iterable, Mapping

    from pandium._bulk.sync import OnTriggered
    from pandium._listing.listing import ConfirmEnd, OnDrift
    from pandium._resources.builds import Builds
    from pandium._resources.connectors import Connectors, Headers
    from pandium._resources.integrations import Integrations
    from pandium._resources.releases import Releases
    from pandium._resources.runs import Runs
    from pandium._resources.tenants import Payload, T, Tenants
    from pandium._resources.trigger_status import OnStatus, OnStatusOf
    from pandium._sync.httpx_transport import SyncConnectorTransport
    from pandium._sync.loop_thread import LoopThread
    from pandium._waiting.polling import Classify
    from pandium._waiting.results import RunResult
    from pandium._waiting.scheduler import Source
    from pandium.models import (
        Integration,
        Release,
        ReleaseChannel,
        Run,
        RunMode,
        Tenant,
        TenantMetadata,
        Trigger,
        TriggerStatus,
    )
    from pandium.postgres import PostgresJournal

__all__ = [
    "SyncBuilds",
    "SyncConnectors",
    "SyncIntegrations",
    "SyncReleases",
    "SyncRuns",
    "SyncTenants",
]


@attrs.frozen
class SyncBuilds:
    """Builds of integrations. Pandium creates releases from them."""

    _loop: LoopThread = attrs.field(repr=False)
    _resource: Builds = attrs.field(repr=False)

    def create(
        self,
        integration_id: int,
        tag: str,
        *,
        mode: RunMode | str | None = None,
        branch: str | None = None,
    ) -> Any:
        """
        Create a build of an integration.

        The request is not retried if it may already have created the build.

        ```python
        client.builds.create(integration_id, "v1.4.0", mode="normal")
        release = client.builds.wait(integration_id, "v1.4.0")
        ```

        Pandium documents two forms of this request: one with ``build_tag`` and ``mode``, and a
        later one with ``tag`` and ``branch``. The client sends the tag under both names. If the
        service rejects a field that it does not expect, nothing was built, and the client sends
        one form after the other. It remembers the form that the service accepts. The later form
        has no ``mode``. A ``branch`` is never dropped: the form without it is not tried.

        API reference:
        [Create Build V2](https://docs.pandium.com/reference/pandium-api#create-build-v2)

        :param integration_id: the integration's id.
        :param tag: the build's tag, such as ``"v1.4.0"``.
        :param mode: the run mode, ``"init"`` or ``"normal"``. The API reference requires it.
            Default: not sent.
        :param branch: the branch to build. Default: not sent, which builds the integration's
            tracking branch.
        :returns: the response as decoded JSON.
        :raises ValidationError: if the integration does not exist, or if a value is rejected or
            missing.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        return self._loop.call(
            lambda: self._resource.create(integration_id, tag, mode=mode, branch=branch)
        )

    def wait(
        self, integration_id: int, tag: str, *, timeout: float = 1800.0, poll: Polling = Polling()
    ) -> Release:
        """
        Wait until the release of a build is listed, and return it.

        A finished build appears as a release of its integration with the same tag. The API does not
        report the status of a build, so a failed build is noticed only at the time limit. Transient
        errors do not end the wait.

        ```python
        client.builds.create(integration_id, "v1.4.1", mode="normal")
        release = client.builds.wait(integration_id, "v1.4.1", timeout=600)
        print(release.id, release.name)
        ```

        API reference:
        [Get Integration Releases](https://docs.pandium.com/reference/pandium-api#get-integration-releases)

        :param integration_id: the integration's id.
        :param tag: the build's tag.
        :param timeout: the time limit in seconds.
        :param poll: the polling settings.
        :returns: the release. If several releases have the tag, the one with the highest id.
        :raises WaitTimeout: if no release has the tag by the time limit. Its ``trigger_id`` is the
            tag.
        :raises NotFound: if the integration does not exist.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        return self._loop.call(
            lambda: self._resource.wait(integration_id, tag, timeout=timeout, poll=poll)
        )


@attrs.frozen
class SyncConnectors:
    """
    Connectors: the systems that a tenant is connected to.

    Pandium's proxy adds the tenant's credentials to a request and forwards it to the connected
    system, which is called the upstream system.
    """

    _loop: LoopThread = attrs.field(repr=False)
    _resource: Connectors = attrs.field(repr=False)

    def call(
        self,
        tenant_id: int | Tenant,
        connector: str,
        *,
        method: str,
        target_url: str,
        headers: Headers | None = None,
        query_params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """
        Call a REST endpoint of the upstream system.

        The request is retried only if it cannot have reached the upstream system.

        ```python
        contacts = client.connectors.call(
            tenant_id, "crm", method="GET", target_url="https://api.example.com/v1/contacts"
        )
        ```

        API reference:
        [Proxy Connector Call Rest](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-rest)

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :param method: the HTTP method of the upstream request.
        :param target_url: the URL of the upstream endpoint, without a query string.
        :param headers: the headers of the upstream request.
        :param query_params: the query parameters of the upstream request.
        :param body: the JSON object to send to the upstream system.
        :returns: the upstream response data. The status and headers are not available.
        :raises ConnectorError: if the upstream system returns an error. The exception has the
            ``status_code`` and ``data`` of the response.
        :raises APIError: if Pandium itself rejects the request or returns an error.
        :raises ValueError: if an argument is not JSON-serializable. Nothing is sent.
        """
        return self._loop.call(
            lambda: self._resource.call(
                tenant_id,
                connector,
                method=method,
                target_url=target_url,
                headers=headers,
                query_params=query_params,
                body=body,
            )
        )

    def soap(
        self,
        tenant_id: int | Tenant,
        connector: str,
        *,
        method: str,
        target_url: str,
        headers: Headers | None = None,
        query_params: Mapping[str, Any] | None = None,
        data: str | None = None,
    ) -> Any:
        """
        Call a SOAP endpoint of the upstream system.

        The request is retried only if it cannot have reached the upstream system.

        ```python
        envelope = '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"/>'
        result = client.connectors.soap(
            tenant_id, "crm", method="POST", target_url="https://api.example.com/", data=envelope
        )
        ```

        API reference:
        [Proxy Connector Call Soap](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-soap)

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :param method: the HTTP method of the upstream request.
        :param target_url: the URL of the upstream endpoint, without a query string.
        :param headers: the headers of the upstream request.
        :param query_params: the query parameters of the upstream request.
        :param data: the SOAP envelope to send to the upstream system.
        :returns: the upstream response data. The status and headers are not available.
        :raises ConnectorError: if the upstream system returns an error. The exception has the
            ``status_code`` and ``data`` of the response.
        :raises APIError: if Pandium itself rejects the request or returns an error.
        :raises ValueError: if an argument is not JSON-serializable. Nothing is sent.
        """
        return self._loop.call(
            lambda: self._resource.soap(
                tenant_id,
                connector,
                method=method,
                target_url=target_url,
                headers=headers,
                query_params=query_params,
                data=data,
            )
        )

    def xml(
        self,
        tenant_id: int | Tenant,
        connector: str,
        *,
        method: str,
        target_url: str,
        headers: Headers | None = None,
        query_params: Mapping[str, Any] | None = None,
        data: str | None = None,
    ) -> Any:
        """
        Call an XML endpoint of the upstream system.

        The request is retried only if it cannot have reached the upstream system.

        ```python
        result = client.connectors.xml(
            tenant_id, "crm", method="PUT", target_url="https://api.example.com/", data="<contact/>"
        )
        ```

        API reference:
        [Proxy Connector Call Xml](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-xml)

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :param method: the HTTP method of the upstream request.
        :param target_url: the URL of the upstream endpoint, without a query string.
        :param headers: the headers of the upstream request.
        :param query_params: the query parameters of the upstream request.
        :param data: the XML document to send to the upstream system.
        :returns: the upstream response data. The status and headers are not available.
        :raises ConnectorError: if the upstream system returns an error. The exception has the
            ``status_code`` and ``data`` of the response.
        :raises APIError: if Pandium itself rejects the request or returns an error.
        :raises ValueError: if an argument is not JSON-serializable. Nothing is sent.
        """
        return self._loop.call(
            lambda: self._resource.xml(
                tenant_id,
                connector,
                method=method,
                target_url=target_url,
                headers=headers,
                query_params=query_params,
                data=data,
            )
        )

    def disconnect(self, tenant_id: int | Tenant, connector: str) -> Any:
        """
        Disconnect a tenant from a connector.

        The request is not retried if it may already have been executed.

        ```python
        client.connectors.disconnect(tenant_id, "crm")
        ```

        ``PATCH /v2/tenants/{tenant_id}/connectors/{connector_name}/disconnect`` was added to the
        [API reference](https://docs.pandium.com/reference/pandium-api) later.

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :returns: the response as decoded JSON.
        """
        return self._loop.call(lambda: self._resource.disconnect(tenant_id, connector))

    def transport(self, tenant_id: int | Tenant, connector: str) -> SyncConnectorTransport:
        """
        Return a transport that lets any client built on httpx or httpx2 call the upstream system.

        ```python
        transport = client.connectors.transport(tenant_id, "crm")
        with httpx.Client(transport=transport) as http:
            response = http.get("https://api.example.com/v1/contacts")
            print(response.json())
        ```

        The transport sends requests in the same way as ``call``. It sends a request with an XML
        ``Content-Type``, or with an XML ``Accept`` header and no ``Content-Type``, in the same way
        as ``xml`` or ``soap``. Pandium adds the tenant's credentials. ``Authorization`` headers and
        credentials in the URL are dropped. The timeouts of the httpx client apply.

        An upstream error response keeps its status. A successful response always has the status
        200. Response headers are not available, except for a ``Content-Type`` that is derived
        from the data: JSON, XML or plain text. The proxy returns a response as a whole, so a
        streamed response arrives only when it is complete.

        API reference:
        [Proxy Connector Call Rest](https://docs.pandium.com/reference/pandium-api#proxy-connector-call-rest)

        Requests through the transport raise the exceptions of the client's library, httpx or
        httpx2. The ``__cause__`` of each is the original ``PandiumError``.

        - ``UnsupportedProtocol``: the proxy cannot forward the request, and nothing was sent. The
          proxy does not support bodies other than JSON objects and XML in UTF-8 (such as forms,
          files and compressed bodies), repeated query parameters, non-ASCII headers, a ``Host``
          header that differs from the URL, the methods HEAD, OPTIONS, TRACE and CONNECT, or
          protocol upgrades.
        - ``ConnectError``: the request did not reach Pandium.
        - ``ProxyError``: Pandium rejected the request, for example because of an invalid API key,
          tenant or connector, or because of a rate limit.
        - ``ReadTimeout``: no response was received in time. The request may have been executed.
        - ``ReadError``: the response was lost or is invalid. The request may have been executed.
        - ``TypeError``: the transport was passed to a client that is neither of the two.

        :param tenant_id: a ``Tenant`` or its id.
        :param connector: the connector's name.
        :returns: a transport for ``httpx.Client`` or ``httpx2.Client``. Closing it has no effect.
        :raises ValueError: if an argument cannot be part of a URL.
        """
        from pandium._sync.httpx_transport import SyncConnectorTransport

        transport = self._resource.transport(tenant_id, connector)
        return SyncConnectorTransport(self._loop, transport)


@attrs.frozen
class SyncIntegrations:
    """Integrations: the applications that run on Pandium."""

    _loop: LoopThread = attrs.field(repr=False)
    _resource: Integrations = attrs.field(repr=False)

    def list(
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
    ) -> SyncListing[Integration]:
        """
        Return a listing of integrations. Requests are sent during iteration.

        ```python
        for integration in client.integrations.list(sort_by="name__ASC"):
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
        :returns: a ``SyncListing``, which can be iterated over repeatedly.
        :raises ValueError: if an argument is invalid.
        """
        listing = self._resource.list(
            archived=archived,
            sort_by=sort_by,
            limit=limit,
            page_size=page_size,
            skip=skip,
            prefetch=prefetch,
            on_drift=on_drift,
            confirm_end=confirm_end,
        )
        return SyncListing.of(self._loop, listing)

    def get(self, integration_id: int) -> Integration:
        """
        Return one integration.

        ```python
        integration = client.integrations.get(integration_id)
        print(integration.name)
        ```

        API reference:
        [Get One Integration](https://docs.pandium.com/reference/pandium-api#get-one-integration)

        :param integration_id: the integration's id.
        :raises NotFound: if the integration does not exist.
        """
        return self._loop.call(lambda: self._resource.get(integration_id))

    def sync(
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
        trigger = client.integrations.sync(integration_id, user_name="ann", mode="normal")
        client.runs.wait(trigger)
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
        return self._loop.call(
            lambda: self._resource.sync(
                integration_id, user_name=user_name, mode=mode, payload=payload
            )
        )


@attrs.frozen
class SyncReleases:
    """Releases of integrations."""

    _loop: LoopThread = attrs.field(repr=False)
    _resource: Releases = attrs.field(repr=False)

    def list(self, integration_id: int) -> builtins.list[Release]:
        """
        Return all releases of an integration. The API does not paginate them.

        ```python
        for release in client.releases.list(integration_id):
            print(release.id, release.name)
        ```

        API reference:
        [Get Integration Releases](https://docs.pandium.com/reference/pandium-api#get-integration-releases)

        :param integration_id: the integration's id.
        :raises NotFound: if the integration does not exist.
        """
        return self._loop.call(lambda: self._resource.list(integration_id))

    def get(self, integration_id: int, release_id: int) -> Release:
        """
        Return one release.

        ```python
        release = client.releases.get(integration_id, release_id)
        ```

        API reference:
        [Get One Integration Release](https://docs.pandium.com/reference/pandium-api#get-one-integration-release)

        :param integration_id: the integration's id.
        :param release_id: the release's id.
        :raises NotFound: if the integration or the release does not exist.
        :raises ValueError: if ``release_id`` is ``"default"`` or ``"latest"``. Use the method of
            that name instead.
        """
        return self._loop.call(lambda: self._resource.get(integration_id, release_id))

    def default(self, integration_id: int) -> Release:
        """
        Return the default release, which new tenants use unless they specify another one.

        ```python
        release = client.releases.default(integration_id)
        ```

        API reference:
        [Get Default Integration Release](https://docs.pandium.com/reference/pandium-api#get-default-integration-release)

        :param integration_id: the integration's id.
        :raises NotFound: if the integration does not exist or has no default release.
        """
        return self._loop.call(lambda: self._resource.default(integration_id))

    def latest(self, integration_id: int) -> Release:
        """
        Return the latest release of an integration.

        ```python
        release = client.releases.latest(integration_id)
        ```

        API reference:
        [Get Latest Release](https://docs.pandium.com/reference/pandium-api#get-latest-release)

        :param integration_id: the integration's id.
        :raises NotFound: if the integration does not exist or has no release.
        """
        return self._loop.call(lambda: self._resource.latest(integration_id))


@attrs.frozen
class SyncRuns:
    """
    Runs: executions of an integration's code.

    ``status``, ``find`` and the wait methods take the trigger that a sync returns. ``log`` and
    ``log_url`` take a run id, as returned by ``find`` or listed by ``tenants.runs``.
    """

    _loop: LoopThread = attrs.field(repr=False)
    _resource: Runs = attrs.field(repr=False)

    def status(self, trigger: Trigger | str | int) -> TriggerStatus:
        """
        Return the status of the run that a trigger started.

        ```python
        trigger = client.tenants.sync(tenant_id, mode="normal")
        try:
            status = client.runs.status(trigger)
        except NotFound:
            print("the run has not started yet")
        else:
            print(status.status, status.outcome)
        ```

        API reference:
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param trigger: a ``Trigger`` or its id, as text or as an integer.
        :raises NotFound: if the run has not started yet or the trigger id is unknown.
        """
        return self._loop.call(lambda: self._resource.status(trigger))

    def wait(
        self,
        trigger: Trigger | str | int,
        *,
        timeout: float = 1800.0,
        poll: Polling = Polling(),
        on_status: OnStatus | None = None,
        raise_on_failure: bool = False,
        classify: Classify = default_outcome,
    ) -> TriggerStatus:
        """
        Wait for the run of a trigger to end and return its final status.

        A 404 response means that the run has not started yet. Transient errors, such as a server
        outage or a response that cannot be decoded, do not end the wait.

        ```python
        trigger = client.tenants.sync(tenant_id, mode="normal")
        status = client.runs.wait(trigger, timeout=600)
        print(status.outcome)
        ```

        API reference:
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param trigger: a ``Trigger`` or its id, as text or as an integer.
        :param timeout: the time limit in seconds. The last poll starts at the time limit and may
            take another 2 seconds.
        :param poll: the polling settings.
        :param on_status: a sync or async function that is called with the status whenever it
            changes. If it is still running 2 seconds after the time limit, the wait continues
            without it.
        :param raise_on_failure: whether to raise ``RunFailed`` if the run failed.
        :param classify: a function that maps a status to an ``Outcome``, to replace
            ``TriggerStatus.outcome``.
        :raises WaitTimeout: if the run has not ended by the time limit. If the last poll failed,
            its error is the ``__cause__``.
        :raises RunFailed: if the run failed and ``raise_on_failure`` is true.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        with UserFunctions(self._loop) as functions:
            return self._loop.call(
                lambda: self._resource.wait(
                    trigger,
                    timeout=timeout,
                    poll=poll,
                    on_status=functions.callback(on_status),
                    raise_on_failure=raise_on_failure,
                    classify=classify,
                )
            )

    def find(self, trigger: Trigger | str | int, *, tenant_id: int | Tenant) -> Run | None:
        """
        Find the run that a trigger started. Lists the tenant's runs and stops at the first match.

        Triggers that are created during a run are combined into the next run, so several triggers
        may lead to the same run.

        ```python
        run = client.runs.find(trigger, tenant_id=tenant_id)
        if run is not None:
            print(client.runs.log(run.id))
        ```

        ``GET /v2/tenants/{tenant_id}/runs`` was added to the
        [API reference](https://docs.pandium.com/reference/pandium-api) later.

        :param trigger: a ``Trigger`` or its id, as text or as an integer.
        :param tenant_id: the ``Tenant`` that was synced, or its id.
        :returns: the run, or ``None`` if no run of the tenant has this trigger, for example because
            the run has not started yet.
        :raises NotFound: if the tenant does not exist.
        :raises DriftError: if the run was not found and records might have been missed.
        """
        return self._loop.call(lambda: self._resource.find(trigger, tenant_id=tenant_id))

    def as_completed(
        self,
        triggers: Source,
        *,
        timeout: float = 1800.0,
        poll: Polling = Polling(),
        on_status: OnStatusOf[str] | None = None,
        classify: Classify = default_outcome,
    ) -> SyncRunResults[RunResult]:
        """
        Wait for many runs and yield their results in order of completion.

        If one wait fails, its result has ``error`` set, and the other waits continue. Each result
        is delivered once, even if several threads iterate.

        ```python
        triggers = [client.tenants.sync(tenant_id, mode="normal")]
        with client.runs.as_completed(triggers) as results:
            for result in results:
                print(result.trigger_id, result.status or result.error)
        ```

        API reference:
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param triggers: an iterable or async iterable of triggers or trigger ids. It may produce
            more triggers while the first runs are in progress. If it raises an error, the error is
            re-raised after the results of the preceding triggers.
        :param timeout: the time limit for each trigger, in seconds from when it is read from
            ``triggers``.
        :param poll: the polling settings, including the maximum rate across all triggers.
        :param on_status: a sync or async function that is called with the status and the trigger id
            whenever a trigger's status changes. If it is still running 2 seconds after the time
            limit, the wait continues without it.
        :param classify: a function that maps a status to an ``Outcome``, to replace
            ``TriggerStatus.outcome``.
        :returns: a context manager and iterator of ``RunResult`` objects. Its ``progress``
            attribute is a ``Progress``, which may be read from any thread, at any time.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        functions = UserFunctions(self._loop)
        results = self._resource.as_completed(
            functions.source(triggers),
            timeout=timeout,
            poll=poll,
            on_status=functions.callback(on_status),
            classify=classify,
        )
        return SyncRunResults(self._loop, results, functions.close)

    def wait_all(
        self,
        triggers: Source,
        *,
        timeout: float = 1800.0,
        poll: Polling = Polling(),
        on_status: OnStatusOf[str] | None = None,
        classify: Classify = default_outcome,
    ) -> list[RunResult]:
        """
        Wait for many runs and return their results in the order of the triggers.

        ```python
        triggers = [client.tenants.sync(tenant_id, mode="normal")]
        for result in client.runs.wait_all(triggers):
            print(result.trigger_id, result.status or result.error)
        ```

        API reference:
        [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

        :param triggers: an iterable or async iterable of triggers or trigger ids.
        :param timeout: the time limit for each trigger, in seconds from when it is read from
            ``triggers``.
        :param poll: the polling settings, including the maximum rate across all triggers.
        :param on_status: a sync or async function that is called with the status and the trigger id
            whenever a trigger's status changes. If it is still running 2 seconds after the time
            limit, the wait continues without it.
        :param classify: a function that maps a status to an ``Outcome``, to replace
            ``TriggerStatus.outcome``.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        with UserFunctions(self._loop) as functions:
            return self._loop.call(
                lambda: self._resource.wait_all(
                    functions.source(triggers),
                    timeout=timeout,
                    poll=poll,
                    on_status=functions.callback(on_status),
                    classify=classify,
                )
            )

    def log_url(self, run_id: int) -> str:
        """
        Return a signed URL for a run's log. It is valid for about 15 minutes.

        Anyone who has the URL can read the log.

        ```python
        url = client.runs.log_url(run_id)
        ```

        ``GET /v2/runs/{run_id}/log`` was added to the
        [API reference](https://docs.pandium.com/reference/pandium-api) later.

        :param run_id: the run's id, as listed by ``tenants.runs``. This is not the trigger id.
        :raises NotFound: if the run does not exist or has no log.
        """
        return self._loop.call(lambda: self._resource.log_url(run_id))

    def log(self, run_id: int) -> str:
        """
        Return a run's log as text.

        The log is downloaded from a storage host, which does not receive the API key.

        ```python
        print(client.runs.log(run_id))
        ```

        ``GET /v2/runs/{run_id}/log`` was added to the
        [API reference](https://docs.pandium.com/reference/pandium-api) later.

        :param run_id: the run's id, as listed by ``tenants.runs``. This is not the trigger id.
        :raises NotFound: if the run does not exist or has no log.
        :raises APIError: if the storage host rejects the download.
        """
        return self._loop.call(lambda: self._resource.log(run_id))


@attrs.frozen
class SyncTenants:
    """
    Tenants: customers' installations of integrations.

    The API has no operation to get a tenant by id. Use ``find``, which lists the tenants until it
    finds the one you need.
    """

    _loop: LoopThread = attrs.field(repr=False)
    _resource: Tenants = attrs.field(repr=False)

    def list(
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
    ) -> SyncListing[Tenant]:
        """
        Return a listing of tenants. Requests are sent during iteration.

        ```python
        for tenant in client.tenants.list(integration_id=integration_id):
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
        :returns: a ``SyncListing``, which can be iterated over repeatedly.
        :raises ValueError: if an argument is invalid.
        """
        listing = self._resource.list(
            integration_id=integration_id,
            user_name=user_name,
            archived=archived,
            sort_by=sort_by,
            limit=limit,
            page_size=page_size,
            skip=skip,
            prefetch=prefetch,
            on_drift=on_drift,
            confirm_end=confirm_end,
        )
        return SyncListing.of(self._loop, listing)

    def find(
        self,
        tenant_id: int | Tenant | None = None,
        *,
        name: str | None = None,
        integration_id: int | None = None,
    ) -> Tenant | None:
        """
        Find a tenant by id or by name. Lists the tenants and stops at the first match.

        ```python
        tenant = client.tenants.find(name="acme", integration_id=integration_id)
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
        return self._loop.call(
            lambda: self._resource.find(tenant_id, name=name, integration_id=integration_id)
        )

    def create(
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
        tenant = client.tenants.create(
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
        return self._loop.call(
            lambda: self._resource.create(
                name,
                integration_id,
                user_schedule=user_schedule,
                release_id=release_id,
                release_channel=release_channel,
                configs=configs,
            )
        )

    def update(self, tenant_id: int | Tenant, **changes: Any) -> Tenant:
        """
        Update a tenant and return the result.

        The request is not retried if it may already have been executed.

        ```python
        tenant = client.tenants.update(tenant_id, paused=True)
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
        return self._loop.call(lambda: self._resource.update(tenant_id, **changes))

    def archive(self, tenant_id: int | Tenant) -> dict[str, Any]:
        """
        Archive a tenant. The API documents no operation to restore it.

        ```python
        client.tenants.archive(tenant_id)
        ```

        API reference:
        [Delete Tenant](https://docs.pandium.com/reference/pandium-api#delete-tenant)

        :param tenant_id: a ``Tenant`` or its id.
        :returns: the response as decoded JSON, or an empty dictionary if the response is empty.
        :raises NotFound: if the tenant does not exist.
        """
        return self._loop.call(lambda: self._resource.archive(tenant_id))

    def release(self, tenant_id: int | Tenant) -> Release:
        """
        Return the release that a tenant uses.

        ```python
        release = client.tenants.release(tenant_id)
        ```

        The [API reference](https://docs.pandium.com/reference/pandium-api) lists
        ``GET /v2/tenants/{tenant_id}/release`` but does not describe its response.

        :param tenant_id: a ``Tenant`` or its id.
        :raises NotFound: if the tenant does not exist.
        """
        return self._loop.call(lambda: self._resource.release(tenant_id))

    def sync(
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
        trigger = client.tenants.sync(
            tenant_id, mode="normal", payload={"since": "2026-01-01"}
        )
        client.runs.wait(trigger)
        ```

        API reference:
        [Sync By Tenant Id](https://docs.pandium.com/reference/pandium-api#sync-by-tenant-id)

        :param tenant_id: a ``Tenant`` or its id.
        :param mode: the run mode, ``"init"`` or ``"normal"``.
        :param payload: the JSON-serializable data to pass to the run.
        :returns: the trigger, which can be passed to ``runs.wait``.
        :raises NotFound: if the tenant does not exist.
        """
        return self._loop.call(lambda: self._resource.sync(tenant_id, mode=mode, payload=payload))

    def sync_all(
        self,
        tenants: Iterable[T] | AsyncIterable[T],
        *,
        mode: RunMode | str,
        payload: Payload[T] = None,
        journal: str | os.PathLike[str] | PostgresJournal | None = None,
        max_concurrency: int = 10,
        poll: Polling = Polling(),
        timeout: float = 1800.0,
        retry_unknown: bool = False,
        on_triggered: OnTriggered | None = None,
        on_status: OnStatusOf[int] | None = None,
        classify: Classify = default_outcome,
    ) -> SyncRunResults[RunResult]:
        """
        Trigger a sync for each of many tenants and wait for their runs.

        Yields one ``RunResult`` per tenant, in order of completion. A tenant that occurs more than
        once is synced once. If a sync fails, the result contains the ``error``, and the other syncs
        continue. ``results.progress`` is a ``Progress`` with the current counts. It may be read
        from any thread, at any time.

        ```python
        with client.tenants.sync_all(
            client.tenants.list(integration_id=1), mode="normal", journal="sync.db"
        ) as results:
            for result in results:
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
            does not wait for its run. It is called even if the call is interrupted just after the
            response was received.
        :param on_status: a sync or async function that is called with the status and the tenant id
            whenever a run's status changes.
        :param classify: a function that maps a ``TriggerStatus`` to an ``Outcome``.
        :returns: a context manager and iterator over the results.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        :raises UnusableJournal: during the iteration, if the journal cannot be used or belongs to
            another job. Nothing is sent.
        :raises JournalError: during the iteration, after the other results, if the journal fails or
            is no longer the file that was opened. An exception raised by ``tenants`` is re-raised
            in the same way.
        """
        functions = UserFunctions(self._loop)
        results = self._resource.sync_all(
            functions.source(tenants),
            mode=mode,
            payload=functions.callback(payload),
            journal=journal,
            max_concurrency=max_concurrency,
            poll=poll,
            timeout=timeout,
            retry_unknown=retry_unknown,
            on_triggered=functions.callback(on_triggered, is_required=True),
            on_status=functions.callback(on_status),
            classify=classify,
        )
        return SyncRunResults(self._loop, results, functions.close)

    def metadata(self, tenant_id: int | Tenant) -> TenantMetadata:
        """
        Return a tenant's metadata.

        ```python
        metadata = client.tenants.metadata(tenant_id)
        print(metadata.data)
        ```

        API reference:
        [Get Metadata](https://docs.pandium.com/reference/pandium-api#get-metadata)

        :param tenant_id: a ``Tenant`` or its id.
        :raises NotFound: if the tenant does not exist.
        """
        return self._loop.call(lambda: self._resource.metadata(tenant_id))

    def update_metadata(self, tenant_id: int | Tenant, data: Mapping[str, Any]) -> TenantMetadata:
        """
        Merge data into a tenant's metadata and return the result.

        The request is retried after a transient error, because merging the same data twice has no
        further effect.

        ```python
        metadata = client.tenants.update_metadata(tenant_id, {"last_page": 3})
        ```

        API reference:
        [Patch Metadata](https://docs.pandium.com/reference/pandium-api#patch-metadata)

        :param tenant_id: a ``Tenant`` or its id.
        :param data: the keys to add or replace. Must be JSON-serializable.
        :raises NotFound: if the tenant does not exist.
        :raises ValidationError: if the data does not match the schema of the tenant's
            release.
        """
        return self._loop.call(lambda: self._resource.update_metadata(tenant_id, data))

    def runs(
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
    ) -> SyncListing[Run]:
        """
        Return a listing of a tenant's runs. Requests are sent during iteration.

        If the tenant does not exist, the first page raises ``NotFound``.

        ```python
        for run in client.tenants.runs(tenant_id, sort_by="id__DESC", limit=10):
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
        :returns: a ``SyncListing``, which can be iterated over repeatedly.
        :raises ValueError: if an argument is invalid.
        """
        listing = self._resource.runs(
            tenant_id,
            sort_by=sort_by,
            limit=limit,
            page_size=page_size,
            skip=skip,
            prefetch=prefetch,
            on_drift=on_drift,
            confirm_end=confirm_end,
        )
        return SyncListing.of(self._loop, listing)
