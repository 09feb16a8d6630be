"""The comparison of the service's OpenAPI document with the client."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pandium import DecodeError
from pandium._schema.comparison import compare
from support.openapi import (
    UNDOCUMENTED,
    Document,
    merge_documents,
    operations_of,
    read_document,
    read_emulator_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[Document], object]
    Line = tuple[str, str, str]  # where, the difference, and what it means

pytestmark = pytest.mark.anyio

RELEASE = "external_api_v1__v2schemas__IntegrationRelease"
ODD = {"type": ["integer", "0"]}
TENANT = "external_api_v1__v2schemas__Tenant"


async def test_the_emulator_s_document_does_not_differ() -> None:
    """The client has every operation and field of the emulator, and no other."""
    assert await compare(read_emulator_document()) == []


async def test_the_reference_lacks_only_later_operations() -> None:
    """The document of the API reference differs only by the operations that were added later."""
    later = operations_of(read_document("openapi-later.json")).keys()
    found = await compare(read_document("openapi.json"))
    assert {one.where.replace("{connector}", "{connector_name}") for one in found} == {
        *later,
        *UNDOCUMENTED,
    }
    assert {one.difference for one in found} == {"the service does not document this operation"}


async def test_the_later_document_lacks_only_older_operations() -> None:
    """The later document differs only by the operations that it does not contain."""
    found = await compare(read_document("openapi-later.json"))
    assert {one.difference for one in found} == {"the service does not document this operation"}
    assert len(found) == len(operations_of(read_document("openapi.json"))) + len(UNDOCUMENTED)


async def test_both_documents_together_lack_only_what_is_undocumented() -> None:
    """Together, the vendor's documents have all operations but those that guides only mention."""
    found = await compare(merge_documents())
    assert {one.where for one in found} == UNDOCUMENTED
    assert "client.tenants.update may fail with 404" in {one.meaning for one in found}


# Documents that were changed on purpose


def schema(name: str) -> Callable[[Document], Any]:
    return lambda document: document["components"]["schemas"][name]


def field(name: str, field_name: str, **changes: Any) -> Change:
    """Replace a field of a schema."""

    def change(document: Document) -> None:
        schema(name)(document)["properties"][field_name] = changes

    return change


def update(name: str, field_name: str, **changes: Any) -> Change:
    """Change keywords of a field."""

    def change(document: Document) -> None:
        schema(name)(document)["properties"][field_name].update(changes)

    return change


def drop(name: str, field_name: str, keyword: str = "") -> Change:
    """Remove a field from a schema, or a keyword from the field."""

    def change(document: Document) -> None:
        properties = schema(name)(document)["properties"]
        if keyword:
            del properties[field_name][keyword]
        else:
            del properties[field_name]

    return change


def require(name: str, *fields: str) -> Change:
    def change(document: Document) -> None:
        schema(name)(document)["required"] = list(fields)

    return change


def enum(name: str, *values: str) -> Change:
    def change(document: Document) -> None:
        document["components"]["schemas"][name] = {"type": "string", "enum": list(values)}

    return change


def parameter(path: str, method: str, **changes: Any) -> Change:
    """Replace a query parameter of an operation, or add it."""

    def change(document: Document) -> None:
        given = document["paths"][path][method].setdefault("parameters", [])
        given[:] = [one for one in given if one["name"] != changes["name"]]
        given.append({"in": "query", **changes})

    return change


def without_parameter(path: str, method: str, name: str) -> Change:
    def change(document: Document) -> None:
        given = document["paths"][path][method]["parameters"]
        given[:] = [one for one in given if one["name"] != name]

    return change


def response(path: str, method: str, code: str, content: dict[str, Any]) -> Change:
    def change(document: Document) -> None:
        document["paths"][path][method]["responses"][code] = {
            "content": {"application/json": {"schema": content}}
        }

    return change


def move(path: str, new: str) -> Change:
    def change(document: Document) -> None:
        document["paths"][new] = document["paths"].pop(path)

    return change


