"""The asynchronous client: its configuration, its operations and its lifetime."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Self

import attrs

from pandium._clock import create_clock
from pandium._config import Secret, resolve
from pandium._resources.builds import Builds
from pandium._resources.connectors import Connectors
from pandium._resources.integrations import Integrations
from pandium._resources.releases import Releases
from pandium._resources.runs import Runs
from pandium._resources.tenants import Tenants
from pandium._resources.trigger_status import StatusPoller
from pandium._serialization.convert import encode_json
from pandium._transport.retry import Retry
from pandium._transport.spec import RequestSpec, RetrySafety, safety_of_method
from pandium._transport.transport import Transport
from pandium._validation import (
    validate_headers,
    validate_method,
    validate_params,
    validate_path,
    validate_whole_number,
)
from pandium.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import httpx

    Parameter = str | int | float | bool | None

__all__ = ["AsyncPandium"]


class AsyncPandium:
    """
    A client of the Pandium API, for asyncio and trio.

    ```python
    async with AsyncPandium() as client:
        async for tenant in client.tenants.list(integration_id=integration_id):
            print(tenant.id, tenant.name)
    ```

    The operations of the API are methods of the attributes below. Use the client in ``async with``
    or call ``aclose``. It belongs to the event loop of its first request.

    Arguments take precedence over environment variables, and those over defaults.

    API reference: [Pandium API](https://docs.pandium.com/reference/pandium-api)

    :param api_key: the API key. Default: the variable ``PANDIUM_API_KEY``.
    :param environment: ``"production"`` or ``"sandbox"``. Default: the variable ``PANDIUM_ENV``,
        then ``"production"``.
    :param base_url: URL of the API, in place of that of the environment. Default: the variable
        ``PANDIUM_BASE_URL``, unless ``environment`` is passed.
    :param timeout: time limit of one attempt in seconds, or an ``httpx.Timeout``.
    :param retry: how often and when requests are retried.
    :param max_connections: maximum number of concurrent requests.
    :param max_response_bytes: maximum size of a response body after decompression.
    :param http_client: an ``httpx.AsyncClient`` to send the requests with. It is neither modified
        nor closed.
    :raises ConfigurationError: if an argument or a variable is invalid. Nothing is sent.
    :ivar builds: operations on builds: ``create``.
    :ivar connectors: requests to other systems with a tenant's credentials: ``call``, ``soap``,
        ``xml``, ``transport`` for clients built on httpx, ``disconnect``.
    :ivar integrations: operations on integrations: ``list``, ``get``, ``sync``.
    :ivar releases: operations on releases: ``list``, ``get``, ``default``, ``latest``.
    :ivar runs: runs by the trigger that a sync returns: ``status``, ``wait``, ``as_completed``,
        ``wait_all``; by their own id: ``log``, ``log_url``.
    :ivar tenants: operations on tenants: ``list``, ``create``, ``update``, ``archive``, ``sync``,
        ``sync_all``, ``release``, ``metadata``, ``update_metadata``, ``runs``.
    """

    builds: Builds
    connectors: Connectors
    integrations: Integrations
    releases: Releases
    runs: Runs
    tenants: Tenants

    def __init__(  # noqa: PLR0913 - all are optional
        self,
        api_key: str | None = None,
        *,
        environment: str | None = None,
        base_url: str | None = None,
        timeout: float | httpx.Timeout = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        max_connections: int = 20,
        max_response_bytes: int = 64 * 2**20,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        # Imported here because httpx takes most of the time that importing pandium would take.
        from pandium._http.connections import (  # noqa: PLC0415
            Connections,
            validate_http_client,
            validate_timeout,
            validate_url,
        )

        secret = Secret(api_key)
        del api_key  # tracebacks can show local variables
        config = resolve(secret, environment, base_url)
        validate_url(config.base_url)
        validate_http_client(http_client)
        clock = create_clock()
        connections = Connections(
            _validate_count("max_connections", max_connections),
            _validate_count("max_response_bytes", max_response_bytes),
            http_client,
            clock,
            created_at=_caller_location(),
        )
        self._bind(
            Transport(
                config, connections, clock, validate_timeout(timeout), _validate_retry(retry)
            ),
            owns=True,
        )

    def _bind(self, transport: Transport, *, owns: bool) -> None:
        self._transport = transport
        self._owns = owns
        self.builds = Builds(transport)
        self.connectors = Connectors(transport)
        self.integrations = Integrations(transport)
        self.releases = Releases(transport)
        poller = StatusPoller(transport)
        self.runs = Runs(transport, poller)
        self.tenants = Tenants(transport, poller)

    async def request(
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

        Authentication, retries and errors are the same as for the other operations.

        ```python
        tenants = await client.request("GET", "/v2/tenants", params={"limit": 1})
        ```

        API reference: [all endpoints](https://docs.pandium.com/reference/pandium-api)

        :param method: HTTP method, in upper or lower case.
        :param path: path that begins with ``/``, already percent-encoded.
        :param params: query parameters. Those that are ``None`` are left out.
        :param json: body, which must be JSON-serializable. ``None`` sends no body.
        :param headers: headers to add to those of the client.
        :returns: the decoded JSON of the response; ``None`` if the response is empty.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        :raises APIError: if the API responds with an error.
        """
        method = validate_method(method)
        spec = RequestSpec(
            method,
            validate_path(path),
            path,
            validate_params(params),
            None if json is None else encode_json(json, "json"),
            validate_headers(headers),
            _safety_of(method, path),
        )
        return await self._transport.request_json(spec)

    def with_options(
        self,
        *,
        timeout: float | httpx.Timeout | None = None,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncPandium:
        """
        Return a view of this client with other options. It shares the connections.

        Closing the view has no effect. Closing the client also ends its views.

        ```python
        patient = client.with_options(timeout=120.0, retry=Retry(attempts=8))
        await patient.tenants.metadata(tenant_id)
        ```

        :param timeout: time limit of one attempt in seconds, or an ``httpx.Timeout``.
        :param retry: how often and when requests are retried.
        :param headers: headers to add to those of this client.
        :raises ConfigurationError: if ``timeout`` or ``retry`` is invalid.
        :raises ValueError: if a header is invalid.
        """
        from pandium._http.connections import validate_timeout  # noqa: PLC0415 - as above

        old = self._transport
        view = object.__new__(type(self))
        view._bind(
            attrs.evolve(
                old,
                timeout=old.timeout if timeout is None else validate_timeout(timeout),
                retry=old.retry if retry is None else _validate_retry(retry),
                headers={**old.headers, **validate_headers(headers)},
            ),
            owns=False,
        )
        return view

    async def aclose(self) -> None:
        """
        Close the connections. Calling it again has no effect.

        A view has no connections of its own to close, and an ``http_client`` stays open.

        ```python
        client = AsyncPandium()
        try:
            await client.tenants.list().first()
        finally:
            await client.aclose()
        ```
        """
        if self._owns:
            await self._transport.connections.aclose()

    async def __aenter__(self) -> Self:
        await self._transport.prepare()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        transport = getattr(self, "_transport", None)  # missing if the constructor raised
        arguments = "" if transport is None else f"base_url={transport.config.base_url!r}"
        return f"{type(self).__name__}({arguments})"


def _caller_location() -> str:
    frame = sys._getframe(2)  # noqa: SLF001 - inspect.stack() reads source files
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _validate_count(argument: str, value: object) -> int:
    try:
        return validate_whole_number(argument, value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _validate_retry(value: object) -> Retry:
    if not isinstance(value, Retry):
        raise ConfigurationError(f"retry must be a Retry, not {value!r}")
    return value


# The operations that override the retry safety of their method, for paths passed to `request`.
_METADATA = re.compile(r"/v2/tenants/[^/]+/metadata")
_CONNECTOR_CALL = re.compile(r"/v2/tenants/[^/]+/connectors/[^/]+/(call|soap|xml)")


def _safety_of(method: str, path: str) -> RetrySafety:
    if method == "PATCH" and _METADATA.fullmatch(path):
        return RetrySafety.IDEMPOTENT
    if method == "POST" and _CONNECTOR_CALL.fullmatch(path):
        return RetrySafety.PROXIED
    return safety_of_method(method)
