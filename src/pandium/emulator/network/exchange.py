"""A request and its response. Both are recorded, and a fault can replace the response."""

from collections import deque
from dataclasses import dataclass
from email.utils import format_datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pandium.emulator.network.drift import Drift
from pandium.emulator.network.http_server import CONNECTION, Connection
from pandium.emulator.network.operations import DOCUMENT, OPERATIONS, find
from pandium.emulator.network.request_log import (
    EFFECT_KEY,
    MAX_BODY,
    Request,
    RequestLog,
    redact_headers,
)
from pandium.emulator.runs.clock import Clock

LENGTH = b"content-length"


@dataclass(frozen=True, slots=True)
class BufferedResponse:
    """A response that has not been sent yet."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)


class Exchange:
    """A request that is recorded when its response starts."""

    def __init__(  # noqa: PLR0913 - the arguments of an ASGI application, and what it uses
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        request_log: RequestLog,
        clock: Clock,
        drift: Drift,
    ) -> None:
        self.clock = clock
        self.scope = scope
        operation, parts = find(scope["method"], scope["path"])
        self.operation: str | None = operation
        self.parts: dict[str, str] = parts
        self.tenant: int | None = None
        self.fault = ""
        self.is_recorded: bool = False
        self._app = app
        self._receive = receive
        self._send = send
        self._request_log = request_log
        self._drift = drift
        self._unread: deque[Message] = deque()
        self._body: list[bytes] = []
        self._size = 0

    @property
    def connection(self) -> Connection:
        """The connection on which the request was received."""
        found: Connection = self.scope[CONNECTION]()
        return found

    async def read(self) -> None:
        """Read the whole body, so that it is recorded even if a fault occurs."""
        unread = [await self.receive()]
        while unread[-1].get("more_body"):
            unread.append(await self.receive())
        self._unread.extend(unread)

    async def receive(self) -> Message:
        """Receive a message from the client."""
        if self._unread:
            return self._unread.popleft()
        message = await self._receive()
        chunk: bytes = message.get("body", b"")
        self._body.append(chunk[: MAX_BODY - self._size])
        self._size += len(self._body[-1])
        return message

    async def send(self, message: Message) -> None:
        """Send a message. At the start of the response, add the date and record the request."""
        if message["type"] == "http.response.start":
            self.record(message["status"])
            date = format_datetime(self.clock.wall().replace(microsecond=0), usegmt=True)
            message = {**message, "headers": [*message["headers"], (b"date", date.encode())]}
        await self._send(message)

    def record(self, status: int = 0) -> None:
        """Record the request, but only once. Status 0 means that no response was sent."""
        if not self.is_recorded:
            self.is_recorded = True
            self._request_log.add(self._request(status))

    async def forward(self) -> None:
        """Pass the request to the application, which sends the response."""
        await self._app(self.scope, self.receive, self.send)

    async def execute(self) -> BufferedResponse:
        """Execute the request, and return the response without sending it."""
        messages: list[Message] = []

        async def buffer(message: Message) -> None:
            messages.append(message)

        await self._app(self.scope, self.receive, buffer)
        self._drift.apply_after(self.operation, self.tenant)
        head, *rest = messages
        body = b"".join(message.get("body", b"") for message in rest)
        return BufferedResponse(head["status"], body, tuple(head["headers"]))

    async def respond(self, response: BufferedResponse) -> None:
        """Send a response."""
        await self._start_response(response, len(response.body))
        await self.send({"type": "http.response.body", "body": response.body})

    async def respond_half(self, response: BufferedResponse, *, closes: bool) -> None:
        """Send half of a response, then close the connection or wait for the client to do so."""
        await self._start_response(response, max(len(response.body), 1))
        half = response.body[: len(response.body) // 2]
        await self.send({"type": "http.response.body", "body": half, "more_body": True})
        connection = self.connection
        if closes:
            connection.close()
        await self._wait_for_disconnect(connection)

    async def reset(self) -> None:
        """Reset the connection without a response."""
        self.record()
        connection = self.connection
        connection.reset()
        await self._wait_for_disconnect(connection)

    async def _start_response(self, response: BufferedResponse, length: int) -> None:
        headers = [one for one in response.headers if one[0] != LENGTH]
        headers.append((LENGTH, str(length).encode()))
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        await self.send(start)

    async def _wait_for_disconnect(self, connection: Connection) -> None:
        with connection.idle():
            while (await self.receive())["type"] != "http.disconnect":
                pass

    def _request(self, status: int) -> Request:
        scope = self.scope
        affected: int | None = scope.get(EFFECT_KEY)
        return Request(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=redact_headers(scope["headers"]),
            status=status,
            body=b"".join(self._body),
            route=self._route(),
            operation=self.operation,
            tenant=self.tenant if affected is None else affected,
            has_effect=affected is not None,
            fault=self.fault,
        )

    def _route(self) -> str:
        if self.operation is not None:
            return OPERATIONS[self.operation][1]
        is_document = self.scope["path"] == DOCUMENT
        return DOCUMENT if is_document else getattr(self.scope.get("route"), "path", "*")
