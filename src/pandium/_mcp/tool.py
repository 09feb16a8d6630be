"""Define the base class of all tools."""

import re
from collections.abc import Callable
from typing import Any, ClassVar, Self

import attrs
from mcp.types import Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError

from pandium import AsyncPandium

__all__ = ["ToolCall", "ToolContext"]


@attrs.frozen
class ToolContext:
    """
    What a tool needs for its work.

    :ivar client: the client that sends the requests.
    :ivar redact: a function that removes the API key from text or JSON-like data.
    """

    client: AsyncPandium
    redact: Callable[[Any], Any]


class ToolCall(BaseModel):
    """
    The base class of all tools.

    A subclass is a tool, its docstring is the description that agents read, and its fields are the
    arguments. An instance is one call with valid arguments.

    :cvar is_write: whether the tool changes something in Pandium.
    :cvar is_destructive: whether a call can overwrite or delete data.
    :cvar output: the class of the result.
    """

    # Strict, because a wrong type usually means that the agent confused two arguments.
    model_config = ConfigDict(extra="forbid", strict=True)

    is_write: ClassVar[bool] = False
    is_destructive: ClassVar[bool] = False
    output: ClassVar[type[BaseModel]]

    @classmethod
    def tool_name(cls) -> str:
        """Return the tool's name, such as ``list_tenants`` for `ListTenantsTool`."""
        words = re.findall("[A-Z][a-z]+", cls.__name__.removesuffix("Tool"))
        return "_".join(words).lower()

    @classmethod
    def describe(cls) -> Tool:
        """Return the tool's description, schemas and annotations for the client."""
        return Tool(
            name=cls.tool_name(),
            title=cls.tool_name().replace("_", " ").capitalize(),
            description=" ".join((cls.__doc__ or "").split()),
            input_schema=_schema(cls),
            output_schema=_schema(cls.output),
            annotations=ToolAnnotations(
                read_only_hint=not cls.is_write,
                destructive_hint=cls.is_destructive,
                idempotent_hint=not cls.is_write,
                open_world_hint=True,
            ),
        )

    @classmethod
    def parse(cls, arguments: dict[str, Any], redact: Callable[[Any], Any]) -> Self:
        """
        Validate the arguments of a call.

        :param arguments: the arguments.
        :param redact: a function that removes the API key from text.
        :raises ValueError: if an argument is unknown, missing or invalid. The message names it.
        """
        try:
            return cls.model_validate(arguments)
        except ValidationError as error:
            problems = "; ".join(_describe_problem(cls, one, redact) for one in error.errors())
            raise ValueError(f"invalid arguments of {cls.tool_name()}: {problems}") from None

    async def call(self, context: ToolContext) -> BaseModel:
        """Send the requests and return the result."""
        raise NotImplementedError


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON schema without its name and docstring, which agents do not need."""
    schema = model.model_json_schema()
    return {name: part for name, part in schema.items() if name not in ("title", "description")}


def _describe_problem(tool: type[ToolCall], problem: Any, redact: Callable[[Any], Any]) -> str:
    name = ".".join(map(str, problem["loc"][:1]))
    if problem["type"] == "extra_forbidden":
        known = ", ".join(tool.model_fields) or "none"
        return f"{name} is not an argument (arguments: {known})"
    if problem["type"] == "missing":
        return f"{name} is required"
    if not name:
        return str(problem["ctx"]["error"])
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{name}: {message}, not {_shorten(redact(repr(problem['input'])))}"


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - fits on a line