def body(path: str, method: str, content: Any) -> Change:
    def change(document: Document) -> None:
        operation = document["paths"][path][method]
        operation.pop("requestBody", None)
        if content is not None:
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": content}},
            }

    return change


NULL = {"type": "null"}
NOT_AN_OBJECT = (
    "the client cannot read the response: the response cannot be decoded:"
    " expected an object, got an array"
)
OBJECT = {"type": "object", "additionalProperties": True}
SYNC = "/v2/tenants/{tenant_id}/sync"
METADATA = "/v2/tenants/{tenant_id}/metadata"
BUILD = "/v2/sourcecontrol/build"
CALL = "/v2/tenants/{tenant_id}/connectors/{connector_name}/call"

UNRECOGNIZED = "its message is not recognized, so error.message is the whole body"


def path_pattern(path: str, pattern: str) -> Change:
    def change(document: Document) -> None:
        (given,) = [
            one for one in document["paths"][path]["get"]["parameters"] if one["in"] == "path"
        ]
        given["schema"] = {"type": "string", "pattern": pattern}

    return change


def errors_with(name: str) -> list[tuple[str, str]]:
    """Return the operations and status codes of the error responses with a schema."""
    return [
        (f"{method.upper()} {path}", code)
        for path, methods in merge_documents()["paths"].items()
        for method, operation in methods.items()
        for code, given in operation["responses"].items()
        if code > "400" and name in str(given)
    ]


