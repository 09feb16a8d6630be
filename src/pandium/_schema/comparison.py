"""Compare the service's operations with the client's."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import attrs

from pandium._http.connections import Response
from pandium._resources.builds import BuildForm
from pandium._schema.document import Document, ServiceParameter, normalize_path
from pandium._schema.model_comparison import (
    SAMPLES,
    Difference,
    ModelComparison,
    describe_kinds,
)
from pandium._schema.recording import FREE_BODY, Argument, Reader, describe_client
from pandium._transport.responses import error_from_response
from pandium.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandium._schema.document import ServiceOperation, View
    from pandium._schema.recording import Operation, Part

__all__ = ["compare"]

_KEY_HEADER = "x-api-key"
_BUILDS = "builds.create"
_REJECTED = "is rejected with 422"
_STATUS = re.compile(r"[0-9]{3}")
_MAX_DEPTH = 5  # of a sample, because a document may contain a cycle
_IMPLIED = {"number": {"integer"}, "date-time": {"string"}}  # what a type also accepts


async def compare(data: Any) -> list[Difference]:
    """
    Compare the service's OpenAPI document with the client.

    :param data: the decoded document.
    :returns: the differences, each of them once.
    :raises DecodeError: if the data is not an OpenAPI document.
    """
    comparison = _Comparison(Document(data))
    comparison.compare_keys()
    comparison.compare_operations(await describe_client())
    return list(comparison.differences)


class _Comparison:
    """A comparison in progress."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.differences: dict[Difference, None] = {}  # in order, without duplicates
        self._models = ModelComparison(document, self._add_difference)

    def _add_difference(self, difference: Difference) -> None:
        self.differences[difference] = None

    def _add(self, where: str, difference: str, meaning: str) -> None:
        self._add_difference(Difference(where, difference, meaning))

    def compare_keys(self) -> None:
        """Compare the header of the API key."""
        headers = self._document.key_headers()
        if headers and _KEY_HEADER not in headers:
            text = f"the key belongs into {' or '.join(headers)}, the client sends {_KEY_HEADER}"
            self._add("API key", text, "every request may be rejected with 403")

    def compare_operations(self, client: list[Operation]) -> None:
        """Compare which operations there are, and then each of them."""
        service = self._document.operations()
        own = {(one.method, normalize_path(one.path)): one for one in client}
        for key, documented in service.items():
            if key not in own:
                method, _, path = documented.name.partition(" ")
                call = f'call it with client.request("{method}", "{path}")'
                self._add(documented.name, "the client does not have this operation", call)
        for key, operation in own.items():
            if key in service:
                self._compare(service[key], operation)
            else:
                name = f"{operation.method} {operation.path}"
                meaning = f"client.{operation.name} may fail with 404"
                self._add(name, "the service does not document this operation", meaning)

    def _compare(self, service: ServiceOperation, client: Operation) -> None:
        requests = _RequestComparison(self._document, service, client, self._add)
        requests.compare()
        for code, view in service.errors.items():
            if view.kinds:
                self._compare_error(service.name, code, view)
        if isinstance(client.response, Reader):
            self._compare_reader(service, client, client.response)
        else:
            self._models.compare(service.name, service.response, client.response)

    def _compare_reader(self, service: ServiceOperation, client: Operation, reader: Reader) -> None:
        """Compare by decoding the documented response, if an operation decodes its own response."""
        if not service.response.kinds:
            return
        content = json.dumps(self._sample(service.response)).encode()
        try:
            reader.read(Response(200, {}, content))
        except DecodeError as error:
            meaning = f"client.{client.name} raises DecodeError"
            self._add(service.name, f"the client cannot read the response: {error}", meaning)

    def _compare_error(self, where: str, code: str, view: View) -> None:
        """Compare by reading the message of the documented response."""
        body = self._complete_sample(view)
        content = json.dumps(body).encode()
        status = int(code) if _STATUS.fullmatch(code) else HTTPStatus.BAD_REQUEST
        error = error_from_response(
            status, {}, content, is_proxied=False, redact=lambda value: value, now=datetime.now(UTC)
        )
        if error.message == json.dumps(body):
            fields = ", ".join(view.properties)
            text = f"has the fields {fields}" if fields else f"is any {describe_kinds(view.kinds)}"
            meaning = "its message is not recognized, so error.message is the whole body"
            self._add(where, f"the error {code} {text}", meaning)
        elif not all(detail.msg for detail in error.details):
            text = f"the details of the error {code} have no field msg"
            self._add(where, text, "error.message is empty; error.body has the whole response")

    def _complete_sample(self, view: View, depth: int = _MAX_DEPTH) -> Any:
        """Return a value that has all documented fields and one item in each array."""
        if not depth:
            return None
        if "object" in view.kinds:
            schemas = view.properties.items()
            return {
                name: self._complete_sample(self._document.view(one), depth - 1)
                for name, one in schemas
            }
        if "array" in view.kinds:
            return [self._complete_sample(self._document.view(view.schema.get("items")), depth - 1)]
        return self._sample(view)

    def _sample(self, view: View, depth: int = _MAX_DEPTH) -> Any:
        """Return a value that is valid by a schema, as far as the client's operations need it."""
        if depth and "object" in view.kinds:
            schemas = {name: view.properties.get(name) for name in view.required}
            return {
                name: self._sample(self._document.view(s), depth - 1) for name, s in schemas.items()
            }
        known = view.kinds & SAMPLES.keys()
        return SAMPLES[min(known)] if known else None


