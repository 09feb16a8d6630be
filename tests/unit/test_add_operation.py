"""
Each change that an operation requires is checked, and a missing one fails with a clear message.

The guide is docs/howto/add-operation.md. Other tests check the content of the changes.
"""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import attrs
import click
import httpx
import pytest

from pandium import AsyncPandium, Listing, PandiumError, Retry, models, to_dict
from pandium._cli.app import app
from pandium.emulator import Emulator, Reset
from support import KEY
from support.openapi import (
    UNDOCUMENTED,
    merge_documents,
    model_name_of,
    operations_of,
    read_emulator_document,
    schemas_in,
    to_snake_case,
)

# For each operation, the client methods that send it, such as ``tenants.list``.
Senders: TypeAlias = dict[str, dict[str, Any]]

ROOT = Path(__file__).parents[2]
DOCUMENT = merge_documents()
DOCUMENTED = operations_of(DOCUMENT)
OPERATIONS = sorted(DOCUMENTED.keys() | UNDOCUMENTED)
# Schemas of successful responses that the client does not return as a model.
WITHOUT_MODEL = {"ProxyResponse"}  # the client returns its only field, the upstream's data

# A value for each required argument of a method, by argument name.
ARGUMENTS: dict[str, Any] = {
    "connector": "crm",
    "data": {},
    "integration_id": 7,
    "method": "GET",
    "mode": "normal",
    "name": "acme",
    "release_id": 7,
    "run_id": 7,
    "tag": "v1",
    "target_url": "https://api.example.com",
    "tenant_id": 7,
    "tenants": (),
    "trigger": "7",
    "triggers": (),
    "user_name": "ada",
}
# Arguments whose names differ from those in the API.
ARGUMENT_NAMES = {
    "build_tag": "tag",
    "connector_name": "connector",
    "integration_release_channel": "release_channel",
    "integration_release_id": "release_id",
    "trigger_id": "trigger",
}


def operation_of(request: httpx.Request) -> str | None:
    """Return the operation that a request belongs to, preferring the fewest path parameters."""
    sent = f"{request.method} {request.url.path}"
    matching = [
        operation
        for operation in OPERATIONS
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", operation), sent)
    ]
    return min(matching, key=lambda operation: operation.count("{"), default=None)


def methods_of(client: AsyncPandium) -> dict[str, Any]:
    """Return the methods of all resources by name, such as ``tenants.list``."""
    return {
        f"{name}.{method_name}": method
        for name, resource in vars(client).items()
        if not name.startswith("_")
        for method_name, method in inspect.getmembers(resource, inspect.ismethod)
        if not method_name.startswith("_")
    }


