"""The synchronous client has everything that the asynchronous one has, with the same signatures."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from pandium import AsyncPandium, Listing, Pandium, PandiumError, SyncListing
from pandium._resources.connector_transport import ConnectorTransport
from pandium._sync import resources
from pandium._sync.httpx_transport import SyncConnectorTransport
from pandium._sync.iteration import SyncRunResults
from pandium._waiting.results import RunResults
from support import KEY

ROOT = Path(__file__).parents[2]
# The names that differ, in annotations and of methods.
RENAMED = {
    "AsyncPandium": "Pandium",
    "ConnectorTransport": "SyncConnectorTransport",
    "Items": "Iterator",
    "Listing": "SyncListing",
    "RunResults": "SyncRunResults",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "AsyncIterator": "Iterator",
    "AsyncBaseTransport": "BaseTransport",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "handle_async_request": "handle_request",
}


def renamed(text: str) -> str:
    text = text.replace("Pages[T]", "Iterator[Page[T]]")
    return re.sub(r"\w+", lambda word: RENAMED.get(word[0], word[0]), text)


def pairs() -> dict[str, tuple[type, type]]:
    """Return each class of the asynchronous client with its synchronous counterpart."""
    with Pandium(KEY) as client:
        found: dict[str, tuple[type, type]] = {"Pandium": (AsyncPandium, Pandium)}
        asynchronous = AsyncPandium(KEY)
        for name in AsyncPandium.__annotations__:
            found[name] = type(getattr(asynchronous, name)), type(getattr(client, name))
    found["Listing"] = Listing, SyncListing
    found["RunResults"] = RunResults, SyncRunResults
    return found


def methods_of(cls: type) -> dict[str, Any]:
    """Return the public methods of a class, and those that Python calls, such as `__iter__`."""
    special = {*RENAMED, *RENAMED.values(), "__init__"}
    return {
        name: member.fget if isinstance(member, property) else inspect.unwrap(member)
        for cls in reversed(cls.__mro__)
        for name, member in vars(cls).items()
        if (inspect.isfunction(member) or isinstance(member, property))
        and (not name.startswith("_") or name in special)
        and cls.__module__.startswith("pandium")
    }


PAIRS = pairs()
METHODS = [
    (name, method)
    for name, (asynchronous, _) in PAIRS.items()
    for method in methods_of(asynchronous)
    if not (method == "__init__" and name != "Pandium")
]


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_each_method_has_the_same_signature(name: str, method: str) -> None:
    """Each method exists in both clients, with the same arguments, defaults and annotations."""
    asynchronous, synchronous = (methods_of(cls) for cls in PAIRS[name])
    counterpart = renamed(method)
    assert counterpart in synchronous, f"{name} has no method {counterpart}"
    assert not inspect.iscoroutinefunction(synchronous[counterpart])
    expected = inspect.signature(asynchronous[method])
    found = inspect.signature(synchronous[counterpart])
    assert str(found) == renamed(str(expected))


@pytest.mark.parametrize("name", PAIRS)
def test_the_synchronous_classes_have_no_other_methods(name: str) -> None:
    """The synchronous client has no public method that the asynchronous one lacks."""
    asynchronous, synchronous = (methods_of(cls).keys() for cls in PAIRS[name])
    own = {"of", "in_loop"} | ({"__init__"} if name != "Pandium" else set())
    assert synchronous - own <= {renamed(method) for method in asynchronous}


def test_the_transports_have_the_same_methods() -> None:
    """The transports for both kinds of httpx clients accept the same."""
    for cls in (ConnectorTransport, SyncConnectorTransport):
        assert {"handle_request", "handle_async_request", "__getattr__"} <= vars(cls).keys()


def test_the_generated_module_is_up_to_date() -> None:
    """The synchronous resources are what tools/generate_sync.py generates now."""
    command = [sys.executable, str(ROOT / "tools" / "generate_sync.py")]
    generated = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=60
    ).stdout
    assert generated == Path(resources.__file__).read_text()


def test_the_documentation_speaks_of_synchronous_code() -> None:
    """No docstring of the synchronous operations has an asynchronous example or mentions tasks."""
    text = Path(resources.__file__).read_text()
    for allowed in ("sync or async function", "iterable or async iterable", "sync or async\n"):
        text = text.replace(allowed, "")
    assert re.findall(r"\b(await|async \w+|AsyncPandium|AsyncClient|tasks?)\b", text) == []


def test_the_attributes_are_the_same() -> None:
    """Both clients have the same attributes, which are also annotated."""
    names = list(AsyncPandium.__annotations__)
    assert list(Pandium.__annotations__) == names
    expected = {name: f"Sync{AsyncPandium.__annotations__[name]}" for name in names}
    assert Pandium.__annotations__ == expected


# A value for each required argument of a method, by argument name.
ARGUMENTS: dict[str, Any] = {
    "connector": "crm",
    "data": {"a": "b"},
    "integration_id": 7,
    "method": "GET",
    "mode": "normal",
    "name": "acme",
    "release_id": 8,
    "run_id": 9,
    "tag": "v1",
    "target_url": "https://api.example.com",
    "tenant_id": 10,
    "tenants": [10, 11],
    "trigger": "12",
    "triggers": ["12", "13"],
    "user_name": "ada",
}
# Values for optional arguments.
OPTIONS: dict[str, Any] = {
    "archived": True,
    "body": {"a": 1},
    "branch": "main",
    "configs": {"b": 2},
    "headers": {"c": "d"},
    "limit": 3,
    "page_size": 2,
    "payload": {"d": 4},
    "query_params": {"e": "f"},
    "skip": 5,
    "sort_by": "id__DESC",
    "user_schedule": "0 * * * *",
}
OPERATIONS = [(name, method) for name, method in METHODS if name[0].islower()]


def arguments_of(method: Any) -> dict[str, Any]:
    """Return a value for each required argument and for each optional one that is sent."""
    parameters = inspect.signature(method).parameters
    values = {name: ARGUMENTS[name] for name in parameters if name in ARGUMENTS}
    values |= {name: OPTIONS[name] for name in parameters if name in OPTIONS}
    return values | ({"paused": True} if "changes" in parameters else {})


class Recorder:
    """A server that rejects all requests and records them."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes]] = []
        self.http_client = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.sent.append((request.method, str(request.url), request.content))
        return httpx.Response(401)


