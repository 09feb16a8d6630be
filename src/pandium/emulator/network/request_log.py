"""A record of the requests that reached an emulator."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

MAX_REQUESTS = 10_000
MAX_BODY = 65_536
MAX_TEXT = 100
EFFECT_KEY = "pandium.emulator.effect"
HIDDEN = frozenset({b"x-api-key", b"authorization", b"cookie"})

# Operation, tenant, status.
Kind = tuple[str | None, int | None, int]


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request and the status of its response. The values of secret headers are redacted.

    The status is 0 if no response was sent. `operation` is a name, such as "tenants.list". `tenant`
    is the tenant that the request was for, and `has_effect` whether the operation was executed for
    it. `fault` is the fault that replaced the response.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int
    body: bytes
    route: str
    operation: str | None = None
    tenant: int | None = None
    has_effect: bool = False
    fault: str = ""

    @property
    def kind(self) -> Kind:
        """The operation, the tenant and the status, by which requests are counted."""
        return self.operation, self.tenant, self.status

    def __str__(self) -> str:
        target = f"{self.path}?{self.query}" if self.query else self.path
        response = str(self.status) if self.status else "no response"
        fault = f" by {self.fault}" if self.fault else ""
        done = " (executed)" if self.has_effect else ""
        return f"{self.method} {_shorten(target)} -> {response}{fault}{done}"


class RequestLog(Sequence[Request]):
    """The most recent requests, oldest first, and the number of all requests by kind."""

    def __init__(self, kept: int = MAX_REQUESTS) -> None:
        self._requests: deque[Request] = deque(maxlen=kept)
        self.counts: Counter[tuple[str, str, int]] = Counter()
        self.effects: Counter[tuple[str, int]] = Counter()
        self._kinds: Counter[Kind] = Counter()

    def add(self, request: Request) -> None:
        """Add a request."""
        self._requests.append(request)
        self.counts[request.method, request.route, request.status] += 1
        self._kinds[request.kind] += 1
        if request.operation and request.tenant and request.has_effect:
            self.effects[request.operation, request.tenant] += 1

    def clear(self) -> None:
        """Remove all requests and reset all counts."""
        self._requests.clear()
        self.counts.clear()
        self.effects.clear()
        self._kinds.clear()

    def total(self, of_kind: Callable[[Kind], bool]) -> int:
        """Return the number of requests of matching kinds, even those that are no longer kept."""
        return sum(number for kind, number in self._kinds.copy().items() if of_kind(kind))

    def __len__(self) -> int:
        return len(self._requests)

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        return list(self._requests)[index]

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._requests))

    def __repr__(self) -> str:
        return f"<RequestLog of {len(self)} requests>"


def redact_headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers with lower-case names and redacted secrets."""
    return {
        name.decode("latin-1"): "***" if name in HIDDEN else value.decode("latin-1")
        for name, value in raw
    }


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
