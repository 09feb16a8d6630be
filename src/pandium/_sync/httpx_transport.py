"""A transport for synchronous clients of httpx and httpx2, which uses the connector proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import httpx

from pandium._resources.connector_transport import ConnectorTransport, has_unsupported_body

if TYPE_CHECKING:
    from typing import Self

    import httpx2

    from pandium._sync.loop_thread import LoopThread

    # Type checkers accept the transport for a client of either library.
    class _EitherSyncTransport(httpx.BaseTransport, httpx2.BaseTransport):
        def __enter__(self) -> Self: ...
        def handle_request(self, request: Any) -> Any: ...

else:
    # httpx2 may not be installed, and its clients do not check the base class.
    _EitherSyncTransport = httpx.BaseTransport

__all__ = ["SyncConnectorTransport"]


@attrs.frozen(eq=False)
class SyncConnectorTransport(_EitherSyncTransport):
    """
    A transport for an ``httpx.Client`` or ``httpx2.Client``.

    It sends the client's requests to the upstream system. Responses and errors are those of the
    client's library. The transport does not own any connections, so closing it has no effect.
    """

    _loop: LoopThread = attrs.field(repr=False)
    _transport: ConnectorTransport

    def handle_request(self, request: Any) -> Any:
        """
        Send one request through the proxy.

        :raises UnsupportedProtocol: if the proxy cannot forward the request. Nothing is sent.
        :raises TransportError: if no response is received from the upstream system.
        :raises TypeError: if the request is not one of httpx or httpx2. Nothing is sent.
        """
        # The stream of the body is synchronous, and may be bound to this thread.
        if hasattr(request, "read") and not has_unsupported_body(request):
            request.read()
        return self._loop.call(lambda: self._transport.handle_async_request(request))

    async def handle_async_request(self, _request: object) -> NoReturn:
        """
        Raise an error: an asynchronous client cannot use the transport.

        :raises TypeError: always.
        """
        raise TypeError(
            "an asynchronous client cannot use the connector transport of a Pandium client: pass"
            " the transport to httpx.Client or httpx2.Client"
        )

    async def __aenter__(self) -> NoReturn:
        await self.handle_async_request(None)

    def __getattr__(self, name: str) -> NoReturn:
        # Libraries that expect a client read its attributes, such as `timeout`.
        raise AttributeError(
            f"a connector transport has no attribute {name!r}, because it is not a client:"
            " pass httpx.Client(transport=…) or httpx2.Client(transport=…) instead"
        )
