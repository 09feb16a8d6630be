"""Make commands of functions: the options that they share, and what runs them."""

from __future__ import annotations

import json
import sys
from functools import partial, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Work: TypeAlias = Callable[..., Any]

__all__ = [
    "COUNT",
    "ID",
    "MODE",
    "SECONDS",
    "Command",
    "Group",
    "Root",
    "answers",
    "connecting",
    "formatted",
    "lists",
    "read_json",
    "read_object",
    "read_pair",
    "read_pairs",
    "read_text",
    "setting",
    "shows",
    "waits",
]

COUNT = click.IntRange(min=1)
COUNT.name = "number"  # in the help, and where it is none
PAGE_SIZE = click.IntRange(min=1, max=500)
PAGE_SIZE.name = "number"
ID = click.IntRange(min=0)
ID.name = "number"
MODE = click.Choice(["init", "normal"])
SECONDS = click.FloatRange(min=0, min_open=True, max=1e9)
SECONDS.name = "number"


def read_text(value: str) -> str:
    """Give a text, or what the file holds that ``@`` names; ``@-`` is standard input."""
    if not value.startswith("@"):
        return value
    path = value[1:]
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path} is no text") from None


def read_json(value: str) -> Any:
    """Give what a text, or the file that ``@`` names, says as JSON."""
    text = read_text(value)
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"this is not JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of it")


def read_object(value: str) -> dict[str, Any]:
    """Give the object that a text, or the file that ``@`` names, says as JSON."""
    found = read_json(value)
    if not isinstance(found, dict):
        raise click.BadParameter("this is no JSON object")
    return found


def read_pair(text: str) -> tuple[str, str]:
    """Read ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def read_pairs(
    _: click.Context, __: click.Parameter, pairs: Iterable[str]
) -> dict[str, str | list[str]] | None:
    """Read ``NAME=VALUE`` pairs, or nothing; a name that comes again makes a list."""
    found: dict[str, list[str]] = {}
    for name, value in map(read_pair, pairs):
        found.setdefault(name, []).append(value)
    single = {name: values[0] if len(values) == 1 else values for name, values in found.items()}
    return single or None


# Options that are not a command's own are kept beside it, by their names.


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # What comes later is nearer to the command, and wins.
    if value is not None:
        context.meta[f"pandium.{parameter.name}"] = value


def setting(name: str, default: Any = None) -> Any:
    """Give the value of an option that is kept."""
    return click.get_current_context().meta.get(f"pandium.{name}", default)


def connecting() -> list[str]:
    """Give the options by which another command speaks to the same API with the same key."""
    given = [(name, setting(name)) for name in ("environment", "base_url", "key_file")]
    return [
        word
        for name, value in given
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def _kept(*names: str, **attributes: Any) -> Callable[[Work], Work]:
    """Add an option that is kept for `setting` to find."""
    return click.option(*names, callback=_keep, expose_value=False, **attributes)


def _connecting(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, callback=_keep, expose_value=False, **attributes)


_CONNECTING = (
    _connecting(
        "--key-file", type=click.Path(), help="Read the API key from a file private to you."
    ),
    _connecting("--environment", metavar="NAME", help="production (the default) or sandbox."),
    _connecting("--base-url", metavar="URL", help="Any other host; wins over --environment."),
    _connecting(
        "--timeout", type=SECONDS, metavar="SECONDS", help="For one attempt of a request: 30."
    ),
    _connecting("--attempts", type=COUNT, help="Attempts of a request at most: 4."),
    _connecting("--debug", is_flag=True, default=None, help="Log to standard error."),
)
formatted = _kept(
    "-f",
    "--format",
    type=click.Choice(["table", "json", "jsonl", "csv"]),
    help="A table (the default), a JSON array, a JSON object a line, or CSV.",
)
_PAGING = (
    formatted,
    _kept("--on-drift", type=click.Choice(["repair", "raise", "ignore"]),
         help="What to do where the listing changes meanwhile."),
    _kept("--prefetch", type=COUNT, help="Requests at once at most: 4."),
    _kept("--page-size", type=PAGE_SIZE, help="Records a request: 500, the most."),
    _kept("--skip", type=ID, help="Leave out so many at the start."),
    _kept("--limit", type=COUNT, help="List so many at most: 100, unless --all."),
    _kept("--all", is_flag=True, default=None, help="List all, however many there are."),
)  # fmt: skip
_WAITING = (
    formatted,
    _kept("--poll-rate", type=SECONDS, help="Polls a second at most: 20."),
    _kept(
        "--max-interval",
        type=SECONDS,
        metavar="SECONDS",
        help="Between two looks at a run at most: 15.",
    ),
    _kept(
        "--min-interval",
        type=SECONDS,
        metavar="SECONDS",
        help="Between two looks at a run at least: 1.",
    ),
    _kept("--wait-timeout", type=SECONDS, metavar="SECONDS", help="To wait for each run: 1800."),
)


class Command(click.Command):
    """A command that speaks to the API, with the options that say how."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give the command's own parameters first, and help last."""
        *own, last = super().get_params(ctx)
        return [*own, *_CONNECTING, last]


class Group(click.Group):
    """Commands that speak to the API."""

    command_class = Command


class Root(click.Group):
    """All commands; what says how to speak to the API may stand before them, too."""

    group_class = Group

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give the options of all commands first, and help last."""
        *own, last = super().get_params(ctx)
        return [*own, *_CONNECTING, last]


def waits(callback: Work) -> Work:
    """Add the options of a wait for runs."""
    for add in _WAITING:
        callback = add(callback)
    return callback


# What makes the callback of a command from a function whose first argument is a client.


def shows(kind: str) -> Callable[[Work], Work]:
    """Write a record of a kind, or a list of them, that a coroutine function gives."""
    return lambda work: formatted(_callback(work, "show", kind))


def lists(kind: str) -> Callable[[Work], Work]:
    """Write the records of the listing that a function gives, as they come."""

    def decorate(work: Work) -> Work:
        callback = _callback(work, "walk", kind)
        for add in _PAGING:
            callback = add(callback)
        return callback

    return decorate


def answers(work: Work) -> Work:
    """Write the JSON, or the text, that a coroutine function gives."""
    return _callback(work, "answer")


def _callback(work: Work, how: str, *more: str) -> Work:
    def callback(**options: object) -> object:
        from pandium._cli import session  # it loads the client

        return getattr(session, how)(partial(work, **options), *more)

    return update_wrapper(callback, work)
