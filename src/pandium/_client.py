"""Give users their way in: the client, its options and its end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import attrs

from pandium._clock import new_clock
from pandium._config import Secret, resolve
from pandium._convert import encode_json
from pandium._resources._checks import checked_count
from pandium._resources._waiting import Waiting
from pandium._resources.builds import Builds
from pandium._resources.connectors import Connectors
from pandium._resources.integrations import Integrations
from pandium._resources.releases import Releases
from pandium._resources.runs import Runs
from pandium._resources.tenants import Tenants
from pandium._retry import Retry
from pandium._transport import Call, Transport, checked_headers, checked_mapping, checked_value
from pandium.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import httpx

    Parameter = str | int | float | bool | None

__all__ = ["AsyncPandium"]

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


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
        from pandium._connections import (  # noqa: PLC0415
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
            Transport(config, connections, new_clock(), checked_timeout(timeout), _policy(retry)),
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
        call = Call(
            _checked_method(method),
            _checked_path(path),
            path,
            _checked_params(params),
            None if json is None else encode_json(json, "json"),
            checked_headers({} if headers is None else headers),
        )
        return await self._transport.call_json(call)

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
        from pandium._connections import checked_timeout  # noqa: PLC0415 - as above

        old = self._transport
        view = object.__new__(type(self))
        view._bind(
            attrs.evolve(
                old,
                timeout=old.timeout if timeout is None else checked_timeout(timeout),
                retry=old.retry if retry is None else _policy(retry),
                headers={**old.headers, **checked_headers({} if headers is None else headers)},
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
        return checked_count(argument, value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _policy(value: object) -> Retry:
    if not isinstance(value, Retry):
        raise ConfigurationError(f"retry must be a Retry, not {value!r}")
    return value


def _checked_method(method: str) -> str:
    upper = method.upper() if isinstance(method, str) else ""
    if upper not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(sorted(_METHODS))}, not {method!r}")
    return upper


def _checked_params(
    params: Mapping[str, Parameter | Sequence[Parameter]] | None,
) -> dict[str, Any] | None:
    if params is None:
        return None
    given = checked_mapping("params", params)
    return {
        name: _checked_param(f"params[{name!r}]", value)
        for name, value in given.items()
        if value is not None
    } or None


def _checked_param(name: str, value: object) -> object:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [checked_value(name, one) for one in value if one is not None]
    return checked_value(name, value)


def _checked_path(path: str) -> str:
    if not isinstance(path, str):
        raise ValueError(f"path must be text, not {type(path).__name__}")
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError(f"path must begin with one slash, not {path!r}")
    if set(path) & set("?#\\"):
        raise ValueError(f"path must hold no query, fragment or backslash: {path!r}; use params")
    # They would lead to another path than the one that is named, and out of the base URL's.
    if {".", ".."} & set(unquote(path).split("/")):
        raise ValueError(f"path must hold no segment of dots: {path!r}")
    return path
