"""A record of the requests that reached an emulator."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

KEPT = 10_000
MOST_BODY = 65_536
HIDDEN = frozenset({b"x-api-key", b"authorization", b"cookie"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request and the status of its answer; the values of secret headers are left out."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int
    body: bytes
    route: str


class Journal(Sequence[Request]):
    """The last requests, oldest first, and the number of all of them by kind."""

    def __init__(self, kept: int = KEPT) -> None:
        self._requests: deque[Request] = deque(maxlen=kept)
        self.counts: Counter[tuple[str, str, int]] = Counter()

    def add(self, request: Request) -> None:
        """Keep one more request."""
        self._requests.append(request)
        self.counts[request.method, request.route, request.status] += 1

    def clear(self) -> None:
        """Forget all requests and their numbers."""
        self._requests.clear()
        self.counts.clear()

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
        return f"<Journal of {len(self)} requests>"


def shown_headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers with lower-case names, without secrets."""
    return {
        name.decode("latin-1"): "***" if name in HIDDEN else value.decode("latin-1")
        for name, value in raw
    }
