"""The options shared by several commands."""

from __future__ import annotations

import inspect
import re

import click
import pytest

from pandium import AsyncPandium, Polling, Retry
from pandium._cli.app import app
from pandium._cli.options import COUNT, ID, PAGE_SIZE, SECONDS, read_text
from pandium._resources.runs import Runs
from pandium._resources.tenants import Tenants


def _defaults(function: object) -> dict[str, object]:
    assert callable(function)
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


LISTING = _defaults(Tenants.list)
# The values that the client uses if the options are not given.
DEFAULTS = {
    "timeout": _defaults(AsyncPandium)["timeout"],
    "attempts": Retry().attempts,
    **{name: LISTING[name] for name in ("prefetch", "page_size", "skip", "on_drift")},
    "min_interval": Polling().minimum,
    "max_interval": Polling().maximum,
    "poll_rate": Polling().rate,
    "wait_timeout": _defaults(Runs.wait)["timeout"],
}


def _help_text(name: str) -> str:
    group = app.commands["tenants"]
    assert isinstance(group, click.Group)
    for command in (group.commands["list"], group.commands["sync"]):
        for parameter in command.get_params(click.Context(command)):
            if isinstance(parameter, click.Option) and parameter.name == name:
                return parameter.help or ""
    raise AssertionError(f"there is no option {name}")


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_help_states_the_default_of_the_client(name: str) -> None:
    """The default in a help text is the value that the client uses without the option."""
    stated = re.search(r"\[default: (.+)\]", _help_text(name))
    assert stated is not None
    default = DEFAULTS[name]
    assert stated[1] == (default if isinstance(default, str) else f"{default:g}")


@pytest.mark.parametrize("kind", [COUNT, ID, PAGE_SIZE], ids=["count", "id", "page size"])
@pytest.mark.parametrize(
    "text", ["1_0", "\u0663", "\uff11", "1.0", "0x1", "", "-", "--5", "9" * 5_000]
)
def test_a_whole_number_is_in_decimal_digits(kind: click.ParamType[int], text: str) -> None:
    """A number in any other notation, which could be another record's id, is rejected."""
    assert kind.convert("10", None, None) == 10
    with pytest.raises(click.BadParameter, match="not a valid number"):
        kind.convert(text, None, None)


@pytest.mark.parametrize("text", ["1_0", "\u0663", "\uff11", "0x1", "", ".", "-", "nan", "inf"])
def test_a_number_of_seconds_is_in_decimal_digits(text: str) -> None:
    """A number in any other notation is rejected. A fraction or an exponent is accepted."""
    accepted = [SECONDS.convert(number, None, None) for number in ("10", "0.5", ".5", "1e3")]
    assert accepted == [10.0, 0.5, 0.5, 1000.0]
    with pytest.raises(click.BadParameter, match="not a valid"):
        SECONDS.convert(text, None, None)


@pytest.mark.posix
def test_an_endless_file_is_not_read() -> None:
    """A text that is larger than a limit is rejected, even if it never ends."""
    with pytest.raises(click.BadParameter, match="/dev/zero is larger than 64 MiB"):
        read_text("@/dev/zero")
