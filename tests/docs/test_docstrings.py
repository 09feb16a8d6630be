"""Public docstrings: their examples run, and those of operations are complete."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import pandium
from pandium import AsyncPandium, Pandium, webhooks
from pandium._sync.iteration import SyncRunResults
from pandium._waiting.results import RunResults
from support import KEY
from support.examples import example_namespace, run_example
from support.openapi import operations_of, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

REFERENCE = "https://docs.pandium.com/reference/pandium-api"
_CODE_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PARAM = re.compile(r"^:param (\w+): \S", re.MULTILINE)
_LINK = re.compile(rf"\]\({re.escape(REFERENCE)}(?:#([a-z0-9-]+))?\)")


def docstring_of(value: object) -> str:
    return inspect.cleandoc(value.__doc__ or "")


def exported(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield the exports of a module and of the modules among them."""
    for name in module.__all__:
        value = getattr(module, name)
        yield f"{module.__name__}.{name}", value
        if inspect.ismodule(value):
            yield from exported(value)


def resources() -> Iterator[tuple[str, type]]:
    """Yield the class of each attribute of each client."""
    for client, prefix in ((AsyncPandium(KEY), "client"), (Pandium(KEY), "sync client")):
        for name, value in vars(client).items():
            if not name.startswith("_"):
                yield f"{prefix}.{name}", type(value)


def methods_of(name: str, cls: type) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties that a class defines."""
    for attribute, value in vars(cls).items():
        is_documented = inspect.isroutine(value) or isinstance(value, (classmethod, property))
        if is_documented and not attribute.startswith("_"):
            yield f"{name}.{attribute}", value


def public_objects() -> Iterator[tuple[str, object]]:
    """Yield everything that users import, call or iterate over."""
    found = [*exported(pandium), *exported(webhooks), *resources()]
    found += ("pandium.RunResults", RunResults), ("pandium.SyncRunResults", SyncRunResults)
    for name, value in found:
        yield name, value
        if inspect.isclass(value):
            yield from methods_of(name, value)


def code_blocks() -> dict[str, str]:
    """Return each example by the name of its object. A re-exported object counts once."""
    documented = {id(value): (name, docstring_of(value)) for name, value in public_objects()}
    return {
        f"{name}, example {number}": match[1]
        for name, text in documented.values()
        for number, match in enumerate(_CODE_BLOCK.finditer(text), 1)
    }


def sections() -> set[str]:
    """Return the anchors on the reference page: one for each operation in its OpenAPI document."""
    anchors = set()
    for name, operation in operations_of(read_document("openapi.json")).items():
        method, path = name.lower().split(" ")
        # FastAPI appends the path and method to the function name, which is the heading.
        suffix = re.sub(r"\W", "_", path) + f"_{method}"
        anchors.add(operation["operationId"].removesuffix(suffix).replace("_", "-"))
    return anchors


CODE_BLOCKS = code_blocks()
OPERATIONS = dict(item for name, cls in resources() for item in methods_of(name, cls))
CLIENT_METHODS = dict(
    [*methods_of("client", AsyncPandium), *methods_of("sync client", Pandium)],
)
SECTIONS = sections()


async def ids_of_a_run(client: AsyncPandium, tenant_id: int) -> dict[str, Any]:
    """Return a trigger whose run has ended, and the ids of its run and of a release."""
    trigger = await client.tenants.sync(tenant_id, mode="normal")
    await client.runs.wait(trigger)
    run = await client.tenants.runs(tenant_id).first()
    assert run is not None
    release = await client.tenants.release(tenant_id)
    return {
        "trigger": trigger,
        "triggers": [trigger],
        "run_id": run.id,
        "release_id": release.id,
    }


@pytest.mark.parametrize("name", CODE_BLOCKS)
def test_each_example_runs(name: str) -> None:
    """The code in public docstrings runs unchanged."""
    with example_namespace() as names:
        ids = names["_runner"].run(ids_of_a_run(names["client"], names["tenant_id"]))
        public = {public_name: getattr(pandium, public_name) for public_name in pandium.__all__}
        names.update(public, httpx=httpx, **ids)
        if name.startswith(("sync client", "pandium.Sync", "pandium.Pandium")):
            names["client"] = names["_sync_client"]
        run_example(CODE_BLOCKS[name], f"<docstring of {name}>", names)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_has_an_example(name: str) -> None:
    """The docstring of every operation contains an example."""
    assert f"{name}, example 1" in CODE_BLOCKS, f"add a ```python block to the docstring of {name}"


@pytest.mark.parametrize("name", OPERATIONS | CLIENT_METHODS)
def test_each_argument_is_documented(name: str) -> None:
    """The docstring of every operation has a line for each argument, in order."""
    method = (OPERATIONS | CLIENT_METHODS)[name]
    _self, *arguments = inspect.signature(method).parameters  # type: ignore[arg-type]  # a function
    documented = _PARAM.findall(docstring_of(method))
    assert documented == arguments, f"list each argument as ':param name:' in {name}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_links_its_section(name: str) -> None:
    """Every operation's docstring links to an existing section of the API reference."""
    anchors = _LINK.findall(docstring_of(OPERATIONS[name]))
    assert anchors, f"link the section of {REFERENCE} in the docstring of {name}"
    unknown = set(anchors) - SECTIONS - {""}
    assert not unknown, f"{name} links sections that {REFERENCE} does not have"


def test_each_section_is_linked() -> None:
    """Every operation in the API reference is linked by a method."""
    linked = {
        anchor for value in OPERATIONS.values() for anchor in _LINK.findall(str(value.__doc__))
    }
    assert not SECTIONS - linked, "link each section in the docstring of its operation"
