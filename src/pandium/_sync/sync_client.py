"""The synchronous client."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from pandium._client import AsyncPandium
from pandium._sync.functions import run_in_thread
from pandium._sync.loop_thread import LoopThread
from pandium._sync.resources import (
    SyncBuilds,
    SyncConnectors,
    SyncIntegrations,
    SyncReleases,
    SyncRuns,
    SyncTenants,
)
from pandium._transport.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    import httpx

    from pandium._transport.events import OnResponse

    Parameter = str | int | float | bool | None

__all__ = ["Pandium"]


class Pandium:
    """
    A synchronous client for the Pandium API.

    ```python
    with Pandium() as client:
        for tenant in client.tenants.list(integration_id=integration_id):
            print(tenant.id, tenant.name)
    ```

    The API's operations are methods of the attributes below. Use the client in a ``with`` block, or
    call ``close`` when you are done. Any number of threads may use a client at the same time.

    It runs an ``AsyncPandium`` in a background thread, which starts with the first call. The client
    therefore also works in a thread that runs an event loop, such as in a notebook, but blocks it.
    A client that was used before a fork cannot be used in the child process.

    Plain functions that you pass to the client run in other threads, with the context variables of
    your call. ``api_key`` and ``on_response`` may be called by several threads at the same time.
    The functions that you pass to a method, such as ``on_status``, are called one after another.
    Async functions and ``classify`` run in the client's event loop, and must neither block nor call
    the client.

    Arguments take precedence over environment variables, which take precedence over defaults.

    API reference: [Pandium API](https://docs.pandium.com/reference/pandium-api)

    :param api_key: the API key, or a sync or async function that returns it. The function is
        called before every request, so a rotated key takes effect immediately. It should cache the
        key. An error that it raises is raised unchanged, and nothing is sent. Default: the
        environment variable ``PANDIUM_API_KEY``.
    :param environment: ``"production"`` or ``"sandbox"``. Default: the environment variable
        ``PANDIUM_ENV``, or ``"production"`` if it is not set.
    :param base_url: the API's base URL, which overrides the environment's URL. Default: the
        environment variable ``PANDIUM_BASE_URL``, unless ``environment`` is passed.
    :param timeout: the time limit for each attempt in seconds, or an ``httpx.Timeout``.
    :param retry: the retry settings.
    :param max_connections: the maximum number of concurrent requests.
    :param max_response_bytes: the maximum size of a decompressed response body, in bytes.
    :param requests_per_second: the maximum number of requests per second that the client and all
        its views send, including polls and retries. Requests are sent in order of arrival. At most
        a tenth of a second's worth is sent at once. Default: no limit.
    :param on_response: a sync or async function that is called with a ``ResponseEvent`` after every
        attempt that received a response, including error responses. The request waits for the
        function. An error that it raises is logged and does not affect the request.
    :param http_client: the ``httpx.AsyncClient`` with which to send requests. It is not modified.
        It is closed with this client, because its connections belong to the client's event loop.
    :raises ConfigurationError: if an argument or an environment variable is invalid. Nothing is
        sent.
    :ivar builds: the operations on builds: ``create`` and ``wait``.
    :ivar connectors: the operations on connectors, which send requests to other systems with a
        tenant's credentials: ``call``, ``soap``, ``xml``, ``transport`` for clients built on
        httpx or httpx2, and ``disconnect``.
    :ivar integrations: the operations on integrations: ``list``, ``get`` and ``sync``.
    :ivar releases: the operations on releases: ``list``, ``get``, ``default`` and ``latest``.
    :ivar runs: the operations on runs. ``status``, ``find``, ``wait``, ``as_completed`` and
        ``wait_all`` take the trigger that a sync returns, and ``log`` and ``log_url`` take a run
        id.
    :ivar tenants: the operations on tenants: ``list``, ``find``, ``create``, ``update``,
        ``archive``, ``sync``, ``sync_all``, ``release``, ``metadata``, ``update_metadata`` and
        ``runs``.
    """

    builds: SyncBuilds
    connectors: SyncConnectors
    integrations: SyncIntegrations
    releases: SyncReleases
    runs: SyncRuns
    tenants: SyncTenants

    def __init__(  # noqa: PLR0913 - all arguments are optional
        self,
        api_key: str | Callable[[], str | Awaitable[str]] | None = None,
        *,
        environment: str | None = None,
        base_url: str | None = None,
        timeout: float | httpx.Timeout = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        max_connections: int = 20,
        max_response_bytes: int = 64 * 2**20,
        requests_per_second: float | None = None,
        on_response: OnResponse | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        try:
            client = AsyncPandium(
                run_in_thread(api_key),
                environment=environment,
                base_url=base_url,
                timeout=timeout,
                retry=retry,
                max_connections=max_connections,
                max_response_bytes=max_response_bytes,
                requests_per_second=requests_per_second,
                on_response=run_in_thread(on_response),
                http_client=http_client,
            )
        finally:
            api_key = None  # tracebacks can show local variables
        on_stop = partial(_close, client, http_client)
        self._bind(LoopThread(on_stop, _caller_location()), client, owns=True)

    def _bind(self, loop: LoopThread, client: AsyncPandium, *, owns: bool) -> None:
        self._loop = loop
        self._client = client
        self._owns = owns
        self.builds = SyncBuilds(loop, client.builds)
        self.connectors = SyncConnectors(loop, client.connectors)
        self.integrations = SyncIntegrations(loop, client.integrations)
        self.releases = SyncReleases(loop, client.releases)
        self.runs = SyncRuns(loop, client.runs)
        self.tenants = SyncTenants(loop, client.tenants)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Parameter | Sequence[Parameter]] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """
        Send a request to any endpoint of the API.

        Authentication, retries and errors work in the same way as for the other operations.

        ```python
        tenants = client.request("GET", "/v2/tenants", params={"limit": 1})
        ```

        API reference: [all endpoints](https://docs.pandium.com/reference/pandium-api)

        :param method: the HTTP method, in upper or lower case.
        :param path: the percent-encoded path, which must begin with ``/``.
        :param params: the query parameters. ``None`` values are omitted.
        :param json: the request body, which must be JSON-serializable. ``None`` sends no body.
        :param headers: the headers to send in addition to the client's.
        :returns: the response as decoded JSON, or ``None`` if it is empty.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        :raises APIError: if the API returns an error.
        """
        return self._loop.call(
            lambda: self._client.request(method, path, params=params, json=json, headers=headers)
        )

    def with_options(
        self,
        *,
        timeout: float | httpx.Timeout | None = None,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pandium:
        """
        Return a view of this client with different options. It shares the client's connections.

        Closing a view has no effect. Closing the client also closes its views.

        ```python
        patient = client.with_options(timeout=120.0, retry=Retry(attempts=8))
        patient.tenants.metadata(tenant_id)
        ```

        :param timeout: the time limit for each attempt in seconds, or an ``httpx.Timeout``.
        :param retry: the retry settings.
        :param headers: the headers to send in addition to the client's.
        :raises ConfigurationError: if ``timeout`` or ``retry`` is invalid.
        :raises ValueError: if a header is invalid.
        """
        client = self._client.with_options(timeout=timeout, retry=retry, headers=headers)
        view = object.__new__(type(self))
        view._bind(self._loop, client, owns=False)
        return view

    def close(self) -> None:
        """
        Close the client's connections and end its thread. Calling this method again has no effect.

        Calls that are still running in other threads are canceled and raise a ``PandiumError``.
        Closing a view has no effect.

        ```python
        client = Pandium()
        try:
            client.tenants.list().first()
        finally:
            client.close()
        ```
        """
        if self._owns:
            self._loop.close()

    def __enter__(self) -> Self:
        self._loop.call(self._client.__aenter__)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        client = getattr(self, "_client", None)  # not set if the constructor failed
        arguments = "()" if client is None else repr(client).removeprefix("AsyncPandium")
        return type(self).__name__ + arguments


async def _close(client: AsyncPandium, http_client: httpx.AsyncClient | None) -> None:
    await client.aclose()
    if http_client is not None:
        await http_client.aclose()


def _caller_location() -> str:
    frame = sys._getframe(2)  # noqa: SLF001 - inspect.stack() would read source files
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


Pandium.__module__ = "pandium"  # as users import it