@attrs.frozen
class _RequestComparison:
    """The comparison of an operation's request."""

    document: Document
    service: ServiceOperation
    client: Operation
    add: Callable[[str, str, str], None]

    def compare(self) -> None:
        """Compare the path, the parameters and the body."""
        for view, argument in zip(self.service.segments, self.client.segments, strict=True):
            if "string" not in view.kinds:  # in a path, each value is a text
                self._compare_value("the id in the path", view, argument)
            self._compare_pattern("the id in the path", view)
        expected = self._expected()
        sent = _relevant_arguments(self.client, expected)
        if (free := sent.pop(FREE_BODY, None)) is not None:
            self._compare_free_body(free)
            expected = {part: one for part, one in expected.items() if part[0] != "body"}
        for part, parameter in expected.items():
            self._compare_parameter(part, parameter, sent.get(part))
        for part in sorted(sent.keys() - expected.keys()):
            text = f"the service does not document {_describe_part(part)}"
            self._add(text, "it may be ignored, or the call may be rejected with 422")

    def _add(self, difference: str, meaning: str) -> None:
        self.add(self.service.name, difference, meaning)

    def _expected(self) -> dict[Part, ServiceParameter]:
        """Return the parameters and the fields of the body that the service accepts."""
        body = self.service.body or self.document.view({})
        return {
            part: one for part, one in self.service.parameters.items() if part[1] != _KEY_HEADER
        } | {
            ("body", name): ServiceParameter(self.document.view(schema), name in body.required)
            for name, schema in body.properties.items()
        }

    def _compare_free_body(self, argument: Argument) -> None:
        """Compare a body that the user passes as a whole."""
        body = self.service.body
        if body is None:
            self._add("the service does not document a body", "the data may be ignored")
        elif body.kinds and "object" not in body.kinds:
            text = f"the body is {describe_kinds(body.kinds)}, the client sends object"
            self._add(text, f"a call with data {_REJECTED}")
        elif body.required or (self.service.is_body_required and not argument.is_always_sent):
            fields = ", ".join(sorted(body.required)) or "any fields"
            self._add(f"a body with {fields} is required", f"a call without it {_REJECTED}")

    def _compare_parameter(
        self, part: Part, parameter: ServiceParameter, argument: Argument | None
    ) -> None:
        name = _describe_part(part)
        call = f"client.{self.client.name}"
        if argument is not None:
            if parameter.is_required and not argument.is_always_sent:
                self._add(f"{name} is required", f"always pass it to {call}")
            self._compare_value(name, parameter.view, argument)
        elif parameter.is_required:
            self._add(f"{name} is required, the client cannot send it", f"{call} {_REJECTED}")
        else:
            self._add(f"the client cannot send {name}", "to send it, call client.request")

    def _compare_value(self, name: str, view: View, argument: Argument) -> None:
        """Compare the values that the service accepts with those that the client sends."""
        accepted = view.kinds.union(*(_IMPLIED.get(kind, ()) for kind in view.kinds))
        if argument.kinds and accepted and not argument.kinds & accepted:
            text = f"{name} is {describe_kinds(view.kinds)}"
            sent = describe_kinds(argument.kinds)
            self._add(f"{text}, the client sends {sent}", f"a call with it {_REJECTED}")
        largest = view.schema.get("maximum")
        if argument.default and isinstance(largest, int) and argument.default > largest:
            text = f"{name} is at most {largest}, the client sends {argument.default}"
            self._add(text, f"pass page_size={largest} to client.{self.client.name}")
        self._compare_texts(name, view.values, argument.values)
        self._compare_pattern(name, view)

    def _compare_pattern(self, name: str, view: View) -> None:
        if view.pattern is not None:
            self._add(f"{name} must match {view.pattern}", f"another value {_REJECTED}")

    def _compare_texts(
        self, name: str, accepted: frozenset[str] | None, sent: frozenset[str] | None
    ) -> None:
        if accepted is None and sent is not None:
            meaning = f"the client sends only {_join(sent)}"
            self._add(f"{name} accepts any text", meaning)
        elif accepted is not None and sent is None:
            self._add(f"{name} accepts only {_join(accepted)}", f"another value {_REJECTED}")
        elif accepted is not None and sent is not None:
            if new := accepted - sent:
                self._add(f"{name} also accepts {_join(new)}", "the client does not send it")
            if gone := sent - accepted:
                self._add(f"{name} does not accept {_join(gone)}", f"a call with it {_REJECTED}")


def _relevant_arguments(
    client: Operation, expected: Mapping[Part, ServiceParameter]
) -> dict[Part, Argument]:
    """
    Return what the client sends, for the form of the request that the service documents.

    Only a build has several forms. The client sends the documented one if it knows it.
    """
    arguments = dict(client.arguments)
    if client.name != _BUILDS or not expected.keys() & {("body", "tag"), ("body", "build_tag")}:
        return arguments
    mode: Part = ("query", "mode")
    arguments[mode] = attrs.evolve(arguments[mode], is_always_sent=True)  # as the form requires
    optional = {(place, name) for place in ("query", "body") for name in BuildForm.COMBINED.value}
    return {k: v for k, v in arguments.items() if k in expected or k not in optional}


def _describe_part(part: Part) -> str:
    place, name = part
    kind = "field" if place == "body" else "parameter" if place == "query" else place
    return f"the {kind} {name}"


def _join(values: frozenset[str]) -> str:
    return " and ".join(sorted(values))
