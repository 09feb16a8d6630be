"""The public class of the emulator."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

from pandium.emulator.api.service import Service
from pandium.emulator.connectors.connectors import Connectors
from pandium.emulator.control.dispatcher import Dispatcher
from pandium.emulator.network.deliveries import DeliveryWorker
from pandium.emulator.network.drift import Drift
from pandium.emulator.network.faults import Faults
from pandium.emulator.network.http_server import HOST, ServerThread, bind
from pandium.emulator.network.notifications import Webhooks
from pandium.emulator.network.request_log import RequestLog
from pandium.emulator.network.request_selection import validate_count
from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.runs import Runs
from pandium.emulator.state.adding import add_integration_with_releases, add_release, add_tenant
from pandium.emulator.state.arguments import fields_as_arguments
from pandium.emulator.state.builds import Builds
from pandium.emulator.state.record_models import Integration, Release, Tenant
from pandium.emulator.state.seeds import Seed, seed_data
from pandium.emulator.testing.assertions import (
    assert_no_errors,
    assert_requested,
    assert_triggered,
)


class Emulator:
    """
    A stateful emulator of the Pandium API on a loopback socket.

    Use it in `with` or `async with`, on any event loop. The server runs in its own thread. Entering
    and leaving the block takes a few milliseconds. The state remains readable afterwards.

    :param seed: "demo", a mapping with `integrations`, `releases`, `tenants`, `scripts` and
        `upstreams`, or the path of a JSON or YAML file with these keys or written by `save`. By
        default, the emulator starts with a single integration.
    :param api_key: the only API key that is accepted. By default, any non-empty key is accepted.
    :param port: the port. With 0, the operating system chooses a free one.
    :param clock: the source of time, such as `Clock(speed=60)` or `ManualClock()`.
    :param state_file: the default file to which `save` and the control API write.
    :raises ValueError: if the seed is invalid. The message starts with the location of the problem.
    """

    def __init__(
        self,
        seed: Seed | None = None,
        api_key: str | None = None,
        port: int = 0,
        *,
        clock: Clock | None = None,
        state_file: str | PathLike[str] | None = None,
    ) -> None:
        self._service = Service(clock or Clock(), api_key)
        self._service.seed = seed_data(seed)
        self._service.state_file = None if state_file is None else Path(state_file)
        self._wanted_port = port
        self._running: ExitStack | None = None
        self.reset()

    def start(self) -> Self:
        """
        Start the server. Return when it accepts connections.

        :raises OSError: if the port cannot be used.
        :raises RuntimeError: if the server is already running.
        """
        return self._start_in(ServerThread())

    def _start_in(self, thread: AbstractContextManager[ServerThread]) -> Self:
        if self._running is not None:
            raise RuntimeError("the emulator is already running")
        with ExitStack() as stack:
            api = stack.enter_context(bind(self._wanted_port))
            storage = stack.enter_context(bind(0))
            self._service.port = api.getsockname()[1]
            self._service.storage_port = storage.getsockname()[1]
            server = stack.enter_context(thread)
            stack.callback(server.serve(Dispatcher(self._service), [api, storage]))
            stack.callback(self._deliver_in(server))
            self._running = stack.pop_all()
        return self

    def _deliver_in(self, server: ServerThread) -> Callable[[], None]:
        """Start the delivery of notifications, and return a function that ends it."""
        webhooks = self._service.webhooks
        worker = DeliveryWorker(lambda: webhooks.outbox, webhooks.watch)
        stop = server.run(worker)
        webhooks.wake = partial(server.call, worker.wake)
        detach = self.clock.attach(webhooks)

        def end() -> None:
            detach()
            webhooks.wake = lambda: None
            stop()

        return end

    def stop(self) -> None:
        """Stop the server. Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            running.close()

    def reset(self) -> None:
        """
        Restore the initial state: records, runs, scripts, handlers, faults, drift and requests.

        The clock is not reset.
        """
        self._service.load(self._service.seed)

    def load(self, seed: Seed | None) -> None:
        """
        Replace the entire state with a seed or a saved state.

        The dates in a saved state are kept. If the clock is behind the time of the save, it is
        advanced to that time.

        :param seed: as for the class.
        :raises ValueError: if the data is invalid. The message starts with the location of the
            problem, and the state is unchanged.
        """
        self._service.load(seed_data(seed))

    def save(self, path: str | PathLike[str] | None = None) -> None:
        """
        Write the state to a file: records, runs, builds, scripts and fixed responses.

        :param path: the file, by default `state_file`. The format is YAML for a name such as
            `state.yaml`, and JSON for any other name.
        :raises OSError: if the file cannot be written. An existing file is left unchanged.
        :raises ValueError: if there is no path, or if a value is nested too deeply.
        """
        self._service.save(None if path is None else Path(path))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port of the API, available once the emulator has started."""
        if not self._service.port:
            raise RuntimeError("the emulator has not been started")
        return self._service.port

    @property
    def url(self) -> str:
        """The base URL of the API, available once the emulator has started."""
        return f"http://{HOST}:{self.port}"

    @property
    def clock(self) -> Clock:
        """The source of time."""
        return self._service.clock

    @property
    def runs(self) -> Runs:
        """The runs, and the scripts that they follow."""
        return self._service.runs

    @property
    def builds(self) -> Builds:
        """The builds, and the scripts that they follow."""
        return self._service.builds

    @property
    def connectors(self) -> Connectors:
        """The handlers of connector calls."""
        return self._service.connectors

    @property
    def faults(self) -> Faults:
        """The faults that occur between clients and the service."""
        return self._service.faults

    @property
    def drift(self) -> Drift:
        """The changes to make before or after certain requests."""
        return self._service.drift

    @property
    def webhooks(self) -> Webhooks:
        """The notifications that are sent to a URL, and their deliveries."""
        return self._service.webhooks

    @property
    def page_limit(self) -> int | None:
        """
        The maximum number of records per page. None stands for the vendor's maximum of 500.

        Set it to emulate a server with a lower maximum. The server does not reject a request for
        more records. It returns a shorter page.

        :raises ValueError: if it is set to anything but a positive integer or None.
        """
        return self._service.page_limit

    @page_limit.setter
    def page_limit(self, limit: int | None) -> None:
        self._service.page_limit = None if limit is None else validate_count("page_limit", limit, 1)

    @property
    def requests(self) -> RequestLog:
        """The most recent requests to the API, oldest first."""
        return self._service.requests

    @property
    def storage_requests(self) -> RequestLog:
        """The most recent requests to the log storage, which has a different origin."""
        return self._service.storage_requests

    @property
    def counts(self) -> Counter[tuple[str, str, int]]:
        """The number of requests by (method, path template, status)."""
        return self._service.requests.counts

    @property
    def effects(self) -> Counter[tuple[str, int]]:
        """The number of executed operations by (operation, tenant), regardless of the response."""
        return self._service.requests.effects

    def assert_triggered(self, tenant: int, *, times: int | None = None) -> None:
        """
        Fail unless a tenant was triggered.

        A trigger counts if the emulator executed it, regardless of the response. Triggers and
        requests are counted since the start, or since `requests.clear()`. The error message lists
        the requests.

        :param tenant: the id of the tenant.
        :param times: the exact number of triggers. By default, at least one is required.
        :raises AssertionError: if the tenant was not triggered, or a different number of times.
        """
        __tracebackhide__ = True
        assert_triggered(self.requests, tenant, times)

    def assert_triggered_once(self, tenant: int) -> None:
        """Fail unless a tenant was triggered exactly once."""
        __tracebackhide__ = True
        assert_triggered(self.requests, tenant, 1)

    def assert_not_triggered(self, tenant: int | None = None) -> None:
        """Fail if a tenant was triggered. By default, fail if any tenant was."""
        __tracebackhide__ = True
        assert_triggered(self.requests, tenant, 0)

    def assert_requested(
        self,
        operation: str,
        *,
        times: int | None = None,
        tenant: int | None = None,
        status: int | None = None,
    ) -> None:
        """
        Fail unless an operation was requested.

        :param operation: a method of the client, such as "tenants.list".
        :param times: the exact number of requests. By default, at least one is required.
        :param tenant: count only requests for this tenant.
        :param status: count only requests with this status. 0 means that no response was sent.
        :raises AssertionError: if the operation was not requested, or a different number of times.
        """
        __tracebackhide__ = True
        assert_requested(self.requests, operation, tenant, status, times)

    def assert_no_errors(self) -> None:
        """Fail if any request failed. A 404 for a trigger without a run is not a failure."""
        __tracebackhide__ = True
        assert_no_errors(self.requests)

    @property
    def integrations(self) -> list[Integration]:
        """All integrations, by id."""
        with self._service.lock:
            return list(self._service.store.integrations.values())

    @property
    def tenants(self) -> list[Tenant]:
        """All tenants, by id."""
        with self._service.lock:
            return list(self._service.store.tenants.values())

    def tenant(self, tenant_id: int) -> Tenant:
        """
        Return a tenant in its current state.

        :raises LookupError: if there is no tenant with this id.
        """
        with self._service.lock:
            return self._service.store.tenant(tenant_id)

    def archive_tenant(self, tenant_id: int) -> Tenant:
        """
        Archive a tenant, as another user of the API would.

        :raises LookupError: if there is no tenant with this id.
        """
        with self._service.lock:
            return self._service.store.archive(tenant_id)

    def pause_integration(self, integration_id: int) -> Integration:
        """
        Pause an integration: schedules start no runs of its tenants until it is resumed.

        Syncs are still executed, as for a paused tenant. The vendor does not document this case.

        :raises LookupError: if there is no integration with this id.
        """
        with self._service.lock:
            return self._service.store.pause_integration(integration_id, paused=True)

    def resume_integration(self, integration_id: int) -> Integration:
        """
        Resume a paused integration. Schedules continue with their next date.

        :raises LookupError: if there is no integration with this id.
        """
        with self._service.lock:
            return self._service.store.pause_integration(integration_id, paused=False)

    @fields_as_arguments(Integration, "name")
    def add_integration(self, integration: Integration) -> Integration:
        """
        Add an integration with its first releases.

        The arguments are the fields of an `Integration`. All are optional, and all but `name` are
        passed by keyword. The first release is the default one, unless `default_release_channel` is
        "Latest".

        :raises ValueError: if an argument is invalid. The message names it.
        """
        with self._service.settled():
            return add_integration_with_releases(self._service.store, integration)

    @fields_as_arguments(Release, "integration_id")
    def add_release(self, release: Release) -> Release:
        """
        Add a release, which becomes the latest release of its integration.

        The arguments are the fields of a `Release`. All are optional, and all but `integration_id`
        are passed by keyword. `default=True` makes it the default release as well.

        :raises ValueError: if an argument is invalid. The message names it.
        """
        with self._service.settled():
            return add_release(self._service.store, release)

    @fields_as_arguments(Tenant, "name")
    def add_tenant(self, tenant: Tenant) -> Tenant:
        """
        Add a tenant in any state.

        The arguments are the fields of a `Tenant`. All are optional, and all but `name` are passed
        by keyword. `connected` is True for all connectors, False for none, or a list of connector
        names.

        :raises ValueError: if an argument is invalid. The message names it.
        """
        with self._service.settled():
            return add_tenant(self._service.store, tenant)
