"""The description of the client, which is derived from its methods."""

from __future__ import annotations

import inspect

import pytest

from pandium import AsyncPandium
from pandium._schema.document import normalize_path
from pandium._schema.recording import FREE_BODY, Argument, Operation, describe_client
from pandium.models import Run, Tenant
from support import KEY
from support.openapi import merge_documents, operations_of

pytestmark = pytest.mark.anyio

# Methods that only use other operations, or none.
COMPOSED = {
    *("builds.wait", "connectors.transport", "runs.as_completed", "runs.find", "runs.log"),
    *("runs.wait", "runs.wait_all", "tenants.find", "tenants.sync_all"),
}


async def describe() -> dict[str, Operation]:
    return {operation.name: operation for operation in await describe_client()}


async def test_every_method_is_described() -> None:
    """Each public method is described, unless it only uses other methods."""
    methods = {
        f"{name}.{method}"
        for name, resource in vars(AsyncPandium(KEY)).items()
        if not name.startswith("_")
        for method, value in vars(type(resource)).items()
        if inspect.isfunction(value) and not method.startswith("_")
    }
    assert (await describe()).keys() == methods - COMPOSED


async def test_no_operation_is_described_twice() -> None:
    """Each operation belongs to one method, and all documented operations are described."""
    described = [f"{one.method} {normalize_path(one.path)}" for one in (await describe()).values()]
    assert len(described) == len(set(described))
    documented = {normalize_path(name) for name in operations_of(merge_documents())}
    assert documented <= set(described)


async def test_arguments_are_found_where_they_are_sent() -> None:
    """The names and types of the query and the body are those of a real request."""
    operations = await describe()
    create = operations["tenants.create"]
    assert create.response is Tenant
    assert create.arguments == {
        ("body", "name"): Argument(frozenset({"string"}), is_always_sent=True),
        ("body", "integration_id"): Argument(frozenset({"integer"}), is_always_sent=True),
        ("body", "user_schedule"): Argument(frozenset({"string"})),
        ("body", "integration_release_id"): Argument(frozenset({"integer"})),
        ("body", "integration_release_channel"): Argument(frozenset({"string"})),
        ("body", "configs"): Argument(frozenset({"object"})),
    }
    sync = operations["tenants.sync"]
    assert sync.segments == [Argument(frozenset({"integer"}))]
    assert sync.arguments == {
        ("query", "mode"): Argument(
            frozenset({"string"}), is_always_sent=True, values=frozenset({"init", "normal"})
        ),
        FREE_BODY: Argument(frozenset({"object"})),
    }
    listing = operations["tenants.runs"]
    assert listing.response == list[Run]
    assert listing.arguments["query", "limit"].default == 500
