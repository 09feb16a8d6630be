"""Helpers shared by the emulator tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from pandium.emulator import Clock, Emulator

LIMITS = {
    "type": "object",
    "properties": {"batch": {"type": "integer", "minimum": 1}},
    "additionalProperties": False,
}


class FrozenClock(Clock):
    """A clock that only advances when a test advances it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    # These tests have no event loop in which to await the base method.
    def advance(self, seconds: float) -> None:  # type: ignore[override]
        self.seconds += seconds


class Api:
    """An emulator, its clock, and a plain HTTP client that sends the API key."""

    def __init__(self, emulator: Emulator, clock: FrozenClock, http: httpx.Client) -> None:
        self.emulator = emulator
        self.clock = clock
        self.http = http

    def json(self, path: str, **query: Any) -> Any:
        answer = self.http.get(f"/v2{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, method: str, path: str, **options: Any) -> list[list[Any]]:
        answer = self.http.request(method, f"/v2{path}", **options)
        assert answer.status_code == 422, answer.text
        detail = answer.json()["detail"]
        assert all({"loc", "msg", "type"} <= set(one) for one in detail)
        return [one["loc"] for one in detail]

    def missing(self, method: str, path: str, **options: Any) -> None:
        answer = self.http.request(method, f"/v2{path}", **options)
        assert answer.status_code == 404, answer.text
        assert list(answer.json()) == ["message"]

    def sync(self, tenant: int = 1, payload: dict[str, Any] | None = None) -> str:
        answer = self.http.post(f"/v2/tenants/{tenant}/sync?mode=normal", json=payload)
        assert answer.status_code == 202, answer.text
        trigger: str = answer.json()["trigger_id"]
        return trigger

    def status(self, trigger: str) -> str | None:
        answer = self.http.get(f"/v2/runs/triggers/{trigger}/status")
        if answer.status_code == 404:
            assert list(answer.json()) == ["message"]
            return None
        word: str = answer.json()["status"]
        return word


@contextmanager
def served(seed: Any = None, **options: Any) -> Iterator[Api]:
    clock = FrozenClock()
    with (
        Emulator(seed, clock=clock, **options) as emulator,
        httpx.Client(base_url=emulator.url, headers={"X-API-KEY": "k"}, timeout=60) as http,
    ):
        yield Api(emulator, clock, http)