CHANGES: dict[str, tuple[Change, list[Line]]] = {
    # Fields of responses
    "a new field": (
        field(TENANT, "region", type="string"),
        [
            (
                "Tenant.region",
                "the client does not have this field",
                "the model ignores it; listing.raw() and client.request return it",
            )
        ],
    ),
    "an optional field is gone": (
        drop(TENANT, "paused"),
        [("Tenant.paused", "the service does not have this field", "it is always true")],
    ),
    "a required field is gone": (
        drop("Trigger", "trigger_id"),
        [
            (
                "Trigger.trigger_id",
                "the service does not have this field",
                "every response raises DecodeError",
            )
        ],
    ),
    "a renamed field": (
        lambda document: schema("RunStatus")(document)["properties"].update(
            start_time=schema("RunStatus")(document)["properties"].pop("startTime")
        ),
        [
            (
                "RunStatus.start_time",
                "the client does not have this field",
                "the model ignores it; listing.raw() and client.request return it",
            ),
            ("RunStatus.startTime", "the service does not have this field", "it is always null"),
        ],
    ),
    "another type that cannot be read": (
        field(TENANT, "id", type="string"),
        [
            (
                "Tenant.id",
                "the type is string, the client has integer",
                "a response that the client cannot read raises DecodeError",
            )
        ],
    ),
    "another type that can be read": (
        field("Trigger", "trigger_id", type="integer"),
        [
            (
                "Trigger.trigger_id",
                "the type is integer, the client has string",
                "the client reads it anyway",
            )
        ],
    ),
    "a narrower type": (
        field("Category", "order_index", type="integer"),
        [
            (
                "Category.order_index",
                "the type is integer, the client has number",
                "the client reads it anyway",
            )
        ],
    ),
    "any type": (
        field("Category", "order_index"),
        [
            (
                "Category.order_index",
                "the type is any type, the client has number",
                "a response that the client cannot read raises DecodeError",
            )
        ],
    ),
    "a text instead of a date": (
        field("RunTrigger", "created_date", type="string"),
        [
            (
                "RunTrigger.created_date",
                "the type is string, the client has date-time",
                "a response that the client cannot read raises DecodeError",
            )
        ],
    ),
    "a field that can be absent": (
        require(TENANT, "id"),
        [("Tenant.name", "it can be absent", "a response without it raises DecodeError")],
    ),
    "a field that is always present": (
        require(TENANT, "id", "name", "archived"),
        [("Tenant.archived", "it is always present", "the client reads responses without it, too")],
    ),
    "a field that can be null": (
        field(TENANT, "name", anyOf=[{"type": "string"}, NULL]),
        [
            (
                "Tenant.name",
                "it can be null",
                "a response that the client cannot read raises DecodeError",
            )
        ],
    ),
    "null in the list of types": (
        field(TENANT, "name", type=["string", "null"]),
        [
            (
                "Tenant.name",
                "it can be null",
                "a response that the client cannot read raises DecodeError",
            )
        ],
    ),
    "another default": (
        update(TENANT, "paused", default=False),
        [
            (
                "Tenant.paused",
                "the default is false, the client has true",
                "a response without it is read as true",
            )
        ],
    ),
    "a default that may be large": (
        update(TENANT, "paused", default=[False]),
        [
            (
                "Tenant.paused",
                "the default is not empty, the client has true",
                "a response without it is read as true",
            )
        ],
    ),
    "no default": (
        drop(TENANT, "source", "default"),
        [
            (
                "Tenant.source",
                'the default does not exist, the client has "api"',
                'a response without it is read as "api"',
            )
        ],
    ),
    "a default where the client has none": (
        update(TENANT, "archived", default=True),
        [
            (
                "Tenant.archived",
                "the default is true, the client has null",
                "a response without it is read as null",
            )
        ],
    ),
    "a new value": (
        enum("IntegrationType", "Internal", "External", "Pandium", "Partner"),
        [
            (
                "Integration.type",
                "the values Partner are unknown to the client",
                "the client keeps them as unknown values",
            )
        ],
    ),
    "a value is gone": (
        enum("IntegrationType", "Internal", "External"),
        [
            (
                "Integration.type",
                "the values Pandium no longer exist",
                "the client never returns them",
            )
        ],
    ),
    "the words of a status": (
        update("TriggerStatus", "status", enum=["Succeeded", "Stopped", "Running"]),
        [
            (
                "TriggerStatus.status",
                "its values are Running, Stopped, Succeeded, the client has any text",
                "a wait goes on while the status is Running or Stopped",
            )
        ],
    ),
    "the values of a text": (
        update(RELEASE, "config_version", enum=["1", "2"]),
        [
            (
                "Release.config_version",
                "its values are 1, 2, the client has any text",
                "the client reads it anyway",
            )
        ],
    ),
    "the fields of an object": (
        field(
            "TenantMetadata",
            "data",
            type="object",
            default={},
            properties={"page": {"type": "integer"}},
        ),
        [("TenantMetadata.data", "its fields are page", "the client has a plain dict")],
    ),
    "a nested model": (
        update("ConnectorStatus", "name", type="integer"),
        [
            (
                "ConnectorStatus.name",
                "the type is integer, the client has string",
                "a response that the client cannot read raises DecodeError",
            )
        ],
    ),
    # Responses as a whole
    "a wrapped list": (
        response("/v2/tenants", "get", "200", {"type": "object"}),
        [
            (
                "GET /v2/tenants",
                "the type is object, the client has array",
                "every response raises DecodeError",
            )
        ],
    ),
    "an undocumented response": (
        response("/v2/runs/triggers/{trigger_id}/status", "get", "200", {}),
        [
            (
                "GET /v2/runs/triggers/{trigger_id}/status",
                "the type is not documented",
                "the client expects object",
            )
        ],
    ),
    "another field for the data of a connector": (
        lambda document: schema("ProxyResponse")(document).update(
            properties={"result": OBJECT}, required=["result"]
        ),
        [
            (
                "POST /v2/tenants/{tenant_id}/connectors/{connector_name}/call",
                "the client cannot read the response: the proxy response contains no data",
                "client.connectors.call raises DecodeError",
            ),
            (
                "POST /v2/tenants/{tenant_id}/connectors/{connector_name}/soap",
                "the client cannot read the response: the proxy response contains no data",
                "client.connectors.soap raises DecodeError",
            ),
            (
                "POST /v2/tenants/{tenant_id}/connectors/{connector_name}/xml",
                "the client cannot read the response: the proxy response contains no data",
                "client.connectors.xml raises DecodeError",
            ),
        ],
    ),
    "a list instead of an object": (
        response("/v2/tenants/{tenant_id}", "delete", "200", {"type": "array"}),
        [
            (
                "DELETE /v2/tenants/{tenant_id}",
                NOT_AN_OBJECT,
                "client.tenants.archive raises DecodeError",
            )
        ],
    ),
    # Operations
    "a new operation": (
        lambda document: document["paths"].update({"/v2/schedules": {"get": {}}}),
        [
            (
                "GET /v2/schedules",
                "the client does not have this operation",
                'call it with client.request("GET", "/v2/schedules")',
            )
        ],
    ),
    "an operation is gone": (
        lambda document: document["paths"].pop("/v2/integrations/{integration_id}/sync"),
        [
            (
                "POST /v2/integrations/{integration_id}/sync",
                "the service does not document this operation",
                "client.integrations.sync may fail with 404",
            )
        ],
    ),
    "another path": (
        move(SYNC, "/v2/tenants/{tenant_id}/run"),
        [
            (
                "POST /v2/tenants/{tenant_id}/run",
                "the client does not have this operation",
                'call it with client.request("POST", "/v2/tenants/{tenant_id}/run")',
            ),
            (
                "POST /v2/tenants/{tenant_id}/sync",
                "the service does not document this operation",
                "client.tenants.sync may fail with 404",
            ),
        ],
    ),
    "another name of an id in a path": (
        move("/v2/integrations/{integration_id}", "/v2/integrations/{id}"),
        [],
    ),
    "another type of an id in a path": (
        lambda document: document["paths"]["/v2/runs/triggers/{trigger_id}/status"]["get"][
            "parameters"
        ][0].update(schema={"type": "boolean"}),
        [
            (
                "GET /v2/runs/triggers/{trigger_id}/status",
                "the id in the path is boolean, the client sends integer or string",
                "a call with it is rejected with 422",
            )
        ],
    ),
    "another header for the key": (
        lambda document: document["components"]["securitySchemes"]["apiKey"].update(
            name="Authorization"
        ),
        [
            (
                "API key",
                "the key belongs into authorization, the client sends x-api-key",
                "every request may be rejected with 403",
            )
        ],
    ),
    # Requests
    "a new parameter": (
        parameter("/v2/tenants", "get", name="region", schema={"type": "string"}),
        [
            (
                "GET /v2/tenants",
                "the client cannot send the parameter region",
                "to send it, call client.request",
            )
        ],
    ),
    "a new required parameter": (
        parameter("/v2/tenants", "get", name="region", required=True, schema={"type": "string"}),
        [
            (
                "GET /v2/tenants",
                "the parameter region is required, the client cannot send it",
                "client.tenants.list is rejected with 422",
            )
        ],
    ),
    "a header": (
        parameter("/v2/tenants", "get", **{"in": "header"}, name="x-region", schema={}),
        [
            (
                "GET /v2/tenants",
                "the client cannot send the header x-region",
                "to send it, call client.request",
            )
        ],
    ),
    "the header of the key as a parameter": (
        parameter("/v2/tenants", "get", **{"in": "header"}, name="x-api-key", schema={}),
        [],
    ),
    "a parameter is required": (
        parameter("/v2/tenants", "get", name="user_name", required=True, schema={"type": "string"}),
        [
            (
                "GET /v2/tenants",
                "the parameter user_name is required",
                "always pass it to client.tenants.list",
            )
        ],
    ),
    "a parameter is gone": (
        without_parameter("/v2/tenants", "get", "skip"),
        [
            (
                "GET /v2/tenants",
                "the service does not document the parameter skip",
                "it may be ignored, or the call may be rejected with 422",
            )
        ],
    ),
    "another type of a parameter": (
        parameter("/v2/tenants", "get", name="archived", schema={"type": "string"}),
        [
            (
                "GET /v2/tenants",
                "the parameter archived is string, the client sends boolean",
                "a call with it is rejected with 422",
            )
        ],
    ),
    "a lower maximum of records": (
        parameter("/v2/tenants", "get", name="limit", schema={"type": "integer", "maximum": 100}),
        [
            (
                "GET /v2/tenants",
                "the parameter limit is at most 100, the client sends 500",
                "pass page_size=100 to client.tenants.list",
            )
        ],
    ),
    "a new mode": (
        enum("V2RunMode", "init", "normal", "full"),
        [
            (
                "POST /v2/integrations/{integration_id}/sync",
                "the parameter mode also accepts full",
                "the client does not send it",
            ),
            (
                "POST /v2/sourcecontrol/build",
                "the parameter mode also accepts full",
                "the client does not send it",
            ),
            (
                "POST /v2/tenants/{tenant_id}/sync",
                "the parameter mode also accepts full",
                "the client does not send it",
            ),
        ],
    ),
    "a mode is gone": (
        parameter(SYNC, "post", name="mode", required=True, schema={"enum": ["normal"]}),
        [
            (
                "POST /v2/tenants/{tenant_id}/sync",
                "the parameter mode does not accept init",
                "a call with it is rejected with 422",
            )
        ],
    ),
    "any mode": (
        parameter(SYNC, "post", name="mode", required=True, schema={"type": "string"}),
        [
            (
                "POST /v2/tenants/{tenant_id}/sync",
                "the parameter mode accepts any text",
                "the client sends only init and normal",
            )
        ],
    ),
    "the values of a field": (
        update("CreateTenant", "integration_release_channel", anyOf=[{"const": "Latest"}, NULL]),
        [
            (
                "POST /v2/tenants",
                "the field integration_release_channel accepts only Latest",
                "another value is rejected with 422",
            )
        ],
    ),
    "a new required field": (
        lambda document: schema("CreateTenant")(document).update(
            required=["name", "integration_id", "region"],
            properties={
                **schema("CreateTenant")(document)["properties"],
                "region": {"type": "string"},
            },
        ),
        [
            (
                "POST /v2/tenants",
                "the field region is required, the client cannot send it",
                "client.tenants.create is rejected with 422",
            )
        ],
    ),
    "a field is required": (
        require("CreateTenant", "name", "integration_id", "configs"),
        [
            (
                "POST /v2/tenants",
                "the field configs is required",
                "always pass it to client.tenants.create",
            )
        ],
    ),
    "no body": (
        body(SYNC, "post", None),
        [
            (
                "POST /v2/tenants/{tenant_id}/sync",
                "the service does not document a body",
                "the data may be ignored",
            )
        ],
    ),
    "a body that is required": (
        body(SYNC, "post", OBJECT),
        [
            (
                "POST /v2/tenants/{tenant_id}/sync",
                "a body with any fields is required",
                "a call without it is rejected with 422",
            )
        ],
    ),
    "a body of another type": (
        body(METADATA, "patch", {"type": "array"}),
        [
            (
                "PATCH /v2/tenants/{tenant_id}/metadata",
                "the body is array, the client sends object",
                "a call with data is rejected with 422",
            )
        ],
    ),
    "a body with required fields": (
        body(METADATA, "patch", {**OBJECT, "required": ["data"]}),
        [
            (
                "PATCH /v2/tenants/{tenant_id}/metadata",
                "a body with data is required",
                "a call without it is rejected with 422",
            )
        ],
    ),
    # Errors
    "another field for the message": (
        lambda document: schema("ErrorMessage")(document).update(
            properties={"error": {"type": "string"}}, required=["error"]
        ),
        [
            (operation, f"the error {code} has the fields error", UNRECOGNIZED)
            for operation, code in errors_with("ErrorMessage")
        ],
    ),
    "an error without documented fields": (
        response("/v2/tenants", "get", "500", {"type": "object"}),
        [("GET /v2/tenants", "the error 500 is any object", UNRECOGNIZED)],
    ),
    "an error that is a list": (
        response("/v2/tenants", "get", "default", {"type": "array", "items": {"type": "string"}}),
        [("GET /v2/tenants", "the error default is any array", UNRECOGNIZED)],
    ),
    "an error that is a text": (
        response("/v2/tenants", "get", "500", {"type": "string"}),
        [],
    ),
    "an error without a valid status": (
        response("/v2/tenants", "get", "4²", {"type": "object"}),
        [("GET /v2/tenants", "the error 4² is any object", UNRECOGNIZED)],
    ),
    "an error with an endless status": (
        response("/v2/tenants", "get", "4" * 5000, {"type": "object"}),
        [("GET /v2/tenants", f"the error {'4' * 5000} is any object", UNRECOGNIZED)],
    ),
    "an error that is not documented": (response("/v2/tenants", "get", "422", {}), []),
    "details without a message": (
        lambda document: document["components"]["schemas"].update(
            ValidationError={"type": "object", "properties": {"problem": {"type": "string"}}}
        ),
        [
            (
                operation,
                "the details of the error 422 have no field msg",
                "error.message is empty; error.body has the whole response",
            )
            for operation, _ in errors_with("HTTPValidationError")
        ],
    ),
    "details that contain themselves": (
        lambda document: schema("ValidationError")(document)["properties"].update(
            ctx={"$ref": "#/components/schemas/ValidationError"}
        ),
        [],
    ),
    # Patterns
    "a pattern of a field": (
        update("CreateTenant", "name", pattern="^[a-z]+$"),
        [
            (
                "POST /v2/tenants",
                "the field name must match ^[a-z]+$",
                "another value is rejected with 422",
            )
        ],
    ),
    "a pattern of an optional parameter": (
        parameter(
            "/v2/tenants",
            "get",
            name="user_name",
            schema={"anyOf": [{"type": "string", "pattern": "^u"}, NULL]},
        ),
        [
            (
                "GET /v2/tenants",
                "the parameter user_name must match ^u",
                "another value is rejected with 422",
            )
        ],
    ),
    "a pattern of one alternative": (
        parameter(
            "/v2/tenants",
            "get",
            name="user_name",
            schema={"anyOf": [{"type": "string", "pattern": "^u"}, {"type": "string"}]},
        ),
        [],
    ),
    "a pattern of an id": (
        path_pattern("/v2/runs/triggers/{trigger_id}/status", "^[0-9]+$"),
        [
            (
                "GET /v2/runs/triggers/{trigger_id}/status",
                "the id in the path must match ^[0-9]+$",
                "another value is rejected with 422",
            )
        ],
    ),
    "a pattern of a response": (
        update(RELEASE, "tag", pattern="^v"),
        [
            (
                "Release.tag",
                "it matches ^v, the client has any text",
                "the client reads it anyway",
            )
        ],
    ),
    # The form of a build
    "the later form of a build": (
        lambda document: (
            without_parameter(BUILD, "post", "mode")(document),
            document["components"]["schemas"].update(
                CreateBuild={
                    "type": "object",
                    "required": ["tag", "integration_id"],
                    "properties": {
                        "tag": {"type": "string"},
                        "integration_id": {"type": "integer"},
                        "branch": {"anyOf": [{"type": "string"}, NULL]},
                    },
                }
            ),
        ),
        [],
    ),
    "an unknown form of a build": (
        lambda document: schema("CreateBuild")(document).update(
            required=["commit", "integration_id"],
            properties={"commit": {"type": "string"}, "integration_id": {"type": "integer"}},
        ),
        [
            (
                "POST /v2/sourcecontrol/build",
                "the field commit is required, the client cannot send it",
                "client.builds.create is rejected with 422",
            ),
            (
                "POST /v2/sourcecontrol/build",
                "the parameter mode is required",
                "always pass it to client.builds.create",
            ),
            (
                "POST /v2/sourcecontrol/build",
                "the service does not document the field branch",
                "it may be ignored, or the call may be rejected with 422",
            ),
            (
                "POST /v2/sourcecontrol/build",
                "the service does not document the field build_tag",
                "it may be ignored, or the call may be rejected with 422",
            ),
            (
                "POST /v2/sourcecontrol/build",
                "the service does not document the field tag",
                "it may be ignored, or the call may be rejected with 422",
            ),
        ],
    ),
    "a new field of a build": (
        field("CreateBuild", "dry_run", type="boolean"),
        [
            (
                "POST /v2/sourcecontrol/build",
                "the client cannot send the field dry_run",
                "to send it, call client.request",
            )
        ],
    ),
    # The same API, written differently
    "references within allOf": (
        lambda document: schema(TENANT)(document)["properties"].update(
            status={"allOf": [schema(TENANT)(document)["properties"]["status"]]}
        ),
        [],
    ),
    "keywords beside a reference": (
        lambda document: (
            document["components"]["schemas"].update(Paused={"type": "boolean", "default": False}),
            field(TENANT, "paused", **{"$ref": "#/components/schemas/Paused"}, default=True)(
                document
            ),
        ),
        [],
    ),
    "a wider type of a parameter": (
        parameter("/v2/tenants", "get", name="integration_id", schema={"type": "number"}),
        [],
    ),
    "a prefix in the URL of the server": (
        lambda document: document.update(
            servers=[{"url": "https://api.example/v2"}],
            paths={path.removeprefix("/v2"): item for path, item in document["paths"].items()},
        ),
        [],
    ),
    "parameters of the path item": (
        lambda document: document["paths"]["/v2/integrations/{integration_id}"].update(
            parameters=document["paths"]["/v2/integrations/{integration_id}"]["get"].pop(
                "parameters"
            ),
            summary="An integration",
        ),
        [],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_each_change_is_found_and_explained(name: str) -> None:
    """A change of the service is one line, with what it means, and nothing else is found."""
    change, expected = CHANGES[name]
    document = merge_documents()
    change(document)
    found = [attrs.astuple(one) for one in await compare(document) if one.where not in UNDOCUMENTED]
    assert sorted(found) == sorted(expected)


# Invalid documents


@pytest.mark.parametrize("data", [None, [], "text", {}, {"paths": []}])
async def test_anything_else_is_not_a_document(data: object) -> None:
    """Data that is not an OpenAPI document is an error."""
    with pytest.raises(DecodeError, match="is not an OpenAPI document"):
        await compare(data)


@pytest.mark.parametrize(
    "item",
    [
        None,
        {"get": None},
        {"get": {"parameters": [None], "responses": []}},
        {"get": {"parameters": [{"in": "query", "name": 1}], "responses": {"200": None}}},
        {"get": {"responses": {"200": {"$ref": "#/nowhere"}}}},
        {"get": {"responses": {"200": {"content": {"application/json": {"schema": 1}}}}}},
        {"get": {"responses": {"default": {}}}},
        {"get": {"parameters": [{"in": "query", "name": "x", "schema": {"type": [1, {}]}}]}},
        {"get": {"responses": {"422": {"content": {"application/json": {"schema": ODD}}}}}},
    ],
)
async def test_a_document_that_is_partly_invalid_is_compared(item: object) -> None:
    """An invalid part of a document does not prevent the comparison of the rest."""
    document = copy.deepcopy(read_emulator_document())
    document["paths"]["/v2/integrations"] = item
    assert {one.where for one in await compare(document)} <= {"GET /v2/integrations"}


@pytest.mark.parametrize("servers", [None, [], [7], [{"url": "http://[bad"}]])
async def test_an_invalid_server_of_a_document_is_ignored(servers: object) -> None:
    """An invalid list of servers does not prevent the comparison."""
    assert await compare({**read_emulator_document(), "servers": servers}) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/components/schemas/Trigger"},
        {"anyOf": [{"$ref": "#/components/schemas/Trigger"}]},
        {"oneOf": [{"$ref": "#/components/schemas/Trigger"}] * 2},
    ],
)
async def test_a_cycle_of_references_ends(schema: object) -> None:
    """A schema that refers to itself allows any value."""
    document = copy.deepcopy(read_emulator_document())
    document["components"]["schemas"]["Trigger"] = schema
    found = await compare(document)
    assert {(one.difference, one.meaning) for one in found} == {
        ("the type is not documented", "the client expects object")
    }
    assert len(found) == 2


