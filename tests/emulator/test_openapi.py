"""The emulator's OpenAPI document, compared with the vendor's documents."""

from __future__ import annotations

from typing import Any

import pytest

from support.openapi import (
    DOCUMENTS,
    UNDOCUMENTED,
    Document,
    operations_of,
    read_document,
    read_emulator_document,
)

# Prose, which does not have to match.
IGNORED = {"title", "description", "examples", "summary"}


def resolve(node: Any, document: Document, *, is_name_map: bool = False) -> Any:
    """Replace references with their targets, drop prose, and sort the required fields."""
    if isinstance(node, list):
        return [resolve(item, document) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return resolve(target, document)
    return {
        key: sorted(value)
        if key == "required" and isinstance(value, list)
        else resolve(value, document, is_name_map=key == "properties")
        for key, value in node.items()
        if is_name_map or key not in IGNORED
    }


def shape_of(operation: Document, document: Document) -> Document:
    resolved = resolve(operation, document)
    return {
        "parameters": sorted(resolved.get("parameters", []), key=lambda each: str(each["name"])),
        "body": resolved.get("requestBody"),
        "responses": resolved["responses"],
    }


def shapes_of(document: Document) -> dict[str, Document]:
    operations = operations_of(document)
    return {name: shape_of(operation, document) for name, operation in operations.items()}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_operation_has_the_shape_of_the_vendor_s_document(name: str) -> None:
    """Parameters, bodies, status codes and schemas are those of the vendor."""
    emulated = shapes_of(read_emulator_document())
    for operation, shape in shapes_of(read_document(name)).items():
        assert emulated[operation] == shape, operation


def test_there_is_no_operation_without_a_source() -> None:
    """The vendor documents or mentions every operation of the emulator."""
    documented = {
        operation for name in DOCUMENTS for operation in operations_of(read_document(name))
    }
    assert operations_of(read_emulator_document()).keys() == documented | UNDOCUMENTED


@pytest.mark.parametrize("name", DOCUMENTS)
def test_operations_have_the_vendor_s_own_ids(name: str) -> None:
    """A client generator derives the same names from either document."""
    emulated = operations_of(read_emulator_document())
    for operation, description in operations_of(read_document(name)).items():
        assert emulated[operation]["operationId"] == description["operationId"]


def test_the_document_describes_the_api_key() -> None:
    """The document describes the header of the API key as the vendor does."""
    document = read_emulator_document()
    schemes = read_document("openapi.json")["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"] == schemes
    assert document["security"] == [{"apiKey": []}]
