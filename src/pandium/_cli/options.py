"""Define the parameter types and options shared by several commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from pandium.errors import PandiumError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Function: TypeAlias = Callable[..., Any]

__all__ = [
    "COUNT",
    "FILE",
    "ID",
    "MODE",
    "SECONDS",
    "Command",
    "Group",
    "RootGroup",
    "as_path",
    "data_format_option",
    "decode_arguments",
    "format_option",
    "get_option",
    "logs_option",
    "paging_options",
    "read_json",
    "read_object",
    "read_pair",
    "read_pairs",
    "read_text",
    "set_default_option",
    "show_command",
    "waiting_options",
]


# Python converts integers of at least 640 digits.
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,640}")
_DECIMAL_NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]*(e[+-]?[0-9]+)?", re.IGNORECASE)


class _WholeNumber(click.IntRange):
    """A parameter type for integers in decimal digits. Unlike ``int``, it rejects ``1_0``."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the number and check its range."""
        text = str(value)
        if not _WHOLE_NUMBER.fullmatch(text):
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        number = int(text)
        if not (self.min or 0) <= number <= (self.max or number):
            self.fail(f"{number} is not in the range {super()._describe_range()}.", param, ctx)
        return number

    def _describe_range(self) -> str:
        return ""  # the help texts describe the range where it matters


COUNT = _WholeNumber(min=1)
PAGE_SIZE = _WholeNumber(min=1, max=500)
ID = _WholeNumber(min=0)
_MAX_BYTES = 64 * 2**20  # of a text, so that a device such as /dev/zero is not read forever
MODE = click.Choice(["init", "normal"])


class _PositiveNumber(click.types.FloatParamType):
    """
    A parameter type for numbers greater than 0.

    Unlike `click.FloatRange`, it rejects ``1_0`` and omits the range from the help text.
    """

    name = "number"
    max = 1e9

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse the number and check its range."""
        if not _DECIMAL_NUMBER.fullmatch(str(value)):
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        number: float = super().convert(value, param, ctx)
        if not 0 < number <= self.max:
            self.fail(
                f"must be greater than 0 and at most {self.max:.0f}, not {number:g}", param, ctx
            )
        return number


SECONDS = _PositiveNumber()


def decode_arguments(arguments: Iterable[str]) -> list[str]:
    """Decode the command line as UTF-8 in any locale. Python used the locale's encoding."""
    return [_decode(argument) for argument in arguments]


def _decode(argument: str) -> str:
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:  # it is in the locale's encoding
        return argument


def as_path(text: str) -> str:
    """Return a path with the bytes of a decoded argument, in Python's encoding of file names."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


class _FilePath(click.Path):
    """A parameter type for the path of a file, which may not exist."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        return super().convert(as_path(value), param, ctx)


FILE = _FilePath()


def read_text(value: str) -> str:
    """
    Return the text, or read it from a file (``@FILE``) or standard input (``@-``).

    The text is UTF-8 in any locale. A byte order mark is dropped.
    """
    source = value[1:] if value.startswith("@") else "the text"
    try:
        data = _read_bytes(value)
        if len(data) > _MAX_BYTES:
            raise click.BadParameter(f"{source} is larger than {_MAX_BYTES >> 20} MiB")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise click.BadParameter(f"cannot read {source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{source} is not UTF-8 text") from None


def _read_bytes(value: str) -> bytes:
    if not value.startswith("@"):
        return value.encode("utf-8", "surrogateescape")
    context = click.get_current_context(silent=True)
    if context is not None and context.resilient_parsing:
        return b""  # the shell requests completions, and must not wait for input
    if value != "@-":
        with Path(as_path(value[1:])).open("rb") as file:
            return file.read(_MAX_BYTES + 1)
    if sys.stdin is None:
        raise click.BadParameter("standard input is closed")
    return sys.stdin.buffer.read(_MAX_BYTES + 1)


def read_json(value: str) -> Any:
    """Parse JSON from text, a file (``@FILE``) or standard input (``@-``)."""
    text = read_text(value)
    try:
        parsed = json.loads(text, parse_constant=_reject_constant)
        # Python reads 1e999 as infinity, and accepts lone surrogates. Neither can be sent.
        json.dumps(parsed, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"invalid JSON: {error}") from None
    return parsed


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def read_object(value: str) -> dict[str, Any]:
    """Parse a JSON object from text, a file (``@FILE``) or standard input (``@-``)."""
    parsed = read_json(value)
    if not isinstance(parsed, dict):
        raise click.BadParameter('must be a JSON object, such as {"since": "2026-01-01"}')
    return parsed