def required_arguments(name: str, method: Any) -> dict[str, Any]:
    arguments = {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments["name"] = ARGUMENTS["name"]
        elif parameter.default is inspect.Parameter.empty:
            assert parameter.name in ARGUMENTS, (
                f"{name} has a required argument {parameter.name}:"
                " add a value for it to ARGUMENTS in tests/unit/test_add_operation.py"
            )
            arguments[parameter.name] = ARGUMENTS[parameter.name]
    return arguments


async def send(method: Any, arguments: dict[str, Any]) -> None:
    """Call a method, ignoring that the server rejects its request or an argument is missing."""
    with suppress(PandiumError, ValueError):  # `find` requires one of several optional arguments
        result = method(**arguments)
        if isinstance(result, Listing):
            await result.first()
        elif inspect.isawaitable(result):
            await result


@pytest.fixture(scope="module")
def senders() -> Senders:
    """Return the client methods that send each operation."""
    found: Senders = {operation: {} for operation in OPERATIONS}
    sent: set[str | None] = set()

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.add(operation_of(request))
        return httpx.Response(401)

    async def call_all() -> None:
        transport = httpx.MockTransport(refuse)
        async with httpx.AsyncClient(transport=transport) as http_client:
            client = AsyncPandium(KEY, http_client=http_client, retry=Retry.never())
            for name, method in methods_of(client).items():
                sent.clear()
                await send(method, required_arguments(name, method))
                for operation in sent - {None}:
                    found[str(operation)][name] = method

    anyio.run(call_all)
    return found


def is_fault_target(name: str) -> bool:
    try:
        Emulator().faults.add(name, Reset())
    except ValueError:
        return False
    return True


def documented_arguments(operation: str) -> set[str]:
    """Return the argument names for the parameters and body fields in the vendor's document."""
    description = DOCUMENTED.get(operation, {})
    names = {parameter["name"] for parameter in description.get("parameters", [])}
    for schema in schemas_in(description.get("requestBody"), DOCUMENT).values():
        names |= schema.get("properties", {}).keys()
    return {ARGUMENT_NAMES.get(name, name) for name in names}


def model_fields() -> list[tuple[str, str]]:
    """Return each schema of a successful response with each of its fields."""
    responses = [
        response
        for operation in DOCUMENTED.values()
        for status, response in operation["responses"].items()
        if status.startswith("2")
    ]
    # A schema without fields is listed once, with an empty name.
    return [
        (name, field)
        for name, schema in sorted(schemas_in(responses, DOCUMENT).items())
        if name not in WITHOUT_MODEL
        for field in schema.get("properties", {"": None})
    ]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_a_client_method(operation: str, senders: Senders) -> None:
    """A method of the client sends each operation."""
    assert senders[operation], (
        f"{operation} has no client method: add one in src/pandium/_resources/"
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_all_arguments(operation: str, senders: Senders) -> None:
    """A client method takes each parameter and body field of its operation."""
    methods = senders[operation].values()
    arguments = {name for method in methods for name in inspect.signature(method).parameters}
    missing = documented_arguments(operation) - arguments
    assert not missing, (
        f"the client method of {operation} does not take {', '.join(sorted(missing))}: add it in"
        " src/pandium/_resources/, or its name in the client to ARGUMENT_NAMES in this test"
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_a_command(operation: str, senders: Senders) -> None:
    """The command line has a command for each operation, named after a client method."""
    commands = {
        f"{group_name}.{name.replace('-', '_')}"
        for group_name, group in app.commands.items()
        if isinstance(group, click.Group)
        for name in group.commands
    }
    assert commands & senders[operation].keys(), (
        f"{operation} has no command: add one in src/pandium/_cli/commands/,"
        " with the name of the client method"
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_an_emulator_route(operation: str) -> None:
    """The emulator serves each operation."""
    assert operation in operations_of(read_emulator_document()), (
        f"{operation} has no route in the emulator: add one in src/pandium/emulator/api/"
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_can_fail_in_the_emulator(operation: str, senders: Senders) -> None:
    """The emulator's faults accept the name of a client method for each operation."""
    assert any(is_fault_target(name) for name in senders[operation]), (
        f"the emulator's faults have no name for {operation}:"
        " add the name of its client method to src/pandium/emulator/network/operations.py"
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_on_the_reference_page(operation: str, senders: Senders) -> None:
    """The reference page of each client contains the resource of each client method."""
    resources = {name.partition(".")[0] for name in senders[operation]}
    for client, path in (
        ("AsyncPandium", "docs/reference/operations.md"),
        ("Pandium", "docs/reference/sync-client.md"),
    ):
        lines = set((ROOT / path).read_text().splitlines())
        assert {f"::: pandium.{client}.{name}" for name in resources} & lines, (
            f"{operation} is not on the reference page: add its resource to {path}"
        )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_type_checked_as_users_call_it(operation: str, senders: Senders) -> None:
    """The type checkers check a call of each operation."""
    usage = (ROOT / "tests/typing/usage.py").read_text()
    assert any(f"client.{name}(" in usage for name in senders[operation]), (
        f"{operation} is not called in tests/typing/usage.py:"
        " add a call with assert_type around its result"
    )


@pytest.mark.parametrize(("schema", "field"), model_fields())
def test_a_field_of_a_response_is_an_attribute(schema: str, field: str) -> None:
    """Each response schema has a model with an attribute for each field."""
    name = model_name_of(schema)
    assert name in models.__all__, (
        f"the schema {schema} has no model: add one to src/pandium/models.py and its __all__"
    )
    model = getattr(models, name)
    attribute = to_snake_case(field)
    assert not field or attribute in attrs.fields_dict(model), (
        f"the schema {schema} has a field {field}: add {attribute} to pandium.models.{name}"
    )


@pytest.mark.parametrize(
    ("schema", "field"), [pair for pair in model_fields() if to_snake_case(pair[1]) != pair[1]]
)
def test_a_field_keeps_its_name_in_the_api(schema: str, field: str) -> None:
    """A field whose Python name differs is encoded under its API name."""
    model = getattr(models, model_name_of(schema))
    required = [
        name
        for name, attribute in attrs.fields_dict(model).items()
        if attribute.default is attrs.NOTHING
    ]
    assert field in to_dict(model(**dict.fromkeys(required))), (
        f"{to_snake_case(field)} of pandium.models.{model.__name__} is {field} in the API:"
        " add that name in src/pandium/_serialization/"
    )
