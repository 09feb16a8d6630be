"""A client of the emulator's control API, for tests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import httpx
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

from pandium.emulator import Emulator
from support.emulating import FrozenClock

OWN = "/_emulator"


class Sent:
    """A request in the form that openapi-core validates."""

    def __init__(self, request: httpx.Request) -> None:
        self.host_url = f"http://{request.url.netloc.decode()}"
        self.method = request.method.lower()
        self.path = request.url.path
        self.body = request.content or None
        self.content_type = request.headers.get("content-type", "")
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(parse_qsl(request.url.query.decode())),
            header=Headers(dict(request.headers)),
        )


class Answered:
    """A response in the form that openapi-core validates."""

    def __init__(self, response: httpx.Response) -> None:
        self.data = response.content
        self.status_code = response.status_code
        self.headers = Headers(dict(response.headers))
        self.content_type = response.headers.get("content-type", "")


@cache  # slow, and every emulator has the same document
def parse_document(text: str) -> OpenAPI:
    """Parse a document, and check that it is valid."""
    return OpenAPI.from_dict(json.loads(text))


class Control:
    """A client of the control API that validates every exchange against its OpenAPI document."""

    def __init__(self, emulator: Emulator, http: httpx.Client) -> None:
        self.emulator = emulator
        self.http = http
        self.document = parse_document(http.get(f"{OWN}/openapi.json").text)

    def __call__(self, method: str, path: str, expected: int = 200, **options: Any) -> Any:
        response = self.http.request(method, f"{OWN}{path}", **options)
        assert response.status_code == expected, response.text
        sent = Sent(response.request)
        self.document.validate_response(sent, Answered(response))
        if response.is_success:
            self.document.validate_request(sent)
        return response.json() if response.content else None

    def refused(self, method: str, path: str, expected: int = 422, **options: Any) -> list[str]:
        errors = self(method, path, expected, **options)["errors"]
        assert all(one["message"] for one in errors)
        return [one["place"] for one in errors]

    def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to the emulated API."""
        return self.http.request(method, f"/v2{path}", headers={"x-api-key": "secret"}, **options)


@contextmanager
def controlled(seed: Any = None, **options: Any) -> Iterator[Control]:
    clock = FrozenClock()
    with (
        Emulator(seed, "secret", clock=clock, **options) as emulator,
        httpx.Client(base_url=emulator.url, timeout=60) as http,
    ):
        yield Control(emulator, http)