def read_pair(text: str) -> tuple[str, str]:
    """Parse a ``NAME=VALUE`` pair."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"must have the form NAME=VALUE, not {text!r}")
    return name, value


def read_pairs(
    _: click.Context, __: click.Parameter, pairs: Iterable[str]
) -> dict[str, str | list[str]] | None:
    """
    Parse ``NAME=VALUE`` pairs.

    :returns: the values by name, with a list for a repeated name, or ``None`` if there are none.
    """
    values_by_name: dict[str, list[str]] = {}
    for name, value in map(read_pair, pairs):
        values_by_name.setdefault(name, []).append(value)
    if not values_by_name:
        return None
    return {name: v[0] if len(v) == 1 else v for name, v in values_by_name.items()}


# Options that are not passed to a command's function are stored in click's context.


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # An option can be given both before and after the command name. The last one wins.
    if value is not None:
        context.meta[f"pandium.{parameter.name}"] = value


def get_option(name: str, default: Any = None) -> Any:
    """Return the value of a stored option, or the default if the option was not given."""
    return click.get_current_context().meta.get(f"pandium.{name}", default)


def set_default_option(name: str, value: Any) -> None:
    """Store the value of an option that was not given."""
    click.get_current_context().meta.setdefault(f"pandium.{name}", value)


def show_command(*words: str, options: Iterable[str] = (), operands: Iterable[str]) -> str:
    """Return a command line to show to the user, which selects the same API and key."""
    operands = list(operands)
    # An id may look like an option.
    separator = ["--"] if any(one.startswith("-") for one in operands) else []
    before = ["pandium-api", *words, *_connection_arguments(), *options]
    return shlex.join([*before, *separator, *operands])


def _connection_arguments() -> list[str]:
    names = ("profile", "environment", "base_url", "key_file")
    given = [(name, value) for name in names if (value := get_option(name)) is not None]
    return [word for name, value in given for word in (f"--{name.replace('_', '-')}", str(value))]


def _stored_option(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    """Return a decorator that adds an option whose value `get_option` returns."""
    return click.option(*names, **{"callback": _store, **attributes}, expose_value=False)


def _store_columns(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    _store(context, parameter, None if value is None else value.split(","))


def _connection_option(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, callback=_store, expose_value=False, **attributes)


_CONNECTION_OPTIONS = (
    _connection_option(
        "--profile",
        metavar="NAME",
        help="Read the environment, the base URL and the key file from this profile in the"
        " configuration file. Other options and variables override it.",
    ),
    _connection_option(
        "--key-file",
        type=FILE,
        help="Read the API key from this file. Other users must not have access to it.",
    ),
    _connection_option(
        "--environment",
        metavar="NAME",
        help="Environment to use: production or sandbox. [default: production]",
    ),
    _connection_option(
        "--base-url",
        metavar="URL",
        help="Base URL of the API. Overrides --environment.",
    ),
    _connection_option(
        "--timeout",
        type=SECONDS,
        metavar="SECONDS",
        help="Maximum time for one attempt of a request, in seconds. [default: 30]",
    ),
    _connection_option(
        "--attempts",
        type=COUNT,
        help="Maximum number of attempts to send a request. A request that may have been executed,"
        " such as a sync, is not repeated. [default: 4]",
    ),
    _connection_option(
        "--debug",
        is_flag=True,
        default=None,
        help="Log each request, its status and its duration to standard error.",
    ),
)
_FORMAT_OPTIONS = (
    _stored_option(
        "--columns",
        metavar="NAME,...",
        callback=_store_columns,
        help="Columns of CSV, such as id,name,status.auth.connected. [default: all]",
    ),
    _stored_option(
        "-f",
        "--format",
        type=click.Choice(["table", "json", "jsonl", "csv"]),
        help="Output format: a table, a JSON array, one JSON object per line, or CSV."
        " [default: table]",
    ),
)


data_format_option = _stored_option(
    "-f",
    "--format",
    type=click.Choice(["table", "json", "jsonl", "csv"]),
    help="Output format of data: JSON, one line of JSON per item, a line per field (table), or CSV."
    " Text, such as a log or XML, is printed unchanged. [default: json]",
)


def format_option(function: Function) -> Function:
    """Add the options that select how records are printed."""
    for add_option in _FORMAT_OPTIONS:
        function = add_option(function)
    return function


logs_option = click.option(
    "--logs",
    "has_logs",
    is_flag=True,
    help="Print the end of the log of each failed run to standard error.",
)
# Decorators add options in reverse order.
_PAGING_OPTIONS = (
    format_option,
    _stored_option(
        "--on-drift",
        type=click.Choice(["repair", "raise", "ignore"]),
        help="What to do if records are added or removed during the listing: fetch the affected"
        " pages again, fail, or ignore the change. [default: repair]",
    ),
    _stored_option(
        "--prefetch",
        type=COUNT,
        help="Maximum number of pages to request at the same time. [default: 8]",
    ),
    _stored_option(
        "--page-size", type=PAGE_SIZE, help="Number of records per page, 1 to 500. [default: 500]"
    ),
    _stored_option(
        "--skip",
        type=ID,
        help="Number of records to skip at the beginning, to continue a listing. [default: 0]",
    ),
    _stored_option("--limit", type=COUNT, help="Maximum number of records to list. [default: 100]"),
    _stored_option(
        "--all", is_flag=True, default=None, help="List all records, however many there are."
    ),
)
_WAITING_OPTIONS = (
    format_option,
    _stored_option(
        "--poll-rate",
        type=SECONDS,
        help="Maximum number of status requests per second, for all runs together. [default: 20]",
    ),
    _stored_option(
        "--max-interval",
        type=SECONDS,
        metavar="SECONDS",
        help="Maximum time between two status requests for a run, in seconds. [default: 15]",
    ),
    _stored_option(
        "--min-interval",
        type=SECONDS,
        metavar="SECONDS",
        help="Minimum time between two status requests for a run, in seconds. The time grows"
        " while a run goes on. [default: 1]",
    ),
    _stored_option(
        "--wait-timeout",
        type=SECONDS,
        metavar="SECONDS",
        help="Maximum time to wait for each run, in seconds. [default: 1800]",
    ),
)


def paging_options(function: Function) -> Function:
    """Add the options for listings."""
    for add_option in _PAGING_OPTIONS:
        function = add_option(function)
    return function


def waiting_options(function: Function) -> Function:
    """Add the options for waiting."""
    for add_option in _WAITING_OPTIONS:
        function = add_option(function)
    return function


# What the arguments of all commands mean, by name.
ARGUMENTS = {
    "connector": "Name of a connector, as listed by: pandium-api integrations list",
    "data": "A JSON object, @FILE to read it from a file, or @- for standard input.",
    "integration_id": "Id of an integration, as listed by: pandium-api integrations list",
    "method": "HTTP method, such as GET or POST.",
    "name": "Name of the new tenant: lower-case letters, digits and hyphens.",
    "path": "Path of the endpoint, such as /v2/tenants.",
    "release_id": "Id of a release, as listed by: pandium-api releases list INTEGRATION",
    "run_id": "Id of a run, as listed by: pandium-api tenants runs TENANT",
    "tag": "Git tag to build, such as v1.4.0.",
    "target_url": "URL of the external system to call.",
    "tenant_id": "Id of a tenant, as listed by: pandium-api tenants list",
    "tenant_ids": "Ids of tenants, as listed by: pandium-api tenants list",
    "tenants": "Ids of tenants, as listed by: pandium-api tenants list",
    "trigger": "Id of a trigger, as printed by: pandium-api tenants sync",
    "triggers": "Ids of triggers, as printed by: pandium-api tenants sync",
}


def _name_options(text: str, context: click.Context) -> str:
    """Replace the name of the client's argument at the start of a message with the option's."""
    name, space, rest = text.partition(" ")
    for parameter in context.command.params:
        if parameter.name == name:
            is_option = isinstance(parameter, click.Option)
            return (parameter.opts[-1] if is_option else name.upper()) + space + rest
    return text


def _describe(
    described: set[click.Parameter], parameters: Iterable[click.Parameter], ctx: click.Context
) -> list[tuple[str, str]]:
    """Return the names and the help texts of some of a command's options."""
    options = (one for one in parameters if isinstance(one, click.Option) and one in described)
    records = [one.get_help_record(ctx) for one in options]
    return [record for record in records if record is not None]


