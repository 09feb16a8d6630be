"""Define the parameter types and the options that several commands share."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Function: TypeAlias = Callable[..., Any]

__all__ = [
    "COUNT",
    "ID",
    "MODE",
    "SECONDS",
    "Command",
    "Group",
    "RootGroup",
    "connection_arguments",
    "format_option",
    "get_option",
    "paging_options",
    "read_json",
    "read_object",
    "read_pair",
    "read_pairs",
    "read_text",
    "waiting_options",
]

# The names appear in help texts and in error messages.
COUNT = click.IntRange(min=1)
COUNT.name = "number"
PAGE_SIZE = click.IntRange(min=1, max=500)
PAGE_SIZE.name = "number"
ID = click.IntRange(min=0)
ID.name = "number"
MODE = click.Choice(["init", "normal"])
SECONDS = click.FloatRange(min=0, min_open=True, max=1e9)
SECONDS.name = "number"


def read_text(value: str) -> str:
    """
    Return a text, or the content of a file for ``@FILE``. ``@-`` is standard input.

    All of them are UTF-8 in any locale. A byte order mark is dropped.
    """
    source = value[1:] if value.startswith("@") else "the text"
    try:
        return _read_bytes(value).decode("utf-8-sig")
    except OSError as error:
        raise click.BadParameter(f"{source} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{source} is not UTF-8 text") from None


def _read_bytes(value: str) -> bytes:
    if not value.startswith("@"):
        # Undoes the decoding of the command line, for which Python used the locale.
        return os.fsencode(value)
    if value != "@-":
        return Path(value[1:]).read_bytes()
    if sys.stdin is None:
        raise click.BadParameter("standard input is closed")
    return sys.stdin.buffer.read()


def read_json(value: str) -> Any:
    """Parse JSON, given as text or as ``@FILE``."""
    text = read_text(value)
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"invalid JSON: {error}") from None


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def read_object(value: str) -> dict[str, Any]:
    """Parse a JSON object, given as text or as ``@FILE``."""
    parsed = read_json(value)
    if not isinstance(parsed, dict):
        raise click.BadParameter('must be a JSON object, such as {"since": "2026-01-01"}')
    return parsed


def read_pair(text: str) -> tuple[str, str]:
    """Parse ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def read_pairs(
    _: click.Context, __: click.Parameter, pairs: Iterable[str]
) -> dict[str, str | list[str]] | None:
    """
    Parse ``NAME=VALUE`` pairs.

    :returns: the values by name, in a list if a name is repeated, or ``None`` without pairs.
    """
    values_by_name: dict[str, list[str]] = {}
    for name, value in map(read_pair, pairs):
        values_by_name.setdefault(name, []).append(value)
    if not values_by_name:
        return None
    return {name: v[0] if len(v) == 1 else v for name, v in values_by_name.items()}


# Options that are not passed to a command's function are stored in click's context.


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # An option may be given before and after the name of the command. The last one wins.
    if value is not None:
        context.meta[f"pandium.{parameter.name}"] = value


def get_option(name: str, default: Any = None) -> Any:
    """Return the value of a stored option, or the default if it was not given."""
    return click.get_current_context().meta.get(f"pandium.{name}", default)


def connection_arguments() -> list[str]:
    """Return the arguments with which another command uses the same API and the same key."""
    names = ("environment", "base_url", "key_file")
    given = [(name, value) for name in names if (value := get_option(name)) is not None]
    return [word for name, value in given for word in (f"--{name.replace('_', '-')}", str(value))]


def _stored_option(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    """Return a decorator that adds an option for `get_option`."""
    return click.option(*names, callback=_store, expose_value=False, **attributes)


def _connection_option(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, callback=_store, expose_value=False, **attributes)


_CONNECTION_OPTIONS = (
    _connection_option(
        "--key-file",
        type=click.Path(),
        help="Read the API key from this file, which only you may have access to.",
    ),
    _connection_option(
        "--environment", metavar="NAME", help="Use production or sandbox. [default: production]"
    ),
    _connection_option(
        "--base-url",
        metavar="URL",
        help="Send requests to this URL instead of the environment's.",
    ),
    _connection_option(
        "--timeout",
        type=SECONDS,
        metavar="SECONDS",
        help="Time limit of each attempt of a request. [default: 30]",
    ),
    _connection_option(
        "--attempts", type=COUNT, help="Maximum number of attempts of a request. [default: 4]"
    ),
    _connection_option(
        "--debug", is_flag=True, default=None, help="Log all requests to standard error."
    ),
)
format_option = _stored_option(
    "-f",
    "--format",
    type=click.Choice(["table", "json", "jsonl", "csv"]),
    help="Write a table, a JSON array, one JSON object per line, or CSV. [default: table]",
)
# Decorators add options in reverse order.
_PAGING_OPTIONS = (
    format_option,
    _stored_option(
        "--on-drift",
        type=click.Choice(["repair", "raise", "ignore"]),
        help="Action if records are added or removed during the listing: fetch affected pages"
        " again, fail, or ignore it. [default: repair]",
    ),
    _stored_option(
        "--prefetch", type=COUNT, help="Maximum number of concurrent requests. [default: 4]"
    ),
    _stored_option(
        "--page-size", type=PAGE_SIZE, help="Number of records per request. [default: 500]"
    ),
    _stored_option("--skip", type=ID, help="Number of records to skip. [default: 0]"),
    _stored_option("--limit", type=COUNT, help="Maximum number of records. [default: 100]"),
    _stored_option("--all", is_flag=True, default=None, help="List all records."),
)
_WAITING_OPTIONS = (
    format_option,
    _stored_option(
        "--poll-rate",
        type=SECONDS,
        help="Maximum number of polls a second, for all runs together. [default: 20]",
    ),
    _stored_option(
        "--max-interval",
        type=SECONDS,
        metavar="SECONDS",
        help="Maximum seconds between two polls of a run. [default: 15]",
    ),
    _stored_option(
        "--min-interval",
        type=SECONDS,
        metavar="SECONDS",
        help="Minimum seconds between two polls of a run. [default: 1]",
    ),
    _stored_option(
        "--wait-timeout",
        type=SECONDS,
        metavar="SECONDS",
        help="Time limit of the wait for each run. [default: 1800]",
    ),
)


def paging_options(function: Function) -> Function:
    """Add the options of a listing."""
    for add_option in _PAGING_OPTIONS:
        function = add_option(function)
    return function


def waiting_options(function: Function) -> Function:
    """Add the options of a wait for runs."""
    for add_option in _WAITING_OPTIONS:
        function = add_option(function)
    return function


class Command(click.Command):
    """A command that sends requests, with the options of the connection."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, the options of the connection, and help."""
        *own, help_option = super().get_params(ctx)
        return [*own, *_CONNECTION_OPTIONS, help_option]


class Group(click.Group):
    """A group of commands that send requests."""

    command_class = Command


class RootGroup(click.Group):
    """The group of all commands. Accepts the options of the connection as well."""

    group_class = Group

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the group's own parameters, the options of the connection, and help."""
        *own, help_option = super().get_params(ctx)
        return [*own, *_CONNECTION_OPTIONS, help_option]