async def send(name: str, method: str) -> list[tuple[str, str, bytes]]:
    """Call a method of the asynchronous client and return the requests."""
    recorder = Recorder()
    async with AsyncPandium(KEY, http_client=recorder.http_client) as client:
        function = getattr(getattr(client, name), method)
        with suppress(PandiumError):
            result = function(**arguments_of(function))
            if isinstance(result, RunResults):
                async with result:
                    [_ async for _ in result]
            elif isinstance(result, Listing):
                await result.to_list()
            elif inspect.isawaitable(result):
                await result
    return sorted(recorder.sent)


def send_sync(name: str, method: str) -> list[tuple[str, str, bytes]]:
    """Call a method of the synchronous client and return the requests."""
    recorder = Recorder()
    with Pandium(KEY, http_client=recorder.http_client) as client, suppress(PandiumError):
        function = getattr(getattr(client, name), method)
        result = function(**arguments_of(function))
        if isinstance(result, SyncRunResults):
            with result:
                list(result)
        elif isinstance(result, SyncListing):
            result.to_list()
    return sorted(recorder.sent)


@pytest.mark.parametrize(("name", "method"), OPERATIONS)
def test_each_method_sends_the_same_requests(name: str, method: str) -> None:
    """Each synchronous operation passes all of its arguments on to the asynchronous one."""
    sent = send_sync(name, method)
    assert sent == anyio.run(send, name, method)
    assert bool(sent) is (method != "transport")
