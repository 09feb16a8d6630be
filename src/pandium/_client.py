"""The asynchronous client."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import attrs

from pandium._clock import create_clock
from pandium._config import KeyFunction, Secret, resolve
from pandium._http.limits import RateLimitGate, RequestPacer
from pandium._resources.builds import AcceptedForm, Builds
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
    validate_rate,
    validate_whole_number,
)
from pandium.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    import httpx

    from pandium._clock import Clock
    from pandium._transport.events import OnResponse

    Parameter = str | int | float | bool | None

__all__ = ["AsyncPandium"]


class AsyncPandium:
    """
    An asynchronous client for the Pandium API. It supports asyncio and trio.

    ```python
    async with AsyncPandium() as client:
        async for tenant in client.tenants.list(integration_id=integration_id):
            print(tenant.id, tenant.name)
    ```

    The API's operations are methods of the attributes below. Use the client in an ``async with``
    block, or call ``aclose`` when you are done. A client can only be used in the event loop in
    which it sent its first request.

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
        attempt that received a response, including error responses. The request waits for an async
        function. If the request is canceled meanwhile, its response is lost. An error that the
        function raises is logged and does not affect the request.
    :param http_client: the ``httpx.AsyncClient`` with which to send requests. It is neither
        modified nor closed.
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

    builds: Builds
    connectors: Connectors
    integrations: Integrations
    releases: Releases
    runs: Runs
    tenants: Tenants

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
            secret = KeyFunction(api_key) if callable(api_key) else Secret(api_key)
        finally:
            api_key = None  # tracebacks can show local variables
        # If httpx were imported at the top, it would account for most of pandium's import time.
        from pandium._http.connections import (  # noqa: PLC0415 - imports httpx
            Connections,
            validate_http_client,
            validate_timeout,
            validate_url,
        )

        config = resolve(secret, environment, base_url)
        validate_url(config.base_url)
        validate_http_client(http_client)
        clock = create_clock()
        connections = Connections(
            _validate_count("max_connections", max_connections),
            _validate_count("max_response_bytes", max_response_bytes),
            http_client,
            RateLimitGate(clock, _create_pacer(clock, requests_per_second)),
            created_at=_caller_location(),
        )
        self._bind(
            Transport(
                config,
                connections,
                clock,
                validate_timeout(timeout),
                _validate_retry(retry),
                _validate_on_response(on_response),
            ),
            AcceptedForm(),
            owns=True,
        )

    def _bind(self, transport: Transport, accepted_form: AcceptedForm, *, owns: bool) -> None:
        self._transport = transport
        self._accepted_form = accepted_form
        self._owns = owns
        self.connectors = Connectors(transport)
        self.integrations = Integrations(transport)
        self.releases = Releases(transport)
        poller = StatusPoller(transport)
        self.builds = Builds(transport, poller, self.releases, accepted_form)
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

        Authentication, retries and errors work in the same way as for the other operations.

        ```python
        tenants = await client.request("GET", "/v2/tenants", params={"limit": 1})
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
        method = validate_method(method)
        spec = RequestSpec(
            method,
            validate_path(path),
            self._transport.config.api_key.redact(path),
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
        Return a view of this client with different options. It shares the client's connections.

        Closing a view has no effect. Closing the client also closes its views.

        ```python
        patient = client.with_options(timeout=120.0, retry=Retry(attempts=8))
        await patient.tenants.metadata(tenant_id)
        ```

        :param timeout: the time limit for each attempt in seconds, or an ``httpx.Timeout``.
        :param retry: the retry settings.
        :param headers: the headers to send in addition to the client's.
        :raises ConfigurationError: if ``timeout`` or ``retry`` is invalid.
        :raises ValueError: if a header is invalid.
        """
        from pandium._http.connections import validate_timeout  # noqa: PLC0415 - imports httpx

        old = self._transport
        view = object.__new__(type(self))
        view._bind(
            attrs.evolve(
                old,
                timeout=old.timeout if timeout is None else validate_timeout(timeout),
                retry=old.retry if retry is None else _validate_retry(retry),
                headers={**old.headers, **validate_headers(headers)},
            ),
            self._accepted_form,
            owns=False,
        )
        return view

    async def aclose(self) -> None:
        """
        Close the client's connections. Calling this method again has no effect.

        Closing a view has no effect, and a user-supplied ``http_client`` stays open.

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
        transport = getattr(self, "_transport", None)  # not set if the constructor failed
        arguments = "" if transport is None else f"base_url={transport.config.base_url!r}"
        return f"{type(self).__name__}({arguments})"


AsyncPandium.__module__ = "pandium"  # as users import it


def _caller_location() -> str:
    frame = sys._getframe(2)  # noqa: SLF001 - inspect.stack() would read source files
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _validate_count(argument: str, value: object) -> int:
    try:
        return validate_whole_number(argument, value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _create_pacer(clock: Clock, rate: float | None) -> RequestPacer | None:
    if rate is None:
        return None
    try:
        return RequestPacer(clock, validate_rate("requests_per_second", rate))
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _validate_on_response(value: OnResponse | None) -> OnResponse | None:
    if value is not None and not callable(value):
        raise ConfigurationError(f"on_response must be callable, not {value!r}")
    return value


def _validate_retry(value: object) -> Retry:
    if not isinstance(value, Retry):
        raise ConfigurationError(f"retry must be a Retry, not {value!r}")
    return value


# Paths passed to `request` whose retry safety differs from the default for their HTTP method.
_METADATA = re.compile(r"/v2/tenants/[^/]+/metadata")
_CONNECTOR_CALL = re.compile(r".*/connectors/.+/(call|soap|xml)/*", re.DOTALL | re.IGNORECASE)


def _safety_of(method: str, path: str) -> RetrySafety:
    if method == "PATCH" and _METADATA.fullmatch(path):
        return RetrySafety.IDEMPOTENT
    # The server may accept other spellings of a path. An error response to any of them may be the
    # upstream's.
    if method == "POST" and _CONNECTOR_CALL.fullmatch(unquote(path)):
        return RetrySafety.PROXIED
    return safety_of_method(method)
