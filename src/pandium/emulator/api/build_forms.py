"""
Validate requests that create a build, in any of their known forms.

The sources of the forms are the API reference (`build_tag`, `?mode=`), a public client (`tag`,
`?mode=`), and the vendor's later documentation (`tag`, `branch`, no query).
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pandium.emulator.api.schemas import V2RunMode
from pandium.emulator.state.builds import BuildForm

M = TypeVar("M", bound=BaseModel)
Detail = dict[str, Any]


class BuildTagForm(BaseModel):
    """The request body in the API reference."""

    tag: str = Field(alias="build_tag")
    integration_id: int
    branch: ClassVar[str | None] = None


class TagForm(BaseModel):
    """The request body in the later documentation. The public client omits the branch."""

    tag: str
    integration_id: int
    branch: str | None = None


class BuildTagQuery(BaseModel):
    """The query parameters in the API reference."""

    mode: V2RunMode


class TagQuery(BaseModel):
    """The query parameters of the public client. The later documentation has none."""

    mode: V2RunMode | None = None


def _describe_reference(schema: dict[str, Any]) -> None:
    schema.clear()
    schema |= BuildTagForm.model_json_schema()


class CreateBuild(BaseModel):
    """A request body in any form. The OpenAPI document describes the API reference's form."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow", json_schema_extra=_describe_reference
    )


# FastAPI cannot document a parameter as required and accept requests without it.
DOCUMENTED_QUERY: dict[str, Any] = {
    "parameters": [
        {
            "name": "mode",
            "in": "query",
            "required": True,
            "schema": {"$ref": "#/components/schemas/V2RunMode"},
        }
    ]
}


def parse_build(
    accepted: BuildForm, query: Mapping[str, str], given: CreateBuild
) -> tuple[BuildTagForm | TagForm, V2RunMode | None]:
    """
    Validate a request for a build. Return its body in a uniform form, and its mode.

    If only one form is accepted, fields of the other forms are rejected. If any form is accepted,
    unknown fields are ignored, as FastAPI does by default.

    :raises RequestValidationError: if fields are missing, unexpected or invalid. It lists all of
        them.
    """
    body = given.model_extra or {}
    has_tag = "tag" in body if accepted == "any" else accepted == "tag"
    form: type[BuildTagForm | TagForm] = TagForm if has_tag else BuildTagForm
    query_form: type[BuildTagQuery | TagQuery] = TagQuery if has_tag else BuildTagQuery
    options, details = _validate(query_form, "query", query)
    build, body_details = _validate(form, "body", body)
    details += body_details
    if accepted != "any":
        details += _find_unexpected(form, body)
    if build is None or options is None or details:
        raise RequestValidationError(details)
    return build, options.mode


def _validate(model: type[M], place: str, data: Mapping[str, Any]) -> tuple[M | None, list[Detail]]:
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        found = error.errors(include_url=False)
        return None, [{**one, "loc": (place, *one["loc"])} for one in found]


def _find_unexpected(model: type[BaseModel], body: Mapping[str, Any]) -> Iterator[Detail]:
    known = {field.alias or name for name, field in model.model_fields.items()}
    msg = "Extra inputs are not permitted"
    for name, value in body.items():
        if name not in known:
            yield {"type": "extra_forbidden", "loc": ("body", name), "msg": msg, "input": value}