class Command(click.Command):
    """A command that sends requests. Accepts the connection options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments, the command's own options and the connection options."""
        parameters = self.get_params(ctx)
        arguments = [one for one in parameters if isinstance(one, click.Argument)]
        sections = {
            "Arguments": [
                (one.make_metavar(ctx).strip("[].").split("]")[0], ARGUMENTS[one.name or ""])
                for one in arguments
            ],
            "Options": _describe(set(parameters) - set(_CONNECTION_OPTIONS), parameters, ctx),
            "Connection options": _describe(set(_CONNECTION_OPTIONS), parameters, ctx),
        }
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A ``ValueError`` of the client is a usage error."""
        try:
            return super().invoke(ctx)
        except ValueError as error:
            if isinstance(error, PandiumError):  # a ConfigurationError
                raise
            raise click.UsageError(_name_options(str(error), ctx), ctx) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's parameters, the connection options and ``--help``."""
        *own, help_option = super().get_params(ctx)
        return [*own, *_CONNECTION_OPTIONS, help_option]


class Group(click.Group):
    """A group of commands that send requests."""

    command_class = Command


class RootGroup(click.Group):
    """The top-level group. Accepts the connection options."""

    group_class = Group

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the group's parameters, the connection options and ``--help``."""
        *own, help_option = super().get_params(ctx)
        return [*own, *_CONNECTION_OPTIONS, help_option]
