"""The documentation of the control API: a page that is built from its OpenAPI document."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from fastapi import Request, Response

from pandium.emulator.control.control_responses import COMMON_ERRORS
from pandium.emulator.control.guard import PREFIX
from pandium.emulator.control.page import html_response

TEMPLATE = files("pandium.emulator.control") / "docs_page.html"
FRAMEWORK_TEXT = "Successful Response"  # the framework's default description of a response
LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "minLength": "length at least",
    "maxLength": "length at most",
}

Schema = Mapping[str, Any]


async def docs_page(request: Request) -> Response:
    """Return the page."""
    url = str(request.base_url).rstrip("/")
    return html_response(render(request.app.openapi(), url))


def render(document: Schema, url: str) -> str:
    """Return an OpenAPI document as HTML."""
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    operations = list(_operations(document))
    models = document["components"]["schemas"]
    return template.substitute(
        title=escape(document["info"]["title"]),
        description=_paragraphs(document["info"]["description"]),
        errors=_common_errors(),
        contents=_contents(operations),
        operations=_sections(operations, url),
        models="\n".join(_model(name, schema) for name, schema in models.items()),
    )


def _operations(document: Schema) -> Iterator[Schema]:
    """Return the operations with their methods, paths, tags and body models."""
    models = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            [tag] = operation.get("tags", ["Other"])
            name = _body_schema(operation).get("$ref", "").rpartition("/")[2]
            model = models.get(name, {})
            yield {**operation, "tag": tag, "method": method, "path": path, "model": model}


def _contents(operations: Iterable[Schema]) -> str:
    return "\n".join(
        f"<ul><li><strong>{escape(tag)}</strong></li>{''.join(map(_link, group))}</ul>"
        for tag, group in _groups(operations).items()
    )


def _link(operation: Schema) -> str:
    name = escape(operation["operationId"])
    return f'<li><a href="#{name}">{_title(operation)}</a></li>'


def _title(operation: Schema) -> str:
    method, path = operation["method"], operation["path"].removeprefix(PREFIX)
    return f'<span class="method {method}">{method.upper()}</span> <code>{escape(path)}</code>'


def _groups(operations: Iterable[Schema]) -> dict[str, list[Schema]]:
    groups: dict[str, list[Schema]] = {}
    for operation in operations:
        groups.setdefault(operation["tag"], []).append(operation)
    return groups


def _sections(operations: Iterable[Schema], url: str) -> str:
    parts = []
    for tag, group in _groups(operations).items():
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts.extend(_article(operation, url) for operation in group)
    return "\n".join(parts)


def _article(operation: Schema, url: str) -> str:
    """Return the description of an operation."""
    return (
        f'<article id="{escape(operation["operationId"])}">\n'
        f"<h3>{_title(operation)}</h3>\n"
        f"{_paragraphs(operation['description'])}\n"
        f"{_parameters(operation)}{_body(operation)}{_responses(operation)}"
        f"{_example(operation, url)}</article>"
    )


def _parameters(operation: Schema) -> str:
    rows = [
        _field(one["name"], {**one["schema"], **_described(one)}, is_required=one["required"])
        for one in operation.get("parameters", ())
    ]
    return f"<h4>Parameters</h4>\n<dl>{''.join(rows)}</dl>\n" if rows else ""


def _described(parameter: Schema) -> dict[str, Any]:
    return {"description": parameter["description"]} if "description" in parameter else {}


def _body(operation: Schema) -> str:
    schema = _body_schema(operation)
    if not schema:
        return ""
    return f"<h4>Body: {_type(schema)}</h4>\n{_fields(operation['model'])}\n"


def _body_schema(operation: Schema) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    schema: dict[str, Any] = content.get("application/json", {}).get("schema", {})
    return schema


def _responses(operation: Schema) -> str:
    """Return the responses, without the errors that all operations have in common."""
    rows = [
        f"<dt><code>{code}</code> {_response_type(one)}</dt>{_response_text(one)}"
        for code, one in operation["responses"].items()
        if int(code) not in COMMON_ERRORS
    ]
    return f"<h4>Responses</h4>\n<dl>{''.join(rows)}</dl>\n"


def _response_text(response: Schema) -> str:
    text = response["description"]
    return "" if text == FRAMEWORK_TEXT else f"<dd>{escape(text)}</dd>"


def _response_type(response: Schema) -> str:
    schema = response.get("content", {}).get("application/json", {}).get("schema")
    return f'<span class="type">{_type(schema)}</span>' if schema else ""


def _common_errors() -> str:
    return "\n".join(
        f"<dt><code>{code}</code></dt><dd>{escape(response['description'])}</dd>"
        for code, response in COMMON_ERRORS.items()
    )


def _example(operation: Schema, url: str) -> str:
    """Return a command that sends the request, unless the required body has no example."""
    schema = _body_schema(operation)
    if schema and "examples" not in schema:
        return ""
    command = _curl(operation, url)
    if schema:
        body = json.dumps(schema["examples"][0])
        command += f" \\\n  -H 'content-type: application/json' \\\n  -d '{body}'"
    return f"<h4>Example</h4>\n<pre>{escape(command)}</pre>\n"


def _curl(operation: Schema, url: str) -> str:
    path = re.sub(r"\{\w+\}", "1", operation["path"])
    method = operation["method"].upper()
    return f"curl {url}{path}" if method == "GET" else f"curl -X {method} {url}{path}"


def _model(name: str, schema: Schema) -> str:
    description = _paragraphs(schema.get("description", ""))
    return (
        f'<article id="model-{escape(name)}">\n<h3>{escape(name)}</h3>\n{description}\n'
        f"{_fields(schema)}\n</article>"
    )


def _fields(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = [
        _field(name, one, is_required=name in required)
        for name, one in schema.get("properties", {}).items()
    ]
    return f"<dl>{''.join(rows)}</dl>" if rows else ""


def _field(name: str, schema: Schema, *, is_required: bool) -> str:
    default = "" if is_required else _default(schema)
    details = ", ".join(filter(None, (_type(schema), _limits(schema), default)))
    note = "<strong>required</strong>, " if is_required else ""
    return (
        f'<dt><code>{escape(name)}</code> <span class="type">{note}{details}</span></dt>'
        f"<dd>{_inline(schema.get('description', ''))}</dd>"
    )


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return "optional"
    return f"default <code>{escape(json.dumps(schema['default']))}</code>"


def _limits(schema: Schema) -> str:
    parts = [schema, *schema.get("anyOf", ())]
    return ", ".join(
        f"{words} {part[limit]:g}"
        for part in parts
        for limit, words in LIMITS.items()
        if limit in part
    )


def _type(schema: Schema) -> str:
    """Return the type that a schema describes, with links to models."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#model-{name}">{name}</a>'
    members = schema.get("oneOf") or schema.get("anyOf")
    if members:
        return " or ".join(map(_type, members))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values:
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"array of {_type(schema['items'])}" if "items" in schema else "array"
    return escape(schema.get("format") or schema.get("type", "any value"))


def _paragraphs(text: str) -> str:
    parts = (part for part in re.split(r"\n\s*\n", text) if part.strip())
    return "\n".join(f"<p>{_inline(part)}</p>" for part in parts)


def _inline(text: str) -> str:
    """Return escaped text in which backquotes mark code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