async def test_a_schema_that_requires_itself_is_compared() -> None:
    """A required field with the schema of its own object is read to a limited depth."""
    document = copy.deepcopy(read_emulator_document())
    schema = document["components"]["schemas"]["ProxyResponse"]
    schema["properties"]["data"] = {"$ref": "#/components/schemas/ProxyResponse"}
    schema["required"] = ["data", 1, {}]  # what is not a name is ignored
    assert await compare(document) == []


@pytest.mark.parametrize("keyword", ["allOf", "anyOf"])
async def test_the_work_for_a_schema_is_limited(keyword: str) -> None:
    """A document is an error if reading it would take exponential time."""
    document = copy.deepcopy(read_emulator_document())
    itself = {"$ref": "#/components/schemas/Trigger"}
    document["components"]["schemas"]["Trigger"] = {keyword: [itself] * 20}
    with pytest.raises(DecodeError, match="too large"):
        await compare(document)


MANY = [f"name{number}" for number in range(20_000)]
# Schemas that take long to read, if they are referred to often or merged.
LARGE: dict[str, dict[str, object]] = {
    "values": {"type": "string", "enum": MANY},
    "types": {"type": MANY},
    "fields": {"type": "object", "required": MANY},
    "a long reference": {"$ref": "#" + "/a" * 100_000},
    "many parts": {"allOf": [{name: 1} for name in MANY]},
    "a long value": {"type": "string", "enum": ["a" * 100_000]},
    "a long field": {"type": "object", "properties": {"a" * 100_000: {}}},
}


