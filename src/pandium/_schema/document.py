"""Read the OpenAPI document of the service."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import attrs

from pandium.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Schema: TypeAlias = dict[str, Any]
    Key: TypeAlias = tuple[str, str]  # the HTTP method, and the path without names

__all__ = ["Document", "ServiceOperation", "ServiceParameter", "View", "normalize_path"]

_PARAMETER = re.compile(r"\{([^{}]*)\}")
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})
_MAX_REFERENCES = 20  # in a row, because a document may contain a cycle
_MAX_ALTERNATIVES = 5  # within alternatives, for the same reason
# The number of schemas, keywords, characters and items to read, each of them as often as it is
# referred to. The published document has about 11,000.
_MAX_WORK = 1_000_000
_MAX_PATH = 1_000  # characters, because each difference contains the path
_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def normalize_path(path: str) -> str:
    """Return a path template without the names of its parameters, which may differ."""
    return _PARAMETER.sub("{}", path)


@attrs.frozen
class View:
    """
    A schema without references, null and alternatives.

    :ivar kinds: the JSON types, such as ``integer``, or ``date-time``. Empty for any type.
    :ivar is_nullable: whether null is valid.
    :ivar values: the only valid values of a text, or ``None``.
    :ivar pattern: the regular expression that each text matches, or ``None``.
    :ivar required: the names of the fields of an object that are always present.
    :ivar schema: all other keywords, of all alternatives.
    """

    kinds: frozenset[str]
    is_nullable: bool
    values: frozenset[str] | None
    pattern: str | None
    required: frozenset[str]
    schema: Schema

    @property
    def properties(self) -> dict[str, Schema]:
        """The fields of an object."""
        found: dict[str, Schema] = _as_dict(self.schema.get("properties"))
        return found


@attrs.frozen
class ServiceParameter:
    """
    A part of a request that the service accepts.

    :ivar view: its schema.
    :ivar is_required: whether the service rejects a request without it.
    """

    view: View
    is_required: bool


@attrs.frozen
class ServiceOperation:
    """
    An operation of the service.

    :ivar name: the HTTP method and the path, such as ``GET /v2/tenants``.
    :ivar segments: the parameters in the path, in order.
    :ivar parameters: the parameters by place, such as ``query``, and name.
    :ivar body: the schema of the body, or ``None`` if there is no body.
    :ivar is_body_required: whether the service rejects a request without a body.
    :ivar response: the schema of a successful response. It allows any value if there is none.
    :ivar errors: the schemas of the error responses, by status code.
    """

    name: str
    segments: list[View]
    parameters: dict[tuple[str, str], ServiceParameter]
    body: View | None
    is_body_required: bool
    response: View
    errors: dict[str, View]


class Document:
    """
    An OpenAPI document.

    :param data: the decoded JSON.
    :raises DecodeError: if it is not an OpenAPI document.
    """

    def __init__(self, data: Any) -> None:
        if not (isinstance(data, dict) and isinstance(data.get("paths"), dict)):
            raise DecodeError("/v2/openapi.json is not an OpenAPI document")
        self._data = data
        self._work = 0
        servers = _as_list(data.get("servers")) or [{}]
        # The paths are relative to the path of the server, if it has one.
        self._prefix = ""
        with suppress(ValueError):  # the URL may be invalid, like any other part
            self._prefix = urlsplit(_as_text(_as_dict(servers[0]).get("url"))).path.rstrip("/")

    def operations(self) -> dict[Key, ServiceOperation]:
        """Return the operations by method and normalized path."""
        if len(self._prefix) + max(map(len, self._data["paths"]), default=0) > _MAX_PATH:
            raise DecodeError(f"/v2/openapi.json has a path of more than {_MAX_PATH} characters")
        return {
            (method.upper(), normalize_path(self._prefix + path)): self._read(
                f"{method.upper()} {self._prefix}{path}", _as_dict(operation), methods
            )
            for path, methods in self._data["paths"].items()
            for method, operation in _as_dict(methods).items()
            if method in _METHODS
        }

    def key_headers(self) -> list[str]:
        """Return the names of the headers for API keys, in lower case."""
        components = _as_dict(self._data.get("components"))
        schemes = map(_as_dict, _as_dict(components.get("securitySchemes")).values())
        return [_as_text(one.get("name")).lower() for one in schemes if one.get("type") == "apiKey"]

    def view(self, schema: Any) -> View:
        """Resolve a schema."""
        own = self._resolve(schema)
        alternatives = list(self._alternatives(own))
        kinds = frozenset[str]().union(*(_kinds(one) for one in alternatives))
        is_any = any(not _kinds(one) for one in alternatives)
        texts = [one for one in alternatives if _kinds(one) != {"null"}]
        values = [_values(one) for one in texts]
        merged: Schema = {}
        for one in (*reversed(alternatives), own):
            merged |= one
        return View(
            frozenset() if is_any else kinds - {"null"},
            "null" in kinds,
            None if not values or None in values else frozenset().union(*filter(None, values)),
            _pattern([own] if "pattern" in own else texts),
            frozenset(_texts(merged.get("required"))),
            merged,
        )

    def _alternatives(self, schema: Schema, depth: int = _MAX_ALTERNATIVES) -> Iterator[Schema]:
        branches = [*_as_list(schema.get("anyOf")), *_as_list(schema.get("oneOf"))]
        if not branches:
            yield schema
        if depth:
            for branch in branches:
                yield from self._alternatives(self._resolve(branch), depth - 1)

    def _resolve(self, schema: Any, depth: int = _MAX_REFERENCES) -> Schema:
        """Follow references, and merge what has to hold together."""
        own = dict(_as_dict(schema))
        self._count(own)
        parts = _as_list(own.pop("allOf", None))
        if "$ref" in own:
            parts = [*parts, self._find(_as_text(own.pop("$ref")))]
        if depth:
            for part in parts:
                own = {**self._resolve(part, depth - 1), **own}
                self._count(own)
        return own

    def _count(self, schema: Schema) -> None:
        self._work += 1 + sum(map(_size, schema)) + sum(map(_size, schema.values()))
        if self._work > _MAX_WORK:
            raise DecodeError("/v2/openapi.json is too large, or its schemas refer to each other")

    def _find(self, reference: str) -> Any:
        node: Any = self._data
        for name in reference.removeprefix("#/").split("/"):
            node = _as_dict(node).get(name.replace("~1", "/").replace("~0", "~"))
        return node

    def _read(self, name: str, operation: Schema, shared: Any) -> ServiceOperation:
        parameters = self._parameters(operation, _as_dict(shared))
        body = self._resolve(operation.get("requestBody"))
        anything = ServiceParameter(self.view({}), is_required=True)
        names = _PARAMETER.findall(name)
        return ServiceOperation(
            name,
            [parameters.get(("path", one), anything).view for one in names],
            {place: p for place, p in parameters.items() if place[0] != "path"},
            self.view(_content_schema(body)) if body else None,
            body.get("required") is True,
            self.view(_content_schema(self._success(operation))),
            self._errors(operation),
        )

    def _parameters(
        self, operation: Schema, shared: Schema
    ) -> dict[tuple[str, str], ServiceParameter]:
        """Return the parameters of an operation, including those of its path."""
        given = [*_as_list(shared.get("parameters")), *_as_list(operation.get("parameters"))]
        return {
            (_as_text(p.get("in")), _as_text(p.get("name"))): ServiceParameter(
                self.view(p.get("schema")), p.get("required") is True
            )
            for p in map(self._resolve, given)
        }

    def _errors(self, operation: Schema) -> dict[str, View]:
        responses = _as_dict(operation.get("responses"))
        return {
            code: self.view(_content_schema(self._resolve(response)))
            for code, response in responses.items()
            if code[:1] in ("4", "5") or code == "default"
        }

    def _success(self, operation: Schema) -> Schema:
        responses = _as_dict(operation.get("responses"))
        successful = sorted(code for code in responses if code[:1] in ("2", "3"))
        return self._resolve(responses[successful[0]]) if successful else {}


def _content_schema(part: Schema) -> Any:
    """Return the schema of a body or a response, which has one for each media type."""
    content = _as_dict(part.get("content"))
    return _as_dict(content.get("application/json")).get("schema")


def _kinds(schema: Schema) -> frozenset[str]:
    """Return the JSON types of a schema. A date-time is a type of its own."""
    given = schema.get("type")
    types = [given] if isinstance(given, str) else _texts(given)
    if not types:
        return frozenset(_JSON_TYPES[type(v)] for v in _enum(schema) if type(v) in _JSON_TYPES)
    is_date = schema.get("format") == "date-time"
    return frozenset("date-time" if one == "string" and is_date else one for one in types)


def _values(schema: Schema) -> frozenset[str] | None:
    return frozenset(_texts(_enum(schema))) or None


def _pattern(schemas: list[Schema]) -> str | None:
    patterns = {_as_text(one.get("pattern")) for one in schemas}
    return (patterns.pop() or None) if len(patterns) == 1 else None


def _enum(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else _as_list(schema.get("enum"))


# A document that is partly invalid is read as far as possible.


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _as_text(value: Any) -> str:
    # Do not convert any other value to a text, because it may be large.
    return value if isinstance(value, str) else ""


def _size(value: Any) -> int:
    """Return the number of characters and items in a value, without what is nested deeper."""
    if isinstance(value, str):
        return 1 + len(value)
    if isinstance(value, (list, dict)):  # the latter are the names of properties
        return 1 + sum(1 + len(one) if isinstance(one, str) else 1 for one in value)
    return 1


def _texts(value: Any) -> list[str]:
    return [one for one in _as_list(value) if isinstance(one, str)]
