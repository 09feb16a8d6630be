"""The vendor's OpenAPI documents in ``tests/data``, and an index of their operations."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from pandium.emulator import Emulator

Document: TypeAlias = dict[str, Any]

_DATA = Path(__file__).parents[1] / "data"
# The second document contains operations that the vendor published later.
DOCUMENTS = ("openapi.json", "openapi-later.json")
# The vendor's guides mention these operations, but neither document does.
UNDOCUMENTED = frozenset({"PATCH /v2/tenants/{tenant_id}", "GET /v2/tenants/{tenant_id}/release"})
# Models whose names differ from those of their schemas.
_MODEL_NAMES = {
    "external_api_v1__v2schemas__Integration": "Integration",
    "external_api_v1__v2schemas__IntegrationRelease": "Release",
    "external_api_v1__v2schemas__Tenant": "Tenant",
    "external_api_v1__v2schemas__TenantStatus-Output": "TenantStatus",
    "IntegrationReleaseChannel": "ReleaseChannel",
    "V2RunMode": "RunMode",
}


def read_document(name: str) -> Document:
    """Return one of the documents."""
    document: Document = json.loads((_DATA / name).read_text())
    return document


@cache
def read_emulator_document() -> Document:
    """Return the document that the emulator serves."""
    with Emulator() as emulator:
        document: Document = httpx.get(f"{emulator.url}/v2/openapi.json").json()
    return document


def merge_documents() -> Document:
    """Return one document with the operations and schemas of both documents."""
    document, later = map(read_document, DOCUMENTS)
    document["paths"].update(later["paths"])
    document["components"]["schemas"] |= later["components"]["schemas"]
    return document


def operations_of(document: Document) -> dict[str, Document]:
    """Return a document's operations by name, such as ``GET /v2/tenants``."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def schemas_in(node: Any, document: Document) -> dict[str, Document]:
    """Return the schemas that a part of a document refers to, directly or indirectly."""
    found: dict[str, Document] = {}
    pending = [node]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += node.values()
            name = str(node.get("$ref")).rpartition("/")[2]
            if "$ref" in node and name not in found:
                found[name] = document["components"]["schemas"][name]
                pending.append(found[name])
    return found


def to_snake_case(name: str) -> str:
    """Return the Python name of a field such as ``startTime``."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda match: f"_{match[0].lower()}", name)


def model_name_of(schema: str) -> str:
    """Return the model name for a schema."""
    return _MODEL_NAMES.get(schema, schema)
