"""The emulator's OpenAPI document, held against the reference's."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from pandium.emulator import Emulator

DATA = Path(__file__).parent.parent / "data"
DROPPED = {"title", "description", "examples", "summary"}
UNDOCUMENTED = {
    ("/v2/tenants/{tenant_id}", "patch"),
    ("/v2/tenants/{tenant_id}/release", "get"),
}

Document = dict[str, Any]


def load(name: str) -> Document:
    document: Document = json.loads((DATA / name).read_text())
    return document


def resolved(node: Any, document: Document, *, is_name_map: bool = False) -> Any:
    if isinstance(node, list):
        return [resolved(one, document) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return resolved(target, document)
    return {
        key: sorted(value)
        if key == "required" and isinstance(value, list)
        else resolved(value, document, is_name_map=key == "properties")
        for key, value in node.items()
        if is_name_map or key not in DROPPED
    }


def shape(operation: Document, document: Document) -> Document:
    full = resolved(operation, document)
    return {
        "parameters": sorted(full.get("parameters", []), key=lambda one: str(one["name"])),
        "body": full.get("requestBody"),
        "responses": full["responses"],
    }


def operations(document: Document) -> dict[tuple[str, str], Document]:
    return {
        (path, method): shape(operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.fixture(scope="module")
def ours() -> Document:
    with Emulator() as emulator:
        document: Document = httpx.get(f"{emulator.url}/v2/openapi.json").json()
    return document


@pytest.mark.parametrize("name", ["openapi.json", "openapi-later.json"])
def test_every_operation_has_the_shape_of_the_reference(ours: Document, name: str) -> None:
    """Parameters, bodies, codes and schemas are those of the vendor."""
    mine, reference = operations(ours), operations(load(name))
    for key, operation in reference.items():
        assert mine[key] == operation, key


def test_there_is_no_operation_without_a_source() -> None:
    """Whatever the emulator offers, the vendor names somewhere."""
    with Emulator() as emulator:
        document = httpx.get(f"{emulator.url}/v2/openapi.json").json()
    known = set(operations(load("openapi.json"))) | set(operations(load("openapi-later.json")))
    assert set(operations(document)) == known | UNDOCUMENTED


def test_operations_have_the_vendor_s_own_ids(ours: Document) -> None:
    """A generator of clients makes the same names from either document."""
    for name in ("openapi.json", "openapi-later.json"):
        for path, methods in load(name)["paths"].items():
            for method, operation in methods.items():
                assert ours["paths"][path][method]["operationId"] == operation["operationId"]


def test_the_document_names_the_key(ours: Document) -> None:
    """A reader of the document learns where the key goes."""
    schemes = load("openapi.json")["components"]["securitySchemes"]
    assert ours["components"]["securitySchemes"] == schemes
    assert ours["security"] == [{"apiKey": []}]
