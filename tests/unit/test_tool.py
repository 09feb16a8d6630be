"""The description of tools and the validation of their arguments."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pandium._config import Secret
from pandium._mcp.reading import MAX_WAIT, READING_TOOLS
from pandium._mcp.tool import ToolCall, ToolContext
from pandium._mcp.writing import WRITING_TOOLS

TOOLS = {tool.tool_name(): tool for tool in (*READING_TOOLS, *WRITING_TOOLS)}

INVALID: list[tuple[str, dict[str, Any], list[str]]] = [
    ("list_tenants", {"limit": 0}, ["limit: input should be greater than or equal to 1, not 0"]),
    ("list_tenants", {"limit": 101}, ["limit: input should be less than or equal to 100, not 101"]),
    ("list_tenants", {"skip": -1}, ["skip:"]),
    ("list_tenants", {"archived": "yes"}, ["archived: input should be a valid boolean, not 'yes'"]),
    ("list_tenants", {"integration": 1}, ["integration is not an argument (arguments: limit, "]),
    ("list_integrations", {"limit": True}, ["limit: input should be a valid integer, not True"]),
    ("find_tenant", {}, ["tenant_id or name is required"]),
    ("find_tenant", {"tenant_id": "7"}, ["tenant_id: input should be a valid integer, not '7'"]),
    ("find_tenant", {"name": ""}, ["name:"]),
    ("list_runs", {}, ["tenant_id is required"]),
    ("list_runs", {"tenant_id": 1, "sort_by": "newest"}, ["sort_by:", "not 'newest'"]),
    ("find_run", {"trigger_id": [1]}, ["trigger_id:", "not [1]", "tenant_id is required"]),
    ("get_run_log", {"run_id": 1.5}, ["run_id:", "not 1.5"]),
    ("get_run_log", {"run_id": 1, "max_lines": 501}, ["max_lines:", "500, not 501"]),
    ("wait_for_run", {"trigger_id": "1", "seconds": MAX_WAIT + 1}, ["seconds:", "45, not 46"]),
    ("list_releases", {"integration_id": None}, ["integration_id:", "not None"]),
    ("find_release", {"integration_id": 1}, ["either tag or channel is required"]),
    ("find_release", {"integration_id": 1, "tag": "v1", "channel": "latest"}, ["and not both"]),
    ("find_release", {"integration_id": 1, "channel": "newest"}, ["channel:", "not 'newest'"]),
    (
        "find_release",
        {"integration_id": 1, "channel": "latest", "wait_seconds": 5},
        ["wait_seconds requires tag"],
    ),
    ("sync_tenant", {"tenant_id": 1, "mode": "full"}, ["mode:", "'init' or 'normal', not 'full'"]),
    ("sync_tenant", {"tenant_id": 1, "payload": "x"}, ["payload:", "not 'x'"]),
    ("create_build", {"integration_id": 1}, ["tag is required"]),
    ("create_build", {"integration_id": 1, "tag": ""}, ["tag:"]),
]


@pytest.mark.parametrize(("name", "arguments", "messages"), INVALID)
def test_an_invalid_argument_is_named(
    name: str, arguments: dict[str, Any], messages: list[str]
) -> None:
    """An argument that is unknown, missing, of a wrong type or out of range is named."""
    with pytest.raises(ValueError, match=f"^invalid arguments of {name}: ") as caught:
        TOOLS[name].parse(arguments, str)
    assert all(message in str(caught.value) for message in messages)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [(name, arguments) for name, arguments, messages in INVALID if ":" in messages[0]],
)
def test_the_schema_rejects_what_the_tool_rejects(name: str, arguments: dict[str, Any]) -> None:
    """An invalid value is also invalid by the input schema, so that agents do not send it."""
    schema = TOOLS[name].describe().input_schema
    assert not Draft202012Validator(schema).is_valid(arguments)


def test_a_long_value_is_shortened_in_the_message() -> None:
    """The message about an invalid value contains only its beginning."""
    with pytest.raises(ValueError, match=r"x…$") as caught:
        TOOLS["find_tenant"].parse({"tenant_id": "x" * 10_000}, str)
    assert len(str(caught.value)) < 300


def test_a_key_in_an_invalid_argument_is_redacted_before_it_is_cut() -> None:
    """No part of a key is left where an invalid argument is cut off."""
    arguments = {"tenant_id": "x" * 70 + "k3y-0f-th3-t3st"}
    with pytest.raises(ValueError, match=r"xx\*\*\*'$"):
        TOOLS["find_tenant"].parse(arguments, Secret("k3y-0f-th3-t3st").redact)


@pytest.mark.parametrize("name", TOOLS)
def test_each_tool_and_argument_is_described(name: str) -> None:
    """Each tool and each argument has a description, and no unknown argument is allowed."""
    tool = TOOLS[name].describe()
    assert tool.description
    assert len(tool.description) > 80
    assert tool.input_schema["additionalProperties"] is False
    assert all(argument["description"] for argument in tool.input_schema["properties"].values())
    assert tool.output_schema is not None
    assert tool.output_schema["type"] == "object"


@pytest.mark.parametrize(
    ("name", "hints"),
    [
        *((tool.tool_name(), (True, False, True)) for tool in READING_TOOLS),
        ("sync_tenant", (False, True, False)),
        ("create_build", (False, False, False)),
    ],
)
def test_the_annotations_tell_what_a_tool_may_do(name: str, hints: tuple[bool, ...]) -> None:
    """A tool is marked as read-only, destructive and idempotent if it is."""
    annotations = TOOLS[name].describe().annotations
    assert annotations is not None
    assert hints == (
        annotations.read_only_hint,
        annotations.destructive_hint,
        annotations.idempotent_hint,
    )


@pytest.mark.anyio
async def test_a_tool_without_a_call_cannot_be_used() -> None:
    """The base class itself is not a tool."""
    with pytest.raises(NotImplementedError):
        await ToolCall().call(ToolContext(None, str))  # type: ignore[arg-type]  # not used