@pytest.mark.parametrize("schema", LARGE.values(), ids=LARGE)
async def test_the_work_for_a_schema_that_many_refer_to_is_limited(
    schema: dict[str, object],
) -> None:
    """A schema counts as often as it is referred to, with all of its values."""
    document = copy.deepcopy(read_emulator_document())
    document["components"]["schemas"]["Trigger"] = schema
    reference = {"$ref": "#/components/schemas/Trigger"}
    parameters = [{"in": "query", "name": name, "schema": reference} for name in MANY[:100]]
    document["paths"]["/v2/tenants"]["get"]["parameters"] = parameters
    with pytest.raises(DecodeError, match="too large"):
        await compare(document)


class LargeList(list[object]):
    """A list that would take long to convert to a text."""

    def __repr__(self) -> str:
        pytest.fail("a nested value was converted")


@pytest.mark.parametrize(
    "part",
    [
        {"in": LargeList(), "name": "a"},
        {"in": "query", "name": LargeList()},
        {"in": "query", "name": "a", "schema": {"type": "string", "pattern": LargeList()}},
        {"$ref": LargeList()},
    ],
)
async def test_nested_values_are_not_converted_to_text(part: dict[str, object]) -> None:
    """A value in place of a text is ignored, because many schemas may refer to it."""
    document = copy.deepcopy(read_emulator_document())
    document["servers"] = [{"url": LargeList()}]
    document["components"]["securitySchemes"] = {"key": {"type": "apiKey", "name": LargeList()}}
    document["paths"]["/v2/tenants"]["get"]["parameters"].append(part)
    assert await compare(document)


@pytest.mark.parametrize("is_prefix", [True, False])
async def test_the_length_of_a_path_is_limited(*, is_prefix: bool) -> None:
    """A document is an error if its paths, with that of the server, would be copied often."""
    document = copy.deepcopy(read_emulator_document())
    long = "/" + "{" * 1_000
    if is_prefix:
        document["servers"] = [{"url": long}]
    else:
        document["paths"][long] = {"get": {}}
    with pytest.raises(DecodeError, match="a path of more than 1000 characters"):
        await compare(document)
