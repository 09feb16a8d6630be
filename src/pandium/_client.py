"""Give users their way in: the client, its options and its end."""

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
from pandium._resources.polls import Waiting
from pandium._resources.releases import Releases
from pandium._resources.runs import Runs
from pandium._resources.tenants import Tenants
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

        async with AsyncPandium() as client:
            async for tenant in client.tenants.list(integration_id=1):
                await client.tenants.sync(tenant.id, mode="normal")

    The operations of the API are methods of its attributes: ``help(client.tenants)``.

    ``api_key``, ``environment`` (``production`` or ``sandbox``) and ``base_url``, which wins over
    it, may come from ``PANDIUM_API_KEY``, ``PANDIUM_ENV`` and ``PANDIUM_BASE_URL``; arguments win.
    ``timeout`` is the number of seconds for one attempt, or an ``httpx.Timeout``;
    ``max_connections`` is the most requests in flight, ``max_response_bytes`` the most that an
    answer may hold once it is unpacked; an ``http_client`` of the user's is neither changed nor
    closed.

    Use it in ``async with``, or call ``aclose``. It belongs to the event loop of its first request.

    Source: https://api.pandium.io, Introduction and Authentication.

    :ivar builds: ``create``.
    :ivar connectors: calls of other systems with a tenant's credentials: ``call``, ``soap``,
        ``xml``, ``transport`` for clients built on httpx, ``disconnect``.
    :ivar integrations: ``list``, ``get``, ``sync``.
    :ivar releases: of an integration: ``list``, ``get``, ``default``, ``latest``.
    :ivar runs: by the trigger that a sync gives: ``status``, ``wait``, and for many
        ``as_completed``, ``wait_all``; by the run's id: ``log``, ``log_url``.
    :ivar tenants: ``list``, ``create``, ``update``, ``archive``, ``sync``, ``sync_all``,
        ``release``, ``metadata``, ``update_metadata``, ``runs``.
    :raises ConfigurationError: if an argument cannot be used; nothing is sent.
    """

    builds: Builds
    connectors: Connectors
    integrations: Integrations
    releases: Releases
    runs: Runs
    tenants: Tenants

    def __init__(  # noqa: PLR0913 - all have defaults
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
        # Here, since httpx, which this brings, takes most of the time that an import would.
        from pandium._http.connections import (  # noqa: PLC0415
            Connections,
            check_http_client,
            check_url,
            checked_timeout,
        )

        secret = Secret(api_key)
        del api_key  # so that no traceback with local variables shows it
        config = resolve(secret, environment, base_url)
        check_url(config.base_url)
        check_http_client(http_client)
        connections = Connections(
            _checked_count("max_connections", max_connections),
            _checked_count("max_response_bytes", max_response_bytes),
            http_client,
            made_at=_caller(),
        )
        self._bind(
            Transport(
                config, connections, create_clock(), checked_timeout(timeout), _policy(retry)
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
        waiting = Waiting(transport)
        self.runs = Runs(transport, waiting)
        self.tenants = Tenants(transport, waiting)

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
        Send a request to any endpoint, and give the decoded JSON of its answer.

        ``path`` begins with ``/`` and is percent-encoded by the caller. Parameters that are
        ``None`` are not sent, nor is a ``json`` of ``None``. An empty answer is ``None``. Key,
        retries and errors are those of the other operations.

        :raises ValueError: if an argument cannot be sent.
        :raises APIError: if the API answers with an error.
        """
        verb = validate_method(method)
        spec = RequestSpec(
            verb,
            validate_path(path),
            path,
            validate_params(params),
            None if json is None else encode_json(json, "json"),
            validate_headers(headers),
            _safety_of(verb, path) or safety_of_method(verb),
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
        Give a view with other options that shares the connections.

        ``headers`` are added to those of this client. Closing the view does nothing; closing the
        client that it came from ends both.
        """
        from pandium._http.connections import checked_timeout  # noqa: PLC0415 - as above

        old = self._transport
        view = object.__new__(type(self))
        view._bind(
            attrs.evolve(
                old,
                timeout=old.timeout if timeout is None else checked_timeout(timeout),
                retry=old.retry if retry is None else _policy(retry),
                headers={**old.headers, **validate_headers(headers)},
            ),
            owns=False,
        )
        return view

    async def aclose(self) -> None:
        """Close the connections; again is no error. An ``http_client`` of the user's stays open."""
        if self._owns:
            await self._transport.connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        transport = getattr(self, "_transport", None)  # none in one that could not be made
        shown = "" if transport is None else f"base_url={transport.config.base_url!r}"
        return f"{type(self).__name__}({shown})"


def _caller() -> str:
    frame = sys._getframe(2)  # noqa: SLF001 - inspect.stack() would read the sources
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _checked_count(argument: str, value: object) -> int:
    try:
        return validate_whole_number(argument, value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _policy(value: object) -> Retry:
    if not isinstance(value, Retry):
        raise ConfigurationError(f"retry must be a Retry, not {value!r}")
    return value


# Operations whose failures may be retried by other rules than their method's.
_METADATA = re.compile(r"/v2/tenants/[^/]+/metadata")
_CONNECTOR_CALL = re.compile(r"/v2/tenants/[^/]+/connectors/[^/]+/(call|soap|xml)")


def _safety_of(method: str, path: str) -> RetrySafety | None:
    """Return the retry safety that the operation behind a path declares, if there is one."""
    if method == "PATCH" and _METADATA.fullmatch(path):
        return RetrySafety.IDEMPOTENT
    if method == "POST" and _CONNECTOR_CALL.fullmatch(path):
        return RetrySafety.PROXIED
    return None
